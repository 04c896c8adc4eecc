"""`beingh evidence`."""

from __future__ import annotations

import argparse
from pathlib import Path

from beingh_core.suite.lists import listed

_EVIDENCE = (
    "Runs the experiments about the paper's claims one after the other, and writes evidence.html and evidence.md: claim, experiment, "
    "result with its interval, verdict, command. A run that was interrupted goes on. Run it where `checkpoints/` is."
)


def add_evidence(commands) -> None:
    """Adds `evidence` to the command line."""
    parser = commands.add_parser(
        "evidence", help="the paper's claims, played again, on one page", description=_EVIDENCE,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="fewer episodes and points: under 20 minutes on 2 cores")
    parser.add_argument("--only", default="", metavar="NAME,...", help="experiments; empty: all")
    parser.add_argument("--out", type=Path, default=Path("out/evidence"), metavar="DIR", help="folder of rows and page")
    parser.set_defaults(run=_evidence)


def _evidence(given: argparse.Namespace) -> int:
    from beingh_core.suite.evidence.run import Evidence, run

    return run(Evidence(quick=given.quick, only=listed(given.only), out=given.out))
