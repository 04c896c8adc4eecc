"""Where a report is written."""

from __future__ import annotations

import os
from pathlib import Path

from beingh_core.errors import BeingHError


def write_target(path: str) -> Path:
    """The file to write a report to; BeingHError, before anything is measured, when that cannot work."""
    target = Path(path)
    if target.is_dir() or not os.access(target if target.exists() else target.parent, os.W_OK):
        raise BeingHError(f"cannot write '{path}'", where="--json", remedy="give a file in a folder that you may write")
    return target
