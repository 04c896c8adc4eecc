"""The sub-command `beingh robots`. Nothing here imports ROS before it runs."""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from beingh_core.contract.check import ERROR, OK, WARN, Row, check_contract, checked, table
from beingh_core.contract.loader import load_contract
from beingh_core.contract.paths import contract_files
from beingh_core.contract.show import assumptions, overview, shown_contract
from beingh_core.errors import BeingHError

DESCRIPTION = "Robots are described by contracts: config/robots/NAME.yaml of this package, or a file of yours."
CHECK = """Looks at everything that would fail later: the file, the URDF, cameras, kinematics, the codec, the drivers and their
messages; with --live at the running graph, too: topics, types, QoS, rates, joint names, encodings, subscribers.
It publishes nothing. Prints one line for each thing and the values that no source gives. The exit status is 1 on any error."""
NEW = """Writes a contract with everything that the URDF tells: joints, limits, what mimics and what turns without end, arms, hands,
head and waist with their slots. What a URDF cannot tell stands in the file under `assumed`, with what to fill in. It never
overwrites a file, and checks what it wrote."""
# Long enough to tell rates.
MEASURED_S = 2.0
ROS_REMEDY = "source /opt/ros/$ROS_DISTRO/setup.bash, or install requirements-ros.txt"


def register(commands) -> None:
    """Add the sub-command; see `beingh_core.cli.Register`."""
    parser = commands.add_parser("robots", help="list, show and check robot contracts", description=DESCRIPTION)
    verbs = parser.add_subparsers(metavar="WHAT", required=True)
    verbs.add_parser("list", help="the robots of this package, a line each").set_defaults(run=_list)
    show = verbs.add_parser("show", help="what a contract says, defaults filled in")
    show.add_argument("robot", metavar="NAME", help="name of a robot, or path of its contract")
    show.set_defaults(run=_show)
    check = verbs.add_parser("check", help="check a contract, and with --live the running robot", description=CHECK)
    check.add_argument("robot", metavar="NAME", nargs="?", default="", help="name of a robot, or path of its contract")
    check.add_argument(
        "--all", action="store_true", help="check every robot of the package, and its URDF's kinematics and limits"
    )
    check.add_argument("--json", default="", metavar="FILE", help="with --all: also write what was found to this file")
    check.add_argument("--checkpoint", default="", metavar="DIR", help="also check that this checkpoint fits")
    check.add_argument("--live", action="store_true", help="also compare with the running graph")
    check.add_argument("--namespace", default="", help="ROS namespace of the robot, for --live")
    check.add_argument(
        "--wait", type=float, default=10.0, metavar="S", help="longest wait for what is missing, with --live [s]"
    )
    check.set_defaults(run=_check)
    new = verbs.add_parser("new", help="draft a contract from a URDF", description=NEW)
    new.add_argument(
        "--urdf", required=True, type=Path, metavar="FILE", help="URDF or, where xacrodoc is installed, xacro"
    )
    new.add_argument(
        "--srdf", type=Path, metavar="FILE", help="MoveIt's SRDF, for the start posture and links that may touch"
    )
    new.add_argument("--out", type=Path, metavar="FILE", help="the contract; default: NAME.yaml, here")
    new.add_argument("--robot", default="", metavar="NAME", help="name of the robot; default: that of the URDF's file")
    new.set_defaults(run=_new)


def _list(_chosen: argparse.Namespace) -> int:
    rows = [checked(name, lambda p=path: overview(load_contract(p))) for name, path in contract_files().items()]
    print(table(rows))
    return _status(rows)


def _show(chosen: argparse.Namespace) -> int:
    contract = load_contract(chosen.robot)
    print("\n".join(filter(None, (shown_contract(contract), assumptions(contract)))))
    return 0


def _new(chosen: argparse.Namespace) -> int:
    from beingh_core.contract.draft.command import write_draft

    path = write_draft(chosen.urdf, chosen.srdf, chosen.out, chosen.robot)
    contract, rows = check_contract(path)
    print(table(rows))
    print(f"wrote {path}")
    if contract is not None:
        print(assumptions(contract))
    return _status(rows)


