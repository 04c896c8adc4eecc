"""Single keys of the terminal in which the recorder runs."""

from __future__ import annotations

import os
import re
import select
import sys
import termios
import threading
import tty
from collections.abc import Callable

from beingh_ros.record.commands import Command

KEYS = {
    " ": Command("toggle"),
    "s": Command("stop", "success"),
    "f": Command("stop", "failure"),
    "x": Command("discard"),
    "c": Command("mark", "contact"),
    "r": Command("mark", "release"),
    "k": Command("mark", "correction"),
    "i": Command("person"),
    "p": Command("policy"),
}
HELP = (
    "keys: space start/stop, s stop with success, f stop with failure, x discard, c contact, r release, k correction, "
    "i I am in charge, p the policy is"
)

# What an arrow or the like sends; its letters are no keys.
_SEQUENCE = re.compile(r"\x1b(\[[0-9;]*[A-Za-z~]|O.)?")


class Keyboard:
    """Reads keys in a thread of its own until it is closed; Ctrl-C works as ever.

    Args:
        take: Called in that thread with the command of each key that has one.
    """

    def __init__(self, take: Callable[[Command], None]) -> None:
        self._take, self._input = take, sys.stdin.fileno()
        self._before = termios.tcgetattr(self._input)
        self._wake, self._ending = os.pipe()
        tty.setcbreak(self._input)
        self._thread = threading.Thread(target=self._read, name="keyboard", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give the terminal back as it was."""
        os.write(self._ending, b"x")
        self._thread.join()
        termios.tcsetattr(self._input, termios.TCSADRAIN, self._before)
        os.close(self._wake)
        os.close(self._ending)

    def _read(self) -> None:
        while True:
            ready, _, _ = select.select([self._input, self._wake], [], [])
            if self._wake in ready:
                return
            keys = os.read(self._input, 64).decode("utf-8", "ignore")
            if not keys:
                return  # the terminal is gone
            for key in _SEQUENCE.sub("", keys):
                if key in KEYS:
                    self._take(KEYS[key])
