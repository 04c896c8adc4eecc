"""`beingh suite libero`: episodes of a policy, one JSON line each; goes on where a killed run stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beingh_core.errors import BeingHError
from beingh_core.suite.fingerprint import fingerprint
from beingh_core.suite.journal import Journal
from beingh_core.suite.libero import conventions, policies, report
from beingh_core.suite.libero.crew import Environments, Job, shared_out
from beingh_core.suite.libero.episode import play
from beingh_core.suite.libero.process import Lost, check_python, check_workers

KEYS = ("suite", "task", "trial")
TABLE = "table.md"
MOST_SEED = 2**31


@dataclass(frozen=True, kw_only=True)
class Run:
    """Which episodes, by which policy, how.

    Attributes:
        suites: names.
        tasks: of each suite that has them; none for all.
        trials: of each task, from official state 0 on.
        policy: checkpoint directory, `tcp://HOST:PORT`, `expert` or `hold`.
        dataset_name: whose statistics of the checkpoint; "" for its only ones.
        device: torch device of a checkpoint.
        token_file: of a server.
        executed: actions of a chunk that are run.
        seed: of the policy's noise; negative for none.
        pixels: side of the environment's pictures.
        python: of the environment.
        workers: environment processes.
        deadline_s: longest wait for one of their answers [s].
        video: whether every episode is filmed.
        out: folder.
    """

    suites: tuple[str, ...]
    tasks: tuple[int, ...]
    trials: int
    policy: str
    dataset_name: str
    device: str
    token_file: str
    executed: int
    seed: int
    pixels: int
    python: str
    workers: int
    deadline_s: float
    video: bool
    out: Path

    def __post_init__(self) -> None:
        for name in self.suites:
            conventions.check_suite(name)
        for option, values in (("--suites", self.suites), ("--tasks", self.tasks)):
            if len(set(values)) < len(values) or not self.suites:
                raise BeingHError(f"{', '.join(map(str, values)) or 'nothing'}: each once, one at least", where=option)
        most = max(conventions.TASKS[name] for name in self.suites)
        if max(self.tasks, default=0) >= most:
            raise BeingHError(
                f"tasks {', '.join(map(str, self.tasks))}", where="--tasks", allowed=f"0 to {most - 1} in these suites"
            )
        states = conventions.STATES
        if not 1 <= self.trials <= states:
            raise BeingHError(f"{self.trials} trials", where="--trials", allowed=f"1 to {states}, the official states")
        if not 64 <= self.pixels <= 1024 or self.pixels % 2:
            raise BeingHError(f"pictures of {self.pixels} pixels", where="--pixels", allowed="even, 64 to 1024")
        if self.executed < 1 or self.seed > MOST_SEED:
            raise BeingHError(
                f"{self.executed} actions, seed {self.seed}",
                where="--executed, --seed",
                allowed=f"at least 1 action, seed up to {MOST_SEED}",
            )
        check_workers(self.workers, self.deadline_s)
        if not self.policy:
            raise BeingHError("no policy", where="--policy", allowed="a directory, tcp://HOST:PORT, expert or hold")
        if not self.python:
            raise BeingHError(
                "no Python of an environment", where="--python", remedy="docs/libero.md tells how to make one"
            )

    def jobs(self) -> Iterator[Job]:
        """Every episode, trial by trial within a task."""
        for suite in self.suites:
            every = range(conventions.TASKS[suite])
            for task in sorted({*self.tasks} & {*every}) if self.tasks else every:
                yield from (Job(suite, task, trial) for trial in range(self.trials))

    def environments(self) -> Environments:
        """How its processes are started."""
        return Environments(
            python=self.python, logs=self.out / "logs", workers=self.workers, deadline_s=self.deadline_s,
            pixels=self.pixels,
        )  # fmt: skip

    def versions(self) -> dict[str, str]:
        """Of the environment's packages, which decide what an episode is.

        Raises:
            BeingHError: see `check_python`.
        """
        only = set(self.suites) == {conventions.LIFT}
        log = self.out / "logs" / "versions.log"
        return check_python(self.python, log, min(self.deadline_s, 120.0), robosuite_only=only)


def run(given: Run) -> str:
    """Plays what is missing, and episodes that ended in an error; returns the table.

    Raises:
        BeingHError: other settings than the folder's; see `Run`, `policies.load` and `Journal`.
    """
    versions = given.versions()
    is_checkpoint = given.policy not in (policies.HOLD, policies.EXPERT) and not given.policy.startswith("tcp://")
    settings = {
        "policy": fingerprint(Path(given.policy)) if is_checkpoint else given.policy,
        "dataset_name": given.dataset_name, "executed": given.executed, "seed": given.seed, "pixels": given.pixels,
        "settle": conventions.SETTLE, "environment": versions,
    }  # fmt: skip
    with Journal(given.out, settings, KEYS) as journal:
        wanted = list(given.jobs())
        of_this = set(wanted)
        done = {journal.key(row) for row in report.latest(journal.rows) if not row["error"]}
        missing = [job for job in wanted if job not in done]
        if missing:
            source = policies.load(
                given.policy, dataset_name=given.dataset_name, executed=given.executed, seed=given.seed,
                device=given.device, token_file=given.token_file,
            )  # fmt: skip
            _play(given, missing, source, journal)
        rows = [row for row in journal.rows if journal.key(row) in of_this]
    text = report.table(rows, given.policy) + "\n" + report.environment(versions, given.pixels) + "\n"
    (given.out / TABLE).write_text(text, encoding="utf-8")
    return text


def _play(given: Run, missing: Sequence[Job], source: policies.Source, journal: Journal) -> None:
    videos = given.out / "videos" if given.video else None
    begin_s = time.monotonic()

    def do(process, task, job: Job) -> dict[str, Any]:
        return play(process, task, job, source, videos)

    for number, (job, result) in enumerate(shared_out(missing, do, given.environments()), start=1):
        row = failed(job, result) if isinstance(result, Lost) else result
        journal.add(row)
        told = row["error"] or ("success" if row["success"] else "failure")
        print(
            f"{number} of {len(missing)}, {time.monotonic() - begin_s:.0f} s: {job.suite} task {job.task}, "
            f"trial {job.trial}: {told}, {row['steps']} steps",
            flush=True,
        )


def failed(job: Job, lost: Lost) -> dict[str, Any]:
    """The row of an episode whose process was lost twice."""
    return {**job._asdict(), "language": "", "success": False, "steps": 0, "seconds": 0.0, "error": str(lost)}
