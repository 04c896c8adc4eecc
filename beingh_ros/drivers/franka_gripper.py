"""The Franka Hand through franka_gripper's own actions.

Its commands block one another, so a running goal is cancelled before the next one is sent. Opening is a Move, closing
a Grasp that keeps its force whatever it meets (wide epsilons): a Move that meets an object fails.
"""

from __future__ import annotations

from typing import Any

from rclpy.node import Node

from beingh_core.contract import Driver as DriverSettings
from beingh_core.contract import RobotContract
from beingh_core.control.setpoints import Setpoints
from beingh_ros.drivers.action_goals import ActionGoals
from beingh_ros.drivers.gripper import GripperDriver, judge_end
from beingh_ros.drivers.interfaces import interface


class FrankaGripperDriver(GripperDriver):
    """Goals of width: `closed_command` and `open_command` are widths, twice the finger's position.

    The group's action is the gripper node, such as `/franka_gripper`.
    """

    def __init__(self, node: Node, contract: RobotContract, settings: DriverSettings) -> None:
        self._types = {
            key: interface("franka_msgs.action", key.capitalize(), settings.kind) for key in ("move", "grasp", "homing")
        }
        self._options = settings.options
        keys = ("move", "grasp", *(["homing"] if settings.options["homing"] else []))
        goals = [
            ActionGoals(
                node, {key: (self._types[key], f"{group.topic}/{key}") for key in keys}, judge_end, one_at_a_time=True
            )
            for group in settings.groups
        ]
        self._not_homed = list(goals) if settings.options["homing"] else []
        super().__init__(contract, settings, goals)

    def send(self, points: Setpoints) -> None:
        """As every gripper; with `homing` the hand is first homed when the robot begins to run, once, or until that has succeeded."""
        while self._not_homed:
            self._not_homed.pop().send(self._types["homing"].Goal(), "homing", keep=True)
        super().send(points)

    def _goal(self, index: int, value: float, closing: bool) -> tuple[str, Any]:
        server = "grasp" if closing else "move"
        goal = self._types[server].Goal()
        goal.width, goal.speed = value, self._options["speed"]
        if closing:
            goal.force = self._options["force"]
            goal.epsilon.inner, goal.epsilon.outer = self._options["epsilon_inner"], self._options["epsilon_outer"]
        return server, goal
