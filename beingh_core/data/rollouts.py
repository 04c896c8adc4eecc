"""Picks of the scripted expert in the simulator, as rows of a dataset, faster than real time and without ROS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.contract.simulation import check_simulation
from beingh_core.errors import BeingHError

INSTRUCTION = "pick up the {colour} cube"
# An episode ends when the cube is up, or without a success after this [s].
LONGEST_S = 45.0


class Rollouts:
    """Episodes of one robot. One thread, which renders.

    Args:
        contract: the robot.
        noise: how far each commanded arm joint is off at random, as a share of its largest step; the expert corrects it.
        instruction: what it is told, with `{colour}`.

    Raises:
        BeingHError: the simulator does not play the contract, or the robot has nothing to grasp with.
    """

    def __init__(self, contract: RobotContract, noise: float = 0.0, instruction: str = INSTRUCTION) -> None:
        from beingh_core.data.contract_rows import RowEncoder
        from beingh_core.data.views import View
        from beingh_core.sim import SimRobot
        from beingh_core.sim.expert_policy import ExpertPolicy
        from beingh_core.sim.pictures import Pictures

        check_simulation(contract)
        self.contract, self._noise, self._instruction = contract, noise, instruction
        self.robot, self._expert = SimRobot.of(contract), ExpertPolicy(contract, inference_s=0.0)
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
        """The frames of the scene of a seed, whose colours are told in turn, and whether the told cube was picked."""
        from beingh_core.evaluate.judge import PickJudge

        self.robot.reset(seed)
        self._rows.restart()
        colours = list(self.robot.objects())
        judge = PickJudge(colours[seed % len(colours)])
        frames = list(self._frames(judge, np.random.default_rng(seed)))
        return frames, judge.success

    def _frames(self, judge, rng: np.random.Generator) -> Iterator:
        from beingh_core.data.contract_rows import ACTION, IMAGES, STATE
        from beingh_core.data.lerobot.episode import Frame
        from beingh_core.sim.expert_policy import OutOfReach, cubes_of

        contract, still = self.contract, np.asarray(self.contract.limits.is_velocity)
        sent_TJ = np.tile(np.where(still, 0.0, contract.home), (2, 1))
        names = dict.fromkeys((name for signal in contract.state for name in signal.values), 0.0)
        task, start_s = self._instruction.format(colour=judge.wanted), self.robot.time_s
        while not judge.success and self.robot.time_s - start_s < LONGEST_S:
            cubes, positions = cubes_of(self.robot), names | self.robot.positions()
            judge.update(self.robot.time_s, {colour: cube.centre for colour, cube in cubes.items()})
            state = self._rows.state(positions)
            images = {IMAGES + name: image for name, image in self._images().items()}
            measured_J = self._commanded(positions)
            try:
                row_J = self._expert.plan(judge.wanted, cubes, sent_TJ, measured_J, 1)[0]
            except OutOfReach:  # it has been knocked away: a failed pick
                return
            row_J = self._disturbed(row_J, sent_TJ[-1], rng)
            yield Frame(vectors={STATE: state, ACTION: self._rows.action(sent_TJ[-1], row_J)}, images=images, task=task)
            self.robot.step(contract.dt_s, {name: float(row_J[i]) for i, name in self._moved})
            sent_TJ = np.vstack([sent_TJ[-1:], row_J])

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
