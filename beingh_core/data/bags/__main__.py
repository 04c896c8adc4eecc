"""Command line: `python -m beingh_core.data.bags info|finish PATH...`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from beingh_core.data.bags.bag import open_bag
from beingh_core.data.bags.finish import finish
from beingh_core.errors import BeingHError


def info(path: Path) -> None:
    """Print what a bag holds and what is wrong with it."""
    with open_bag(path) as bag:
        seconds = (bag.end_ns - bag.start_ns) / 1e9
        print(
            f"{path}: {bag.message_count} messages, {seconds:.3f} s, {'complete' if bag.complete else 'not complete'}"
        )
        for name, topic in sorted(bag.topics.items()):
            print(f"  {topic.count:8d}  {name}  {topic.type}")
        for finding in bag.findings:
            print(f"  ! {finding}")


def main(arguments: list[str] | None = None) -> int:
    """Entry point; exit status 2 when a bag could not be read or finished."""
    parser = argparse.ArgumentParser(prog="python -m beingh_core.data.bags", description=__doc__)
    parser.add_argument(
        "action", choices=("info", "finish"), help="what to do; finish: of a bag whose recorder was killed"
    )
    parser.add_argument("paths", nargs="+", type=Path, help="bag directories or files")
    given = parser.parse_args(arguments)
    status = 0
    for path in given.paths:
        try:
            if given.action == "info":
                info(path)
            else:
                info(finish(path))
        except BeingHError as error:
            print(error, file=sys.stderr)
            status = 2
    return status


if __name__ == "__main__":
    sys.exit(main())
