"""The sub-command `beingh monitor`. Nothing here imports ROS or rich before it runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from beingh_core.errors import BeingHError, shown

DESCRIPTION = """Shows on one page of text what a running robot does: state of the controller, ticks, plan, chunks,
inference, every stream, the last stop, and what to do about what is wrong. It only subscribes; it commands nothing.
With --once or --snapshot the exit status is 0 when everything is as it should be, 1 for a warning or when no controller reports,
2 for an error."""


def register(commands) -> None:
    """Add the sub-command; see `beingh_core.cli.Register`."""
    parser = commands.add_parser("monitor", help="a page of text about a running robot", description=DESCRIPTION)
    parser.add_argument("--namespace", default="", help="ROS namespace of the robot's nodes")
    parser.add_argument("--once", action="store_true", help="print one page and end with a status for scripts")
    parser.add_argument(
        "--wait", type=float, default=5.0, metavar="S", help="longest listening with --once and --snapshot [s]"
    )
    parser.add_argument("--record", type=Path, metavar="FILE.rrd", help="also write a recording for the Rerun viewer")
    parser.add_argument(
        "--snapshot", type=Path, metavar="FILE.png", help="draw the robot, its plan and cameras, and end"
    )
    parser.add_argument("--robot", default="", help="contract of the robot, for a file; default: the controller's")
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    if not chosen.wait > 0:
        raise BeingHError(f"{chosen.wait:g} s cannot be waited", where="--wait", allowed="more than 0")
    if chosen.once and chosen.record:
        raise BeingHError("one page is no recording", where="--record", remedy="leave out --once; Ctrl-C ends it")
    if chosen.snapshot and (chosen.once or chosen.record):
        raise BeingHError(
            "a picture goes with no other output", where="--snapshot", remedy="leave out --once and --record"
        )
    for package, remedy in (
        ("rclpy", "source /opt/ros/$ROS_DISTRO/setup.bash, or install requirements-ros.txt"),
        ("rich", "pip install rich"),
    ):
        try:
            __import__(package)
        except ImportError as error:
            raise BeingHError(f"`beingh monitor` needs the Python package {package} ({error})", remedy=remedy) from None
    from rclpy.exceptions import InvalidNamespaceException
    from rclpy.validate_namespace import validate_namespace

    from beingh_ros.monitor.loop import Monitor

    try:
        validate_namespace(f"/{chosen.namespace.strip('/')}")
    except InvalidNamespaceException as error:
        raise BeingHError(
            f"{shown(chosen.namespace)} is no namespace", where="--namespace", allowed="such as `left` or `cell/left`"
        ) from error
    with Monitor(chosen.namespace.strip("/"), record=chosen.record, robot=chosen.robot) as monitor:
        if chosen.snapshot:
            return monitor.snapshot(chosen.snapshot, chosen.wait)
        return monitor.once(chosen.wait) if chosen.once else monitor.watch()
