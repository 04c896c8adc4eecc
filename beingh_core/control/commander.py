"""From ticks to drivers: every driver gets every command, and a failing one is reported.

A driver without a command rate gets the committed ticks at every tick; one with a rate gets rows that are interpolated
along them, from a thread of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.control.command_path import CommandPath
from beingh_core.control.command_thread import CommandThread
from beingh_core.control.driver import Driver, release_drivers, stop_drivers
from beingh_core.control.setpoints import Setpoints
from beingh_core.control.tick_output import TickOutput
from beingh_core.control.timing import TimeSource
from beingh_core.realtime.clock import exact_period_ns

# Setpoints that differ by less are the same posture [rad or m].
STILL = 1e-6


class Commander:
    """Sends to the drivers. `send` and `shift` from the tick thread, `stop` from another one once that has ended.

    Args:
        contract: Robot.
        drivers: Its drivers; none in a dry run.
        failed: Called with a sentence when a driver cannot send or says that its robot does not follow.
    """

    def __init__(self, contract: RobotContract, drivers: Sequence[Driver], failed: Callable[[str], None]) -> None:
        self._contract, self._failed = contract, failed
        self._drivers = tuple(drivers)
        self._by_tick = tuple(driver for driver in drivers if driver.command_rate_hz is None)
        self._by_rate = tuple(driver for driver in drivers if driver.command_rate_hz is not None)
        self.commands: CommandThread | None = None
        self._path = CommandPath(contract.limits)

    def start(self, time: TimeSource, fail: Callable[[Exception], None] | None = None) -> None:
        """Begin; `time` is the ticks' clock, and `fail` is called with an error that ends the thread of the setpoints."""
        if self._by_rate:
            self._time, self._path = time, CommandPath(self._contract.limits)
            self.commands = CommandThread(self._by_rate, self._path, time, self._send_row, fail)
            self.commands.start()

    def send(self, output: TickOutput) -> None:
        """The committed ticks of one tick."""
        if not self._drivers:
            return
        points, commands = output.points, self.commands  # another thread may end it meanwhile
        if commands is not None:
            start_ns = self._time.to_steady(points.stamp_ns)
            self._path.extend(
                start_ns,
                exact_period_ns(self._contract.rate_hz),
                output.before,
                points.positions,
                points.velocities,
                fresh=output.fresh,
                stopping=output.stopping,
            )
            commands.extended(start_ns)
        for driver in self._by_tick:
            self._send_row(driver, points)
        for driver in self._drivers:
            problem = driver.problem()
            if problem:
                self._failed(problem)

    def measured(self, positions: Mapping[str, float]) -> None:
        """Measured positions by joint name, for drivers that look at them. From any thread."""
        for driver in self._drivers:
            driver.measured(positions)

    def taking_over(self) -> str | None:
        """Why the robot does not follow yet what is sent, in words. From any thread."""
        return next((text for driver in self._drivers if (text := driver.taking_over())), None)

    def subscribers(self) -> dict[str, int]:
        """How many subscribe to each command topic of all drivers. From any thread."""
        return {topic: count for driver in self._drivers for topic, count in driver.subscribers().items()}

    def unsubscribed(self) -> str | None:
        """A command topic that nobody subscribes to, in words. From any thread."""
        return next((text for driver in self._drivers if (text := driver.unsubscribed())), None)

    def shift(self, step_ns: int) -> None:
        """Simulated time has jumped by `step_ns`."""
        commands = self.commands
        if commands is not None:
            commands.shift(step_ns)

    def end(self) -> bool:
        """Let no more setpoints out; False when the thread does not end in time."""
        commands, self.commands = self.commands, None
        return commands is None or commands.close()

    def stop(self, path: Setpoints) -> None:
        """The whole braking path, as the last command."""
        streamed = self._streamed_to_rest(path) if self._by_rate else None
        for error in stop_drivers(self._drivers, path, streamed):
            self._failed(error)
        self._forget()

    def come_to_rest(self) -> bool:
        """Brake what is commanded between the ticks, where no tick is left to brake it; whether anything was sent."""
        newest = self._path.newest
        if newest is None:
            return False
        knots = self._path.to_rest()
        if not any(np.abs(row - newest[1]).max() > STILL for _, row, _ in knots):
            return False
        times, positions, velocities = zip(*knots)
        points = Setpoints(
            stamp_ns=self._time.to_stamp(newest[0]),
            times_s=(np.array(times) - newest[0]) / 1e9,
            positions=np.array(positions),
            velocities=np.array(velocities),
        )
        for error in stop_drivers(self._by_rate, points):
            self._failed(error)
        self._forget()
        return True

    def still(self) -> bool:
        """Whether nothing moves between the ticks once these have ended. From any thread."""
        return self._path.still

    def release(self) -> None:
        """Give the robot back, at rest."""
        for error in release_drivers(self._drivers):
            self._failed(error)

    def statistics(self) -> dict[str, float]:
        """What the drivers count; count, losses and lateness of the setpoints between the ticks. From any thread."""
        commands = self.commands
        counts: Counter[str] = Counter()
        for driver in self._drivers:
            counts.update(driver.counts())
        found: dict[str, float] = dict(counts)
        if commands is None:
            return found
        counted = {"setpoints_sent": commands.sent, "setpoints_missed": commands.missed}
        return found | counted | commands.lateness_ms.summary("setpoint_lateness_ms", (50, 99))

    def _forget(self) -> None:
        """The robot has got its last command."""
        self._path.clear()

    def _streamed_to_rest(self, points: Setpoints) -> Setpoints | None:
        """The braking path from the newest setpoint on; None when none was sent."""
        start_ns, dt_ns = self._time.to_steady(points.stamp_ns), exact_period_ns(self._contract.rate_hz)
        rows, slopes = points.positions, points.velocities
        try:
            if len(rows) > 1:
                next_ns = start_ns + round(dt_ns)
                self._path.extend(next_ns, dt_ns, rows[0], rows[1:], slopes[1:], fresh=False, stopping=True)
            knots = self._path.to_rest()
        except Exception as error:  # noqa: BLE001 - the path itself may be what has failed
            self._failed(f"the path between the ticks: {error}")
            return None
        if not knots:
            return None
        times, positions, velocities = zip(*knots)
        return Setpoints(
            stamp_ns=points.stamp_ns,
            times_s=(np.array(times) - start_ns) / 1e9,
            positions=np.array(positions),
            velocities=np.array(velocities),
        )

    def _send_row(self, driver: Driver, points: Setpoints) -> None:
        """One driver's failure must not keep the others from their commands."""
        try:
            driver.send(points)
        except Exception as error:  # noqa: BLE001
            self._failed(f"{type(driver).__name__}: {error}")
