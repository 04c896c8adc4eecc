"""`make test`: the tests that run nodes, which mostly wait, and beside them, with less of the processor, the rest.

Arguments go to both runs of pytest. The first one's output is shown as it comes and the other's at its end; the last line
sums up both. Exits with 0 only when both passed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "pytest", "-q"]
NO_TESTS = 5
COLOURS = re.compile(r"\x1b\[[\d;]*m")
COUNT = re.compile(r"(\d+) (failed|passed|skipped|deselected|xfailed|xpassed|warning|error)s?\b")
CLOSING = re.compile(r"^=*\s*(?:\d+ \w+|no tests ran).* in [\d.]+s\b", re.MULTILINE)


def status_of(statuses: list[int]) -> int:
    """Exit status for those of both runs: the first fault, or that neither had any test."""
    faults = [status for status in statuses if status not in (0, NO_TESTS)]
    return faults[0] if faults else min(statuses)


def closing_line(outputs: list[str], seconds: float) -> str:
    """Counts of both runs in one line, as pytest writes it."""
    counts = Counter()
    for output in outputs:
        lines = CLOSING.findall(COLOURS.sub("", output))
        for number, what in COUNT.findall(lines[-1] if lines else ""):
            counts[what] += int(number)
    order = ("failed", "passed", "skipped", "deselected", "xfailed", "xpassed", "warning", "error")
    plural = lambda what: f"{what}s" if what in ("warning", "error") and counts[what] != 1 else what
    told = ", ".join(f"{counts[what]} {plural(what)}" for what in order if counts[what]) or "no tests ran"
    return f"{told} in {seconds:.2f}s ({int(seconds) // 60}:{int(seconds) % 60:02d} min)"


def shown(process: subprocess.Popen) -> str:
    """A run's output, passed on as it comes."""
    parts = []
    while chunk := os.read(process.stdout.fileno(), 4096):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        parts.append(chunk)
    return b"".join(parts).decode(errors="replace")


def main() -> int:
    """Entry point."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as kept:
        rest = subprocess.Popen(
            ["nice", "-n", "10", *COMMAND, "--part", "rest", *sys.argv[1:]],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=kept,
            stderr=subprocess.STDOUT,
        )
        nodes = subprocess.Popen(
            [*COMMAND, "--part", "nodes", *sys.argv[1:]], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        interrupted = False
        outputs = []
        try:
            outputs.append(shown(nodes))
            statuses = [nodes.wait(), rest.wait()]
        except KeyboardInterrupt:  # both runs have had the signal, too
            interrupted = True
            statuses = [nodes.wait(), rest.wait()]
        kept.seek(0)
        outputs.append(kept.read().decode(errors="replace"))
    print(f"\nThe rest:\n{outputs[-1]}\nBoth:\n{closing_line(outputs, time.monotonic() - began)}", flush=True)
    return 2 if interrupted else status_of(statuses)


if __name__ == "__main__":
    sys.exit(main())
