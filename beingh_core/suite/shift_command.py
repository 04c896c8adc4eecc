"""The options of `beingh suite shift`."""

from __future__ import annotations

import argparse

from beingh_core.suite.lists import listed, numbers
from beingh_core.suite.options import add_experiment, named
from beingh_core.suite.shifts import KINDS, NONE, Shift

_SHIFT = (
    "Lets a checkpoint pick told cubes in the simulator while its cameras show something else than in training: darker or "
    "brighter, noisy, covered, moved aside, stuck. Passes of manifold-preserving gating and Euler steps of the flow are varied; "
    "each variant plays the same shifts in the same scenes, by the product's way of joining chunks. What moves is not shifted, "
    "only what the policy sees. A run that was interrupted goes on; more shifts, variants or episodes may be asked of the same folder."
)
_KINDS = "; ".join(f"{kind}: {meaning}" for kind, meaning in KINDS.items() if kind != NONE)
_DEFAULT = "none,brightness:0.5,brightness:1.5,noise:20,occlusion:0.2,offset:0.03,frozen:1"


def add_shift(verbs) -> None:
    """Adds `shift` to `beingh suite`."""
    parser = verbs.add_parser(
        "shift", help="success and MPG's gate against shifts of what the cameras show", description=_SHIFT,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--shifts", default=_DEFAULT, metavar="none|KIND:STRENGTH,...", help=_KINDS)
    add("--cameras", default="", metavar="NAME,...", help="views that are shifted; empty for all")
    add("--mpg", default="off,1,2,3", metavar="off|PASSES,...", help="refinement passes with the gate")
    add("--steps", default="4", metavar="N,...", help="Euler steps of a pass")
    add(
        "--delay",
        type=int,
        metavar="D",
        help="from the picture to the chunk's arrival [ticks]; the contract's when absent",
    )
    add_experiment(parser, "out/suite/shift")
    parser.set_defaults(run=_shift)


def _shift(given: argparse.Namespace) -> None:
    from beingh_core.suite.shift import run
    from beingh_core.suite.shift_plan import Shifted

    out = run(
        Shifted(
            robot=given.robot, checkpoints=named(given.checkpoint), shifts=tuple(map(Shift.read, listed(given.shifts))),
            cameras=listed(given.cameras), mpg=listed(given.mpg), steps=numbers(given.steps, "--steps"), delay=given.delay,
            episodes=given.episodes, seed=given.seed, seconds=given.seconds, workers=given.workers, out=given.out,
        )
    )  # fmt: skip
    print(f"{out / 'report.html'}")
