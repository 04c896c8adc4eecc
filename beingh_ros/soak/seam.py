"""The seam table: one policy, one sequence of latencies, four ways of joining chunks, in simulated physics. No ROS here."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.evaluate.seams import SeamFigures, summarize_jumps
from beingh_core.policy.loading import load_for_contract
from beingh_core.suite.episode import Player
from beingh_core.suite.joining import NaiveSwitching, TemporalEnsembling, Timing, Uac, Waiting

EPISODE_S = 15.0
MODES = {"prefix_lock": Uac, "naive": NaiveSwitching, "temporal_ensembling": TemporalEnsembling, "waiting": Waiting}


def seam_figures(contract: RobotContract, checkpoint: Path, *, episodes: int, seed: int) -> dict[str, SeamFigures]:
    """Mode -> its figures over some episodes, with the contract's timing and chunks that come after 1 to d ticks.

    Args:
        contract: Robot.
        checkpoint: Checkpoint directory.
        episodes: How many; episode i has the scene of `seed` + i and the same latencies in every mode.
        seed: First seed.
    """
    policy, player = load_for_contract(contract, checkpoint, threads=1, seed=seed), Player(contract)
    timing = Timing(
        delay=1,
        jitter=contract.uac.delay_steps - 1,
        lock=contract.uac.delay_steps,
        execution_steps=contract.uac.execution_steps,
        commit_margin=contract.uac.commit_margin,
    )
    found = {}
    for mode, way in MODES.items():
        played = [player.play(policy, way, timing, scene, EPISODE_S) for scene in range(seed, seed + episodes)]
        times = [episode.time_s for episode in played if episode.success]
        wanted = [(np.array(episode.wanted_seam), np.array(episode.wanted_inside)) for episode in played]
        sent = [(np.array(episode.seam), np.array(episode.inside)) for episode in played]
        found[mode] = SeamFigures(
            **summarize_jumps(wanted),
            **{f"sent_{name}": value for name, value in summarize_jumps(sent).items()},
            episodes=episodes,
            successes=len(times),
            success_s=float(np.mean(times)) if times else None,
        )
    player.close()
    return found
