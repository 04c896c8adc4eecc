"""Every kind of fault, and the order in which they come."""

from __future__ import annotations

import random
from collections.abc import Sequence

from beingh_core.contract import RobotContract
from beingh_ros.soak.chunk_faults import chunk_faults
from beingh_ros.soak.fault import Makers
from beingh_ros.soak.input_faults import input_faults
from beingh_ros.soak.process_faults import process_faults
from beingh_ros.soak.start_faults import start_faults
from beingh_ros.soak.stop_faults import stop_faults

# What the scripted expert does not have: a server that runs it, and statistics.
OF_A_CHECKPOINT = ("server_loss", "start_other_units")


def catalogue(contract: RobotContract, rng: random.Random, *, expert: bool = False) -> Makers:
    """Kind -> maker of a fault of that kind, whose numbers the generator draws; with the expert what makes sense for it."""
    found = (
        chunk_faults(contract, rng)
        | input_faults(contract, rng)
        | stop_faults(contract, rng)
        | process_faults()
        | start_faults()
    )
    return {kind: maker for kind, maker in found.items() if not (expert and kind in OF_A_CHECKPOINT)}


def schedule(kinds: Sequence[str], rng: random.Random):
    """Kinds for ever: all of them in a drawn order, then all of them in another."""
    while True:
        yield from rng.sample(list(kinds), len(kinds))
