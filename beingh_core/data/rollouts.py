"""What the scripted expert does in the simulator, as rows of a dataset, faster than real time and without ROS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.contract.simulation import check_simulation
from beingh_core.errors import BeingHError
from beingh_core.tasks import PICK, Task, every_told, task_of

# An episode ends with a success, or without one after this [s].
LONGEST_S = 45.0


class Rollouts:
    """Episodes of one robot. One thread, which renders.

    Args:
        contract: the robot.
        noise: how far each commanded arm joint is off at random, as a share of its largest step; the expert corrects it.
        instructions: what it is told, with the fields of its task; of each task the first is taken, or its own.
        tasks: what it is told to do.

    Raises:
        BeingHError: the simulator does not play the contract, the robot has nothing to grasp with, or an instruction belongs to none
            of the tasks or has other fields.
    """

    def __init__(
        self,
        contract: RobotContract,
        noise: float = 0.0,
        instructions: Sequence[str] = (),
        tasks: Sequence[Task] = (PICK,),
    ) -> None:
        from beingh_core.data.contract_rows import RowEncoder
        from beingh_core.data.views import View
        from beingh_core.sim import SimRobot
        from beingh_core.sim.expert_policy import ExpertPolicy
        from beingh_core.sim.pictures import Pictures

        check_simulation(contract)
        self.contract, self._noise, self._tasks = contract, noise, tuple(tasks)
        self._sentences = sentences_of(tasks, instructions)
        self.robot, self._expert = SimRobot.of(contract, tasks=tasks), ExpertPolicy(contract, inference_s=0.0)
        if not self._expert.picks:
            raise BeingHError(
                "this robot has nothing to grasp with, so there is nothing to record", where=contract.path
            )
        self._rows = RowEncoder(contract)
        for camera in contract.cameras:
            if camera.depth:
                raise BeingHError("pictures of depth are not recorded", where=f"{contract.path}: cameras.{camera.name}")
        self._pictures = Pictures(self.robot.model)
        self._views = {camera.name: (self.robot.views[camera.name], View(camera)) for camera in contract.cameras}
        self._moved = [(i, n) for i, n in enumerate(contract.joint_names) if n in self.robot.positions()]

    def sizes(self) -> dict[str, tuple[int, int]]:
        """View -> (height, width) of its pictures."""
        return {name: image.shape[:2] for name, image in self._images().items()}

    def episode(self, seed: int) -> tuple[list, bool]:
        """The frames of the scene of a seed, for which all that can be told is told in turn, and whether it was done."""
        from beingh_core.evaluate.judge import TaskJudge

        self.robot.reset(seed)
        self._rows.restart()
        told = self._told()
        judge = TaskJudge(told[seed % len(told)])
        frames = list(self._frames(judge, np.random.default_rng(seed)))
        return frames, judge.success

    def _frames(self, judge, rng: np.random.Generator) -> Iterator:
        from beingh_core.data.contract_rows import ACTION, IMAGES, STATE
        from beingh_core.data.lerobot.episode import Frame
        from beingh_core.sim.expert_policy import OutOfReach, cubes_of

        contract, still = self.contract, np.asarray(self.contract.limits.is_velocity)
        sent_TJ = np.tile(np.where(still, 0.0, contract.home), (2, 1))
        names = dict.fromkeys((name for signal in contract.state for name in signal.values), 0.0)
        told, start_s = judge.told, self.robot.time_s
        task = told.text(self._sentences[told.task.name][0])
        while not judge.success and self.robot.time_s - start_s < LONGEST_S:
            cubes, positions = cubes_of(self.robot), names | self.robot.positions()
            places = {name: cube.centre for name, cube in cubes.items()}
            judge.update(self.robot.time_s, places, self.robot.touched())
            state = self._rows.state(positions)
            images = {IMAGES + name: image for name, image in self._images().items()}
            measured_J = self._commanded(positions)
            try:
                row_J = self._expert.plan(told, cubes, sent_TJ, measured_J, 1)[0]
            except OutOfReach:  # it has been knocked away: a failed attempt
                return
            row_J = self._disturbed(row_J, sent_TJ[-1], rng)
            yield Frame(vectors={STATE: state, ACTION: self._rows.action(sent_TJ[-1], row_J)}, images=images, task=task)
            self.robot.step(contract.dt_s, {name: float(row_J[i]) for i, name in self._moved})
            sent_TJ = np.vstack([sent_TJ[-1:], row_J])

    def _told(self) -> list:
        """All that the robot is told."""
        return list(every_told(self._tasks, self.robot.objects()))

    def _commanded(self, positions: Mapping[str, float]) -> np.ndarray:
        """(J,) of the joints that are commanded; those that the simulator lacks, of a base, are 0."""
        return np.array([positions.get(name, 0.0) for name in self.contract.joint_names])

    def _disturbed(self, row_J: np.ndarray, before_J: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A command that is off at random, where it moves, and within the position limits."""
        limits = self.contract.limits
        off = self._noise * limits.velocity * self.contract.dt_s * rng.normal(size=len(row_J))
        moves = (row_J != before_J) & ~np.asarray(limits.is_velocity)
        return np.where(moves, np.clip(row_J + off, limits.lower, limits.upper), row_J) if self._noise else row_J

    def _images(self) -> dict[str, np.ndarray]:
        shown = {name: self._pictures.colour(self.robot.data, sim_view) for name, (sim_view, _) in self._views.items()}
        return {name: self._views[name][1].apply(pixels) for name, pixels in shown.items()}

    def close(self) -> None:
        """Release the rendering contexts."""
        self._pictures.close()
        self.robot.close()


def sentences_of(tasks: Sequence[Task], instructions: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Name of a task -> sentences with its fields: those of the instructions that have its words, or its own.

    An instruction without the words of any task belongs to the only one that there is.

    Raises:
        BeingHError: an instruction belongs to none of the tasks, or has not each field once.
    """
    found: dict[str, list[str]] = {task.name: [] for task in tasks}
    for text in dict.fromkeys(instructions):
        task = task_of(text) or (tasks[0] if len(tasks) == 1 else None)
        if task is None or task.name not in found:
            raise BeingHError(
                f"the instruction {text!r} belongs to none of the tasks that are asked for",
                allowed=tuple(task.instruction for task in tasks),
                remedy="give its task with --task" if task else "use the words of one of them",
            )
        if any(text.count(field) != 1 for field in task.fields):
            raise BeingHError(f"the instruction {text!r} has not one field {' and one '.join(task.fields)}")
        found[task.name].append(text)
    return {task.name: tuple(found[task.name]) or (task.instruction,) for task in tasks}
