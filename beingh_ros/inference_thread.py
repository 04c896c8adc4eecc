"""The thread that infers, so that no callback ever waits for the model. No ROS here."""

from __future__ import annotations

import threading
from collections.abc import Callable

from beingh_core.errors import BeingHError
from beingh_ros.chunk_maker import ChunkMaker, MadeChunk
from beingh_ros.chunk_schedule import ChunkSchedule, Request
from beingh_ros.diagnostics import Samples
from beingh_ros.policy_inputs import PolicyInputs

POLL_S = 0.004
JOIN_S = 4.0  # ros2 launch gives a process 5 s


class InferenceThread:
    """Infers whenever the schedule and the gate allow and the node is active.

    Args:
        inputs: Streams and gate.
        schedule: When and behind which prefix.
        maker: Encodes, infers, decodes; used from this thread only.
        publish: Called from this thread with every chunk.
        fail: Called from this thread with the error of an inference.
        now_ns: Clock of the stamps [ns].
    """

    def __init__(
        self,
        inputs: PolicyInputs,
        schedule: ChunkSchedule,
        maker: ChunkMaker,
        publish: Callable[[Request, MadeChunk], None],
        fail: Callable[[Exception], None],
        now_ns: Callable[[], int],
    ) -> None:
        self._inputs, self._schedule, self._maker = inputs, schedule, maker
        self._publish, self._fail, self._now_ns = publish, fail, now_ns
        self.instruction = ""
        self.chunks = self.failures = self.unreached = 0
        self.inference_ms = Samples()
        self.latency_ms = Samples()
        self._active = False
        self._publishing = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    @property
    def active(self) -> bool:
        """Whether chunks may go out."""
        return self._active

    def set_active(self, active: bool) -> None:
        """Allow or forbid inference; after forbidding returns, no chunk goes out."""
        with self._publishing:
            self._active = active

    def close(self) -> None:
        """End the thread, waiting a bounded time for an inference in progress; no chunk goes out after it."""
        self.set_active(False)
        self._ending.set()
        self._thread.join(JOIN_S)

    def closed(self) -> list[tuple[str, str]]:
        """(what, why) of everything that keeps the gate closed; empty when it is open."""
        now_ns = self._now_ns()
        closed = self._inputs.closed(now_ns)
        silent = self._schedule.controller_silent(now_ns)
        if silent is not None:
            closed.append(("controller/buffer", silent))
        if not self.instruction.strip():
            closed.append(("instruction", "empty: set the parameter or publish policy/instruction"))
        if not self._active:
            closed.append(("lifecycle", "the node is not active"))
        return closed

    def _run(self) -> None:
        while not self._ending.wait(POLL_S):
            now_ns = self._now_ns()
            if self._schedule.waiting_for(now_ns) is not None or self.closed():
                continue
            try:
                self._infer(now_ns)
            except BeingHError as error:
                self.failures += 1
                self._fail(error)
            except Exception as error:  # a defect: the node must end with it, not go quiet
                self._fail(error)
                return

    def _infer(self, now_ns: int) -> None:
        observation = self._inputs.observe()
        request = self._schedule.request(observation.stamp_ns, now_ns)
        if request is None:
            return
        if request.new_epoch:
            self._maker.start_epoch(request.prefix[0])
        made = self._maker.make(observation, self.instruction, request.prefix)
        with self._publishing:
            if not self._active:
                return
            self._schedule.sent(request)
            self._publish(request, made)
        self.chunks += 1
        self.unreached += made.unreached
        self.inference_ms.add(made.inference_ms)
        self.latency_ms.add((self._now_ns() - observation.stamp_ns) / 1e6)
