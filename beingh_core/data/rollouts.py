"""`beingh sim rollouts`: picks of the scripted expert in the simulator as a LeRobot dataset, faster than real time and without ROS."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from beingh_core.contract import RobotContract, load_contract
from beingh_core.contract.simulation import check_simulation
from beingh_core.errors import BeingHError

_DESCRIPTION = (
    "Lets the scripted expert pick cubes in the simulator, one instruction and one scene an episode, and writes what a camera "
    "sees, the state and the commands at the contract's rate. An interrupted dataset is continued."
)
_INSTRUCTION = "pick up the {colour} cube"
# An episode ends when the cube is up, or without a success after this [s].
LONGEST_S = 45.0


class Rollouts:
    """Episodes of one robot. One thread, which renders.

    Args:
        contract: the robot.
        noise: how far each commanded arm joint is off at random, as a share of its largest step; the expert corrects it.

    Raises:
        BeingHError: the simulator does not play the contract, or the robot has nothing to grasp with.
    """

    def __init__(self, contract: RobotContract, noise: float = 0.0) -> None:
        from beingh_core.data.contract_rows import RowEncoder
        from beingh_core.data.views import View
        from beingh_core.sim import SimRobot
        from beingh_core.sim.expert_policy import ExpertPolicy
        from beingh_core.sim.pictures import Pictures

        check_simulation(contract)
        self.contract, self._noise = contract, noise
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
        task, start_s = _INSTRUCTION.format(colour=judge.wanted), self.robot.time_s
        while not judge.success and self.robot.time_s - start_s < LONGEST_S:
            cubes, positions = cubes_of(self.robot), names | self.robot.positions()
            judge.update(self.robot.time_s, {colour: cube.centre for colour, cube in cubes.items()})
            state = self._rows.state(positions)
            images = {IMAGES + name: image for name, image in self._images().items()}
            measured_J = np.array([positions.get(name, 0.0) for name in contract.joint_names])
            try:
                row_J = self._expert.plan(judge.wanted, cubes, sent_TJ, measured_J, 1)[0]
            except OutOfReach:  # it has been knocked away: a failed pick
                return
            row_J = self._disturbed(row_J, sent_TJ[-1], rng)
            yield Frame(vectors={STATE: state, ACTION: self._rows.action(sent_TJ[-1], row_J)}, images=images, task=task)
            self.robot.step(contract.dt_s, {name: float(row_J[i]) for i, name in self._moved})
            sent_TJ = np.vstack([sent_TJ[-1:], row_J])

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


def add_rollouts(commands) -> None:
    """Adds `sim rollouts` to the command line."""
    sim = commands.add_parser("sim", help="data from the simulator")
    verbs = sim.add_subparsers(metavar="WHAT", required=True)
    parser = verbs.add_parser(
        "rollouts", help="picks of the scripted expert as a dataset", description=_DESCRIPTION,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--robot", required=True, metavar="ROBOT", help="robot contract: name or path")
    parser.add_argument("--out", type=Path, required=True, metavar="DATASET", help="folder of the dataset")
    parser.add_argument("--episodes", type=int, default=50, help="how many successful ones the dataset is to have")
    parser.add_argument("--seed", type=int, default=0, help="scene of the first episode; the following ones count up")
    parser.add_argument(
        "--noise", type=float, default=0.0, help="of commands, as a share of the largest step: 0 to 0.5"
    )
    parser.add_argument("--codec", default="h264", help="of the videos: h264 or av1")
    parser.set_defaults(run=_rollouts)


def _rollouts(given: argparse.Namespace) -> int:
    from beingh_core.data import contract_rows
    from beingh_core.data.lerobot.schema import VideoSettings
    from beingh_core.data.lerobot.writer import DatasetWriter

    if given.episodes < 1 or not 0.0 <= given.noise <= 0.5 or given.seed < 0:
        raise BeingHError(
            f"{given.episodes} episodes with noise {given.noise:g} from seed {given.seed}",
            allowed="1 episode or more, noise 0 to 0.5, seed 0 or more",
        )
    contract = load_contract(given.robot)
    rollouts = Rollouts(contract, given.noise)
    video = VideoSettings(codec=given.codec)
    spec = contract_rows.dataset_spec(contract, rollouts.sizes(), video, "v3.0", in_charge=False)
    begin_s, robot_s, seed, failed = time.monotonic(), 0.0, given.seed, 0
    with DatasetWriter(given.out, spec) as writer:
        while writer.episodes < given.episodes:
            source, seed = f"{contract.path.stem} seed {seed} noise {given.noise:g}", seed + 1
            if source in writer.sources:
                continue
            frames, picked = rollouts.episode(seed - 1)
            robot_s += len(frames) * contract.dt_s
            if picked:
                writer.add(frames, source=source)
            failed += not picked
            if failed > max(10, given.episodes):
                raise BeingHError(f"{failed} picks failed", where=contract.path, remedy="look at `make demo ROBOT=...`")
        writer.describe(contract=contract, modality=contract_rows.modality(contract))
        made = writer.episodes
    rollouts.close()
    speed = robot_s / max(1e-9, time.monotonic() - begin_s)
    print(f"{given.out}: {made} episodes; {failed} failed picks were left out; {speed:.1f} times real time")
    return 0
