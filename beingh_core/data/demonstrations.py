"""Record demonstrations of the scripted expert in the simulator.

The arm wanders through real physics: it picks cubes, breaks off, heads for other places, is disturbed.
At recorded moments the expert demonstrates *every* instruction from what is seen, after a short stretch
of the motion already under way (the committed prefix). One picture thus comes with several instructions
and as many different actions, and neither the state nor the prefix tells which one was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from beingh_core.contract import RobotContract, load_contract
from beingh_core.contract.kinematics import Kinematics
from beingh_core.sim.expert import Goal, HandState, foresee, held_cube, next_state
from beingh_core.sim.robot import FINGERS, SimRobot
from beingh_core.sim.scene import CUBE_COLOURS

COLOURS = tuple(CUBE_COLOURS)
CAMERAS = {"scene_view": "scene_camera", "wrist_view": "wrist_camera"}
SHARD_FRAMES = 1000
GRIPPER_DOWN = np.diag([1.0, -1.0, -1.0])
MAX_TICKS = 90
REACH_BOX = np.array([[0.28, -0.30, 0.012], [0.72, 0.30, 0.42]])
WANDER_BOX = np.array([[0.34, -0.22, 0.07], [0.66, 0.22, 0.34]])


@dataclass(frozen=True, kw_only=True)
class RecorderConfig:
    """How demonstrations are recorded.

    Attributes:
        max_delay: longest committed prefix [ticks]; drawn with weights exp(-d / delay_scale).
        mean_gap: mean number of ticks between recorded frames.
        noise_m: size of the disturbance added to commanded steps [m/tick].
    """

    max_delay: int = 6
    delay_scale: float = 4.0
    mean_gap: int = 3
    noise_m: float = 0.0015


class Recorder:
    """Produces frames endlessly; each is a dict of arrays.

    Keys: images (views, H, W, 3) uint8; state (4,): measured tool position [m] and opening; and what `_demonstrate` returns.

    Args:
        contract: the robot contract; gives rate, chunk length and home.
        config: recording options.
        seed: seed of scenes and behaviour.
    """

    def __init__(self, contract: RobotContract, config: RecorderConfig, seed: int):
        self.config, self.rng = config, np.random.default_rng(seed)
        self.dt_s, self.horizon = contract.dt_s, contract.policy.chunk_length
        home = dict(zip(contract.joint_names, contract.home))
        self.robot = SimRobot(contract.urdf_path, home)
        arm = next(signal for signal in contract.action if signal.slot == "eef_position")
        self.kinematics = Kinematics(contract.urdf_path, arm.joints, arm.eef_frame, arm.base_frame)
        self.rest = np.array([home[j] for j in arm.joints])
        self.open_m = self.robot.model.joint(FINGERS[0]).range[1]
        weights = np.exp(-np.arange(config.max_delay + 1) / config.delay_scale)
        self.delay_weights = weights / weights.sum()

    def frames(self):
        """Yield frames, episode after episode."""
        while True:
            yield from self._episode()

    def _episode(self):
        self.robot.reset(int(self.rng.integers(2**31)))
        state, q = self._start()
        goal, until, carried = self._new_goal(), 0, 0
        for tick in range(MAX_TICKS):
            if tick >= until and not carried:
                goal, until = self._new_goal(), tick + int(self.rng.integers(4, 45))
            state = next_state(self._disturbed(state), goal, self._cubes())
            state = replace(state, position=np.clip(state.position, *REACH_BOX))
            q = self.kinematics.ik(state.position, GRIPPER_DOWN, q, self.rest)
            seen = self._advance(self._command(q, state.opening), look=self.rng.random() < 1 / self.config.mean_gap)
            tool, opening = self._measured()
            state = replace(state, holding=held_cube(tool, state.opening, opening, self._cubes()))
            if seen is not None and tick > 2:
                yield {**seen, **self._demonstrate(state, goal)}
            carried = carried + 1 if state.holding is not None and state.holding == goal.colour else 0
            if carried > 25 + self.rng.integers(20):
                return

    def _advance(self, command: dict[str, float], look: bool) -> dict[str, np.ndarray] | None:
        """Run one tick; with `look`, observe at a random moment of it, as a free-running camera does."""
        if not look:
            self.robot.step(self.dt_s, command)
            return None
        steps = round(self.dt_s / self.robot.model.opt.timestep)
        before = int(self.rng.integers(1, steps + 1))
        last = self.robot.command()
        part = {j: last[j] + (v - last[j]) * before / steps for j, v in command.items()}
        self.robot.step(self.dt_s * before / steps, part)
        tool, opening = self._measured()
        seen = {
            "images": np.stack([self.robot.render(camera) for camera in CAMERAS.values()]),
            "state": np.array([*tool, opening], np.float32),
        }
        if before < steps:
            self.robot.step(self.dt_s * (1 - before / steps), command)
        return seen

    def _start(self) -> tuple[HandState, np.ndarray]:
        kind = self.rng.random()
        home, _ = self.kinematics.fk(self.rest)
        if kind < 0.25:
            position = home + self.rng.normal(0, 0.01, 3)
        elif kind < 0.6:
            cube = self._cubes()[self.rng.choice(COLOURS)]
            position = cube + [*self.rng.normal(0, 0.03, 2), self.rng.uniform(0.06, 0.16)]
        else:
            position = self.rng.uniform(*WANDER_BOX)
        opening = 1.0 if self.rng.random() < 0.85 else self.rng.uniform(0.0, 1.0)
        q = self.kinematics.ik(position, GRIPPER_DOWN, self.rest, self.rest)
        self.robot.place_joints(self._command(q, opening))
        return HandState(position=position, step=np.zeros(3), opening=opening), q

    def _new_goal(self) -> Goal:
        kind = self.rng.random()
        if kind < 0.6:
            return Goal(colour=str(self.rng.choice(COLOURS)))
        if kind < 0.85:
            cube = self._cubes()[str(self.rng.choice(COLOURS))]
            return Goal(position=cube + [*self.rng.normal(0, 0.025, 2), self.rng.uniform(0.05, 0.15)])
        return Goal(position=self.rng.uniform(*WANDER_BOX))

    def _disturbed(self, state: HandState) -> HandState:
        if self.rng.random() < 0.3:
            return replace(state, step=state.step + self.rng.normal(0, self.config.noise_m, 3))
        return state

    def _measured(self) -> tuple[np.ndarray, float]:
        """Tool position (3,) [m] and opening of the gripper."""
        joints = self.robot.positions()
        tool, _ = self.kinematics.fk(np.array([joints[j] for j in self.kinematics.joints]))
        return tool, joints[FINGERS[0]] / self.open_m

    def _demonstrate(self, state: HandState, goal: Goal) -> dict[str, np.ndarray]:
        """What the expert does for every instruction, each after a committed prefix of the present motion.

        Returns:
            delay (colours,) [ticks]; steps (colours, horizon, 3) [m/tick]; openings (colours, horizon); cubes (colours, 3) [m].
        """
        cubes = self._cubes()
        delays = self.rng.choice(len(self.delay_weights), p=self.delay_weights, size=len(COLOURS))
        shown = [
            foresee(state, [goal] * d + [Goal(colour=colour)] * (self.horizon - d), cubes)
            for colour, d in zip(COLOURS, delays)
        ]
        return {
            "delay": delays.astype(np.uint8),
            "steps": np.array([s for s, _ in shown], np.float32),
            "openings": np.array([o for _, o in shown], np.float32),
            "cubes": np.array([cubes[c] for c in COLOURS], np.float32),
        }

    def _cubes(self) -> dict[str, np.ndarray]:
        return {c: pose[0] for c, pose in self.robot.objects().items()}

    def _command(self, q: np.ndarray, opening: float) -> dict[str, float]:
        return {**dict(zip(self.kinematics.joints, q)), FINGERS[0]: self.open_m * opening}


def record_shard(
    robot: str,
    directory: Path,
    index: int,
    config: RecorderConfig = RecorderConfig(),
    seed: int = 0,
    frames: int = SHARD_FRAMES,
) -> None:
    """Record one shard of `frames` frames; a shard that exists is left alone.

    Files: `images-NNNNN.npy` (frames, views, H, W, 3) uint8 and `samples-NNNNN.npz` with the rest, the latter written last.
    """
    done = directory / f"samples-{index:05d}.npz"
    if done.exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    recorder = Recorder(load_contract(robot), config, seed=seed * 1_000_003 + index)
    source = recorder.frames()
    rows = [next(source) for _ in range(frames)]
    np.save(directory / f"images-{index:05d}.npy", np.stack([r.pop("images") for r in rows]))
    partial = done.with_suffix(".tmp.npz")
    np.savez(partial, **{k: np.stack([r[k] for r in rows]) for k in rows[0]})
    partial.rename(done)
    recorder.robot.close()
