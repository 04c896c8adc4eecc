"""`make mutants`: applies the mutants one at a time to a copy of the tree and runs the tests that must find each.

Prints a table; exits with 1 when one survives, takes too long to be found or no longer fits its file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("beingh_core", "beingh_ros", "config", "launch", "test", "urdf")
LIMIT_S = 60


def outcome(mutant: Mutant, tree: Path) -> str:
    """`found`, or what is wrong, with this mutant applied to a tree for the time of its tests."""
    path = tree / mutant.file
    text = path.read_text()
    if text.count(mutant.old) != 1:
        return f"its text stands {text.count(mutant.old)} times in the file"
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--hypothesis-profile=no_shrinking", f"test/{mutant.tests}"]
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    path.write_text(text.replace(mutant.old, mutant.new))
    try:
        ended = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"not found in {LIMIT_S} s"
    finally:
        path.write_text(text)
    if ended.returncode in (0, 1):
        return "survives" if ended.returncode == 0 else "found"
    return f"pytest ended with {ended.returncode}: {(ended.stdout + ended.stderr).strip()[-200:]}"


def main() -> int:
    """Entry point; words of the command line choose the mutants of files whose names hold one of them."""
    chosen = [mutant for mutant in MUTANTS if not sys.argv[1:] or any(word in mutant.file for word in sys.argv[1:])]
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / part, tree / part)
        for mutant in chosen:
            began = time.monotonic()
            text = outcome(mutant, tree)
            wrong += text != "found"
            print(f"{time.monotonic() - began:5.1f} s  {text:8}  {mutant.file}: {mutant.old[:70]}", flush=True)
    print(f"{len(chosen) - wrong} of {len(chosen)} mutants are found")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
