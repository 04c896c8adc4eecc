"""The path of the end effectors for rows of joint commands.

Letters: J joints, T rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.contract.arms import Arm, arms_of
from beingh_core.contract.kinematics import Kinematics


class EefPaths:
    """Forward kinematics of every arm. One thread at a time.

    Args:
        contract: Robot.

    Attributes:
        arms: Its end effectors.
    """

    def __init__(self, contract: RobotContract) -> None:
        self.arms = arms_of(contract)
        self._kinematics = {
            arm: Kinematics(contract.urdf_path, arm.joints, arm.eef_frame, arm.base_frame) for arm in self.arms
        }

    def along(self, arm: Arm, joints: Sequence[str], positions_TJ: np.ndarray) -> np.ndarray:
        """Positions (T, 3) of an end effector in its base frame [m].

        Args:
            arm: One of `arms`.
            joints: Names of the columns; they must hold the arm's.
            positions_TJ: Joint positions [rad or m].

        Raises:
            ValueError: A joint of the arm is not among the columns.
        """
        columns = [list(joints).index(name) for name in arm.joints]
        rows = np.asarray(positions_TJ, dtype=float)[:, columns]
        return np.array([self._kinematics[arm].fk(row)[0] for row in rows]).reshape(len(rows), 3)

    def at(self, arm: Arm, positions: Mapping[str, float]) -> np.ndarray | None:
        """Position (3,) at measured joints [m]; None while a joint of the arm is missing."""
        if any(name not in positions for name in arm.joints):
            return None
        return self._kinematics[arm].fk(np.array([positions[name] for name in arm.joints]))[0]


class Trail:
    """The newest commands of the present epoch, one row a tick. One thread at a time.

    Args:
        ticks: Rows kept.
    """

    def __init__(self, ticks: int) -> None:
        self._rows: deque[tuple[int, np.ndarray]] = deque(maxlen=max(1, ticks))
        self._epoch = ""

    def add(self, epoch: str, stamp_ns: int, row_J: np.ndarray) -> None:
        """Note the command of the tick at `stamp_ns`; another epoch begins another trail."""
        if epoch != self._epoch:
            self._rows.clear()
            self._epoch = epoch
        while self._rows and self._rows[-1][0] >= stamp_ns:
            self._rows.pop()
        self._rows.append((stamp_ns, row_J))

    def before(self, stamp_ns: int) -> np.ndarray:
        """(T, J) rows of the ticks before a time, oldest first; (0, 0) when there are none."""
        rows = [row for at_ns, row in self._rows if at_ns < stamp_ns]
        return np.array(rows) if rows else np.empty((0, 0))


def without_hold(positions_TJ: np.ndarray) -> np.ndarray:
    """Rows up to the first of those that only repeat the last one."""
    moving = np.any(positions_TJ != positions_TJ[-1:], axis=1)
    return positions_TJ[: int(np.flatnonzero(moving)[-1]) + 2] if moving.any() else positions_TJ[:1]
