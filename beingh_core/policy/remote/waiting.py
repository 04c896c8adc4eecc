"""`Waiting`: the requests that wait for the policy, shared out among clients."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


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


class Client(Protocol):
    """Who asks.

    Attributes:
        open: Whether it is still there.
        turn_s: When its last request was taken up, or else when it came, monotonic [s]; set by `Waiting`.
    """

    open: bool
    turn_s: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """A request for a chunk. The callables run in the policy's thread.

    Attributes:
        client: Who asks.
        deadline_s: When the answer has no value any more, monotonic [s].
        read: The observations, and keyword arguments that only a computation of its own can take.
        answer: The reply to a chunk, from (arrays, the policy's times [ms], number of robots in the call).
        refuse: The reply to a refusal.
        send: Takes the reply.
        came_s: When it came, monotonic [s].
    """

    client: Client
    deadline_s: float
    read: Callable[[], tuple[dict, dict]]
    answer: Callable[[Mapping, dict[str, float], int], bytes]
    refuse: Callable[[Refused], bytes]
    send: Callable[[bytes], None]
    came_s: float = field(default_factory=time.monotonic)


class Taken(NamedTuple):
    """What becomes of a message.

    Attributes:
        known: Whether its sender has said the token, or there is none.
        answer: The answer, or the job that will answer it.
        refused: Why it was refused, if it was.
    """

    known: bool
    answer: bytes | Job
    refused: Refused | None = None


class Waiting:
    """At most one job of each client and `size` in all; the client whose last turn is longest ago is next. Any thread.

    A client that asks without pause therefore has as many turns as one that asks now and then, and no more.

    Args:
        size: most jobs.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._jobs: list[Job] = []
        self._changed, self._closed = threading.Condition(), False

    def put(self, job: Job) -> list[Job]:
        """Takes a job; returns those that will not be computed: of clients that are gone, or one that gives way.

        Raises:
            Refused: the client has one that waits, or all those that wait belong to clients who are next.
        """
        with self._changed:
            if any(one.client is job.client for one in self._jobs):
                raise Refused("busy", "a request of this client is waiting already", "ask again after the answer")
            out = [one for one in self._jobs if not one.client.open]
            if not out and len(self._jobs) >= self._size:
                last = max(self._jobs, key=_turn)
                if _turn(last) <= _turn(job):
                    raise Refused(
                        "busy", f"{self._size} requests are waiting already", "use fewer robots or a faster server"
                    )
                out = [last]
            self._jobs = [one for one in self._jobs if one not in out] + [job]
            self._changed.notify()
            return out

    def take(self, most: int) -> list[Job]:
        """Waits for jobs and takes up to `most` of them; none after `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if self._closed:
                return []
            taken = sorted(self._jobs, key=_turn)[:most]
            self._jobs = [one for one in self._jobs if one not in taken]
            now_s = time.monotonic()
            for job in taken:
                job.client.turn_s = now_s
            return taken

    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._jobs

    def close(self) -> None:
        """Ends `take`."""
        with self._changed:
            self._closed = True
            self._changed.notify()


def _turn(job: Job) -> float:
    return job.client.turn_s