def _check(chosen: argparse.Namespace) -> int:
    if chosen.all:
        return _check_all(chosen)
    if chosen.json:
        raise BeingHError("this goes with --all only", where="--json", remedy="add --all, or leave --json out")
    if not chosen.robot:
        raise BeingHError("no robot is named", where="check", allowed=contract_files(), remedy="name one, or add --all")
    if not 0 < chosen.wait <= 600:
        raise BeingHError(f"{chosen.wait:g} s cannot be waited", where="--wait", allowed="more than 0, at most 600")
    from beingh_ros.robots.launch_arguments import namespace

    namespace({"namespace": chosen.namespace})
    contract, rows = check_contract(chosen.robot)
    if contract is not None:
        rows += _more_rows(chosen, contract)
    print(table(rows))
    if contract is not None and contract.assumed:
        print(assumptions(contract))
    counts = {level: sum(row.level == level for row in rows) for level in (ERROR, WARN)}
    print(f"errors: {counts[ERROR]}, warnings: {counts[WARN]}")
    return _status(rows)


def _check_all(chosen: argparse.Namespace) -> int:
    """One line for each robot of the package, and a file with the same for programs."""
    if chosen.robot or chosen.live or chosen.checkpoint:
        what = "--all takes no robot, no --live and no --checkpoint"
        raise BeingHError(what, where="check", remedy="leave them out, or check one robot without --all")
    from beingh_core.contract.audit import audit, line_of

    verdicts = {name: audit(name) for name in contract_files()}
    print(table([line_of(name, verdict) for name, verdict in verdicts.items()]))
    bad = sum(not verdict.ok for verdict in verdicts.values())
    print(f"robots: {len(verdicts)}, errors: {bad}")
    if chosen.json:
        _write(Path(chosen.json), {name: verdict.as_json() for name, verdict in verdicts.items()})
    return int(bad > 0)


def _write(path: Path, found: dict[str, object]) -> None:
    try:
        path.write_text(json.dumps(found, indent=1) + "\n")
    except OSError as error:
        raise BeingHError(
            f"cannot be written: {error.strerror}", where=path, remedy="name a file in a folder of yours"
        ) from error


def _more_rows(chosen: argparse.Namespace, contract) -> list[Row]:
    rows, endpoints = [checked("policy", lambda: _policy(contract, chosen.checkpoint))], None
    if find_spec("rclpy") is None:
        level = ERROR if chosen.live else WARN
        return [*rows, Row(level=level, subject="drivers", found=f"not checked without rclpy. To fix: {ROS_REMEDY}")]
    from beingh_ros.robots.drivers import driver_endpoints

    space = chosen.namespace.strip("/")
    try:
        endpoints = driver_endpoints(contract, space)
        made = [f"{name} ({kind})" for name, kind in {**endpoints.commands, **endpoints.actions}.items()]
        rows.append(Row(level=OK, subject="drivers", found=", ".join(made)))
    except BeingHError as error:
        rows.append(Row(level=ERROR, subject="drivers", found=str(error)))
    rows += _state_rows(contract)
    return rows + (_live_rows(contract, endpoints, space, chosen.wait) if chosen.live else [])


def _state_rows(contract) -> list[Row]:
    """Whether the types of the state's messages are installed and have their fields; one row for each that has not."""
    from beingh_ros.messages.state_messages import check_fields, message_type

    rows = []
    for signal in contract.state:
        look = (
            partial(check_fields, signal.type, signal.fields) if signal.fields else partial(message_type, signal.type)
        )
        row = checked(f"state.{signal.slot}", look, contract, ("state", signal.slot, "type"))
        rows += [row] * (row.level == ERROR)
    return rows


def _policy(contract, checkpoint: str) -> str:
    from beingh_core.policy.from_contract import data_config_for

    config = data_config_for(contract)
    found = f"views {', '.join(config.views)}; statistics of {contract.policy.dataset_name}"
    if checkpoint:
        from beingh_core.policy.checkpoint_check import check_checkpoint

        found += f"; {check_checkpoint(contract, checkpoint)} fits"
    return found


def _live_rows(contract, endpoints, space: str, wait_s: float) -> list[Row]:
    import rclpy
    from rclpy.context import Context
    from rclpy.executors import SingleThreadedExecutor

    from beingh_ros.robots.live import LiveCheck

    context = Context()
    rclpy.init(args=[], context=context)
    try:
        node = LiveCheck(contract, space, context=context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        begin_s, rows = time.monotonic(), []
        # Nodes find each other one by one: what is missing at first may only not have been found yet.
        while not rows or (_status(rows) and time.monotonic() < begin_s + wait_s):
            end_s = time.monotonic() + MEASURED_S
            while (left_s := end_s - time.monotonic()) > 0:
                executor.spin_once(timeout_sec=left_s)
            rows = node.rows(endpoints)
        executor.shutdown(timeout_sec=1.0)
        node.destroy_node()
        return rows
    finally:
        rclpy.try_shutdown(context=context)


def _status(rows: list[Row]) -> int:
    return int(any(row.level == ERROR for row in rows))
