"""Command line: train a checkpoint. `python -m beingh_core.train --help`."""

from __future__ import annotations

import argparse
import sys

from beingh_core.errors import BeingHError
from beingh_core.train.command import add_arguments, between_options, run


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    between_options(parser)
    args = parser.parse_args()
    try:
        sys.exit(run(args))
    except BeingHError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, f"{parser.prog}: interrupted\n")


if __name__ == "__main__":
    main()
