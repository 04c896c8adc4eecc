"""Where a table, cubes and cameras stand around a robot, from its URDF and its contract's home."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import mujoco
import numpy as np

from beingh_core.contract.schema import RobotContract
from beingh_core.contract.simulated import SimCamera
from beingh_core.contract.urdf import UrdfFacts
from beingh_core.errors import BeingHError
from beingh_core.sim.describe import carried_by, followed
from beingh_core.sim.hand import HAND_SLOTS, Hand, hands_of
from beingh_core.sim.reach import ENOUGH, ReachSearch
from beingh_core.sim.standing import SCENE_FOVY_DEG, Standing, at_hand, is_wrist, sees

CUBE_SIZE_M = 0.04
# Where cubes are placed [m, base frame]; all of it is in view of the FR3's wrist camera at its home.
CUBE_AREA_XY = ((0.40, 0.60), (-0.15, 0.15))
# An open Franka hand spans 0.11 m over the fingers: nearer neighbours would be hit.
CUBE_SPACING_M = 0.09

TABLE_CENTRE_XY = np.array([0.5, 0.0])
TABLE_HALF_M = np.array([0.45, 0.6])
TABLE_THICK_M = 0.04
# The FR3's wrist camera sits in front of the hand and looks along the fingers, tilted back to see between them (hand frame).
WRIST_EYE = np.array([0.07, 0.0, 0.035])
WRIST_AHEAD = np.array([-np.sin(np.deg2rad(12)), 0.0, np.cos(np.deg2rad(12))])
# A table under a hand at home: so far in front of the root at least, so far below the hand's lowest part, and lower where the
# robot would touch it [m].
_MIN_REACH_M, _BELOW_HAND_M, _STEP_M, _LOWEST_M = 0.2, 0.08, 0.05, 3.0
# A table within reach is so much lower than the highest place for it [m]; cubes keep this from its edge [m]; an edge of a cube as a share of the
# open fingers' width; how far apart cubes are as a share of the area's shorter side.
_LOWER_M = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
_EDGE_M, _CUBE_SHARE, _SPACING = 0.15, 0.4, 0.4
# Room for a cube between open fingers, and of tips above the table [m].
_ROOM_M, _ABOVE_TABLE_M = 0.015, 0.004
# How far an area under a hand may be moved into view [m].
_MOVES_M = sorted(
    (np.array([x, y]) / 50.0 for x in range(-20, 21) for y in range(-20, 21)), key=lambda move: float(move @ move)
)
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
        cube_m: edge of the cubes [m].
        area: ends along x and y of where their middles lie [m, root link].
        spacing_m: their middles are at least so far apart [m].
        grasp: (9,) axes of the grasp frame (`hand.Hand.axes`) in the root link's, row by row, in which the first hand grasps at
            all places of the area; () where nothing grasps.
        grasp_height_m: how high above the table it grasps [m].
        hover_m: how far above each place it reaches in that orientation as well [m].
    """

    table: tuple[float, ...] = (0.5, 0.0, 0.0)
    floor: float = -0.04
    hand: str = "fr3_hand"
    eye: tuple[float, ...] = tuple(WRIST_EYE)
    ahead: tuple[float, ...] = tuple(WRIST_AHEAD)
    up: tuple[float, ...] = (1.0, 0.0, 0.0)
    cube_m: float = CUBE_SIZE_M
    area: tuple[tuple[float, float], tuple[float, float]] = CUBE_AREA_XY
    spacing_m: float = CUBE_SPACING_M
    grasp: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, -1.0)
    grasp_height_m: float = CUBE_SIZE_M / 2.0
    hover_m: float = 0.10

    @property
    def offset(self) -> np.ndarray:
        """(3,) from the middle of the FR3's area to this one [m]: standing cameras move with it."""
        (x0, x1), (y0, y1) = self.area
        return np.array([(x0 + x1) / 2.0, (y0 + y1) / 2.0, self.table[2]]) - [*TABLE_CENTRE_XY, 0.0]

    @property
    def yaw_rad(self) -> float:
        """Direction of the line on which the hand closes, about z, within a quarter turn: sides of the cubes are square to it."""
        closing = self.grasp[1:5:3] if self.grasp else (0.0, -1.0)
        return float((np.arctan2(closing[1], closing[0]) + np.pi / 4) % (np.pi / 2) - np.pi / 4)


