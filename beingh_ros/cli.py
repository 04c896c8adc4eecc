"""The installed command `beingh`: the core's sub-commands and those that use ROS.

Nothing here imports rclpy: `beingh bench` and `beingh --help` work where ROS is not installed or not sourced.
"""

from __future__ import annotations

from beingh_core.interrupts import end_quietly_while_importing  # isort: skip

end_quietly_while_importing(__name__)

import sys
from collections.abc import Sequence

from beingh_core import cli as core
from beingh_ros.monitor import command as monitor
from beingh_ros.replay import command as replay
from beingh_ros.robots import command as robots
from beingh_ros.soak import command as soak

# What adds the sub-commands of this package; see `beingh_core.cli.Register`.
REGISTERS: tuple[core.Register, ...] = (robots.register, monitor.register, soak.register, replay.register)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; see `beingh_core.cli.main`."""
    return core.main(arguments, REGISTERS)


if __name__ == "__main__":
    sys.exit(main())
