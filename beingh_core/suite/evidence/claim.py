"""What a claim, an experiment and a finding are; `claims` has the list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SEEN, NOT_SEEN, UNTESTED = "seen", "not seen", "could not test"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What an experiment says of a claim.

    Attributes:
        verdict: One of the three above.
        result: Figures with their 95 % intervals, or why there is none.
    """

    verdict: str
    result: str


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A command whose rows several claims may read.

    Attributes:
        name: For `--only`, and of its folder.
        arguments: Of `beingh`, without `--out`.
        quick, full: What is added to them; None where nothing of it is quick, so that only a full run plays it.
        checkpoints: Folders without which it cannot be run, relative to the current one.
        minutes: How long it takes on one core, (quick, full): an estimate from few episodes; workers share it.
        pictures: Files of its folder that the page shows, with their titles.
    """

    name: str
    arguments: tuple[str, ...]
    quick: tuple[str, ...] | None
    full: tuple[str, ...]
    checkpoints: tuple[str, ...]
    minutes: tuple[float, float]
    pictures: dict[str, str] = field(default_factory=dict)

    def command(self, out: Path, quick: bool) -> list[str]:
        """Arguments of `beingh`; where nothing is quick, those of a full run."""
        more = self.quick if quick and self.quick is not None else self.full
        return [*self.arguments, *more, "--out", str(self.folder(out, quick))]

    def folder(self, out: Path, quick: bool) -> Path:
        """Of its rows; a quick run's are apart, since a full one must not seem to have been done."""
        return out / ("quick" if quick and self.quick is not None else "full") / self.name

    def missing(self, quick: bool) -> str:
        """Why it cannot be run so here; "" where it can."""
        if quick and self.quick is None:
            return "takes hours of training, so only a full run does it"
        absent = [place for place in self.checkpoints if not Path(place).is_dir()]
        return f"no checkpoint {', '.join(absent)}" if absent else ""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim and what is made of it.

    Attributes:
        claim, source: In our words, and where the paper has it.
        test: What our experiment does, and the rule of the verdict.
        experiment: Of `claims.EXPERIMENTS`; None where there is none.
        judge: The finding of that experiment's figures.json.
        reason: Why there is no experiment.
    """

    claim: str
    source: str
    test: str
    experiment: Experiment | None = None
    judge: Callable[[Any], Finding] | None = None
    reason: str = ""
