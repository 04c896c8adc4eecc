"""A node with nothing but a timer: what this machine's scheduling costs a tick, measured beside the controller.

`python -m beingh_ros.soak.empty_timer RATE_HZ FILE` writes the time of every call [ns, system clock] when it ends.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from rclpy.node import Node

from beingh_ros.nodes.runtime import raise_priority, run_node


class EmptyTimer(Node):
    """The node.

    Args:
        rate_hz: Calls per second.
        path: File for the times.
    """

    def __init__(self, rate_hz: float, path: str) -> None:
        super().__init__("empty_timer")
        self._path, self._times = Path(path), []
        self._timer = self.create_timer(1.0 / rate_hz, lambda: self._times.append(time.time_ns()))

    def close(self) -> None:
        """Write the times."""
        self._path.write_text("\n".join(map(str, self._times)))


def main() -> int:
    """Entry point."""
    raise_priority()  # as the controller does
    rate_hz, path = float(sys.argv[1]), sys.argv[2]
    return run_node(lambda: EmptyTimer(rate_hz, path), "empty_timer", [])


if __name__ == "__main__":
    sys.exit(main())
