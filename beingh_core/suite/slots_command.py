"""The options of `beingh suite slots`."""

from __future__ import annotations

import argparse

from beingh_core.suite.lists import listed
from beingh_core.suite.trial_options import add_trial, trial_of

_SLOTS = (
    "Compares what bodies share in a model, on the same scenes: unused slots with their exact path or the model's own (inactive); one model of two "
    "bodies whose arms have the same slots or others (separate); one with a mixture of flow experts or without (experts). The last two are "
    "recorded and trained first. A run that was interrupted goes on."
)


def add_slots(verbs) -> None:
    """Adds `slots` to `beingh suite`."""
    parser = verbs.add_parser(
        "slots", help="what bodies share in a model: slots and experts", description=_SLOTS,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add(
        "--robots",
        required=True,
        metavar="ROBOT,...",
        help="robot contracts: names or paths; two, but for `inactive` alone",
    )
    add("--checkpoint", default="", metavar="DIR", help="of `inactive`: plays those of the robots that it was taught")
    add("--experts", type=int, default=4, help="of `experts`: how many above the lower half of the layers")
    add("--parts", default="inactive,separate,experts", metavar="P,...", help="what is compared")
    add_trial(parser, "out/suite/slots")
    parser.set_defaults(run=_slots)


def _slots(given: argparse.Namespace) -> None:
    from beingh_core.suite.slots import Slots, run

    out = run(
        Slots(
            robots=listed(given.robots), checkpoint=given.checkpoint, experts=given.experts, parts=listed(given.parts),
            **trial_of(given),
        )
    )  # fmt: skip
    print(f"{out / 'report.html'}")
