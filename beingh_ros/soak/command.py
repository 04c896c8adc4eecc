"""The sub-commands `beingh soak` and `beingh bench record`."""

from __future__ import annotations

import argparse
from pathlib import Path

from beingh_core.cli import measure
from beingh_core.errors import BeingHError


def register(commands) -> None:
    """Add `soak` and `bench record`; see `beingh_core.cli.Register`."""
    _add_bench_record(commands.benches)
    parser = commands.add_parser(
        "soak",
        help="run the nodes under faults and judge what they send",
        description="Runs simulator, controller and policy with an injector between them, injects faults, and judges "
        "what was sent: exit status 1 when a promise was broken.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long faults are injected")
    parser.add_argument("--seed", type=int, default=0, help="of the faults' order and numbers, scene and policy")
    parser.add_argument("--json", metavar="FILE", help="also write the figures here")
    parser.add_argument(
        "--robot", default="fr3", help="robot contract: name or path; must be one that can be simulated"
    )
    parser.add_argument(
        "--checkpoint", default="", help="checkpoint directory; empty: that of the demo for fr3, else the expert"
    )
    parser.add_argument("--faults", default="", metavar="KIND,KIND", help="only these; 'none' for none; empty: all")
    parser.add_argument("--rate-hz", type=float, default=0.0, help="another tick rate than the contract's, for timing")
    parser.add_argument(
        "--seam-episodes", type=int, default=2, help="simulated episodes for the seam table, 0 for none"
    )
    parser.add_argument("--judge-timing", action="store_true", help="fail when the tick period is worse than promised")
    parser.add_argument("--out", type=Path, default=Path("out/soak"), help="directory for the logs")
    parser.set_defaults(run=_run)


def _add_bench_record(benches) -> None:
    parser = benches.add_parser(
        "record",
        help="whether a recording of two raw cameras and joints is complete",
        description="Records two raw 640x480 cameras at 30 Hz and joints at 100 Hz, each from a process of its own, "
        "and counts what is missing in the bag. The bag is removed again; 60 s need 3.4 GB in TMPDIR.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long cameras and joints are published")
    parser.add_argument("--storage", default="mcap", help="mcap or sqlite3")
    parser.add_argument("--json", metavar="FILE", help="also write the report here")
    parser.set_defaults(run=measure("beingh_ros.soak.record_load", "RecordBench"))


def _run(chosen: argparse.Namespace) -> int:
    if not chosen.minutes > 0:
        raise BeingHError(f"{chosen.minutes:g} minutes try no fault", where="--minutes", allowed="more than 0")
    from beingh_ros.soak.session import run

    return run(chosen)
