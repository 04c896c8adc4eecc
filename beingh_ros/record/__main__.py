"""`python -m beingh_ros.record`, as `ros2 run beingh_ros record` where nothing is installed."""

import sys

from beingh_ros.record.node import main

if __name__ == "__main__":
    sys.exit(main())
