"""`Batcher`: the policy's thread, which computes what waits in one call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
import logging
import queue
import threading
import time

from beingh_core.errors import BeingHError
from beingh_core.policy.observations import check_observation
from beingh_core.policy.remote.protocol import ProtocolError

log = logging.getLogger(__name__)
QUEUE = 8
JOIN_S = 5.0
SUMMARY_S = 60.0


class Refused(Exception):
    """A request that is answered with a reason instead of a result.

    Attributes:
        fields: `code`, `what`, `where`, `allowed` and `remedy`.
    """

    def __init__(
        self, code: str, what: str, remedy: str | None = None, *, where: str | None = None, allowed: str | None = None
    ) -> None:
        super().__init__(what)
        self.fields = {"code": code, "what": what, "where": where, "allowed": allowed, "remedy": remedy}


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """A request for a chunk. The callables run in the policy's thread.

    Attributes:
        deadline_s: When the answer has no value any more, monotonic [s].
        read: The observations, and keyword arguments that only a computation of its own can take.
        answer: The reply to a chunk, from (arrays, the policy's times [ms], number of robots in the call).
        refuse: The reply to a refusal.
        send: Takes the reply.
        wanted: Whether somebody still waits for it.
        came_s: When it came, monotonic [s].
    """

    deadline_s: float
    read: Callable[[], tuple[dict, dict]]
    answer: Callable[[Mapping, dict[str, float], int], bytes]
    refuse: Callable[[Refused], bytes]
    send: Callable[[bytes], None]
    wanted: Callable[[], bool] = lambda: True
    came_s: float = field(default_factory=time.monotonic)


@dataclass
class Counts:
    """What a server has done since it started.

    Attributes:
        received: Requests for chunks that were queued; each ends in one of served, malformed, refused, expired (too
            late), abandoned (the client has gone) and failed.
        malformed, refused: Of all messages.
        batches: Calls of the policy by number of robots.
    """

    received: int = 0
    served: int = 0
    refused: int = 0
    malformed: int = 0
    expired: int = 0
    abandoned: int = 0
    failed: int = 0
    batches: Counter = field(default_factory=Counter)

    def plain(self) -> dict:
        """As a dictionary with names as keys."""
        names = ("received", "served", "refused", "malformed", "expired", "abandoned", "failed")
        sizes = {str(size): count for size, count in sorted(dict(self.batches).items())}
        return {name: getattr(self, name) for name in names} | {"batches": sizes}

    def __str__(self) -> str:
        told = [f"{name} {value}" for name, value in self.plain().items() if name != "batches" and value]
        sizes = [f"{count} of {size}" for size, count in sorted(dict(self.batches).items())]
        return ", ".join(told or ["no request yet"]) + (
            f"; calls by number of robots: {', '.join(sizes)}" if sizes else ""
        )


def check_max_batch(max_batch: int) -> None:
    """Refuses a number of robots that one call cannot take.

    Raises:
        BeingHError: it is out of range.
    """
    if not 1 <= max_batch <= QUEUE:
        raise BeingHError(f"max_batch is {max_batch}", allowed=f"1 to {QUEUE}")


class Batcher:
    """Takes everything that waits, up to `max_batch`, and asks the policy once. `submit` from one thread.

    Args:
        policy: a `BeingHPolicy`, warmed up; used from the thread of this class only.
        counts: kept up to date.
        max_batch: most robots in one call.
    """

    def __init__(self, policy, counts: Counts, max_batch: int) -> None:
        check_max_batch(max_batch)
        self._policy, self._counts, self._max_batch = policy, counts, max_batch
        self._jobs: queue.Queue[Job | None] = queue.Queue(maxsize=QUEUE)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="policy", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; a computation that is running is waited for a bounded time."""
        self._stopping.set()
        try:
            self._jobs.put_nowait(None)
        except queue.Full:  # then it is not waiting for a job
            pass
        self._thread.join(JOIN_S)

    def submit(self, job: Job) -> None:
        """Hands over a job.

        Raises:
            Refused: too many are waiting.
        """
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise Refused(
                "busy", f"{QUEUE} requests are waiting already", "use fewer robots or a faster server"
            ) from None
        self._counts.received += 1

    def _run(self) -> None:
        told, told_s = str(self._counts), time.monotonic()
        while not self._stopping.is_set():
            batch = [self._jobs.get()]
            while len(batch) < self._max_batch and not self._jobs.empty():
                batch.append(self._jobs.get())
            self._compute([job for job in batch if job is not None])
            if time.monotonic() - told_s > SUMMARY_S and str(self._counts) != told:
                told, told_s = str(self._counts), time.monotonic()
                log.info(told)

    def _compute(self, batch: Sequence[Job]) -> None:
        """Answers every job of a batch, whatever happens to the others."""
        together, alone = [], []
        for job in batch:
            if not job.wanted():
                self._counts.abandoned += 1
                continue
            try:
                _check_deadline(job, "before the inference began")
                began_s = time.monotonic()
                observations, options = job.read()
                read_ms = {"waited": (began_s - job.came_s) * 1e3, "unpack": (time.monotonic() - began_s) * 1e3}
                if len(batch) > 1:
                    check_observation(observations, self._policy.data_config, self._policy.chunk_length)
            except Exception as error:
                self._refuse(job, error)
                continue
            (alone if options else together).append((job, observations, options, read_ms))
        for group in ([together] if together else []) + [[one] for one in alone]:
            self._infer(group)

    def _infer(self, group: Sequence[tuple[Job, dict, dict, dict]]) -> None:
        """One call of the policy; when it fails for several robots, one call for each."""
        try:
            if len(group) == 1:
                outputs = [self._policy.get_action(group[0][1], **group[0][2])]
            else:
                outputs = self._policy.get_actions([observations for _, observations, _, _ in group])
        except Exception as error:
            if len(group) == 1:
                self._refuse(group[0][0], error)
                return
            log.warning("a call for %d robots failed (%s); they are computed one by one", len(group), error)
            for one in group:
                self._infer([one])
            return
        self._counts.batches[len(group)] += 1
        timing = {name: float(value) for name, value in self._policy.last_timing_ms.items()}
        for (job, _, _, read_ms), output in zip(group, outputs, strict=True):
            try:
                _check_deadline(job, "during the inference")
                message = job.answer(output, timing | read_ms, len(group))
                self._counts.served += 1
            except Exception as error:
                self._refuse(job, error)
            else:
                job.send(message)

    def _refuse(self, job: Job, error: Exception) -> None:
        counts = self._counts
        if isinstance(error, Refused):
            counts.expired += 1
            refused = error
        elif isinstance(error, ProtocolError):
            counts.malformed += 1
            refused = Refused("malformed", f"malformed message: {error}")
        elif isinstance(error, BeingHError):
            counts.refused += 1
            refused = Refused("input", error.what, error.remedy, where=error.where, allowed=error.allowed)
        else:  # one bad request must not end the service
            counts.failed += 1
            log.error("inference failed", exc_info=error)
            refused = Refused("internal", f"the server failed: {type(error).__name__}", "read the server's log")
        job.send(job.refuse(refused))


def _check_deadline(job: Job, when: str) -> None:
    if time.monotonic() > job.deadline_s:
        raise Refused("expired", f"the deadline passed {when}", "allow more time or use a faster server")
