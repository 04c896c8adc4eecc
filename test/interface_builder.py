"""Real message packages for tests, built from `interfaces/` where the environment has none; kept in the folder for temporary files."""

from __future__ import annotations

import fcntl
import importlib
import importlib.util
import os
import sys
import tempfile
from pathlib import Path

import pytest

INTERFACES = Path(__file__).resolve().parent.parent / "interfaces"
_SPEC = importlib.util.spec_from_file_location("interfaces_build", INTERFACES / "build.py")
builder = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(builder)


def provide(package: str) -> None:
    """Make a package importable: the installed one, else one built from its fields; skips where neither can be."""
    if package in sys.modules or builder.is_importable(package):
        return
    if "ROS_DISTRO" in os.environ:
        pytest.skip(f"{package} is not installed: install or build it for this ROS distribution")
    if why := builder.lacking():
        pytest.skip(f"{package} is not installed, and {why} to build its interfaces")
    sys.path.insert(0, str(_built(package)))
    importlib.invalidate_caches()


def for_children(environment: dict[str, str], package: str) -> None:
    """Let child processes import a provided package, too: extends their environment."""
    folder = str(Path(importlib.import_module(package).__file__).parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), folder]))


def _built(package: str) -> Path:
    """Folder with the built package in it."""
    folder = Path(tempfile.gettempdir()) / f"beingh_interfaces_{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"{package}_{builder.digest(package)[:16]}"
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            builder.build(package, target)
    return target
