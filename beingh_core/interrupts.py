"""Ctrl-C while a command is still importing, and in the processes that it starts. Standard library only: it comes first."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

INTERRUPTED = 130  # exit status, as of SIGINT
_COMMANDS = ("beingh", "export_dataset", "replay_eval")


def end_quietly_while_importing(module: str) -> None:
    """From now on SIGINT ends the process with one line instead of a traceback, until `raise_on_interrupt`.

    A program that only imports the module keeps its own handling of signals.

    Args:
        module: `__name__` of the command's module.
    """
    name = Path(sys.argv[0]).stem
    if module != "__main__" and name not in _COMMANDS:
        return

    def end(_number: int, _frame: object) -> None:
        os.write(2, f"{name if name in _COMMANDS else 'beingh'}: interrupted\n".encode())
        os._exit(INTERRUPTED)

    signal.signal(signal.SIGINT, end)
    _taken.append(end)


_taken: list[object] = []


def raise_on_interrupt() -> None:
    """SIGINT raises KeyboardInterrupt again, where `end_quietly_while_importing` has taken it."""
    if _taken and signal.getsignal(signal.SIGINT) in _taken:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """A process that is started meanwhile never sees a Ctrl-C of the terminal; one that comes meanwhile waits."""
    # A mask is one thread's, and the kernel hands the signal to any other; what Python does about it waits as well.
    came: list[int] = []
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number)) if in_main else None
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if in_main:
            signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


def was_interrupted(error: BaseException | None) -> bool:
    """Whether an error comes from a signal during an import, which modules written in C tell as an ImportError."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False
