"""Where the things of a scene are, in words: on the table, and in the pictures of cameras that move with the robot.

A reply begins with the name of its thing, then comes one phrase for the place. A model that is taught them finds the thing of an
instruction in its pictures, since the second is told from the first.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from beingh_core.sim.robot import SimRobot
from beingh_core.sim.stage import AROUND_M
from beingh_core.tasks import BOWL

# A picture, and the part of the table on which things of a kind are placed, are divided into CELLS x CELLS cells.
CELLS = 9
# That part is so much larger than the area in which they are put at the beginning, which for a bowl is larger than for cubes [m].
_ROOM_M, _AROUND_M = 0.03, {BOWL: AROUND_M}


class SceneWords:
    """Tells where cubes and things of a simulated robot's scene are. Not thread-safe, as the robot.

    Args:
        robot: whose layout, cameras and things it tells of.
    """

    def __init__(self, robot: SimRobot) -> None:
        self._robot = robot
        ends = np.array(robot.layout.area)
        self._middle, self._half = ends.mean(axis=1), np.ptp(ends, axis=1) / 2.0 + _ROOM_M
        self._moving = [
            view for view in robot.views.values() if robot.model.body_weldid[robot.model.camera(view.camera).bodyid[0]]
        ]

    @property
    def most(self) -> int:
        """The most replies that a thing has."""
        return 1 + len(self._moving)

    def phrases(self) -> list[str]:
        """Every phrase for a place."""
        cells = [(row, column) for row in range(CELLS) for column in range(CELLS)]
        found = [_on_table(*cell) for cell in cells]
        return found + [_in_picture(view.name, *cell) for view in self._moving for cell in cells]

    def texts(self, names: Iterable[str]) -> list[str]:
        """Every reply about things of these names."""
        return [name + phrase for name in names for phrase in self.phrases()]

    def replies(self, name: str, place: np.ndarray) -> tuple[str, ...]:
        """Where a thing is now; the second and further ones are left out where it is in no picture.

        Args:
            name: of the thing.
            place: (3,) its middle [m].
        """
        ahead, left = (place[:2] - self._middle) / (self._half + _AROUND_M.get(name, 0.0))
        said = [name + _on_table(_cell(ahead), _cell(left))]
        for view in self._moving:
            right, above = self._seen(view, place)
            if max(abs(right), abs(above)) <= 1.0:
                said.append(name + _in_picture(view.name, _cell(-above), _cell(right)))
        return tuple(said)

    def _seen(self, view, place: np.ndarray) -> tuple[float, float]:
        """Where a view shows a place, right of and above its middle in half widths and heights; infinite behind the camera."""
        camera = self._robot.data.camera(view.camera)
        # MuJoCo's cameras look along -z, with x to the right and y up.
        right, above, behind = camera.xmat.reshape(3, 3).T @ (place - camera.xpos)
        if behind >= 0.0:
            return float("inf"), float("inf")
        half = -behind * np.tan(np.deg2rad(view.fovy_deg / 2.0))
        return float(right / half * view.height / view.width), float(above / half)


def _cell(share: float) -> int:
    """Number of the cell of a place between -1 and 1; outside it the cell at the edge."""
    return int(np.clip((1.0 + share) / 2.0 * CELLS, 0, CELLS - 1))


def _on_table(ahead: int, left: int) -> str:
    return f": on the table, {ahead} forward, {left} left"


def _in_picture(view: str, row: int, column: int) -> str:
    """In words that robots share: a view called `wrist` is the wrist view, as `wrist_view` is."""
    return f": in the {view.removesuffix('_view').replace('_', ' ')} view, row {row}, column {column}"
