"""Grippers with a control_msgs/action/ParallelGripperCommand server: parallel_gripper_action_controller (Jazzy on)."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node

from beingh_core.contract import Driver as DriverSettings
from beingh_core.contract import RobotContract
from beingh_ros.drivers.action_goals import ActionGoals
from beingh_ros.drivers.gripper import GripperDriver, judge_end
from beingh_ros.drivers.interfaces import interface


class ParallelGripperDriver(GripperDriver):
    """Goals of a JointState: name, position and, where the contract gives them, largest velocity and effort."""

    def __init__(self, node: Node, contract: RobotContract, settings: DriverSettings) -> None:
        self._type = interface("control_msgs.action", "ParallelGripperCommand", settings.kind)
        self._max_velocity, self._max_effort = settings.options["max_velocity"], settings.options["max_effort"]
        self._joints = [group.joints[0] for group in settings.groups]
        goals = [ActionGoals(node, {"gripper": (self._type, group.topic)}, judge_end) for group in settings.groups]
        super().__init__(contract, settings, goals)

    def _goal(self, index: int, value: float, closing: bool) -> tuple[str, Any]:
        goal = self._type.Goal()
        goal.command.name, goal.command.position = [self._joints[index]], [value]
        if self._max_velocity is not None:
            goal.command.velocity = [self._max_velocity]
        if self._max_effort is not None:
            goal.command.effort = [self._max_effort]
        return "gripper", goal
