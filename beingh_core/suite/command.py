"""`beingh suite`: closed-loop experiments in simulation."""

from __future__ import annotations

from beingh_core.suite.bodies_command import add_bodies
from beingh_core.suite.fewshot_command import add_fewshot
from beingh_core.suite.latency_command import add_latency
from beingh_core.suite.libero.command import add_libero
from beingh_core.suite.shift_command import add_shift
from beingh_core.suite.slots_command import add_slots


def add_suite(commands) -> None:
    """Adds `suite` to the command line."""
    suite = commands.add_parser("suite", help="closed-loop experiments in simulation")
    verbs = suite.add_subparsers(metavar="WHAT", required=True)
    add_latency(verbs)
    add_shift(verbs)
    add_bodies(verbs)
    add_libero(verbs)
    add_fewshot(verbs)
    add_slots(verbs)
