"""From ticks to drivers: every driver gets every command, and a failing one is reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from beingh_core.contract import RobotContract
from beingh_ros.controller import Plan, TickOutput
from beingh_ros.drivers import Setpoints, release_drivers, stop_drivers
from beingh_ros.drivers.driver import Driver


class Commander:
    """Sends to the drivers. From the tick thread, and from another one once that has ended.

    Args:
        contract: Robot.
        drivers: Its drivers; none in a dry run.
        failed: Called with a sentence when a driver cannot send or says that its robot does not follow.
    """

    def __init__(self, contract: RobotContract, drivers: Sequence[Driver], failed: Callable[[str], None]) -> None:
        self._dt_s = contract.dt_s
        self._drivers, self._failed = tuple(drivers), failed

    def send(self, output: TickOutput) -> None:
        """The committed ticks of one tick."""
        if not self._drivers:
            return
        points = self._setpoints(output.stamp_ns, output.committed)
        for driver in self._drivers:
            self._guarded(driver, driver.send, points)
            problem = driver.problem()
            if problem:
                self._failed(problem)

    def stop(self, path: Plan) -> None:
        """The whole braking path, as the last command."""
        for error in stop_drivers(self._drivers, self._setpoints(path.stamp_ns, path.positions)):
            self._failed(error)

    def release(self) -> None:
        """Give the robot back, at rest."""
        for error in release_drivers(self._drivers):
            self._failed(error)

    def _guarded(self, driver: Driver, call: Callable[[Setpoints], None], points: Setpoints) -> None:
        """One driver's failure must not keep the others from their commands."""
        try:
            call(points)
        except Exception as error:
            self._failed(f"{type(driver).__name__}: {error}")

    def _setpoints(self, stamp_ns: int, positions_TJ: np.ndarray) -> Setpoints:
        """Row i is to be reached i + 1 periods after the stamp."""
        steps = len(positions_TJ)
        velocities = np.gradient(positions_TJ, self._dt_s, axis=0) if steps > 1 else np.zeros_like(positions_TJ)
        return Setpoints(
            stamp_ns=stamp_ns,
            times_s=np.arange(1, steps + 1) * self._dt_s,
            positions=positions_TJ,
            velocities=velocities,
        )
