"""What the simulator's actions do: goals of grippers, and trajectories of joint_trajectory_controller.

Goals begin and are judged in the simulation thread (`GripperFollower`, `TrajectoryFollower`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.node import Node

from beingh_core.contract.schema import Driver, DriverGroup
from beingh_core.contract.wire import Wire
from beingh_core.sim.gripper_follower import BROKEN_OFF, REACHED, RUNNING, GripperFollower, GripperState
from beingh_core.sim.trajectory_follower import TrajectoryFollower
from beingh_ros.drivers.interfaces import interface
from beingh_ros.nodes.sim_actions import ABORT, SUCCEED, Job, SimActions
from beingh_ros.nodes.sim_commands import Accept, read_command

Take = Callable[[Accept], None]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A gripper's positions in the numbers of its server: value = offset + factor * position [rad or m]."""

    factor: float = 1.0
    offset: float = 0.0

    @classmethod
    def of(cls, options: Any, closed: float, opened: float) -> Scale:
        """The positions `closed` and `opened` are the options' `closed_command` and `open_command`, where there are any."""
        if options["closed_command"] is None:
            return cls()
        factor = (options["open_command"] - options["closed_command"]) / (opened - closed)
        return cls(factor=factor, offset=options["closed_command"] - factor * closed)

    def position(self, value: float) -> float:
        """[rad or m] of a number of the server."""
        return (value - self.offset) / self.factor

    def value(self, position: float) -> float:
        """A number of the server of a position [rad or m]."""
        return self.offset + self.factor * position

    def speed(self, value: float) -> float:
        """[rad/s or m/s] of a number a second; 0 for none."""
        return abs(value / self.factor) if math.isfinite(value) else 0.0


class GripperJob(Job):
    """Goals of a gripper. A subclass reads and writes the messages.

    Args:
        kind: action type.
        follower: of the gripper.
        scale: the server's numbers.
        take: hands a change of the follower to the simulation thread.
    """

    def __init__(self, kind: type, follower: GripperFollower, scale: Scale, take: Take) -> None:
        self.kind, self.follower, self.scale, self._take = kind, follower, scale, take

    def wanted(self, request: Any) -> tuple[float, float]:
        """Position and speed (0: the gripper's own) in the server's numbers."""
        raise NotImplementedError

    def result(self, request: Any, state: GripperState) -> tuple[str, Any]:
        """How a goal ends in this state, and its result."""
        raise NotImplementedError

    def refusal(self, request: Any) -> str | None:
        """Numbers that are none."""
        value, speed = self.wanted(request)
        return None if math.isfinite(value) and math.isfinite(speed) else f"{value} at {speed} is no position"

    def begin(self, number: int, request: Any) -> None:
        """As in `Job`."""
        value, speed = self.wanted(request)
        position, rate = self.scale.position(value), self.scale.speed(speed)
        self._take(lambda follower, now_ns: follower.go(number, position, now_ns, rate))

    def cancel(self, number: int) -> None:
        """As in `Job`."""
        self._take(lambda follower, now_ns: follower.stop(number))

    def ended(self, number: int, request: Any) -> tuple[str, Any] | None:
        """As in `Job`."""
        state = self.follower.state
        if state.number != number or state.outcome == RUNNING:
            return None
        return self.result(request, state) if state.outcome != BROKEN_OFF else (ABORT, self.unfinished("broken off"))

    def unfinished(self, reason: str) -> Any:
        """As in `Job`."""
        result = self.kind.Result()
        if hasattr(result, "error"):
            result.error = reason
        return result


class GripperCommandJob(GripperJob):
    """control_msgs/action/GripperCommand: fingers that stall before the goal abort it."""

    def wanted(self, request: Any) -> tuple[float, float]:
        """As in `GripperJob`."""
        return request.command.position, 0.0

    def result(self, request: Any, state: GripperState) -> tuple[str, Any]:
        """As in `GripperJob`."""
        reached = state.outcome == REACHED
        return SUCCEED if reached else ABORT, self._fill(self.kind.Result(), state)

    def feedback(self) -> Any:
        """As in `Job`."""
        return self._fill(self.kind.Feedback(), self.follower.state)

    def _fill(self, message: Any, state: GripperState) -> Any:
        message.position, message.effort = self.scale.value(state.position), state.effort
        message.reached_goal, message.stalled = state.outcome == REACHED, state.outcome not in (REACHED, RUNNING)
        return message


class ParallelGripperJob(GripperJob):
    """control_msgs/action/ParallelGripperCommand."""

    def refusal(self, request: Any) -> str | None:
        """As in `Job`."""
        if (count := len(request.command.position)) != 1:
            return f"expects 1 position value, got {count}"
        return super().refusal(request)

    def wanted(self, request: Any) -> tuple[float, float]:
        """As in `GripperJob`."""
        command = request.command
        return command.position[0], command.velocity[0] if len(command.velocity) else 0.0

    def result(self, request: Any, state: GripperState) -> tuple[str, Any]:
        """As in `GripperJob`."""
        result = self._fill(self.kind.Result(), state)
        result.reached_goal, result.stalled = state.outcome == REACHED, state.outcome != REACHED
        return SUCCEED if result.reached_goal else ABORT, result

    def feedback(self) -> Any:
        """As in `Job`."""
        return self._fill(self.kind.Feedback(), self.follower.state)

    def _fill(self, message: Any, state: GripperState) -> Any:
        message.state.name = list(self.follower.joints)
        message.state.position, message.state.effort = [self.scale.value(state.position)], [state.effort]
        return message


