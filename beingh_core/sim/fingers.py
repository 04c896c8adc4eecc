"""The fingers of a hand as shapes: which face each other, and a posture in which the tips of thumb and fingers meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from beingh_core.sim.describe import carried_by

# Of a tip counts what is within this of its end [m].
_TIP_M = 0.025
# Fingers that move by less between open and closed stand still [m].
_STILL_M = 0.004
# So many fingers meet the thumb: those that hang nearest to it.
_MEET = 2
_SEARCH = (0.25, 0.1, 0.05, 0.02, 0.01)
# Between thumb and fingers the search thinks of a thing of this size; so much of an error in it [m] is worth fingers that come
# from the side, and joints at the end of their range.
HELD_M, _ASIDE_M, _MIDDLE_M = 0.035, 0.05, 0.01
# The name of the share of all curling joints.
_CURL = ""

Place = Callable[[Mapping[str, float]], None]


@dataclass(frozen=True)
class Finger:
    """What hangs on a palm by one of its joints: that body, all bodies that move with it, and the shape at its end."""

    root: int
    bodies: tuple[int, ...]
    tip: int
    name: str


def fingers_of(model: mujoco.MjModel, palm: int, moved: set[str]) -> tuple[Finger, ...]:
    """The fingers of a palm, a linkage's bars too; those without shapes are left out.

    Args:
        model: the robot.
        palm: the body that carries them.
        moved: the joints of the hand.
    """
    bodies = {int(model.joint(name).bodyid[0]) for name in moved}
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    found = []
    for root in range(palm + 1, model.nbody):
        if model.body_parentid[root] != palm or not bodies & set(carried_by(model, root)):
            continue
        carried = carried_by(model, root)
        shapes = [geom for geom in range(model.ngeom) if model.geom_bodyid[geom] in carried]
        if shapes:
            tip = max(shapes, key=lambda geom: float(_farthest(model, data, geom, data.xpos[palm])))
            found.append(Finger(root, tuple(carried), tip, model.body(root).name))
    return tuple(found)


class Pads:
    """The two sides between which a hand holds things: `first` closes towards `second`.

    The methods are of the posture in which `data` is.

    Args:
        model, data: the robot.
        palm: the body that carries the fingers.
        first, second: shapes at the ends of each side.
        is_still: whether nothing moves `second`.

    Attributes:
        is_still: the same.
    """

    def __init__(self, model, data, palm: int, first: Sequence[int], second: Sequence[int], is_still: bool) -> None:
        self._model, self._data, self._palm = model, data, palm
        self._first, self._second, self.is_still = tuple(first), tuple(second), is_still

    @classmethod
    def facing(cls, model, data, palm: int, fingers: Sequence[Finger], place: Callable[[float], None]) -> Pads | None:
        """The fingers of a gripper, by the directions in which they move when it closes; None where none moves.

        Args:
            model, data, palm: see the class.
            fingers: of the palm.
            place: sets a posture by its share of the opening.
        """
        tips = [finger.tip for finger in fingers]
        place(1.0)
        opened = data.geom_xpos[tips].copy()
        place(0.0)
        way = data.geom_xpos[tips] - opened
        leader = int(np.argmax(np.linalg.norm(way, axis=1)))
        size = float(np.linalg.norm(way[leader]))
        if size < _STILL_M:
            return None
        along = way @ (way[leader] / size)
        ends = np.linalg.norm(data.geom_xpos[tips] - data.xpos[palm], axis=1)
        with_it = [k for k in range(len(tips)) if along[k] > 0.3 * size]
        against = [k for k in range(len(tips)) if along[k] < -0.3 * size]
        first = tips[max(with_it, key=lambda k: ends[k])]
        if against:
            return cls(model, data, palm, [first], [tips[max(against, key=lambda k: ends[k])]], False)
        still = [
            geom for geom in range(model.ngeom) if model.body_weldid[model.geom_bodyid[geom]] == model.body_weldid[palm]
        ]
        if not still:
            return None
        jaw = max(still, key=lambda geom: float(_farthest(model, data, geom, data.xpos[palm])))
        return cls(model, data, palm, [first], [jaw], True)

    def palm_place(self) -> np.ndarray:
        """(3,) origin of the palm [m]."""
        return self._data.xpos[self._palm].copy()

    def palm_axes(self) -> np.ndarray:
        """(3, 3) axes of the palm."""
        return self._data.xmat[self._palm].reshape(3, 3).copy()

    def approach(self) -> np.ndarray:
        """(3,) from the palm to where the closed tips meet."""
        ends = np.array([self._end(shapes) for shapes in (self._first, self._second)]).mean(axis=0)
        return _unit(ends - self._data.xpos[self._palm])

    def closing(self, approach: np.ndarray) -> np.ndarray:
        """(3,) from the first side to the second, square to `approach`."""
        line = self._centre(self._second) - self._centre(self._first)
        return _unit(line - (line @ approach) * approach)

    def gap(self, closing: np.ndarray, approach: np.ndarray) -> tuple[float, float]:
        """Free width between the tips, and by how much the first is ahead of the second, both [m]."""
        first, second = self._tip_points(self._first, approach), self._tip_points(self._second, approach)
        return float((second @ closing).min() - (first @ closing).max()), float(
            (first @ approach).max() - (second @ approach).max()
        )

    def end(self, approach: np.ndarray) -> float:
        """How far the foremost tip is along `approach` [m]."""
        return float((self._tip_points((*self._first, *self._second), approach) @ approach).max())

    def level(self, closing: np.ndarray, approach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`closing` along the line from tip to tip in the plane of both directions, and `approach` square to it."""
        first, second = self._tip_points(self._first, approach), self._tip_points(self._second, approach)
        line = np.array([(second @ closing).mean() - (first @ closing).mean(), self.gap(closing, approach)[1]])
        turned = _unit(line[0] * closing - line[1] * approach)
        return turned, _unit(approach - (approach @ turned) * turned)

    def middle(self, closing: np.ndarray, approach: np.ndarray, beyond_m: float, clearance_m: float) -> np.ndarray:
        """(3,) point between the tips, so far behind them, and so far from a side that stands still [m]."""
        first, second = self._tip_points(self._first, approach), self._tip_points(self._second, approach)
        across = np.cross(closing, approach)
        low, high = (first @ closing).max(), (second @ closing).min()
        along = min((first @ approach).max(), (second @ approach).max()) - beyond_m
        sideways = (self._centre(self._first) + self._centre(self._second)) @ across / 2.0
        middle = (low + high) / 2.0 - (clearance_m if self.is_still else 0.0)
        return middle * closing + along * approach + sideways * across

    def spread(self, closing: np.ndarray, approach: np.ndarray) -> float:
        """Distance between the outermost fingers of a side, from middle to middle [m]."""
        across = np.cross(closing, approach)
        sides = [self._data.geom_xpos[list(shapes)] @ across for shapes in (self._first, self._second)]
        return float(max(np.ptp(side) for side in sides))

    def _centre(self, shapes: Sequence[int]) -> np.ndarray:
        return self._data.geom_xpos[list(shapes)].mean(axis=0)

    def _end(self, shapes: Sequence[int]) -> np.ndarray:
        points = np.vstack([corners(self._model, self._data, shape) for shape in shapes])
        distances = np.linalg.norm(points - self._data.xpos[self._palm], axis=1)
        return points[distances > distances.max() - 0.005].mean(axis=0)

    def _tip_points(self, shapes: Sequence[int], approach: np.ndarray) -> np.ndarray:
        points = np.vstack([corners(self._model, self._data, shape) for shape in shapes])
        ahead = points @ approach
        return points[ahead > ahead.max() - _TIP_M]


