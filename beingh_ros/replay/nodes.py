"""The real nodes with two additions: what they have taken is counted, and they can publish nothing that a robot obeys."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from rclpy.node import Node

from beingh_core.control.stop_causes import STOPPED
from beingh_core.errors import BeingHError
from beingh_core.inference.chunk_maker import MadeChunk
from beingh_core.inference.chunk_schedule import Request
from beingh_ros.nodes.controller_node import ControllerNode
from beingh_ros.nodes.policy_node import PolicyNode

# Everything that these nodes may publish, as they name it.
_OWN = {
    "policy/chunk", "policy/base_chunk", "policy/latency", "controller/buffer", "controller/base_buffer",
    "controller/accepted", "controller/state", "/diagnostics", "diagnostics", "/rosout", "/parameter_events",
    "~/transition_event",
}  # fmt: skip


class CountedNode(Node):
    """Counts messages that its callbacks have dealt with, and refuses publishers of anything but `_OWN`.

    Attributes:
        taken: Resolved topic -> callbacks that have returned.
        subscribed: Resolved topics.
    """

    def __init__(self, *arguments, **options) -> None:
        self.taken: Counter[str] = Counter()
        self.subscribed: set[str] = set()
        super().__init__(*arguments, **options)

    def create_subscription(self, msg_type: type, topic: str, callback: Callable, *args, **options):
        """As in `Node`."""
        name = self.resolve_topic_name(topic)
        self.subscribed.add(name)

        @functools.wraps(callback)
        def counted(*arguments):
            try:
                return callback(*arguments)
            finally:
                self.taken[name] += 1

        return super().create_subscription(msg_type, topic, counted, *args, **options)

    def create_publisher(self, msg_type: type, topic: str, *args, **options):
        """As in `Node`.

        Raises:
            RuntimeError: A topic that a robot could obey; a defect of whoever asks.
        """
        if topic not in _OWN:
            raise RuntimeError(f"a replay must not publish {topic}")
        return super().create_publisher(msg_type, topic, *args, **options)


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """A chunk of the policy, the request behind it, when it was made [ns], and the gates in it."""

    request: Request
    made: MadeChunk
    now_ns: int
    gates: list[float] = field(default_factory=list)


class ReplayPolicy(CountedNode, PolicyNode):
    """The policy node; between steps it may not infer.

    Attributes:
        predicted: Every chunk of the present recording.
        failures: Why a chunk failed, in words.
    """

    def __init__(self) -> None:
        self.predicted: list[Predicted] = []
        self.failures: list[str] = []
        super().__init__()
        self._inference.policy.observe_gates = True

    def start_over(self, task: str) -> None:
        """Forget the recording before.

        Raises:
            BeingHError: The policy cannot take this instruction.
        """
        self._inference.set_active(False)
        self._forget()
        self._inference.instruct(task)
        self._inference.outside = None
        self.predicted, self.failures = [], []

    def set_active(self, active: bool) -> None:
        """Allow or forbid inference."""
        self._inference.set_active(active)

    def infer_if_due(self) -> list[tuple[str, str]]:
        """Let it look once, with everything it has; returns what keeps its gate closed."""
        thread = self._inference
        thread.set_active(True)
        try:
            thread.look()
            return thread.closed()
        finally:
            thread.set_active(False)

    @property
    def cameras_matched(self) -> bool:
        """Whether every camera is subscribed to as its publisher offers it."""
        return all(camera.reliability.name == "RELIABLE" for camera in self._cameras.values())

    def _publish(self, request: Request, made: MadeChunk) -> None:
        gates = self._inference.policy.last_gates.ravel().tolist()
        now_ns = self.get_clock().now().nanoseconds
        self.predicted.append(Predicted(request=request, made=made, now_ns=now_ns, gates=gates))
        super()._publish(request, made)

    def _on_failure(self, error: Exception) -> None:
        self.failures.append(str(error))
        super()._on_failure(error)


class Published(NamedTuple):
    """A plan: stamp of the next tick [ns], epoch, (M, J) from that tick on, and (J,) what was sent just before it, if any."""

    stamp_ns: int
    epoch: str
    positions: np.ndarray
    sent: np.ndarray | None


class ReplayController(CountedNode, ControllerNode):
    """The controller node, always a dry run.

    Attributes:
        plans: Every publication.
    """

    def __init__(self) -> None:
        self.plans: list[Published] = []
        super().__init__()
        if not self._dry_run:
            raise RuntimeError("a replay needs a dry run")

    def has_settled(self, now_ns: int) -> bool:
        """Whether every tick that is due at a time was sent and its plan published."""
        due_ns = self._controller.next_tick_ns()
        return due_ns is None or bool(due_ns > now_ns and self.plans and self.plans[-1].stamp_ns == due_ns)

    @property
    def has_merged(self) -> bool:
        """Whether every chunk that it has taken is judged."""
        return self._chunks.idle

    @property
    def runs(self) -> bool:
        """Whether it is ticking."""
        return self._controller.next_tick_ns() is not None

    @property
    def has_stopped(self) -> bool:
        """Whether it rests after a stop and needs a reset."""
        return self._controller.status.state == STOPPED

    def begin_again(self) -> None:
        """Reset; it begins once the robot is measured at rest, and not while joint states are missing."""
        with contextlib.suppress(BeingHError):
            self._controller.reset(self._ticks.time.now_ns())

    @property
    def sentence(self) -> str:
        """Its state, in words."""
        return self._controller.status.sentence

    @property
    def counters(self) -> dict[str, int]:
        """Chunks by what became of them."""
        return self._controller.counters

    @property
    def epoch(self) -> str:
        """Of the newest plan; "" before the first."""
        return self.plans[-1].epoch if self.plans else ""

    def _publish(self, plan: Any) -> None:
        super()._publish(plan)
        sent = self._controller.last_sent
        self.plans.append(Published(plan.stamp_ns, plan.epoch, plan.positions, None if sent is None else sent[0]))
