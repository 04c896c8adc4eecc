"""Contracts, setpoints and stand-ins for the tests of the drivers."""

from __future__ import annotations

import copy
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import yaml
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future
from ros_support import ROOT, ros_graph

from beingh_core.contract import RobotContract, load_contract
from beingh_core.control.setpoints import Setpoints

FR3 = yaml.safe_load((ROOT / "config" / "robots" / "fr3.yaml").read_text())
ARM = [f"fr3_joint{i}" for i in range(1, 8)]
FINGER = "fr3_finger_joint1"
BASE = ["base_x", "base_y", "base_yaw"]
ARM_DRIVER = {"kind": "joint_trajectory", "topic": "/arm/joint_trajectory", "joints": ARM}
HAND_DRIVER = {"kind": "joint_trajectory", "topic": "/hand/joint_trajectory", "joints": [FINGER]}
T0_NS = 5_000_000_000


def contract_with(folder: Path, *drivers: dict, base: bool = False) -> RobotContract:
    """The FR3's contract with other drivers, and with a mobile base below it."""
    document = copy.deepcopy(FR3)
    del document["driver"], document["assumed"]
    document["drivers"] = list(drivers)
    if base:
        document["action"]["base_motion"] = {"mode": "absolute", "joints": BASE}
        document["limits"]["velocity"] = dict(zip(BASE, (0.5, 0.5, 1.0)))
        document["limits"]["acceleration"] |= dict.fromkeys(BASE, 1.0)
        if "jerk" in document["limits"]:
            document["limits"]["jerk"] |= dict.fromkeys(BASE, 20.0)
        document["policy"]["normalization"]["action.base_motion"] = "none"
    path = folder / "robot.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return load_contract(path)


def setpoints(positions, velocities=None, *, stamp_ns: int = T0_NS, times_s=None, dt_s: float = 0.05) -> Setpoints:
    """Rows at one, two, ... periods after the stamp."""
    positions = np.atleast_2d(np.asarray(positions, float))
    return Setpoints(
        stamp_ns=stamp_ns,
        times_s=np.arange(1, len(positions) + 1) * dt_s if times_s is None else np.asarray(times_s, float),
        positions=positions,
        velocities=np.zeros_like(positions) if velocities is None else np.atleast_2d(np.asarray(velocities, float)),
    )


@contextmanager
def two_nodes():
    """An observer and the owner of a driver in one domain, each spun by its own thread; yields both."""
    with ros_graph() as observer:
        owner = Node("controller", context=observer.context)
        executor = SingleThreadedExecutor(context=observer.context)
        executor.add_node(owner)
        ending = threading.Event()

        def spin() -> None:
            while not ending.is_set():
                executor.spin_once(timeout_sec=0.05)

        thread = threading.Thread(target=spin, daemon=True)
        thread.start()
        try:
            yield observer, owner
        finally:
            ending.set()
            thread.join()
            owner.destroy_node()


class ActionStandIn:
    """An action server that records its goals. A goal runs until the test ends it, or, with `replaces`, the next comes.

    Attributes:
        goals: Every goal that was accepted, in order.
        times_s: Monotonic time of each.
        cancels: How many cancellations came.
        accept: Whether goals are accepted.
        on_goal: Called with every accepted goal.
    """

    def __init__(self, node: Node, action_type: type, name: str, *, replaces: tuple | None = None) -> None:
        self.goals: list = []
        self.times_s: list[float] = []
        self.cancels, self.accept, self.on_goal = 0, True, None
        self._type, self._replaces = action_type, replaces
        self._ends: list[Future] = []
        self._server = ActionServer(
            node, action_type, name, self._execute, goal_callback=self._on_goal, cancel_callback=self._on_cancel
        )

    def end(self, outcome: str, index: int = -1, **result) -> None:
        """End a goal: `succeed`, `abort` or `canceled`, with fields of its result."""
        self._ends[index].set_result((outcome, result))

    def _on_goal(self, _goal) -> GoalResponse:
        return GoalResponse.ACCEPT if self.accept else GoalResponse.REJECT

    def _on_cancel(self, _handle) -> CancelResponse:
        self.cancels += 1
        return CancelResponse.ACCEPT

    async def _execute(self, handle):
        if self._replaces is not None and self._ends and not self._ends[-1].done():
            self._ends[-1].set_result(self._replaces)
        end = Future()
        self._ends.append(end)
        self.times_s.append(time.monotonic())
        self.goals.append(handle.request)
        if self.on_goal is not None:
            self.on_goal(handle.request)
        outcome, fields = await end
        getattr(handle, outcome)()
        result = self._type.Result()
        for key, value in fields.items():
            setattr(result, key, value)
        return result