def pinch(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    palm: int,
    fingers: Sequence[Finger],
    place: Place,
    bounds: Mapping[str, tuple[float, float]],
) -> tuple[dict[str, float], dict[str, float], Pads | None]:
    """Postures of a hand in which its fingers are nearest to the tip of its thumb, and in which they are apart.

    All fingers curl together, by one share of their ranges, and the thumb stands still where they curl straight towards it.

    Args:
        model, data, palm: the robot in which `place` sets the posture.
        fingers: of the palm, one of which is called thumb.
        place: sets joints by name.
        bounds: joint -> (lower, upper).

    Returns:
        joint -> position closed, the same open, and the sides; None for these where no finger is called thumb.
    """
    thumbs = [finger for finger in fingers if "thumb" in finger.name]
    others = [finger for finger in fingers if "thumb" not in finger.name]
    if not thumbs or not others:
        return {}, {}, None
    thumb = thumbs[0]
    place({})
    others.sort(key=lambda finger: float(np.linalg.norm(data.xpos[finger.root] - data.xpos[thumb.root])))
    meeting = [finger.tip for finger in others[:_MEET]]
    curled = {j: _curled(j, _owner(model, j, fingers), ends, place, data, palm) for j, ends in bounds.items()}
    turns = [joint for joint in bounds if _owner(model, joint, fingers) == thumb]
    thick = float(model.geom_rbound[thumb.tip] + np.mean(model.geom_rbound[meeting]))

    def positions(shares: Mapping[str, float]) -> dict[str, float]:
        values = {joint: shares[joint] if joint in turns else shares[_CURL] for joint in bounds}
        return {joint: low + values[joint] * (high - low) for joint, (low, high) in curled.items()}

    def gap(shares: Mapping[str, float]) -> np.ndarray:
        place(positions(shares))
        return data.geom_xpos[meeting].mean(axis=0) - data.geom_xpos[thumb.tip]

    held = _held(dict.fromkeys((_CURL, *turns), 0.5), gap, HELD_M + thick)
    curls = np.linspace(0.0, 1.0, 41)
    widths = np.array([np.linalg.norm(gap(held | {_CURL: curl})) for curl in curls])
    tightest = int(np.argmin(np.where(curls >= held[_CURL], widths, np.inf)))
    widest = int(np.argmax(np.where(curls <= held[_CURL], widths, -np.inf)))
    closed, opened = held | {_CURL: curls[tightest]}, held | {_CURL: curls[widest]}
    return positions(closed), positions(opened), Pads(model, data, palm, meeting, [thumb.tip], True)