def layout_of(contract: RobotContract, urdf: UrdfFacts, model: mujoco.MjModel) -> Layout:
    """A table in front of a contract's first hand at home, cubes where that hand can grasp them, and a camera behind it.

    The top is as high as what carries the arm, or lower: below the hand, and where nothing of the robot touches it. Where no
    hand grasps, or the hand reaches none of the tables that were tried, cubes lie under the arm's end at home.

    Args:
        contract: the robot.
        urdf: its joints.
        model: the robot alone.

    Raises:
        BeingHError: nothing of the contract moves a hand, or the robot leaves no room for a table.
    """
    if "fr3_finger_joint1" in urdf.joints:
        return Layout()
    arms = [signal.joints for signal in contract.action if signal.slot not in HAND_SLOTS]
    joints = [joint for arm in arms for joint in arm if joint in urdf.joints][: len(arms[0])] if arms else []
    if not joints:
        raise BeingHError("no action moves an arm, so there is nothing to simulate", where=contract.path)
    data = mujoco.MjData(model)
    for name, value in followed(urdf, dict(zip(contract.joint_names, contract.home))).items():
        data.joint(name).qpos = value
    mujoco.mj_forward(model, data)
    hands = hands_of(contract)
    place = None
    if hands:
        place = _within_reach(contract, urdf, model, data, hands[0], seen_by(contract, data))
        place = place or _within_reach(contract, urdf, model, data, hands[0])
    body = int(model.joint(joints[-1]).bodyid[0])
    place = place or _below_hand(contract, model, data, body, seen_by(contract, data, model))
    lowest = float(boxes(model, data)[1][:, 2].min(initial=0.0))
    place = replace(place, floor=min(lowest, place.table[2] - TABLE_THICK_M))
    if hands:
        seen = at_hand("", hands[0], model, data)
        return replace(place, hand=hands[0].link, eye=seen.eye, ahead=seen.ahead, up=seen.up)
    return replace(place, hand=model.body(body).name, **_behind(data.body(body), data.subtree_com[body]))


def _within_reach(
    contract: RobotContract,
    urdf: UrdfFacts,
    model: mujoco.MjModel,
    data: mujoco.MjData,
    hand: Hand,
    is_seen: Callable[[np.ndarray], bool] = lambda _: True,
) -> Layout | None:
    """The highest table on which the hand reaches enough; None where it reaches nothing on any."""
    cube_m = _cube_size(hand)
    height = max(cube_m / 2.0, hand.beyond_m + _ABOVE_TABLE_M)
    search = ReachSearch(contract, urdf, model, hand, height, cube_m, is_seen)
    first = int(model.joint(hand.arm_joints[0]).bodyid[0])
    base = float(data.xpos[model.body_parentid[first], 2])
    link = model.body(hand.link).id
    # What carries an arm may stand in the table, but for a base that drives.
    moved, low, high = boxes(model, data, all_shapes=any(driver.is_velocity for driver in contract.drivers))
    lowest = float(low[np.isin(moved, carried_by(model, link)), 2].min())
    best = None
    for lower in _LOWER_M:
        top = round(min(base, lowest - _BELOW_HAND_M) - lower, 3)
        found = search.at(top)
        if found is None or (best is not None and found.places <= best[0]):
            continue
        centre = _clear(np.array([np.mean(found.x), np.mean(found.y)]), search.shoulder[:2], low, high, top)
        if centre is None:
            continue
        layout = Layout(
            table=(*centre.tolist(), top),
            cube_m=cube_m,
            area=(found.x, found.y),
            spacing_m=min(CUBE_SPACING_M, _SPACING * min(np.ptp(found.x), np.ptp(found.y)) + cube_m),
            grasp=tuple(found.rotation.ravel().tolist()),
            grasp_height_m=round(height, 4),
            hover_m=found.hover_m,
        )
        best = (found.places, layout)
        if found.places >= ENOUGH:
            break
    return best[1] if best else None


