"""Policies that see nothing, to compare with: hold still, go on as before, do what is done on average.

They work on action rows as a contract's slots have them. Letters: N chunks, K steps, D numbers of a row.
"""

from __future__ import annotations

import numpy as np

HOLD, LAST_VELOCITY, MEAN = "hold", "last velocity", "mean"
TRIVIAL = (HOLD, LAST_VELOCITY, MEAN)


def trivial_actions(
    last_ND: np.ndarray, before_ND: np.ndarray, mean_D: np.ndarray, is_delta_D: np.ndarray, steps: int
) -> dict[str, np.ndarray]:
    """What each of them does in the next steps.

    Args:
        last_ND: the newest action that is known when a chunk is made.
        before_ND: the action before it.
        mean_D: mean of the recorded actions.
        is_delta_D: which numbers say how far to go in one step; the others say where to go.
        steps: K.

    Returns:
        name -> (N, K, D). A number that says where to go holds its last value, is extrapolated in a line, or is the mean;
        one that says how far to go is 0, repeats the last one, or is the mean.
    """
    ahead = np.arange(1, steps + 1)[None, :, None]
    last, velocity = last_ND[:, None, :], (last_ND - before_ND)[:, None, :]
    shape = (len(last_ND), steps, last_ND.shape[1])
    return {
        HOLD: np.broadcast_to(np.where(is_delta_D, 0.0, last), shape).copy(),
        LAST_VELOCITY: np.where(is_delta_D, last, last + ahead * velocity),
        MEAN: np.broadcast_to(mean_D, shape).copy(),
    }
