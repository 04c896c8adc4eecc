"""Demonstrations of the scripted expert in libero_object, as a LeRobot dataset with the columns of the published ones."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from beingh_core.data.lerobot.episode import Frame, Staged, stage
from beingh_core.data.lerobot.schema import Camera, DatasetSpec, Vector
from beingh_core.data.lerobot.writer import DatasetWriter
from beingh_core.errors import BeingHError
from beingh_core.suite.libero import conventions
from beingh_core.suite.libero.crew import Environments, Job, shared_out
from beingh_core.suite.libero.episode import RATE_HZ
from beingh_core.suite.libero.expert import Expert
from beingh_core.suite.libero.policies import Task
from beingh_core.suite.libero.process import Lost, Process, check_python, check_workers

SUITE = "libero_object"
STATE, ACTION = "observation.state", "action"
# View -> column, as the released data config reads the published datasets.
COLUMNS = {"top_view": "observation.images.image", "wrist_view": "observation.images.wrist_image"}
STATE_PARTS = (("eef_position", 3), ("eef_rotation", 3), ("libero_gripper_position", 2))
ACTION_PARTS = (("eef_position", 3), ("eef_rotation", 3), ("gripper_position", 1))
# Seeds of a task and of its neighbours do not meet, nor do they meet those of an environment (0).
SEEDS = 100_000


@dataclass(frozen=True, kw_only=True)
class Demonstrations:
    """Which demonstrations, and how.

    Attributes:
        tasks: numbers of the suite; none for all.
        episodes: successful ones of each task that the dataset is to have.
        noise: standard deviation of what is added to the executed actions; the dataset has the expert's own.
        seed: of a task's first initial state.
        pixels: side of the pictures.
        python, workers, deadline_s: see `Run`.
        out: folder of the dataset.
    """

    tasks: tuple[int, ...]
    episodes: int
    noise: float
    seed: int
    pixels: int
    python: str
    workers: int
    deadline_s: float
    out: Path

    def __post_init__(self) -> None:
        most = conventions.TASKS[SUITE]
        if not self.tasks:
            object.__setattr__(self, "tasks", tuple(range(most)))
        if len(set(self.tasks)) < len(self.tasks) or max(self.tasks) >= most:
            raise BeingHError(
                f"tasks {', '.join(map(str, self.tasks))}", where="--tasks", allowed=f"of 0 to {most - 1}"
            )
        if not 1 <= self.episodes <= 10_000 or not 0 <= self.seed < SEEDS // 2 or not 0.0 <= self.noise <= 0.5:
            raise BeingHError(
                f"{self.episodes} episodes, seed {self.seed}, noise {self.noise:g}",
                allowed=f"1 to 10000 episodes, seed 0 to {SEEDS // 2 - 1}, noise 0 to 0.5",
            )
        if not 64 <= self.pixels <= 512 or self.pixels % 2:
            raise BeingHError(f"{self.pixels} pixels", where="--pixels", allowed="64 to 512, even")
        check_workers(self.workers, self.deadline_s)
        if not self.python:
            raise BeingHError(
                "no Python of an environment", where="--python", remedy="docs/libero.md tells how to make one"
            )

    def source(self, job: Job) -> str:
        """Of an episode; a dataset holds each once."""
        return f"{SUITE} task {job.task} seed {self.seed + job.trial} noise {self.noise:g}"


def spec(pixels: int) -> DatasetSpec:
    """Of the dataset."""
    names = lambda parts: tuple(f"{key}.{i}" for key, width in parts for i in range(width))
    return DatasetSpec(
        fps=RATE_HZ, robot="panda",
        vectors=(Vector(key=STATE, names=names(STATE_PARTS)), Vector(key=ACTION, names=names(ACTION_PARTS))),
        cameras=tuple(Camera(key=key, height=pixels, width=pixels) for key in COLUMNS.values()),
    )  # fmt: skip


def modality() -> dict[str, Any]:
    """meta/modality.json: which numbers of a column are which key of the data config."""
    found: dict[str, Any] = {}
    for kind, column, parts in (("state", STATE, STATE_PARTS), ("action", ACTION, ACTION_PARTS)):
        first, found[kind] = 0, {}
        for key, width in parts:
            found[kind][key] = {"start": first, "end": first + width, "original_key": column}
            first += width
    found["video"] = {view: {"original_key": column} for view, column in COLUMNS.items()}
    return found | {"annotation": {"human.task_description": {"original_key": "task_index"}}}


def record(given: Demonstrations) -> str:
    """Records what is missing; returns a table: episodes and failures of each task, and how long it took.

    Raises:
        BeingHError: the environment is not there or fails, or more picks of a task fail than are wanted.
    """
    logs = given.out.with_name(given.out.name + "_logs")
    check_python(given.python, logs / "versions.log", min(given.deadline_s, 120.0))
    environments = Environments(
        python=given.python, logs=logs, workers=given.workers, deadline_s=given.deadline_s, pixels=given.pixels
    )
    begin_s, made, failed = time.monotonic(), [], set()
    with DatasetWriter(given.out, spec(given.pixels)) as writer:
        writer.describe(modality=modality())

        def do(process: Process, task: Task, job: Job) -> Staged | None:
            *frames, done = _played(process, task, given, job)
            return stage(writer.spec, writer.staging(), frames, source=given.source(job)) if done else None

        while jobs := _missing(given, writer.sources, failed):
            for job, result in shared_out(jobs, do, environments):
                if isinstance(result, Lost):
                    raise BeingHError(str(result), where=given.out)
                if result is None:
                    failed.add(job)
                    _check_failures(job.task, failed, given)
                else:
                    writer.commit(result)
                    made.append((job.task, result.record.frames))
                told = "failed" if result is None else f"{result.record.frames} rows"
                print(f"{writer.episodes} episodes; task {job.task}, seed {given.seed + job.trial}: {told}", flush=True)
        episodes = writer.episodes
    return _told(given, made, failed, episodes, time.monotonic() - begin_s)


def _missing(given: Demonstrations, sources: set[str], failed: set[Job]) -> list[Job]:
    """As many untried trials of each task as it has episodes too few."""
    jobs: list[Job] = []
    for task in sorted(given.tasks):
        few = given.episodes - sum(source.startswith(f"{SUITE} task {task} ") for source in sources)
        untried = (job for job in (Job(SUITE, task, n) for n in itertools.count()) if job not in failed)
        new = (job for job in untried if given.source(job) not in sources)
        jobs += itertools.islice(new, max(0, few))
    return jobs


def _check_failures(task: int, failed: set[Job], given: Demonstrations) -> None:
    count = sum(job.task == task for job in failed)
    if count > max(5, given.episodes):
        raise BeingHError(
            f"{count} picks of task {task} failed", where=given.out, remedy="leave the task out with --tasks"
        )


def _played(process: Process, task: Task, given: Demonstrations, job: Job) -> Iterator[Frame | bool]:
    """The rows of one episode, and last whether it succeeded."""
    seed = SEEDS * (1 + job.task) + given.seed + job.trial
    rng = np.random.default_rng(seed)
    process.ask("reset", seed=seed)
    wait = {"actions": np.tile(conventions.WAIT, (conventions.SETTLE, 1))}
    _, seen = process.ask("run", wait, pictures="last")
    expert, done = Expert(task.wanted, task.shapes), False
    for _ in range(conventions.MAX_STEPS[SUITE]):
        action = expert.action(seen)
        images = {COLUMNS[view]: frames[-1] for view, frames in conventions.pictures(seen).items()}
        state = np.concatenate(list(conventions.state(seen).values()))
        yield Frame(
            vectors={STATE: state, ACTION: conventions.policy_action(action)}, images=images, task=task.language
        )
        moved = np.clip(action[:6] + given.noise * rng.normal(size=6), -1.0, 1.0)
        told, seen = process.ask("run", {"actions": np.append(moved, action[6])[None]}, pictures="last")
        if told["done"]:
            done = True
            break
    yield done


def _told(given: Demonstrations, made: list[tuple[int, int]], failed: set[Job], episodes: int, seconds: float) -> str:
    lines = ["| task | new episodes | failed picks |", "|---|---|---|"]
    for task in sorted(given.tasks):
        lines.append(f"| {task} | {sum(t == task for t, _ in made)} | {sum(job.task == task for job in failed)} |")
    rate, rows = 60.0 * len(made) / max(seconds, 1e-9), sum(rows for _, rows in made)
    told = f"{episodes} episodes in {given.out}; {len(made)} new ones, {rows} rows, in {seconds:.0f} s ({rate:.1f} a minute)."
    return "\n".join([*lines, "", told]) + "\n"
