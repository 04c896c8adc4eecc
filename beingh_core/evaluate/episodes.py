"""What is kept of an episode: its result, and the traces of the one that the report shows in full."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from beingh_core.tasks import TASKS


@dataclass(frozen=True, kw_only=True)
class EpisodeResult:
    """One judged episode.

    Attributes:
        index: 0, 1, ... in the run.
        seed: of the scene.
        instruction: what the robot was told.
        wanted: colour of the cube that the instruction names, "" where there is nothing to grasp with.
        success: whether the task was done with that cube.
        time_s: robot time until the success or the end of the trial [s].
        first_lifted: colour of the first cube that was lifted, or pushed where that is the task, if any.
        note: anything unusual, such as a stop of the controller.
        task: name of the task.
    """

    index: int
    seed: int
    instruction: str
    wanted: str
    success: bool
    time_s: float
    first_lifted: str | None
    note: str = ""
    task: str = "pick"

    @property
    def wrong_cube(self) -> bool:
        """Whether the task was begun to another cube than the one named."""
        return self.first_lifted not in (None, self.wanted)

    @property
    def outcome(self) -> str:
        """The result in words."""
        if not self.wanted:
            return "followed the path" if self.success else "did not follow the path"
        task = TASKS[self.task]
        if self.success:
            return task.done
        if self.wrong_cube:
            return f"{task.began} the {self.first_lifted} cube first"
        return f"{task.began}, {task.missed}" if self.first_lifted else f"not {task.began}"


@dataclass(frozen=True, kw_only=True, eq=False)
class EpisodeTrace:
    """Traces of one episode, for its pictures. Times are robot times since the start [s]; J joints.

    Attributes:
        result: the episode.
        joints: names of the joints.
        rate_hz: ticks per second.
        measured_s, measured: (N,), (N, J) joint states.
        first_tick_s: time of the first sent tick.
        sent: (T, J) what was sent, one row a tick.
        chunks: (index of the base tick in `sent`, (H, J) positions) of every accepted chunk.
        seams: indices in `sent` at which a new chunk took over.
        locked_steps: d, points of a chunk that repeat what was going to run.
        frames: (time, view name -> uint8 (H, W, 3)), in order.
    """

    result: EpisodeResult
    joints: tuple[str, ...]
    rate_hz: float
    measured_s: np.ndarray
    measured: np.ndarray
    first_tick_s: float
    sent: np.ndarray
    chunks: list[tuple[int, np.ndarray]]
    seams: list[int]
    locked_steps: int
    frames: list[tuple[float, Mapping[str, np.ndarray]]]


def instruction_counts(results: Iterable[EpisodeResult]) -> dict[str, dict[str, int]]:
    """Instruction -> episodes, successes, and episodes in which the task was begun to another cube first."""
    counts: dict[str, dict[str, int]] = {}
    for result in results:
        row = counts.setdefault(result.instruction, {"episodes": 0, "successes": 0, "wrong_cube": 0})
        row["episodes"] += 1
        row["successes"] += result.success
        row["wrong_cube"] += result.wrong_cube
    return counts
