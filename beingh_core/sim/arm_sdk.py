"""What a Unitree G1 does with commands to arm_sdk, for the simulator: its own controller and the commands, blended by a weight.

Each joint's torque is (1 - w) (K (own - q) - D dq) + w (kp (command - q) - kd dq), which is that of one position controller with
blended gains and reference. The robot's own controller holds the posture of the last reset. What it does when commands cease
while the weight is not 0 is not published: here it keeps the last one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

# A motor without gains still has a rotor that turns with friction [N m/rad]: no division by zero.
_LEAST = 1e-6


class MotorCommand(NamedTuple):
    """What one motor is told: position [rad], stiffness [N m/rad], damping [N m s/rad]."""

    position: float
    stiffness: float
    damping: float


class ArmSdkFollower:
    """Reference generator of the upper body. One thread.

    Args:
        joints: J joint names.
        positions: (J,) where they stand [rad].
        stiffness, damping: (J,) of the robot's own controller [N m/rad, N m s/rad].
    """

    def __init__(
        self, joints: Sequence[str], positions: np.ndarray, stiffness: np.ndarray, damping: np.ndarray
    ) -> None:
        self.joints = tuple(joints)
        self._own_gains = np.array([stiffness, damping])
        self.reset(positions)

    def reset(self, positions: np.ndarray) -> None:
        """Hold `positions` (J,), and forget the commands."""
        self.weight = 0.0
        self._own = np.array(positions, dtype=float)
        self._command, self._gains = self._own.copy(), np.zeros_like(self._own_gains)

    def accept(self, weight: float, motors: Mapping[str, MotorCommand]) -> str | None:
        """Take a command, or return why it is dropped; joints that it leaves out are limp as far as the weight goes."""
        numbers = np.array([motors.get(joint, (np.nan, 0.0, 0.0)) for joint in self.joints])
        moved = ~np.isnan(numbers[:, 0])
        given = np.array(list(motors.values())).reshape(-1, 3)
        if not np.isfinite(weight) or not np.isfinite(given).all() or (given[:, 1:] < 0.0).any():
            return "a weight, position or gain that is none"
        self.weight = min(max(float(weight), 0.0), 1.0)
        self._command = np.where(moved, numbers[:, 0], self._command)
        self._gains = np.where(moved, numbers[:, 1:].T, 0.0)
        return None

    def sample(self, _now_ns: int) -> np.ndarray:
        """Desired positions (J,) [rad]."""
        own, sent = (1.0 - self.weight) * self._own_gains[0], self.weight * self._gains[0]
        return (own * self._own + sent * self._command + _LEAST * self._own) / (own + sent + _LEAST)

    def gains(self) -> dict[str, tuple[float, float]]:
        """Joint -> stiffness and damping that are in force."""
        blended = (1.0 - self.weight) * self._own_gains + self.weight * self._gains
        return {joint: (float(kp), float(kd)) for joint, kp, kd in zip(self.joints, *blended)}
