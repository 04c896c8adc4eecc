"""A scripted expert that puts a told object into the basket, from the simulator's own knowledge of where things are.

It answers with actions of robosuite's OSC_POSE controller: each of 1 asks for 5 cm or 0.5 rad from where the gripper is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from beingh_core.errors import BeingHError

STEP_M, STEP_RAD = 0.05, 0.5  # an action of 1
OPEN, CLOSED = -1.0, 1.0
WIDEST_M = 0.075  # what fits between the fingers
FINGER_M = 0.035  # how deep an object may be between the fingers, from their tips' middle upwards
ABOVE_M, CARRY_M = 0.10, 0.13  # over the object, and its lowest point over the rim of the basket
CLOSING, OPENING = 10, 12  # steps


class Expert:
    """Answers one episode; a new one needs a new expert.

    Args:
        wanted: names of the object and, where there is one, the basket.
        shapes: name -> (N, 3) points of its shape in its own frame [m].

    Raises:
        BeingHError: a task of another kind.
    """

    def __init__(self, wanted: Sequence[str], shapes: Mapping[str, np.ndarray]) -> None:
        if not wanted or wanted[0] not in shapes or len(wanted) > 2 or any("basket" not in name for name in wanted[1:]):
            raise BeingHError(
                f"the expert cannot do a task with {', '.join(wanted) or 'no object'}",
                allowed="libero_object and robosuite_lift",
            )
        self._object, self._basket = wanted[0], wanted[1] if len(wanted) > 1 else None
        self._shapes = shapes
        self._actions = iter(self._plan())
        self._seen: Mapping[str, np.ndarray] = {}

    def action(self, seen: Mapping[str, np.ndarray]) -> np.ndarray:
        """(7,) next action of the environment for what is seen now; it stands still when it is through."""
        self._seen = seen
        return next(self._actions, np.array([0.0] * 6 + [OPEN]))

    def _plan(self):
        """Actions, one by one; looks at what is seen each time."""
        down = Rotation.from_quat(self._seen["robot0_eef_quat"])
        grasp = down = Rotation.from_euler("z", self._turn(down)) * _upright(down)
        low, high = self._span(self._object)
        depth = min(FINGER_M, (high - low) / 2)
        over = lambda name, height: np.append(self._middle(name), height)
        yield from self._go(lambda: over(self._object, self._span(self._object)[1] + ABOVE_M), grasp, OPEN, 0.012)
        yield from self._go(lambda: over(self._object, self._span(self._object)[1] - depth), grasp, OPEN, 0.008)
        yield from self._still(grasp, CLOSED, CLOSING)
        hanging = self._tip()[2] - self._span(self._object)[0]  # of the object, under the fingers
        if self._basket is None:
            yield from self._go(lambda: self._tip() + [0.0, 0.0, 0.1], down, CLOSED, 0.0)
            return
        height = self._span(self._basket)[1] + CARRY_M + hanging
        yield from self._go(lambda: np.append(self._tip()[:2], height), down, CLOSED, 0.02)
        yield from self._go(lambda: over(self._basket, height), down, CLOSED, 0.015)
        inside = self._span(self._basket)[0] + 0.07 + hanging
        yield from self._go(lambda: over(self._basket, inside), down, CLOSED, 0.02)
        yield from self._still(down, OPEN, OPENING)
        yield from self._go(lambda: over(self._basket, height), down, OPEN, 0.02)

    def _go(self, target, rotation, gripper, near_m, most=90):
        """Towards a place that is looked up anew in each step, until it is near or does not come nearer."""
        for _ in range(most):
            error = target() - self._tip()
            turn = (rotation * self._rotation().inv()).as_rotvec()
            if np.linalg.norm(error) < near_m and np.linalg.norm(turn) < 0.1:
                return
            yield _clipped(error, turn, gripper)

    def _still(self, rotation, gripper, steps):
        place = self._tip()
        for _ in range(steps):
            yield _clipped(place - self._tip(), (rotation * self._rotation().inv()).as_rotvec(), gripper)

    def _tip(self) -> np.ndarray:
        return self._seen["robot0_eef_pos"]

    def _rotation(self) -> Rotation:
        return Rotation.from_quat(self._seen["robot0_eef_quat"])

    def _points(self, name: str) -> np.ndarray:
        """(N, 3) of its shape where it is now."""
        turned = Rotation.from_quat(self._seen[f"{name}_quat"]).apply(self._shapes[name])
        return turned + self._seen[f"{name}_pos"]

    def _middle(self, name: str) -> np.ndarray:
        points = self._points(name)[:, :2]
        return (points.min(0) + points.max(0)) / 2

    def _span(self, name: str) -> tuple[float, float]:
        """Lowest and highest point."""
        heights = self._points(name)[:, 2]
        return float(heights.min()), float(heights.max())

    def _turn(self, rotation: Rotation) -> float:
        """About the vertical from how the gripper is [rad], so that the object fits between the fingers."""
        points = self._points(self._object)[:, :2]
        closing = rotation.apply([0.0, 1.0, 0.0])[:2]
        angles = np.linspace(-np.pi / 2, np.pi / 2, 61)
        axes = np.stack([np.cos(angles), np.sin(angles)], 1) @ np.array(
            [[closing[0], closing[1]], [-closing[1], closing[0]]]
        )
        widths = np.ptp(points @ (axes / np.linalg.norm(axes, axis=1, keepdims=True)).T, axis=0)
        # The least turn of those where it fits well, else the narrowest.
        costs = np.maximum(widths - min(WIDEST_M, widths.min() + 0.005), 0.0) * 1e3 + np.abs(angles)
        return float(angles[costs.argmin()])


def _upright(rotation: Rotation) -> Rotation:
    """The nearest rotation whose z axis points straight down."""
    pointing = rotation.apply([0.0, 0.0, 1.0])
    turn, _ = Rotation.align_vectors([[0.0, 0.0, -1.0]], [pointing])
    return turn * rotation


def _clipped(error_m: np.ndarray, turn_rad: np.ndarray, gripper: float) -> np.ndarray:
    """(7,) action; the way is shortened as a whole."""
    move, turn = error_m / STEP_M * 0.8, turn_rad / STEP_RAD * 0.8
    return np.concatenate([
        move / max(1.0, np.abs(move).max()), turn / max(1.0, np.abs(turn).max()), [gripper]
    ])  # fmt: skip