def _curled(joint: str, finger: Finger | None, ends: tuple[float, float], place: Place, data, palm: int) -> tuple:
    """The ends of a joint's range in the order straight, curled: with the tip far from the palm, and near."""
    distances = []
    for end in ends:
        place({joint: end})
        distances.append(0.0 if finger is None else float(np.linalg.norm(data.geom_xpos[finger.tip] - data.xpos[palm])))
    return ends if distances[0] >= distances[1] else ends[::-1]


def _held(
    shares: dict[str, float], gap: Callable[[Mapping[str, float]], np.ndarray], wide_m: float
) -> dict[str, float]:
    """Shares of the ranges at which the tips are so far apart and the fingers curl straight to the thumb's."""

    def cost(tried: Mapping[str, float]) -> float:
        apart = gap(tried)
        size = float(np.linalg.norm(apart))
        way = _unit(gap(dict(tried) | {_CURL: tried[_CURL] + 0.02}) - apart)
        aside = 1.0 + float(way @ apart) / max(size, 1e-6)
        return abs(size - wide_m) + _ASIDE_M * aside + _MIDDLE_M * sum((share - 0.5) ** 2 for share in tried.values())

    best = cost(shares)
    for step in _SEARCH:
        improved = True
        while improved:
            improved = False
            for joint in shares:
                for change in (-step, step):
                    tried = shares | {joint: min(1.0, max(0.0, shares[joint] + change))}
                    found = cost(tried)
                    if found < best - 1e-6:
                        shares, best, improved = tried, found, True
    return shares


def _owner(model: mujoco.MjModel, joint: str, fingers: Sequence[Finger]) -> Finger | None:
    body = int(model.joint(joint).bodyid[0])
    return next((finger for finger in fingers if body in finger.bodies), None)


def corners(model: mujoco.MjModel, data: mujoco.MjData, geom: int) -> np.ndarray:
    """(8, 3) corners of the box around a shape, in its own axes [m, world]."""
    middle, half = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8).T
    return data.geom_xpos[geom] + (middle + signs * half) @ data.geom_xmat[geom].reshape(3, 3).T


def _farthest(model: mujoco.MjModel, data: mujoco.MjData, geom: int, place: np.ndarray) -> float:
    return float(np.linalg.norm(corners(model, data, geom) - place, axis=1).max())


def _unit(vector: np.ndarray) -> np.ndarray:
    size = float(np.linalg.norm(vector))
    return vector / size if size > 1e-9 else np.array([0.0, 0.0, 1.0])
