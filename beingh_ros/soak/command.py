"""The sub-command `beingh soak`."""

from __future__ import annotations

import argparse
from pathlib import Path

from beingh_core.errors import BeingHError


def register(commands) -> None:
    """Add `soak`; see `beingh_core.cli.Register`."""
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


def _run(chosen: argparse.Namespace) -> int:
    if not chosen.minutes > 0:
        raise BeingHError(f"{chosen.minutes:g} minutes try no fault", where="--minutes", allowed="more than 0")
    from beingh_ros.soak.session import run

    return run(chosen)
