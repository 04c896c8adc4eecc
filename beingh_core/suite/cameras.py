"""What the policy sees of a simulated robot, shifted or as it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.data.views import View
from beingh_core.sim import SimRobot
from beingh_core.sim.moved_camera import moved_camera
from beingh_core.sim.pictures import Pictures
from beingh_core.suite.shifts import Shift


class Cameras:
    """The cameras of a contract. One thread, which renders.

    Args:
        contract: Robot.
        robot: Its simulation.
    """

    def __init__(self, contract: RobotContract, robot: SimRobot) -> None:
        self._robot, self._pictures = robot, Pictures(robot.model)
        self._views = {camera.name: View(camera) for camera in contract.cameras}
        self.begin(Shift(), 0)

    def begin(self, shift: Shift, seed: int, names: Sequence[str] = ()) -> None:
        """An episode begins.

        Args:
            shift: What happens to the pictures.
            seed: Of what is random in it.
            names: Views to which it happens; () for all.
        """
        shifted = tuple(names) or tuple(self._views)
        disturbance = shift.disturbance(seed, shifted)
        self._disturbed = disturbance.start(seed, str(shift))
        self._aside = {name: shift.aside(seed, name) for name in shifted}
        self._sticks_s = min((begin for begin, _ in disturbance.frozen.values()), default=np.inf)

    def wait(self, time_s: float) -> None:
        """To be called at every tick: a camera that sticks keeps the picture of that moment, whether or not it is asked for."""
        if time_s >= self._sticks_s:
            self._sticks_s = np.inf
            self.look(time_s)

    def look(self, time_s: float) -> dict[str, np.ndarray]:
        """View -> picture (H, W, 3) uint8 of now, at so many seconds of the episode."""
        return {name: self._disturbed.picture(name, time_s, self._render(name)) for name in self._views}

    def close(self) -> None:
        """Release the rendering contexts."""
        self._pictures.close()

    def _render(self, name: str) -> np.ndarray:
        robot, view = self._robot, self._robot.views[name]
        right, up = self._aside.get(name, (0.0, 0.0))
        if right == up == 0.0:
            return self._views[name].apply(self._pictures.colour(robot.data, view))
        with moved_camera(robot.model, robot.data, view.camera, right, up):
            return self._views[name].apply(self._pictures.colour(robot.data, view))
