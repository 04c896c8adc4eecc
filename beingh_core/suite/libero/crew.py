"""Jobs shared out among environment processes, each of which has one task open as long as there is work in it."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from beingh_core.suite.libero.policies import Task
from beingh_core.suite.libero.process import Lost, Process


class Job(NamedTuple):
    """An episode: of a suite, a task of it, and a trial of that."""

    suite: str
    task: int
    trial: int


Do = Callable[[Process, Task, Job], Any]
"""Does a job with a process in which its task is open."""


@dataclass(frozen=True, kw_only=True)
class Environments:
    """How processes are started.

    Attributes:
        python: of the environment.
        logs: folder of what they print.
        workers: how many.
        deadline_s: longest wait for an answer [s].
        pixels: side of the pictures.
        seed: of an environment, before official states are set.
    """

    python: str
    logs: Path
    workers: int
    deadline_s: float
    pixels: int
    seed: int = 0


class Worker:
    """One process after another, a new one for each task: simulators do not give back what an open task took.

    Args:
        number: of the worker, for its name and log.
        environments: how processes are started.
    """

    def __init__(self, number: int, environments: Environments) -> None:
        self._number, self._environments = number, environments
        self._process: Process | None = None
        self.ended = False
        self.task: Task | None = None

    def do(self, job: Job, do: Do) -> Any:
        """The result of `do`.

        Raises:
            Lost: the process is gone; the next job gets a new one.
        """
        try:
            process = self._opened(job)
            return do(process, self.task, job)
        except BaseException:
            self.drop()
            raise

    def end(self) -> None:
        """End the process, now and for good; may come from another thread."""
        self.ended = True
        process = self._process
        if process is not None:
            process.kill()

    def drop(self) -> None:
        """End the process; the next job gets a new one."""
        process, self._process, self.task = self._process, None, None
        if process is not None:
            process.close()

    def _opened(self, job: Job) -> Process:
        given = self._environments
        if self.task is not None and (self.task.suite, self.task.number) != (job.suite, job.task):
            self.drop()
        if self._process is None:
            log = given.logs / f"worker_{self._number}.log"
            self._process = Process(given.python, f"worker {self._number}", log, given.deadline_s)
        self._process.name = f"worker {self._number} ({job.suite} task {job.task}, trial {job.trial})"
        if self.ended:
            raise Lost(f"{self._process.name} was stopped")
        if self.task is None:
            begin_s = time.monotonic()
            told, shapes = self._process.ask(
                "open", suite=job.suite, task=job.task, pixels=given.pixels, seed=given.seed
            )
            self.task = Task(
                suite=job.suite, number=job.task, language=told["language"], wanted=tuple(told["wanted"]), shapes=shapes,
                states=told["states"], open_s=time.monotonic() - begin_s,
            )  # fmt: skip
        return self._process


class _Jobs:
    """What is left to do. Threads may share it."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._left, self._lock, self._open = list(jobs), threading.Lock(), {}

    def take(self, worker: Worker) -> Job | None:
        """A job of the worker's open task if there is one, else of a task that no other worker has open, else any."""
        with self._lock:
            if not self._left:
                return None
            own = self._open.get(worker)
            others = {task for one, task in self._open.items() if one is not worker}
            cost = lambda job: 0 if job[:2] == own else 1 if job[:2] not in others else 2
            job = min(self._left, key=cost)
            self._left.remove(job)
            self._open[worker] = job[:2]
            return job


def shared_out(jobs: Sequence[Job], do: Do, environments: Environments) -> Iterator[tuple[Job, Any]]:
    """(job, its result) as they come; `Lost` in place of the result where its process was lost twice.

    A lost process is told on stderr, and its job done once more in a new one.

    Raises:
        BeingHError: what `do` raises ends the whole.
    """
    left, done = _Jobs(jobs), queue.SimpleQueue()
    workers = [Worker(n, environments) for n in range(min(environments.workers, len(jobs)))]

    def work(worker: Worker) -> None:
        try:
            while not worker.ended and (job := left.take(worker)) is not None:
                done.put((job, _twice(worker, job, do)))
        except BaseException as error:  # raised again where the results are taken
            done.put((None, error))

    threads = [threading.Thread(target=work, args=(worker,), daemon=True) for worker in workers]
    try:
        for thread in threads:
            thread.start()
        for _ in jobs:
            job, result = done.get()
            if job is None:
                raise result
            yield job, result
    finally:
        for worker in workers:
            worker.end()
        for thread, worker in zip(threads, workers):
            thread.join()
            worker.drop()


def _twice(worker: Worker, job: Job, do: Do) -> Any:
    try:
        return worker.do(job, do)
    except Lost as first:
        if worker.ended:
            return first
        print(f"{first}; its episode is run again", file=sys.stderr, flush=True)
    try:
        return worker.do(job, do)
    except Lost as second:
        print(f"{second}; its episode counts as an error", file=sys.stderr, flush=True)
        return second
