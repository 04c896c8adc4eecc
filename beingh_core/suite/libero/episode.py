"""One episode of a task: official initial state, settling, then chunks until it is solved or too long."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import numpy as np

from beingh_core.suite.libero import conventions
from beingh_core.suite.libero.crew import Job
from beingh_core.suite.libero.policies import Source, Task
from beingh_core.suite.libero.process import Process

RATE_HZ = 20  # of the environment's steps


def play(process: Process, task: Task, job: Job, source: Source, videos: Path | None) -> dict[str, Any]:
    """The row of an episode.

    Args:
        process: in which the task is open.
        task, job: which episode.
        source: of its policy.
        videos: folder for a video of it, or None.

    Raises:
        Lost: the process is gone.
        BeingHError: the policy refuses, or its server is gone.
    """
    begin_s, answerer = time.monotonic(), source.episode(task, job.trial)
    with contextlib.ExitStack() as stack:
        film = stack.enter_context(_Film(videos, job)) if videos else None
        looking = "all" if film else "last" if answerer.looks else "none"
        process.ask("reset", **start(job))
        wait = {"actions": np.tile(conventions.WAIT, (conventions.SETTLE, 1))}
        _, seen = process.ask("run", wait, pictures="last" if answerer.looks or film else "none")
        steps, done, longest = 0, False, conventions.MAX_STEPS[job.suite]
        while steps < longest and not done:
            actions = answerer.actions(seen)[: longest - steps]
            told, seen = process.ask("run", {"actions": actions}, pictures=looking)
            steps, done = steps + told["ran"], told["done"]
            if film:
                film.add(seen)
        if film:
            film.success = done
    return {
        **job._asdict(), "language": task.language, "success": done, "steps": steps,
        "seconds": round(time.monotonic() - begin_s, 1), "error": "",
    }  # fmt: skip


def start(job: Job) -> dict[str, int]:
    """What `reset` is asked: the official state of that trial; robosuite's tasks have none and are drawn."""
    return {"seed": job.trial} if job.suite == conventions.LIFT else {"state": job.trial}


class _Film:
    """The views side by side, named after how it ended."""

    def __init__(self, folder: Path, job: Job) -> None:
        from beingh_core.evaluate.video import VideoWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._name = f"{job.suite}_task{job.task}_trial{job.trial:02d}"
        self._part = folder / f"{self._name}.part.mp4"
        self._writer, self.success = VideoWriter(self._part, RATE_HZ), None

    def __enter__(self) -> _Film:
        return self

    def add(self, seen) -> None:
        views = conventions.pictures(seen)
        for frames in zip(*views.values()):
            self._writer.add(np.concatenate(frames, axis=1))

    def __exit__(self, *_: object) -> None:
        self._writer.close()
        if self.success is None:  # it did not end
            self._part.unlink(missing_ok=True)
        else:
            self._part.replace(self._part.with_name(f"{self._name}_{'success' if self.success else 'failure'}.mp4"))
