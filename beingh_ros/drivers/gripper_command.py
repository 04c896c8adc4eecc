"""Grippers with a control_msgs/action/GripperCommand server.

That is position_controllers/GripperActionController and effort_controllers/GripperActionController of Humble and
Jazzy, franka_gripper's `gripper_action` and many vendors' drivers.
"""

from __future__ import annotations

from typing import Any

from rclpy.node import Node

from beingh_core.contract import Driver as DriverSettings
from beingh_core.contract import RobotContract
from beingh_ros.drivers.action_goals import ActionGoals
from beingh_ros.drivers.gripper import GripperDriver, judge_end
from beingh_ros.drivers.interfaces import interface


class GripperCommandDriver(GripperDriver):
    """Goals of position and `max_effort`."""

    def __init__(self, node: Node, contract: RobotContract, settings: DriverSettings) -> None:
        self._type = interface("control_msgs.action", "GripperCommand", settings.kind)
        self._max_effort = settings.options["max_effort"]
        goals = [ActionGoals(node, {"gripper": (self._type, group.topic)}, judge_end) for group in settings.groups]
        super().__init__(contract, settings, goals)

    def _goal(self, index: int, value: float, closing: bool) -> tuple[str, Any]:
        goal = self._type.Goal()
        goal.command.position, goal.command.max_effort = value, self._max_effort
        return "gripper", goal
