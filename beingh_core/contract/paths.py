"""Where the files of the package are: in a source tree, or in an installed share directory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PACKAGE = "beingh_ros"


def package_roots() -> list[Path]:
    """Directories that may hold `config/`, `urdf/` and `checkpoints/`, most specific first.

    A source tree comes first, then the share directory beside the installed Python packages, then
    those on the ament prefix path and of the Python environment.
    """
    here = Path(__file__).resolve()
    candidates = [here.parents[2]]
    candidates += [parent / "share" / PACKAGE for parent in here.parents]
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    candidates += [Path(prefix) / "share" / PACKAGE for prefix in [*prefixes, sys.prefix]]
    roots = []
    for candidate in candidates:
        if (candidate / "config" / "robots").is_dir() and candidate not in roots:
            roots.append(candidate)
    return roots


def contract_files() -> dict[str, Path]:
    """Name -> file of every robot contract of the package."""
    found: dict[str, Path] = {}
    for root in package_roots():
        for path in sorted((root / "config" / "robots").glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def find_in_package(relative: str | Path) -> Path | None:
    """The first existing `relative` below the package roots, or None."""
    for root in package_roots():
        if _exists(root / relative):
            return root / relative
    return None


def is_file(path: Path) -> bool:
    """Whether there is such a file; a path that no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