class FrankaJob(GripperJob):
    """franka_msgs/action/Move, Grasp and Homing: widths; a move that meets an object fails, a grasp that meets none does.

    Args:
        home: width to which the hand opens when it is homed [m].
    """

    def __init__(self, *arguments: Any, home: float = 0.0) -> None:
        super().__init__(*arguments)
        self._home = home

    def wanted(self, request: Any) -> tuple[float, float]:
        """As in `GripperJob`."""
        return (request.width, request.speed) if hasattr(request, "width") else (self._home, 0.0)

    def result(self, request: Any, state: GripperState) -> tuple[str, Any]:
        """As in `GripperJob`."""
        result, width = self.kind.Result(), self.scale.value(state.position)
        result.success = state.outcome == REACHED
        if hasattr(request, "epsilon"):
            result.success = request.width - request.epsilon.inner < width < request.width + request.epsilon.outer
        if not result.success:
            result.error = f"the fingers are {width:.4f} m apart, {self.wanted(request)[0]:.4f} m are wanted"
        return SUCCEED if result.success else ABORT, result

    def feedback(self) -> Any:
        """As in `Job`."""
        feedback = self.kind.Feedback()
        feedback.current_width = self.scale.value(self.follower.state.position)
        return feedback


class TrajectoryJob(Job):
    """control_msgs/action/FollowJointTrajectory, without tolerances, as joint_trajectory_controller has them by default.

    Args:
        kind: action type.
        follower, take: as of `GripperJob`.
        wire: names and units of the messages.
        measured: simulation thread: where its joints are, (J,) [rad or m].
        now_ns: present time.
    """

    def __init__(
        self,
        kind: type,
        follower: TrajectoryFollower,
        take: Take,
        *,
        wire: Wire,
        measured: Callable[[], np.ndarray],
        now_ns: Callable[[], int],
    ) -> None:
        self._kind, self._follower, self._take = kind, follower, take
        self._wire, self._measured, self._now_ns = wire, measured, now_ns
        self._begun: tuple[int, str | None] = (
            0,
            None,
        )  # number of the newest goal that has begun, and why it could not

    def refusal(self, request: Any) -> str | None:
        """A trajectory that the controller would not take now."""
        alike = TrajectoryFollower(self._follower.joints, self._follower.desired)
        return read_command("joint_trajectory", self._wire, request.trajectory, alike, self._now_ns())

    def begin(self, number: int, request: Any) -> None:
        """As in `Job`."""

        def accept(follower: TrajectoryFollower, now_ns: int) -> str | None:
            why = read_command("joint_trajectory", self._wire, request.trajectory, follower, now_ns)
            self._begun = (number, why)
            return why

        self._take(accept)

    def cancel(self, number: int) -> None:
        """As in `Job`."""
        self._take(lambda follower, _: follower.reset(self._measured()))

    def ended(self, number: int, request: Any) -> tuple[str, Any] | None:
        """As in `Job`."""
        begun, why = self._begun
        if begun != number or (why is None and self._follower.moves):
            return None
        result = self._kind.Result()
        if why is not None:
            result.error_code, result.error_string = result.INVALID_GOAL, why
        return SUCCEED if why is None else ABORT, result

    def unfinished(self, reason: str) -> Any:
        """As in `Job`."""
        return self._kind.Result(error_code=self._kind.Result.INVALID_GOAL, error_string=reason)

    def feedback(self) -> Any:
        """None: nobody who sends trajectories to a simulator reads it."""


def serve_gripper(
    node: Node, driver: Driver, group: DriverGroup, follower: GripperFollower, scale: Scale, take: Take
) -> SimActions:
    """The servers of a gripper.

    Raises:
        BeingHError: the messages are not installed.
    """
    if driver.kind == "franka_gripper":
        actions = SimActions(node, queues=True)
        home = driver.options["open_command"]
        for key in ("move", "grasp", "homing"):
            kind = interface("franka_msgs.action", key.capitalize(), driver.kind)
            actions.serve(kind, f"{group.topic}/{key}", FrankaJob(kind, follower, scale, take, home=home))
        return actions
    name, job = {
        "gripper_command": ("GripperCommand", GripperCommandJob),
        "parallel_gripper": ("ParallelGripperCommand", ParallelGripperJob),
    }[driver.kind]
    kind = interface("control_msgs.action", name, driver.kind)
    actions = SimActions(node)
    actions.serve(kind, group.topic, job(kind, follower, scale, take))
    return actions