def seen_by(
    contract: RobotContract, data: mujoco.MjData, model: mujoco.MjModel | None = None
) -> Callable[[np.ndarray], bool]:
    """Whether one of the robot's own cameras sees a place; all are seen where a camera stands by the table or on a hand alone.

    With a `model`, not what is behind a part of the robot, either.
    """
    found = []
    for stream in contract.cameras:
        said = contract.sim.cameras.get(stream.name, SimCamera())
        if not is_wrist(stream) and said.link is None:
            return lambda _: True
        if said.link is not None:
            fovy_deg = said.fovy_deg or SCENE_FOVY_DEG
            camera = Standing(stream.name, said.link, said.position, said.look, said.up, fovy_deg)
            found.append((camera, said.size[0] / said.size[1]))
    return lambda place: not found or any(sees(camera, aspect, data, place, model) for camera, aspect in found)


def _cube_size(hand: Hand) -> float:
    """An edge that leaves room between the open fingers, that tips above the table hold, and that no two of a side pass by [m]."""
    size = float(np.clip(_CUBE_SHARE * hand.opening_m, 2.0 * hand.beyond_m, CUBE_SIZE_M))
    return round(min(max(size, hand.spread_m), hand.opening_m - _ROOM_M), 3)


def _clear(area: np.ndarray, shoulder: np.ndarray, low: np.ndarray, high: np.ndarray, top: float) -> np.ndarray | None:
    """The middle (2,) of a table under an area, moved away from the robot until nothing touches it; None where nothing helps."""
    away = area - shoulder
    axis = int(np.argmax(np.abs(away)))
    step = np.zeros(2)
    step[axis] = np.sign(away[axis]) * _STEP_M
    for count in range(int((TABLE_HALF_M[axis] - _EDGE_M) / _STEP_M)):
        if not _touches(low, high, area + count * step, top):
            return area + count * step
    return None


def _below_hand(
    contract: RobotContract,
    model: mujoco.MjModel,
    data: mujoco.MjData,
    body: int,
    is_seen: Callable[[np.ndarray], bool],
) -> Layout:
    """A table under a hand at home, and cubes there or as near to it as all of their area is seen."""
    hand = data.subtree_com[body]
    moved, low, high = boxes(model, data)
    carried = low[np.isin(moved, carried_by(model, body)), 2]
    reach = float(np.linalg.norm(hand[:2]))
    centre = hand[:2] * max(1.0, _MIN_REACH_M / reach) if reach > 0.05 else np.array([_MIN_REACH_M, 0.0])
    top = min(0.0, float(min(carried, default=hand[2])) - _BELOW_HAND_M)
    while _touches(low, high, centre, top):
        top -= _STEP_M
        if top < -_LOWEST_M:
            raise BeingHError("the robot leaves no room for a table", where=contract.urdf_path)
    areas = [np.array(CUBE_AREA_XY) + (centre + move - TABLE_CENTRE_XY)[:, None] for move in _MOVES_M]
    (x0, x1), (y0, y1) = next((area for area in areas if _all_seen(area, top + CUBE_SIZE_M / 2.0, is_seen)), areas[0])
    return Layout(table=(*centre.tolist(), top), area=((float(x0), float(x1)), (float(y0), float(y1))), grasp=())


def _all_seen(area: np.ndarray, height: float, is_seen: Callable[[np.ndarray], bool]) -> bool:
    """Whether corners, sides and middle of an area (2, 2) are seen."""
    xs, ys = (np.linspace(*ends, 3) for ends in area)
    return all(is_seen(np.array([x, y, height])) for x in xs for y in ys)


def _touches(low: np.ndarray, high: np.ndarray, centre: np.ndarray, top: float) -> bool:
    """Whether one of the boxes (N, 3) reaches into the table; what carries the robot may stand in it."""
    least, most = np.array([*(centre - TABLE_HALF_M), top - TABLE_THICK_M]), np.array([*(centre + TABLE_HALF_M), top])
    return bool(((low < most - 1e-6) & (high > least + 1e-6)).all(axis=1).any())


def boxes(
    model: mujoco.MjModel, data: mujoco.MjData, all_shapes: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Body (N,) and corners (N, 3) of the boxes around all shapes that joints move, or around all [m]."""
    axes = data.geom_xmat.reshape(-1, 3, 3)
    half = np.einsum("nij,nj->ni", np.abs(axes), model.geom_aabb[:, 3:])
    middle = data.geom_xpos + np.einsum("nij,nj->ni", axes, model.geom_aabb[:, :3])
    moved = (model.body_weldid[model.geom_bodyid] != 0) | all_shapes
    return model.geom_bodyid[moved], (middle - half)[moved], (middle + half)[moved]


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
