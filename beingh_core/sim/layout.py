"""Where a table, cubes and cameras stand around a robot, from its URDF and its contract's home."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from beingh_core.contract.schema import RobotContract
from beingh_core.contract.signals import GRIPPER_SLOTS
from beingh_core.contract.urdf import UrdfFacts
from beingh_core.errors import BeingHError

TABLE_CENTRE_XY = np.array([0.5, 0.0])
TABLE_HALF_M = np.array([0.45, 0.6])
TABLE_THICK_M = 0.04
# The FR3's wrist camera sits in front of the hand and looks along the fingers, tilted back to see between them (hand frame).
WRIST_EYE = np.array([0.07, 0.0, 0.035])
WRIST_AHEAD = np.array([-np.sin(np.deg2rad(12)), 0.0, np.cos(np.deg2rad(12))])
# A table under a hand at home: so far in front of the root at least, so far below the hand's lowest part, and lower where the
# robot would touch it [m].
_MIN_REACH_M, _BELOW_HAND_M, _STEP_M, _LOWEST_M = 0.2, 0.08, 0.05, 3.0
# The wrist camera of any other hand, from the middle of its parts: back along the hand, and beside it [m].
_BACK_M, _BESIDE_M = 0.15, 0.08


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where things stand around a robot; the defaults are the FR3's, which its checkpoint was taught in.

    Attributes:
        table: (3,) middle of the table's top [m, root link].
        floor: height of the floor [m].
        hand: link that carries the wrist camera.
        eye: (3,) place of that camera [m], in the axes of `hand`.
        ahead, up: (3,) where it looks and what is up in its picture, in the same axes.
    """

    table: tuple[float, ...] = (0.5, 0.0, 0.0)
    floor: float = -0.04
    hand: str = "fr3_hand"
    eye: tuple[float, ...] = tuple(WRIST_EYE)
    ahead: tuple[float, ...] = tuple(WRIST_AHEAD)
    up: tuple[float, ...] = (1.0, 0.0, 0.0)

    @property
    def offset(self) -> np.ndarray:
        """(3,) from the FR3's table to this one [m]: cubes and standing cameras move with it."""
        return np.array(self.table) - [*TABLE_CENTRE_XY, 0.0]


def followed(urdf: UrdfFacts, positions: dict[str, float]) -> dict[str, float]:
    """`positions` of joints with those of the joints that mimic them [rad or m]; names that are no joints are left out."""
    found = {name: value for name, value in positions.items() if name in urdf.joints}
    for name, joint in urdf.joints.items():
        if joint.mimics in found:
            found[name] = joint.multiplier * found[joint.mimics] + joint.offset
    return found


def layout_of(contract: RobotContract, urdf: UrdfFacts, model: mujoco.MjModel) -> Layout:
    """A table under the first hand of a contract at home, and a camera behind that hand.

    The top is as high as the root link, or lower: below the hand, and where nothing of the robot touches it.

    Args:
        contract: the robot.
        urdf: its joints.
        model: the robot alone.

    Raises:
        BeingHError: nothing of the contract moves a hand, or the robot leaves no room for a table.
    """
    if "fr3_finger_joint1" in urdf.joints:
        return Layout()
    arms = [signal.joints for signal in contract.action if signal.slot not in GRIPPER_SLOTS]
    joints = [joint for arm in arms for joint in arm if joint in urdf.joints][: len(arms[0])] if arms else []
    if not joints:
        raise BeingHError("no action moves an arm, so there is nothing to simulate", where=contract.path)
    data = mujoco.MjData(model)
    for name, value in followed(urdf, dict(zip(contract.joint_names, contract.home))).items():
        data.joint(name).qpos = value
    mujoco.mj_forward(model, data)
    body = int(model.joint(joints[-1]).bodyid[0])
    hand = data.subtree_com[body]
    moved, low, high = _boxes(model, data)
    carried = low[np.isin(moved, _carried(model, body)), 2]
    reach = float(np.linalg.norm(hand[:2]))
    centre = hand[:2] * max(1.0, _MIN_REACH_M / reach) if reach > 0.05 else np.array([_MIN_REACH_M, 0.0])
    top = min(0.0, float(min(carried, default=hand[2])) - _BELOW_HAND_M)
    while _touches(low, high, centre, top):
        top -= _STEP_M
        if top < -_LOWEST_M:
            raise BeingHError("the robot leaves no room for a table", where=contract.urdf_path)
    return Layout(
        table=(float(centre[0]), float(centre[1]), top),
        floor=min(float(low[:, 2].min(initial=0.0)), top - TABLE_THICK_M),
        hand=model.body(body).name,
        **_behind(data.body(body), hand),
    )


def _touches(low: np.ndarray, high: np.ndarray, centre: np.ndarray, top: float) -> bool:
    """Whether one of the boxes (N, 3) reaches into the table; what carries the robot may stand in it."""
    least, most = np.array([*(centre - TABLE_HALF_M), top - TABLE_THICK_M]), np.array([*(centre + TABLE_HALF_M), top])
    return bool(((low < most - 1e-6) & (high > least + 1e-6)).all(axis=1).any())


def _boxes(model: mujoco.MjModel, data: mujoco.MjData) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Body (N,) and corners (N, 3) of the boxes around all shapes that joints move [m]."""
    axes = data.geom_xmat.reshape(-1, 3, 3)
    half = np.einsum("nij,nj->ni", np.abs(axes), model.geom_aabb[:, 3:])
    middle = data.geom_xpos + np.einsum("nij,nj->ni", axes, model.geom_aabb[:, :3])
    moved = model.body_weldid[model.geom_bodyid] != 0
    return model.geom_bodyid[moved], (middle - half)[moved], (middle + half)[moved]


def _carried(model: mujoco.MjModel, body: int) -> list[int]:
    """A body and all that it carries; parents come before children."""
    found = [body]
    for other in range(body + 1, model.nbody):
        if model.body_parentid[other] in found:
            found.append(other)
    return found


def _behind(body, middle: np.ndarray) -> dict[str, tuple[float, ...]]:
    """Place and directions of a camera that looks along a hand, in the hand's axes."""
    axes = body.xmat.reshape(3, 3)
    ahead = axes.T @ (middle - body.xpos)
    size = float(np.linalg.norm(ahead))
    ahead = ahead / size if size > 1e-6 else np.array([0.0, 0.0, 1.0])
    up = np.eye(3)[int(np.argmin(np.abs(ahead)))]
    up = up - (up @ ahead) * ahead
    up /= np.linalg.norm(up)
    eye = axes.T @ (middle - body.xpos) - _BACK_M * ahead + _BESIDE_M * up
    look = axes.T @ (middle - body.xpos) + _BACK_M * ahead - eye
    return {
        "eye": tuple(eye.tolist()),
        "ahead": tuple((look / np.linalg.norm(look)).tolist()),
        "up": tuple(up.tolist()),
    }
