"""A slow path of all arm joints at once, for robots that have nothing to grasp with.

Each joint swings about its home with one period, each with a phase of its own. The phase is read from the last two commands
of the first joint, so that the motion is a function of the present state alone and chunks continue one another. With
x = A sin(p), p growing by w a tick: A sin(p) and A cos(p) follow from x[k] and x[k-1] = A sin(p - w).
"""

from __future__ import annotations

import numpy as np

from beingh_core.contract.schema import POSITION_SLOTS, RobotContract
from beingh_core.contract.self_collision import collisions_of
from beingh_core.errors import BeingHError

# Half the swing of a joint, unless its limits or speeds allow less [rad]; time of one swing [s].
_SWING_RAD, _PERIOD_S = 0.25, 8.0
# Shares of the limits that are used; ticks in which the swing grows to its size.
_SPEED, _ACCELERATION, _JERK, _GROWTH_TICKS = 0.4, 0.35, 0.45, 100
# Shares of the swing that are tried where a wider one would run the robot into itself.
_SHARES = (1.0, 0.8, 0.6, 0.45, 0.3, 0.2, 0.1)
_ARMS = ("arm_joint_position", "left_arm_joint_position", *POSITION_SLOTS)


class ReferenceMotion:
    """Commands of the path, no wider than the robot keeps clear of itself and of `keep_out`. Immutable.

    Args:
        contract: the robot.

    Raises:
        BeingHError: even a small swing about home would run it into itself.
    """

    def __init__(self, contract: RobotContract) -> None:
        names, limits, dt_s = list(contract.joint_names), contract.limits, contract.dt_s
        joints = [joint for signal in contract.action if signal.slot in _ARMS for joint in signal.joints]
        self.columns = [names.index(joint) for joint in joints]
        home = np.array(contract.home)[self.columns]
        self._turn = 2 * np.pi * dt_s / _PERIOD_S
        room = np.minimum(limits.upper[self.columns] - home, home - limits.lower[self.columns])
        fast = _SPEED * limits.velocity[self.columns] * _PERIOD_S / (2 * np.pi)
        self._middle = home + np.clip(_SWING_RAD - room, 0.0, None) * np.where(
            limits.upper[self.columns] - home < home - limits.lower[self.columns], -1.0, 1.0
        )
        self._swing = np.minimum(_SWING_RAD, fast)
        self._speed = 1.5 * _SPEED * limits.velocity[self.columns] * dt_s
        self._phases = np.arange(len(joints)) * np.pi / 3
        most = np.minimum(_ACCELERATION * limits.acceleration, _JERK * limits.jerk * dt_s)
        self._change = most[self.columns] * dt_s**2
        self._narrow(contract)

    def next(self, q_J: np.ndarray, step_J: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions (J,) of the arm joints [rad] and their change at the next tick, from the last of both."""
        here = (q_J[0] - self._middle[0]) / self._swing[0]
        before = here - step_J[0] / self._swing[0]
        across = (here * np.cos(self._turn) - before) / np.sin(self._turn)
        phase, size = np.arctan2(here, across), min(1.0, float(np.hypot(here, across)))
        size = min(1.0, size + 1.0 / _GROWTH_TICKS)
        goal = self._middle + size * self._swing * np.sin(phase + self._turn + self._phases)
        # Off the path it returns no faster than it can brake.
        ways = goal - q_J
        most = np.minimum(
            self._speed, np.maximum(np.sqrt(2.0 * self._change * np.abs(ways)) - self._change, self._change)
        )
        change = np.clip(np.clip(ways, -most, most) - step_J, -self._change, self._change)
        return q_J + step_J + change, step_J + change

    def _narrow(self, contract: RobotContract) -> None:
        """Take the widest share of the swing that is free."""
        wide = self._swing
        moving = ~contract.limits.is_velocity
        home = np.array(contract.home)
        try:
            collisions = collisions_of(contract)
        except BeingHError:
            return  # nothing can be looked at: the controller says so
        for share in _SHARES:
            self._swing = share * wide
            rows = np.tile(home, (_GROWTH_TICKS + round(_PERIOD_S / contract.dt_s), 1))
            q, step = home[self.columns], np.zeros(len(self.columns))
            for row in rows:
                q, step = self.next(q, step)
                row[self.columns] = q
            if collisions.first_on_path(home[moving], rows[:, moving]) is None:
                return
        raise BeingHError(
            "a swing of the arms about home runs the robot into itself",
            where=f"{contract.path}: home",
            remedy="give a home with room around it",
        )
