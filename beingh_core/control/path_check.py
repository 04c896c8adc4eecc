"""What keeps chunks from running the robot into itself or into a box: the shapes of its URDF, asked before a merge."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError
from beingh_core.realtime.cut import Blocked

if TYPE_CHECKING:
    from beingh_core.contract.self_collision import Collisions

# Which modules look at shapes, and what brings them.
NEEDED, BROUGHT_BY = ("pinocchio", "coal"), "pip install pin"

UNCHECKED = "chunks are not checked for self-collision"


class ShapeCheck:
    """The check of one robot. One thread at a time.

    Args:
        contract: Robot.
        collisions: Its shapes.
    """

    def __init__(self, contract: RobotContract, collisions: Collisions) -> None:
        self._is_joint, self._collisions = ~contract.limits.is_velocity, collisions

    def __call__(self, start_J: np.ndarray, rows_KJ: np.ndarray, known: int) -> Blocked | None:
        """See `realtime.cut.PathCheck`."""
        hit = self._collisions.first_on_path(start_J[self._is_joint], rows_KJ[:, self._is_joint], known)
        if hit is None:
            return None
        return Blocked(row=hit.row, reason=f"`{hit.first}` would come too near to `{hit.second}`")


def path_check(contract: RobotContract) -> tuple[ShapeCheck | None, str]:
    """What checks the chunks of a robot, and a sentence where that is not all of it; None where nothing can.

    Raises:
        BeingHError: the contract has boxes to keep out of, and they cannot be checked or the robot is in one at home.
    """
    if not contract.self_collision.check:
        return None, f"{UNCHECKED}: `self_collision.check` is false"
    try:
        collisions = _collisions(contract)
    except BeingHError as error:
        if contract.keep_out:
            raise
        return None, f"{UNCHECKED}: {error}"
    meshed = collisions.meshed
    note = f"{UNCHECKED} with {len(meshed)} links, whose shapes are meshes ({', '.join(meshed)})" if meshed else ""
    return ShapeCheck(contract, collisions), note


def _collisions(contract: RobotContract) -> Collisions:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise BeingHError(f"{missing[0]} is not installed, which looks at shapes", remedy=BROUGHT_BY)
    from beingh_core.contract.self_collision import collisions_of

    return collisions_of(contract)
