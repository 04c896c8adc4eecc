"""What the controller needs of a driver, and how all of them are stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from beingh_core.contract import RobotContract
from beingh_core.control.setpoints import Setpoints

# Longest wait for the last command to leave [s].
FLUSH_S = 0.5


class Driver(Protocol):
    """Sends commands of some joints to a robot.

    Nothing is sent before `unsubscribed` tells that every command topic has a subscriber.
    `problem` is called from the controller's tick thread, `send` from that or, with a command rate, from another one;
    `stop` and `release` after both have ended. `send` never waits for the robot, `stop` and `release` wait a bounded
    time. After them `send` begins again as at the start.

    Attributes:
        command_rate_hz: None: `send` is called once a tick with every committed tick. A rate: `send` is called at that
            rate with one row, interpolated between ticks, that holds at the stamp.
    """

    command_rate_hz: float | None = None

    def send(self, points: Setpoints) -> None:
        """Send these commands; they replace the ones before."""

    def stop(self, points: Setpoints) -> None:
        """Send the whole braking path, which ends at rest, as the last command; return when it has left."""

    def release(self) -> None:
        """Give the robot back where it is, at rest. Called when the controller is deactivated or ends, after `stop` or,
        when the robot rested already, without it; again without effect.
        """

    def problem(self) -> str | None:
        """Why the robot does not follow this driver's commands, None as far as is known. Asked once a tick.

        A state, such as a server that is not there, is told as long as it lasts; an event, such as a goal that was
        aborted, once.
        """
        return None

    def taking_over(self) -> str | None:
        """Why its robot does not follow yet what is sent, None when it does: no chunk is taken before. From any thread."""
        return None

    def measured(self, positions: Mapping[str, float]) -> None:
        """Note measured positions by joint name. From any thread, with every joint state."""

    def counts(self) -> dict[str, int]:
        """Counters for the diagnostics. From any thread."""
        return {}

    def subscribers(self) -> dict[str, int]:
        """How many subscribe to each command topic, 0 or 1 for an action server. From any thread; asked often."""
        return {}

    def unsubscribed(self) -> str | None:
        """That nobody subscribes to one of the command topics, None when somebody does on each. From any thread."""
        alone = next((topic for topic, count in self.subscribers().items() if count == 0), None)
        return None if alone is None else f"nobody subscribes to {alone} (are the robot's controllers loaded?)"


def columns_of(contract: RobotContract, joints: Sequence[str]) -> list[int]:
    """Where the commands of `joints` stand in a row of setpoints."""
    column = {name: index for index, name in enumerate(contract.joint_names)}
    return [column[name] for name in joints]


class Starts:
    """Finds out when the controller begins anew, from the stamps of its commands.

    Args:
        period_s: Time between two commands of a running controller [s].
    """

    def __init__(self, period_s: float) -> None:
        self._longest_ns = round(3e9 * period_s)
        self._stamp_ns: int | None = None

    def begins(self, stamp_ns: int) -> bool:
        """Whether this command is the first one, or the first after a pause."""
        before, self._stamp_ns = self._stamp_ns, stamp_ns
        return before is None or not 0 <= stamp_ns - before <= self._longest_ns


def stop_drivers(drivers: Sequence[Driver], points: Setpoints, streamed: Setpoints | None = None) -> list[str]:
    """Send the braking path through all drivers at the same time: some of them take as long as the braking.

    Args:
        drivers: The drivers.
        points: The path from the newest tick on.
        streamed: The path from the newest setpoint on, for drivers with a command rate; None for the same.

    Returns:
        What went wrong; one driver's failure keeps no other from stopping.
    """
    return _side_by_side(
        [
            (driver, partial(driver.stop, points if streamed is None or driver.command_rate_hz is None else streamed))
            for driver in drivers
        ]
    )


def release_drivers(drivers: Sequence[Driver]) -> list[str]:
    """Give the robot back through all drivers at the same time; see `stop_drivers`."""
    return _side_by_side([(driver, driver.release) for driver in drivers])


def _side_by_side(calls: Sequence[tuple[Driver, Callable[[], None]]]) -> list[str]:
    errors: list[str] = []

    def run(driver: Driver, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            errors.append(f"{type(driver).__name__}: {error}")

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors
