"""The options of `beingh suite latency`."""

from __future__ import annotations

import argparse

from beingh_core.suite.lists import listed, numbers
from beingh_core.suite.options import add_experiment, named

_LATENCY = (
    "Lets a checkpoint pick told cubes in the simulator while every chunk comes a number of ticks after its picture, on a "
    "virtual clock: the result depends on the seed and not on the machine. Each way of joining chunks plays the same scenes. "
    "A run that was interrupted goes on; more methods, delays or episodes may be asked of the same folder."
)


def add_latency(verbs) -> None:
    """Adds `latency` to `beingh suite`."""
    parser = verbs.add_parser(
        "latency", help="success and smoothness against the delay of inference", description=_LATENCY,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--delays", default="0,2,4,6,8", metavar="D,...", help="from the picture to the chunk's arrival [ticks]")
    add("--jitter", type=int, default=0, metavar="N", help="a chunk comes up to so many ticks later, at random")
    add("--methods", default="uac,naive,waiting", metavar="M,...", help="ways of joining chunks")
    add_experiment(parser, "out/suite/latency")
    parser.set_defaults(run=_latency)


def _latency(given: argparse.Namespace) -> None:
    from beingh_core.suite.latency import run
    from beingh_core.suite.latency_plan import Latency

    out = run(
        Latency(
            robot=given.robot, checkpoints=named(given.checkpoint), methods=listed(given.methods),
            delays=numbers(given.delays, "--delays"), jitter=given.jitter, episodes=given.episodes, seed=given.seed,
            seconds=given.seconds, workers=given.workers, out=given.out,
        )
    )  # fmt: skip
    print(f"{out / 'report.html'}")
