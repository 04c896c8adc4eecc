"""A controller node whose system clock can be set from outside, without touching the machine's clock.

`time.time_ns` is what the controller compares with its monotonic clock, so it is what is stepped here: by the number of
nanoseconds in the file that BEINGH_SOAK_CLOCK names.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import time
from pathlib import Path

VARIABLE = "BEINGH_SOAK_CLOCK"
_FORMAT = "<q"


class ClockFile:
    """The step of a process's system clock, as a file of eight bytes.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set(0)

    def set(self, step_ns: int) -> None:
        """Set the clock to `step_ns` [ns] after the machine's; negative for before."""
        if not self.path.exists():
            self.path.write_bytes(struct.pack(_FORMAT, step_ns))
            return
        with open(self.path, "r+b") as file:  # in place: the process has it mapped
            file.write(struct.pack(_FORMAT, step_ns))


def install(path: str) -> None:
    """Step this process's `time.time_ns` and `time.time` by what the file says, from now on."""
    with open(path, "r+b") as file:
        mapped = mmap.mmap(file.fileno(), struct.calcsize(_FORMAT), access=mmap.ACCESS_READ)
    true_time_ns = time.time_ns
    time.time_ns = lambda: true_time_ns() + struct.unpack(_FORMAT, mapped[:])[0]
    time.time = lambda: time.time_ns() / 1e9


def main() -> int:
    """Entry point: the controller node with that clock."""
    from beingh_ros.nodes.controller_node import main as run_controller

    if VARIABLE in os.environ:
        install(os.environ[VARIABLE])
    return run_controller()


if __name__ == "__main__":
    sys.exit(main())
