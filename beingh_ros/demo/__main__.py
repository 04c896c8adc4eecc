"""`python -m beingh_ros.demo`."""

import sys

from beingh_ros.demo.command import main

if __name__ == "__main__":
    sys.exit(main())
