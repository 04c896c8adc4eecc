"""The seam table: one policy, one sequence of latencies, four ways of joining chunks, in simulated physics.

Time is virtual: a tick lasts as long as the computation needs, and a chunk comes after a drawn number of ticks between
1 and d. So the result depends on the seed and not on the machine. No ROS here.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")  # before mujoco is imported

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.contract.urdf import read_urdf
from beingh_core.evaluate.judge import PickJudge
from beingh_core.evaluate.seams import SeamFigures, jumps_of, summarize_jumps
from beingh_core.inference.chunk_maker import ChunkMaker, Observation
from beingh_core.policy.loading import load_for_contract
from beingh_core.realtime.clock import TickClock
from beingh_core.sim import CUBE_COLOURS, SimRobot
from beingh_ros.soak.joining import MODES, Joining

EPISODE_S = 15.0


def seam_figures(contract: RobotContract, checkpoint: Path, *, episodes: int, seed: int) -> dict[str, SeamFigures]:
    """Mode -> its figures over some episodes.

    Args:
        contract: Robot.
        checkpoint: Checkpoint directory.
        episodes: How many; episode i has the scene of `seed` + i and the same latencies in every mode.
        seed: First seed.
    """
    policy = load_for_contract(contract, checkpoint, threads=1, seed=seed)
    robot = SimRobot(contract.urdf_path, dict(zip(contract.joint_names, contract.home)))
    kinds = read_urdf(contract.urdf_path).joints
    turning = np.array([kinds[name].type != "prismatic" for name in contract.joint_names])
    found = {}
    for mode, make in MODES.items():
        wanted, sent, successes, times = [], [], 0, []
        for scene in range(seed, seed + episodes):
            joining, judge = _episode(contract, policy, robot, make, scene)
            successes += judge.success
            times += [judge.success_s] if judge.success else []
            wanted.append(
                jumps_of(np.array(joining.targets)[:, turning], joining.seams, joining.held, contract.rate_hz)
            )
            sent.append(jumps_of(np.array(joining.sent)[:, turning], joining.seams, joining.held, contract.rate_hz))
        found[mode] = SeamFigures(
            **summarize_jumps(wanted),
            **{f"sent_{name}": value for name, value in summarize_jumps(sent).items()},
            episodes=episodes,
            successes=successes,
            success_s=float(np.mean(times)) if times else None,
        )
    robot.close()
    return found


def _episode(contract: RobotContract, policy, robot: SimRobot, make, seed: int) -> tuple[Joining, PickJudge]:
    import torch

    torch.manual_seed(seed)
    colour = list(CUBE_COLOURS)[seed % len(CUBE_COLOURS)]
    robot.reset(seed)
    start = np.array([robot.positions()[name] for name in contract.joint_names])
    joining, judge, rng = make(contract, start), PickJudge(colour), random.Random(seed)
    maker = ChunkMaker(contract, policy)
    maker.start_epoch(start)
    pending: tuple[int, int, np.ndarray] | None = None  # when it comes, its base tick, its rows
    last_start: int | None = None
    for tick in range(round(EPISODE_S * contract.rate_hz)):
        if pending is not None and pending[0] <= tick:
            joining.add(*pending[1:])
            pending = None
        if joining.wants(last_start, pending is not None):
            begun = maker.begin(_observe(contract, robot, tick), f"pick up the {colour} cube")
            made = maker.finish(begun, joining.prefix(), joining.onward())
            pending, last_start = (tick + rng.randint(1, contract.uac.delay_steps), tick, made.positions), tick
        command = joining.advance()
        robot.step(contract.dt_s, dict(zip(contract.joint_names, command.tolist())))
        judge.update(robot.time_s, {name: place for name, (place, _) in robot.objects().items()})
        if judge.success:
            break
    return joining, judge


def _observe(contract: RobotContract, robot: SimRobot, tick: int) -> Observation:
    images = {camera.name: robot.render(camera.topic.strip("/").split("/")[0]).copy() for camera in contract.cameras}
    return Observation(stamp_ns=TickClock(contract.rate_hz, 0).stamp_ns(tick), images=images, joints=robot.positions())
