"""How many measured states a model is shown: that of now, and some from before it at an even spacing.

No release has more than one state token; here each row of the history is a state token of its own, the oldest first. A row
from before the episode or its instruction began is the first row of it.
"""

from __future__ import annotations

import numpy as np
from pydantic import model_validator

from beingh_core.validation import Schema, whole

MOST_STEPS = 256


class StateHistory(Schema, extra="forbid"):
    """`rows` states in all, `every` so many steps; one row is the released layout."""

    rows: whole(1, 32) = 1
    every: whole(1, MOST_STEPS) = 1

    @model_validator(mode="after")
    def _bounded(self) -> StateHistory:
        if self.span > MOST_STEPS:
            raise ValueError(
                f"state_history of {self.rows} rows every {self.every} steps reaches back {self.span} steps, more than {MOST_STEPS}"
            )
        return self

    @property
    def span(self) -> int:
        """Steps from the oldest row to now."""
        return (self.rows - 1) * self.every

    @property
    def before(self) -> np.ndarray:
        """(rows,) how many steps before now each row is, the oldest first."""
        return np.arange(self.span, -1, -self.every)

    @property
    def leading(self) -> tuple[int, ...]:
        """Leading dimensions of a state in an observation with a batch of one."""
        return (1,) if self.rows == 1 else (1, self.rows)


ONE_STATE = StateHistory()
