"""Commands for the action of joint_trajectory_controller, for robots that offer no trajectory topic.

Every tick's goal replaces the one before: the controller aborts that with INVALID_GOAL, which is no failure here, and
takes the new trajectory at once, exactly as on the topic. What the topic lacks is an answer: a refused goal, a
violated tolerance or a controller that is not there is noticed, and stops the robot.
"""

from __future__ import annotations

import threading
from typing import Any

from rclpy.node import Node

from beingh_core.contract import Driver as DriverSettings
from beingh_core.contract import RobotContract
from beingh_core.control.driver import FLUSH_S, Driver, Starts, columns_of
from beingh_core.control.setpoints import Setpoints
from beingh_ros.drivers.action_goals import CANCELED, SUCCEEDED, ActionGoals
from beingh_ros.drivers.interfaces import interface
from beingh_ros.drivers.trajectories import trajectory_of

INVALID_GOAL = -1
ERRORS = {
    INVALID_GOAL: "invalid goal",
    -2: "invalid joints",
    -3: "old header time stamp",
    -4: "path tolerance violated",
    -5: "goal tolerance violated",
}


class FollowJointTrajectoryDriver(Driver):
    """Sends the committed ticks of every group as a goal.

    Args:
        node: Its context and namespace are used.
        contract: Order of the columns.
        settings: Actions and joints of the groups; whether to send velocities.
    """

    command_rate_hz = None

    def __init__(self, node: Node, contract: RobotContract, settings: DriverSettings) -> None:
        self._type = interface("control_msgs.action", "FollowJointTrajectory", settings.kind)
        self._velocities = settings.options["velocities"]
        self._starts = Starts(contract.dt_s)
        self._groups = [
            (
                ActionGoals(node, {"follow": (self._type, group.topic)}, _judge),
                group.wire,
                columns_of(contract, group.joints),
            )
            for group in settings.groups
        ]

    def send(self, points: Setpoints) -> None:
        """Send every committed tick; returns at once."""
        if self._starts.begins(points.stamp_ns):
            for goals, _, _ in self._groups:
                goals.forget()
        self._send(points)

    def stop(self, points: Setpoints) -> None:
        """Send the braking path as the last goal and wait a bounded time until it is taken.

        Not a cancellation: that makes the controller hold the measured position at once, which is a step for a robot
        that moves (only Jazzy can be told to decelerate then).
        """
        for taken in self._send(points):
            taken.wait(FLUSH_S)

    def problem(self) -> str | None:
        """What the controllers have answered, or that they do not."""
        return next((text for goals, _, _ in self._groups if (text := goals.problem())), None)

    def subscribers(self) -> dict[str, int]:
        """Which action servers are ready."""
        return {name: ready for goals, _, _ in self._groups for name, ready in goals.subscribers().items()}

    def unsubscribed(self) -> str | None:
        """An action server that is not there."""
        return next((text for goals, _, _ in self._groups if (text := goals.unsubscribed())), None)

    def _send(self, points: Setpoints) -> list[threading.Event]:
        """A goal to every group; the events tell when each is taken."""
        taken = []
        for goals, wire, columns in self._groups:
            goal = self._type.Goal()
            goal.trajectory = trajectory_of(wire, points.columns(columns), velocities=self._velocities)
            taken.append(goals.send(goal))
        return taken


def _judge(_server: str, status: int, result: Any, replaced: bool) -> str | None:
    """What a goal's end says about the robot; a violated tolerance counts even where a newer goal came since."""
    if status == SUCCEEDED and result.error_code == 0:
        return None
    if replaced and result.error_code in (0, INVALID_GOAL):
        return None
    if status == CANCELED:
        return "goal was cancelled by somebody else"
    reason = ERRORS.get(result.error_code, "aborted")
    return f"goal ended with error {result.error_code} ({reason}) {result.error_string}".strip()
