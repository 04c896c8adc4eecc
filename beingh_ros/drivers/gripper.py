"""What the gripper drivers have in common: when a new goal is due, and its value. No message types here."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

from beingh_core.contract import Driver as DriverSettings
from beingh_core.contract import RobotContract
from beingh_core.contract.arms import gripper_ends
from beingh_core.control.driver import FLUSH_S, Driver, Starts, columns_of
from beingh_core.control.setpoints import Setpoints
from beingh_core.realtime.clock import exact_period_ns
from beingh_ros.drivers.action_goals import CANCELED, SUCCEEDED, ActionGoals
from beingh_ros.drivers.grip import GripWatch

# Smaller differences are rounding [rad or m].
SAME = 1e-9


class GoalTrigger:
    """Decides which commands of a stream become goals.

    The first command after a start is where the gripper is, and no goal: what it holds, it goes on holding. Later a command becomes
    a goal when it has moved far enough from the last goal, or has come to rest anywhere else than there, and the last
    goal is old enough.

    Args:
        min_change: Smallest move that is worth a goal [rad or m].
        max_rate_hz: Most goals per second.
    """

    def __init__(self, min_change: float, max_rate_hz: float) -> None:
        self._min_change, self._period_ns = min_change, round(exact_period_ns(max_rate_hz))
        self.reset()

    def reset(self) -> None:
        """Begin anew with the next command."""
        self.goal: float | None = None
        self._last: float | None = None
        self._stamp_ns: int | None = None

    def due(self, stamp_ns: int, command: float) -> bool:
        """Whether this command becomes a goal; it then is the last goal."""
        resting, self._last = self._last == command, command
        if self.goal is None:
            self.goal = command
            return False
        moved = abs(command - self.goal)
        if moved < self._min_change and not (resting and moved > SAME):
            return False
        if self._stamp_ns is not None and 0 <= stamp_ns - self._stamp_ns < self._period_ns:
            return False
        self.goal, self._stamp_ns = command, stamp_ns
        return True

    def differs(self, command: float) -> bool:
        """Whether a command is another posture than that of the last goal."""
        return self.goal is not None and abs(command - self.goal) > SAME


class GripperDriver(Driver):
    """Sends the grippers' commands as goals, few of them. A subclass makes the goals and the servers' clients.

    Args:
        contract: Order of the columns, and `closed` and `open` of the gripper actions.
        settings: Actions and joints of the groups, `min_change`, `max_rate_hz`, `closed_command`, `open_command`.
    """

    command_rate_hz = None

    def __init__(self, contract: RobotContract, settings: DriverSettings, goals: list[ActionGoals]) -> None:
        options = settings.options
        self._starts = Starts(contract.dt_s)
        self._grippers = [
            (client, columns_of(contract, group.joints)[0], GoalTrigger(options["min_change"], options["max_rate_hz"]))
            for client, group in zip(goals, settings.groups)
        ]
        self._joints = [group.joints[0] for group in settings.groups]
        self._ends = [gripper_ends(contract, joint) for joint in self._joints]
        self._watches = [GripWatch(*ends) for ends in self._ends]
        self._ranges = [_command_range(options)] * len(settings.groups)

    def send(self, points: Setpoints) -> None:
        """Send a goal where one is due: for the newest committed tick."""
        if self._starts.begins(points.stamp_ns):
            for (goals, _, trigger), watch in zip(self._grippers, self._watches):
                goals.forget()
                watch.forget()
                trigger.reset()
        for index, (_, column, trigger) in enumerate(self._grippers):
            command, before = float(points.positions[-1, column]), trigger.goal
            if trigger.due(points.stamp_ns, command):
                self._send_goal(index, before, command)

    def stop(self, points: Setpoints) -> None:
        """Send where the gripper comes to rest, if that is not its goal already, and wait a bounded time for that.

        Nothing else: a new goal or a cancellation could make it let go of what it holds.
        """
        taken = []
        for index, (_, column, trigger) in enumerate(self._grippers):
            command = float(points.positions[-1, column])
            if trigger.differs(command):
                taken.append(self._send_goal(index, trigger.goal, command))
            trigger.reset()
        for event in taken:
            event.wait(FLUSH_S)

    def problem(self) -> str | None:
        """What the servers have answered, or that they do not, or that a gripper has failed."""
        now_s = time.monotonic()
        each = zip(self._grippers, self._watches)
        return next((text for (goals, _, _), watch in each if (text := goals.problem() or watch.problem(now_s))), None)

    def measured(self, positions: Mapping[str, float]) -> None:
        """Where the fingers are."""
        now_s = time.monotonic()
        for joint, watch in zip(self._joints, self._watches):
            if joint in positions:
                watch.measured(now_s, positions[joint])

    def counts(self) -> dict[str, int]:
        """Goals that ended badly and what was made of them, of all grippers."""
        counts: Counter[str] = Counter()
        for watch in self._watches:
            counts.update(watch.counts)
        return counts

    def subscribers(self) -> dict[str, int]:
        """Which action servers are ready."""
        return {name: ready for goals, _, _ in self._grippers for name, ready in goals.subscribers().items()}

    def unsubscribed(self) -> str | None:
        """An action server that is not there."""
        return next((text for goals, _, _ in self._grippers if (text := goals.unsubscribed())), None)

    def _send_goal(self, index: int, before: float, command: float) -> threading.Event:
        """Send a gripper from one joint position to another."""
        closed, opened = self._ends[index]
        closing = (command - before) * (opened - closed) < 0.0
        goals, watch = self._grippers[index][0], self._watches[index]
        watch.begin(command)
        position = command
        if self._ranges[index] is not None:
            closed_command, open_command = self._ranges[index]
            position = closed_command + (command - closed) / (opened - closed) * (open_command - closed_command)
        server, message = self._goal(index, position, closing)
        return goals.send(message, server, judge=partial(self._ended, index, command))

    def _ended(self, index: int, goal: float, server: str, status: int, result: Any, replaced: bool) -> None:
        """Thread of the action client: the fingers tell what the end of a goal means."""
        if not replaced:
            text = judge_end(server, status, result, replaced)
            words = f"{self._grippers[index][0].name(server)}: {text}" if text else ""
            self._watches[index].ended(goal, time.monotonic(), words, getattr(result, "stalled", False))

    def _goal(self, index: int, value: float, closing: bool) -> tuple[str, Any]:
        """Key of the server and the goal that sends one gripper to `value`."""
        raise NotImplementedError


def _command_range(options: Any) -> tuple[float, float] | None:
    """closed_command, open_command; None where positions are sent as they are."""
    if options["closed_command"] is None:
        return None
    return options["closed_command"], options["open_command"]


def judge_end(server: str, status: int, result: Any, replaced: bool) -> str | None:
    """What a server says of a goal that has ended; without more than that said, it is a failure."""
    if replaced or (status == SUCCEEDED and getattr(result, "success", True)):
        return None
    if status == CANCELED:
        return "goal was cancelled by somebody else"
    failed = f"{server} failed" if hasattr(result, "success") else "goal was aborted"
    return f"{failed}: {result.error}" if getattr(result, "error", "") else failed
