"""A base that drives on the floor: joints below the robot's root, and what a base does with velocities that it is sent."""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np

# Of the root link: place in the world and turn about z. No URDF has joints of such names.
BASE_JOINTS = ("base:x", "base:y", "base:yaw")
# Axis of a Twist -> which of forward, left and turn it is.
AXES = {"linear.x": 0, "linear.y": 1, "angular.z": 2}
# Without a command for so long it stops, as diff_drive_controller's cmd_vel_timeout [s].
TIMEOUT_NS = 500_000_000
# Its position loop [rad/s]: much stiffer than the arm on it.
_LOOP_RAD_S = 30.0


def add_planar_base(spec: mujoco.MjSpec) -> None:
    """Lets the robot's root slide along x and y and turn about z, with a position actuator each."""
    root = spec.worldbody.first_body()
    model = spec.compile()
    mass = float(model.body(root.name).subtreemass[0])
    kinds = (mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE)
    for name, kind, axis in zip(BASE_JOINTS, kinds, ([1, 0, 0], [0, 1, 0], [0, 0, 1])):
        root.add_joint(name=name, type=kind, axis=axis)
        actuator = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        # A turn moves the mass at some decimetres from the axis: kg m^2 are about a tenth of kg.
        inertia = 0.1 * mass if kind == mujoco.mjtJoint.mjJNT_HINGE else mass
        actuator.set_to_position(kp=inertia * _LOOP_RAD_S**2, dampratio=1.0)


class BaseFollower:
    """Where a base goes by the velocities that it is sent: within limits, and to a stop when nothing comes.

    Args:
        limits: axis of a Twist -> (least, greatest velocity, greatest acceleration) [m/s, rad/s; of a second]; others do not move.

    Attributes:
        pose: (3,) x, y [m] and turn [rad] in the world.
        velocity: (3,) forward, left [m/s] and turn [rad/s].
    """

    def __init__(self, limits: Mapping[str, tuple[float, float, float]]) -> None:
        bounds = np.zeros((3, 3))
        for axis, three in limits.items():
            bounds[AXES[axis]] = three
        self._least, self._most, self._acceleration = bounds.T
        self.reset()

    def reset(self) -> None:
        """At rest where the robot begins."""
        self.pose, self.velocity = np.zeros(3), np.zeros(3)
        self._wanted, self._until_ns = np.zeros(3), 0

    def accept(self, velocity: np.ndarray, now_ns: int) -> str | None:
        """Take a velocity (3,), or return why it is dropped."""
        if not np.isfinite(velocity).all():
            return "a velocity that is not a number"
        self._wanted, self._until_ns = np.clip(velocity, self._least, self._most), now_ns + TIMEOUT_NS
        return None

    def advance(self, now_ns: int, duration_s: float) -> np.ndarray:
        """The pose (3,) after a further `duration_s` from `now_ns` on."""
        wanted = self._wanted if now_ns < self._until_ns else np.zeros(3)
        most = self._acceleration * duration_s
        self.velocity = self.velocity + np.clip(wanted - self.velocity, -most, most)
        forward, left, turn = self.velocity * duration_s
        heading = self.pose[2] + turn / 2
        cos, sin = np.cos(heading), np.sin(heading)
        self.pose = self.pose + [cos * forward - sin * left, sin * forward + cos * left, turn]
        return self.pose
