"""The thread that infers, so that no callback ever waits for the model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from beingh_core.errors import BeingHError
from beingh_core.inference.chunk_maker import ChunkMaker, MadeChunk, Observation, PrefetchedChunk
from beingh_core.inference.chunk_schedule import ChunkSchedule, Request
from beingh_core.inference.policy_inputs import PolicyInputs
from beingh_core.realtime.samples import Samples

POLL_S = 0.004
LOOK_S = 0.0005
PERIODS = 20  # of pictures, whose median counts
OLD_NS = 100e6  # longest wait of what was prefetched
JOIN_S = 4.0  # ros2 launch gives a process 5 s
OUTSIDE_REMEDY = (
    "use statistics in the contract's units, order and signs, or move the robot to where training began; "
    "`ros2 param set /policy allow_state_outside_statistics true` lets it run all the same"
)


class InferenceThread:
    """Infers whenever the schedule and the gate allow and the node is active.

    Args:
        inputs: Streams and gate.
        schedule: When and behind which prefix.
        maker: Encodes, infers, decodes; used from this thread only.
        publish: Called from this thread with every chunk.
        fail: Called from this thread with the error of an inference.
        now_ns: Clock of the stamps [ns].
        prefetch: Whether images and words are computed shortly before the prefix is known, when the policy can.

    Attributes:
        outside: Why the newest state cannot be what the checkpoint was trained on, None when it can.
        allow_outside: Whether to infer all the same.
        prefetched: Chunks that were prefetched.
        inference_ms, latency_ms, answer_ms: Time of the policy's work, from the observation to the chunk, and from the
            moment at which the prefix was known to the chunk [ms].
        looks: How often it has looked whether to infer.
    """

    def __init__(
        self,
        inputs: PolicyInputs,
        schedule: ChunkSchedule,
        maker: ChunkMaker,
        publish: Callable[[Request, MadeChunk], None],
        fail: Callable[[Exception], None],
        now_ns: Callable[[], int],
        prefetch: bool = True,
    ) -> None:
        self._inputs, self._schedule, self._maker = inputs, schedule, maker
        self._publish, self._fail, self._now_ns = publish, fail, now_ns
        self.instruction = ""
        self.outside: str | None = None
        self.allow_outside = False
        self._judged_ns: int | None = None
        self._history_of: str | None = None
        self._history_ns = 0
        self.chunks = self.failures = self.unreached = self.prefetched = 0
        self.inference_ms = Samples()
        self.latency_ms = Samples()
        self.answer_ms = Samples()
        self._period_ns = Samples(keep=PERIODS)
        self._stamp_ns: int | None = None
        self._seen_ns = 0
        self._prefetch = prefetch and maker.prefetch
        self._prefetched: PrefetchedChunk | None = None
        self._begun_ns = 0
        self.looks = 0
        self._active = False
        self._publishing = threading.Lock()
        self._ending = False
        self._wake = threading.Event()
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
        self._ending = True
        self._wake.set()
        self._thread.join(JOIN_S)

    def instruct(self, text: str) -> None:
        """Take a new instruction, or none with an empty text; the old one stays when it is refused. Any thread.

        Raises:
            BeingHError: When the policy cannot take it.
        """
        self._maker.check_instruction(text)
        self.instruction = text

    def notify(self) -> None:
        """Look at once whether an inference may start: something has arrived. Any thread."""
        self._wake.set()

    def look(self) -> None:
        """Look now, with everything that has arrived, and wait until that is done, an inference included. Another thread."""
        wanted = self.looks + 2  # the one in progress may have begun before
        while self.looks < wanted and self._thread.is_alive():
            self._wake.set()
            time.sleep(LOOK_S)

    @property
    def policy(self):
        """What infers."""
        return self._maker.policy

    def closed(self) -> list[tuple[str, str]]:
        """(what, why) of everything that keeps the gate closed; empty when it is open."""
        now_ns = self._now_ns()
        if now_ns == 0:
            return [("clock", "simulated time is asked for, and nothing was received on /clock")]
        closed = self._inputs.closed(now_ns) + self._maker.closed(now_ns)
        if self.outside is not None and not self.allow_outside and not closed:
            closed.append(("statistics", f"{self.outside}. To fix: {OUTSIDE_REMEDY}"))
        silent = self._schedule.controller_silent(now_ns)
        if silent is not None:
            closed.append(("controller/buffer", silent))
        if not self.instruction.strip():
            closed.append(("instruction", "empty: set the parameter or publish policy/instruction"))
        if not self._active:
            closed.append(("lifecycle", "the node is not active"))
        return closed

    def _run(self) -> None:
        while not self._ending:
            self._wake.wait(POLL_S)
            self._wake.clear()
            try:
                self._advance(self._now_ns())
            except BeingHError as error:
                self._prefetched = None
                self.failures += 1
                self._fail(error)
            except Exception as error:  # a defect: the node must end with it, not go quiet
                self._fail(error)
                return
            self.looks += 1

    def _advance(self, now_ns: int) -> None:
        """Infers, or begins an inference whose time is near."""
        self._judge_state(now_ns)
        may_start = self._schedule.waiting_for(now_ns) is None
        if not may_start and not self._is_near(now_ns):
            return
        if self.closed():
            self._prefetched = self._history_of = None
        elif may_start:
            self._infer(now_ns)
        else:
            self._prefetched, self._begun_ns = self._maker.begin(self._observe(), self.instruction), now_ns

    def _observe(self) -> Observation:
        """What is seen now, with states back to the first one under this instruction and epoch, and since the gate was closed."""
        observation = self._inputs.observe(self._history_ns)
        if self._history_of == self.instruction and self._history_ns <= observation.stamp_ns:
            return observation
        return self._begin_history(observation)

    def _begin_history(self, observation: Observation) -> Observation:
        """The observation as the first of its history."""
        self._history_of, self._history_ns = self.instruction, observation.stamp_ns
        return replace(observation, earlier=())

    def _judge_state(self, now_ns: int) -> None:
        """Compares the state at every new picture with what the checkpoint was trained on."""
        newest_ns, before_ns = self._inputs.newest_ns(), self._judged_ns
        self._judged_ns = newest_ns
        if newest_ns != before_ns and not self._inputs.closed(now_ns):
            self.outside = self._maker.outside_statistics(self._observe())

    def _is_near(self, now_ns: int) -> bool:
        """Whether to compute images and words now: no newer picture is expected before the prefix is known.

        To begin earlier, on a picture that a newer one will overtake, would only make the chunk's view of the world
        older by what it saves.
        """
        if not self._prefetch or self._prefetched is not None:
            return False
        stamp_ns = self._inputs.newest_ns()
        if stamp_ns != self._stamp_ns:
            if stamp_ns is not None and self._stamp_ns is not None:
                self._period_ns.add(stamp_ns - self._stamp_ns)
            self._stamp_ns, self._seen_ns = stamp_ns, now_ns
        start_ns, periods_ns = self._schedule.next_start_ns(now_ns), self._period_ns.newest(PERIODS)
        if start_ns is None or stamp_ns is None or not len(periods_ns):
            return False
        return self._seen_ns + float(np.median(periods_ns)) >= start_ns

    def _usable_prefetch(self, now_ns: int) -> PrefetchedChunk | None:
        """What was prefetched, unless it is about something else or has become old."""
        begun, self._prefetched = self._prefetched, None
        if begun is None or begun.instruction != self.instruction:
            return None
        waited_ns = now_ns - self._begun_ns - 1e6 * begun.begin_ms
        return begun if abs(waited_ns) <= OLD_NS else None

    def _infer(self, now_ns: int) -> None:
        begun = self._usable_prefetch(now_ns)
        observation = begun.observation if begun else self._observe()
        request = self._schedule.request(observation.stamp_ns, now_ns)
        if request is None:
            return
        if request.new_epoch:
            self._maker.start_epoch(request.prefix[0])
            begun, observation = None, self._begin_history(observation)
        self.prefetched += begun is not None
        if begun is None:
            begun = self._maker.begin(observation, self.instruction)
        made = self._maker.finish(begun, request.prefix, request.onward)
        with self._publishing:
            if not self._active:
                return
            self._schedule.sent(request)
            self._publish(request, made)
        self.chunks += 1
        self.unreached += made.unreached
        self.inference_ms.add(made.inference_ms)
        done_ns = self._now_ns()
        self.latency_ms.add((done_ns - observation.stamp_ns) / 1e6)
        self.answer_ms.add((done_ns - now_ns) / 1e6)
