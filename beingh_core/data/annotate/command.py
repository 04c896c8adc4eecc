"""The sub-command `beingh annotate`: proposals for bags, and the page on which a person looks at them."""

from __future__ import annotations

import argparse
import ipaddress
import signal
import sys
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from beingh_core.errors import BeingHError

_DESCRIPTION = (
    "Proposes segments, subtask texts and success of recorded episodes, as a file NAME.labels.yaml beside each bag, and "
    "with --serve shows a page on which a person accepts, edits and rejects them with the keyboard. What a person has "
    "changed is never replaced. `beingh export --subtasks` takes what is accepted. Exit code: 1 where a bag was refused."
)


def add_annotate(commands) -> None:
    """Adds `annotate` to the command line."""
    parser = commands.add_parser(
        "annotate", help="propose and edit segments, subtasks and success of bags", description=_DESCRIPTION,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    parser.add_argument("bags", type=Path, nargs="+", metavar="BAG", help="bags, or folders of bags")
    parser.add_argument("--contract", required=True, metavar="ROBOT", help="robot contract: name or path")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the label files; empty: beside each bag")
    parser.add_argument("--namespace", default="", help="in which the robot's nodes were recorded")
    page = parser.add_argument_group("page")
    page.add_argument("--serve", action="store_true", help="show the page until Ctrl-C")
    page.add_argument("--host", default="127.0.0.1", help="address to listen on; others than loopback are readable")
    page.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    model = parser.add_argument_group("vision-language labeller (an OpenAI-style server; none is asked without a URL)")
    model.add_argument("--labeller-url", default="", metavar="URL", help="such as http://127.0.0.1:8000/v1")
    model.add_argument("--labeller-model", default="", metavar="NAME", help="of the model there")
    model.add_argument("--labeller-key-env", default="", metavar="NAME", help="environment variable that has the key")
    model.add_argument("--labeller-key-file", type=Path, metavar="FILE", help="file that has the key")
    model.add_argument("--labeller-timeout", type=float, default=60.0, metavar="S", help="for one episode's answer")
    parser.set_defaults(run=_annotate)


def _annotate(chosen: argparse.Namespace) -> int:
    from beingh_core.contract import load_contract
    from beingh_core.data.annotate.server import PageServer
    from beingh_core.data.annotate.workbench import Workbench
    from beingh_core.data.bag_files import open_bag
    from beingh_core.data.export_command import find_bags

    asking = _labeller(chosen)
    for path in chosen.bags:
        if (path / "meta/info.json").exists():
            raise BeingHError(
                "is a LeRobot dataset", where=path, allowed="bags",
                remedy="annotate the bags of which it was made, then export them",
            )  # fmt: skip
    contract, bags = load_contract(chosen.contract), find_bags(chosen.bags)
    bench = Workbench(bags, contract, open_bag, chosen.out, chosen.namespace)
    server = PageServer(bench, chosen.host, chosen.port) if chosen.serve else None
    try:
        outcomes = [_propose(bench, name, asking) for name in bench.names]
        print(table(outcomes), flush=True)
        if server is not None:
            _serve(server)
    finally:
        if server is not None:
            server.server_close()
        bench.close()
    return 0 if all(outcome.state != "refused" for outcome in outcomes) else 1


@dataclass(kw_only=True)
class Outcome:
    """What became of a bag.

    Attributes:
        name: of the bag.
        state: "proposed", "kept" (a person has touched its labels) or "refused".
        segments, accepted: in its labels.
        notes: for people.
    """

    name: str
    state: str
    segments: int = 0
    accepted: int = 0
    notes: tuple[str, ...] = ()


def _labeller(chosen: argparse.Namespace):
    from beingh_core.data.annotate.labeller import Asking, HttpLabeller, key_of

    if not chosen.labeller_url:
        return None
    key = key_of(chosen.labeller_key_env, chosen.labeller_key_file)
    return Asking(
        HttpLabeller(url=chosen.labeller_url, model=chosen.labeller_model, key=key, timeout_s=chosen.labeller_timeout)
    )


def _propose(bench, name: str, asking) -> Outcome:
    from beingh_core.data.annotate import labels as files

    if sys.stderr.isatty():
        print(f"\r{name}\x1b[K\r", end="", file=sys.stderr, flush=True)
    notes: list[str] = []
    try:
        fresh = bench.propose(name, partial(asking.improved, notes=notes) if asking else None)
        labels = bench.load(name).labels
        notes += bench.recording(name).findings if fresh else ()
    except BeingHError as error:
        return Outcome(name=name, state="refused", notes=(*notes, str(error)))
    return Outcome(
        name=name, state="proposed" if fresh else "kept", segments=len(labels.segments),
        accepted=labels.count(files.ACCEPTED), notes=tuple(notes),
    )  # fmt: skip


def table(outcomes: list[Outcome]) -> str:
    """One line a bag, and notes under it."""
    width = max([len(outcome.name) for outcome in outcomes] + [3])
    lines = [f"{'bag':<{width}}  {'labels':<8}  segments  accepted"]
    for outcome in outcomes:
        lines.append(f"{outcome.name:<{width}}  {outcome.state:<8}  {outcome.segments:>8}  {outcome.accepted:>8}")
        lines += [f"{'':<{width}}    {note}" for note in outcome.notes]
    return "\n".join(lines)


def _serve(server) -> None:
    """Serves until SIGINT or SIGTERM."""
    ending = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ending.set())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)
    thread.start()
    address, port = server.server_address[:2]
    if not ipaddress.ip_address(address).is_loopback:
        print(
            "beingh: others in the network can read what the page shows, and its token; rather leave --host out and "
            f"connect with `ssh -L {port}:127.0.0.1:{port} THIS_MACHINE`",
            file=sys.stderr,
        )
    print(f"open {server.url}\nCtrl-C ends it; everything is saved as soon as it is changed", flush=True)
    ending.wait()
    server.shutdown()
