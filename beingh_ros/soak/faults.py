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


def catalogue(contract: RobotContract, rng: random.Random) -> Makers:
    """Kind -> maker of a fault of that kind, whose numbers the generator draws."""
    return (
        chunk_faults(contract, rng)
        | input_faults(contract, rng)
        | stop_faults(contract, rng)
        | process_faults()
        | start_faults()
    )


def schedule(kinds: Sequence[str], rng: random.Random):
    """Kinds for ever: all of them in a drawn order, then all of them in another."""
    while True:
        yield from rng.sample(list(kinds), len(kinds))
