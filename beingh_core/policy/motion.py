"""Whether the statistics of a checkpoint are those of a robot that moved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from beingh_core.errors import BeingHError
from beingh_core.policy.data_configs import DataConfig, KeySpec
from beingh_core.policy.transforms import NEEDED, RANGE_FLOOR

_PAIRS = (("q01", "q99"), ("min", "max"))
_REMEDY = "compute the statistics again from recordings in which the robot moves"


def still_values(data_config: DataConfig, statistics: Mapping | None, where: object | None = None) -> list[str]:
    """The normalised values that never moved in training, such as those of a locked gripper: `state.KEY[INDEX]`.

    Args:
        data_config: Which signals are normalised, and how.
        statistics: {"state": {key: {min, max, mean, std, q01, q99}}, "action": {...}}; rows that are missing or of
            another width are left to the normalisation to refuse.
        where: The file that they came from.

    Raises:
        BeingHError: of the state, or of the actions, nothing but a gripper ever moved.
    """
    still = []
    for kind, specs in (("state", data_config.state), ("action", data_config.action)):
        rows = (statistics or {}).get(kind) or {}
        moved = {spec.key: _moved(spec, rows.get(spec.key)) for spec in specs}
        normalised = {spec.key for spec in specs if NEEDED[spec.normalization]}
        # A gripper may be locked; whatever else of the robot counts, also where it is not normalised.
        others = _without_grippers(key for key in moved if len(moved[key]))
        if normalised.intersection(others) and not any(moved[key].any() for key in others):
            names = ", ".join(f"{kind}.{key}" for key in others)
            raise BeingHError(
                f"in these statistics nothing ever moved: every value of {names} has a range of 0, as in no training set",
                where=where,
                allowed=f"statistics with a range of more than {RANGE_FLOOR:g} in at least one value",
                remedy=_REMEDY,
            )
        still += [f"{kind}.{key}[{i}]" for key in moved if key in normalised for i in np.flatnonzero(~moved[key])]
    return still


def _without_grippers(keys: Iterable[str]) -> list[str]:
    return [key for key in keys if "gripper" not in key]


def _moved(spec: KeySpec, rows: Mapping | None) -> np.ndarray:
    """(W,) bool: which values of a signal have a width; (0,) where the statistics do not say."""
    names = NEEDED[spec.normalization]
    pairs = [names] if names else [*_PAIRS, ("mean", "std")]
    for first, second in pairs:
        try:
            low, high = (np.asarray(rows[name], dtype=np.float64).reshape(-1) for name in (first, second))
            width = 2 * high if second == "std" else high - low
        except (KeyError, TypeError, ValueError):
            continue
        if np.isfinite(width).all():
            return width > RANGE_FLOOR
    return np.zeros(0, dtype=bool)
