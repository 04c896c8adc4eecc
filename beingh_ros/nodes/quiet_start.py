"""Signals while a node's process is still importing. Standard library only: it comes before all other imports."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path


def end_quietly_while_importing(module: str) -> None:
    """From now on SIGINT and SIGTERM end the process with one line instead of a traceback, until the node takes them.

    Nothing has been connected yet that would have to be closed. A program that only imports the module keeps its own
    handling of signals.

    Args:
        module: `__name__` of the node's module.
    """
    name = Path(sys.argv[0]).stem
    # In the script that an installation makes, the node's module has its own name.
    if module not in ("__main__", f"beingh_ros.nodes.{name}"):
        return

    def end(number: int, _frame: object) -> None:
        os.write(2, f"[{name}] ended by {signal.Signals(number).name} while it was starting\n".encode())
        os._exit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
