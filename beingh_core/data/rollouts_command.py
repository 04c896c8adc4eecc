"""The options of `beingh sim rollouts`."""

from __future__ import annotations

import argparse
from pathlib import Path

from beingh_core.data.rollouts_recording import Wanted, record
from beingh_core.errors import BeingHError
from beingh_core.tasks import PICK, TASKS, tasks_named

_DESCRIPTION = (
    "Lets the scripted expert do what it is told with cubes in the simulator, one instruction and one scene an episode, and writes what a camera "
    "sees, the state and the commands at the contract's rate. With --branches the robot is led about instead, and rows also "
    "hold what the expert would do for every instruction. An interrupted dataset is continued."
)


def add_rollouts(commands) -> None:
    """Adds `sim rollouts` to the command line."""
    sim = commands.add_parser("sim", help="data from the simulator")
    verbs = sim.add_subparsers(metavar="WHAT", required=True)
    parser = verbs.add_parser(
        "rollouts", help="what the scripted expert does as a dataset", description=_DESCRIPTION,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--robot", required=True, metavar="ROBOT", help="robot contract: name or path")
    add("--out", type=Path, required=True, metavar="DATASET", help="folder of the dataset")
    add("--episodes", type=int, default=50, help="how many successful ones the dataset is to have")
    add("--seed", type=int, default=0, help="scene of the first episode; the following ones count up")
    add("--noise", type=float, default=0.0, help="of commands, as a share of the largest step: 0 to 0.5")
    add(
        "--instruction",
        action="append",
        default=[],
        metavar="TEXT",
        help="with {colour}, or {colour} and {side}; several with --branches",
    )
    add(
        "--task",
        default=PICK.name,
        help=f"what is told and in whose scenes: {', '.join(TASKS)}, or several with commas",
    )
    add("--branches", action="store_true", help="lead the robot about, and show every instruction beside what is done")
    add("--every", type=int, default=2, help="with --branches: every so many rows, at random, have some")
    add(
        "--prefix",
        type=int,
        default=None,
        help="with --branches: longest committed beginning; the contract's delay + 1",
    )
    add(
        "--seconds",
        type=float,
        default=None,
        help="with --branches: longest episode; shorter ones show more scenes in as many rows; 9, with a bowl 14",
    )
    add("--workers", type=int, default=1, help="processes; 0 for one on each processor")
    add("--codec", default="h264", help="of the videos: h264 or av1")
    add("--crf", type=int, default=30, help="quality of the videos, smaller is better")
    parser.set_defaults(run=_rollouts)


def _rollouts(given: argparse.Namespace) -> int:
    _check(given)
    wanted = Wanted(
        robot=given.robot, noise=given.noise, branches=given.branches, instructions=tuple(given.instruction), task=given.task,
        prefix=given.prefix, every=given.every, seconds=given.seconds, codec=given.codec, crf=given.crf,
    )  # fmt: skip
    print(record(wanted, given.out, given.episodes, given.seed, given.workers))
    return 0


def _check(given: argparse.Namespace) -> None:
    if given.episodes < 1 or not 0.0 <= given.noise <= 0.5 or given.seed < 0:
        raise BeingHError(
            f"{given.episodes} episodes with noise {given.noise:g} from seed {given.seed}",
            allowed="1 episode or more, noise 0 to 0.5, seed 0 or more",
        )
    if not 1 <= given.every <= 1000 or not 0 <= given.workers <= 1024:
        raise BeingHError(f"--every {given.every}, --workers {given.workers}", allowed="1 to 1000, 0 to 1024")
    tasks_named(given.task)
    if given.seconds is not None and not given.branches:
        raise BeingHError("--seconds without --branches", remedy="add --branches: other episodes end with a success")
    if len(given.instruction) > 1 and not given.branches:
        raise BeingHError("several instructions", remedy="give one, or --branches")
