"""`python -m beingh_ros.replay`, as `ros2 run beingh_ros replay_eval` where nothing is installed."""

import sys

from beingh_ros.replay.command import main

if __name__ == "__main__":
    sys.exit(main())
