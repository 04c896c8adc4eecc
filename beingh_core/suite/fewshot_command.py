"""The options of `beingh suite fewshot`."""

from __future__ import annotations

import argparse

from beingh_core.suite.lists import numbers
from beingh_core.suite.options import named
from beingh_core.suite.trial_options import add_trial, trial_of

_FEWSHOT = (
    "Records a few demonstrations of a body in the simulator, trains each start on them for the same number of steps with more and more of "
    "the act layers frozen, and lets every model pick told cubes in scenes that were not demonstrated. A run that was interrupted goes on; "
    "more starts, depths or episodes may be asked of the same folder."
)


def add_fewshot(verbs) -> None:
    """Adds `fewshot` to `beingh suite`."""
    parser = verbs.add_parser(
        "fewshot", help="a new body from a few demonstrations, with and without pretraining", description=_FEWSHOT,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--robot", required=True, metavar="ROBOT", help="the new body's contract: name or path")
    parser.add_argument(
        "--from", dest="starts", action="append", required=True, metavar="[NAME=]DIR",
        help="a checkpoint to start from, or `nothing`; may be given several times, by name",
    )  # fmt: skip
    parser.add_argument(
        "--freeze", default="0", metavar="K,...", help="how many of the lowest act layers stay as they are"
    )
    add_trial(parser, "out/suite/fewshot")
    parser.set_defaults(run=_fewshot)


def _fewshot(given: argparse.Namespace) -> None:
    from beingh_core.suite.fewshot import Fewshot, run

    starts = named(given.starts, "--from")
    out = run(Fewshot(robot=given.robot, starts=starts, freeze=numbers(given.freeze, "--freeze"), **trial_of(given)))
    print(f"{out / 'report.html'}")
