"""The options of `beingh suite bodies`."""

from __future__ import annotations

import argparse

from beingh_core.suite.lists import listed
from beingh_core.suite.options import add_scenes

_BODIES = (
    "Lets one checkpoint pick told cubes with several robots in the simulator, without ROS and on a virtual clock: the result "
    "depends on the seed and not on the machine. Two controls must fail: another cube is told than the one that is judged, and "
    "another robot's statistics. A run that was interrupted goes on; more robots or episodes may be asked of the same folder."
)


def add_bodies(verbs) -> None:
    """Adds `bodies` to `beingh suite`."""
    parser = verbs.add_parser(
        "bodies", help="told picks of one checkpoint with several robots", description=_BODIES,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="DIR", help="checkpoint that knows all of them")
    add("--robots", required=True, metavar="ROBOT,...", help="robot contracts: names or paths")
    add("--wrong-instruction", action="store_true", help="also tell another cube than the one that is judged")
    add("--wrong-statistics", action="store_true", help="also scale numbers with another robot's statistics")
    add_scenes(parser, "of each robot and kind", "out/suite/bodies")
    parser.set_defaults(run=_bodies)


def _bodies(given: argparse.Namespace) -> None:
    from beingh_core.suite.bodies import Bodies, run

    out = run(
        Bodies(
            checkpoint=given.checkpoint, robots=listed(given.robots), wrong_instruction=given.wrong_instruction,
            wrong_statistics=given.wrong_statistics, episodes=given.episodes, seed=given.seed, seconds=given.seconds,
            workers=given.workers, out=given.out,
        )
    )  # fmt: skip
    print(f"{out / 'report.html'}")
