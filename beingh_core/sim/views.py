"""Which camera of the scene stands for which view of a contract, and where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import mujoco
import numpy as np

from beingh_core.contract.schema import CameraStream, RobotContract
from beingh_core.contract.simulated import SimCamera
from beingh_core.sim.hand import Hand
from beingh_core.sim.layout import Layout
from beingh_core.sim.standing import SCENE_FOVY_DEG, WRIST_FOVY_DEG, Standing, at_hand, is_wrist

SCENE, WRIST = "scene_camera", "wrist_camera"
# Views of the scene: from where to where, as seen from the FR3 [m].
SCENES = (
    ((1.02, 0.0, 0.62), (0.48, 0.0, 0.04)),
    ((1.05, -0.05, 0.22), (0.48, 0.0, 0.06)),
    ((0.55, -0.85, 0.55), (0.45, 0.0, 0.04)),
)


@dataclass(frozen=True, kw_only=True)
class SimView:
    """What one view of a contract shows.

    Attributes:
        name: of the view.
        camera: of the scene.
        height, width: of its pictures [pixels].
        rate_hz: pictures a second.
        noise: standard deviation of every value of a pixel, of 255.
        fovy_deg: seen from the upper edge to the lower [deg].
    """

    name: str
    camera: str
    height: int
    width: int
    rate_hz: float
    noise: float
    fovy_deg: float

    @property
    def intrinsics(self) -> tuple[float, float, float, float]:
        """fx, fy, cx, cy [pixels], where the middle of the first pixel is 0: the picture has square pixels and no distortion."""
        focal = self.height / 2.0 / np.tan(np.deg2rad(self.fovy_deg) / 2.0)
        return float(focal), float(focal), (self.width - 1) / 2.0, (self.height - 1) / 2.0


def views_of(
    contract: RobotContract, layout: Layout, hands: Sequence[Hand], model: mujoco.MjModel, data: mujoco.MjData
) -> tuple[tuple[SimView, ...], tuple[Standing, ...]]:
    """The views of a contract in its order, and the cameras that they need beside those of the scene and the first hand.

    A view without a place of its own is on a hand where its name or topic says wrist, of the left arm where they say left;
    else it sees the whole scene, each from another side.

    Args:
        contract: the robot.
        layout: where things stand.
        hands: of the robot.
        model, data: the robot alone, at home.
    """
    views, standing, scenes = [], [], 0
    for stream in contract.cameras:
        said, wrist = contract.sim.cameras.get(stream.name, SimCamera()), is_wrist(stream)
        hand = _hand_of(stream, hands) if wrist else None
        if said.link is not None:
            place = Standing(
                stream.name, said.link, said.position, said.look, said.up, WRIST_FOVY_DEG if wrist else SCENE_FOVY_DEG
            )
        elif wrist:
            place = _at_first_hand(layout) if hand in (None, *hands[:1]) else at_hand(stream.name, hand, model, data)
        else:
            place = _of_scene(stream.name, layout, scenes)
            scenes += 1
        if said.fovy_deg is not None:
            place = replace(place, name=stream.name, fovy_deg=said.fovy_deg)
        standing += [place] if place.name not in (SCENE, WRIST) else []
        width, height = said.size
        views.append(
            SimView(
                name=stream.name,
                camera=place.name,
                height=height,
                width=width,
                rate_hz=said.rate_hz or contract.rate_hz,
                noise=said.noise,
                fovy_deg=place.fovy_deg,
            )
        )
    return tuple(views), tuple(standing)


def first_of_scene(contract: RobotContract, layout: Layout) -> tuple[Standing, float] | None:
    """The camera of the first view that sees the whole scene, and width by height of its pictures; None where there is no such view."""
    for stream in contract.cameras:
        said = contract.sim.cameras.get(stream.name, SimCamera())
        if said.link is None and not is_wrist(stream):
            camera = _of_scene(stream.name, layout, 0)
            return replace(camera, fovy_deg=said.fovy_deg or camera.fovy_deg), said.size[0] / said.size[1]
    return None


def _of_scene(name: str, layout: Layout, index: int) -> Standing:
    """The camera of the scene, or a further one where that is taken; further ones repeat their places."""
    eye, target = (np.array(point) + layout.offset for point in SCENES[0 if not index else 1 + (index - 1) % 2])
    look = tuple((target - eye).tolist())
    return Standing(SCENE if not index else name, None, tuple(eye.tolist()), look, (0.0, 0.0, 1.0), SCENE_FOVY_DEG)


def _at_first_hand(layout: Layout) -> Standing:
    return Standing(WRIST, layout.hand, layout.eye, layout.ahead, layout.up, WRIST_FOVY_DEG)


def _hand_of(stream: CameraStream, hands: Sequence[Hand]) -> Hand | None:
    """The hand of the side that a view's name or topic tells; the first where they tell none."""
    is_left = "left" in stream.name or "left" in stream.topic
    sides = [hand for hand in hands if hand.slot.startswith("left") == is_left]
    return (sides or list(hands) or [None])[0]
