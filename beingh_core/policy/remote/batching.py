"""`Batcher`: the policy's thread, which computes what waits in one call."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from beingh_core.errors import BeingHError
from beingh_core.policy.observations import check_observation
from beingh_core.policy.remote.complaints import Complaints
from beingh_core.policy.remote.headers import ProtocolError, told
from beingh_core.policy.remote.waiting import Job, Refused, Waiting

log = logging.getLogger(__name__)
QUEUE = 8
JOIN_S = 5.0
SUMMARY_S = 60.0


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
    """Takes what waits, up to one request of each of `max_batch` clients, and asks the policy once.

    Attributes:
        computing: Whether the policy's thread is at work.

    Args:
        policy: a `BeingHPolicy`, warmed up; used from the thread of this class only.
        counts: kept up to date.
        max_batch: most robots in one call.
        complaints: is told of requests that were refused and of failures.
    """

    def __init__(self, policy, counts: Counts, max_batch: int, complaints: Complaints) -> None:
        check_max_batch(max_batch)
        self._policy, self._counts, self._max_batch = policy, counts, max_batch
        self._complaints = complaints
        self._jobs = Waiting(QUEUE)
        self.computing = False
        self._thread = threading.Thread(target=self._run, name="policy", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; a computation that is running is waited for a bounded time."""
        self._jobs.close()
        self._thread.join(JOIN_S)

    def submit(self, job: Job) -> None:
        """Hands over a job. Another one may be refused in its place, if that one's client has had its turn later.

        Raises:
            Refused: too many are waiting.
        """
        out = self._jobs.put(job)
        self._counts.received += 1
        for other in out:
            if other.client.open:
                self._refuse(other, Refused("busy", "others are waiting for longer", "ask again"))
            else:
                self._counts.abandoned += 1

    def _run(self) -> None:
        reported, reported_s = str(self._counts), time.monotonic()
        while batch := self._jobs.take(self._max_batch):
            self.computing = True
            try:
                self._compute(batch)
            except Exception as error:  # one bad request must not end the service
                self._fail(error)
            self.computing = False
            if time.monotonic() - reported_s > SUMMARY_S and str(self._counts) != reported:
                reported, reported_s = str(self._counts), time.monotonic()
                log.info(reported)

    def _compute(self, batch: Sequence[Job]) -> None:
        """Answers every job of a batch, whatever happens to the others."""
        together, alone = [], []
        for job in batch:
            if not job.client.open:
                self._counts.abandoned += 1
                continue
            try:
                _check_deadline(job, "before the inference began")
                began_s = time.monotonic()
                observations, options = job.read()
                read_ms = {"waited": (began_s - job.came_s) * 1e3, "unpack": (time.monotonic() - began_s) * 1e3}
                if len(batch) > 1:
                    policy = self._policy
                    check_observation(observations, policy.data_config, policy.chunk_length, policy.state_history)
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
            what = f"a call for {len(group)} robots failed: {type(error).__name__}: {error}"
            self._complaints.tell("one by one", what)
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
            late = error.fields["code"] == "expired"
            counts.expired, counts.refused = counts.expired + late, counts.refused + (not late)
            refused = error
        elif isinstance(error, ProtocolError):
            counts.malformed += 1
            refused = Refused("malformed", f"malformed message: {error}")
        elif isinstance(error, BeingHError):
            counts.refused += 1
            refused = Refused("input", error.what, error.remedy, where=error.where, allowed=error.allowed)
        else:
            self._fail(error)
            what = f"the server failed: {type(error).__name__}"
            job.send(job.refuse(Refused("internal", what, "read the server's log")))
            return
        self._complaints.tell(refused.fields["code"], refused.fields["what"])
        job.send(job.refuse(refused))

    def _fail(self, error: Exception) -> None:
        self._counts.failed += 1
        at = traceback.extract_tb(error.__traceback__)[-1]
        self._complaints.tell("failed", f"{type(error).__name__}: {told(str(error))} ({at.filename}:{at.lineno})")
        log.debug("failed", exc_info=error)


def _check_deadline(job: Job, when: str) -> None:
    if time.monotonic() > job.deadline_s:
        raise Refused("expired", f"the deadline passed {when}", "allow more time or use a faster server")
