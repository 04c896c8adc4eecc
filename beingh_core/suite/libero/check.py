"""The dry run: every task is opened, reset to its first state, stepped and looked at."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from beingh_core.suite.libero import conventions
from beingh_core.suite.libero.crew import Environments, Job, shared_out
from beingh_core.suite.libero.episode import start
from beingh_core.suite.libero.policies import Task
from beingh_core.suite.libero.process import Lost, Process

STEPS = 4


def check(tasks: Iterable[tuple[str, int]], environments: Environments) -> list[dict[str, Any]]:
    """A row a task; `error` tells why one failed."""
    rows = []
    jobs = [Job(suite, task, 0) for suite, task in tasks]
    for job, result in shared_out(jobs, _look, environments):
        row = {"suite": job.suite, "task": job.task, "error": ""}
        rows.append(row | ({"error": str(result)} if isinstance(result, Lost) else result))
        print(
            f"{len(rows)} of {len(jobs)}: {job.suite} task {job.task} {'FAILED' if rows[-1]['error'] else 'good'}",
            flush=True,
        )
    return rows


def _look(process: Process, task: Task, job: Job) -> dict[str, Any]:
    begin_s = time.monotonic()
    process.ask("reset", **start(job))
    reset_s, begin_s = time.monotonic() - begin_s, time.monotonic()
    actions = np.tile(conventions.WAIT, (STEPS, 1))
    actions[:, 2] = 0.2
    told, seen = process.ask("run", {"actions": actions}, pictures="all")
    step_ms = 1e3 * (time.monotonic() - begin_s) / STEPS
    views = conventions.pictures(seen)
    for view, frames in views.items():
        if frames.shape[0] != told["ran"] or frames[-1].std() < 5.0:
            raise Lost(f"{process.name}: `{view}` shows nothing (shape {frames.shape}, spread {frames[-1].std():.1f})")
    for name, value in conventions.state(seen).items():
        if not np.isfinite(value).all():
            raise Lost(f"{process.name}: `{name}` is {value}")
    shapes = ", ".join("x".join(map(str, frames.shape[1:3])) for frames in views.values())
    return {
        "language": task.language, "states": task.states, "open_s": task.open_s, "reset_s": reset_s, "step_ms": step_ms,
        "pictures": shapes,
    }  # fmt: skip
