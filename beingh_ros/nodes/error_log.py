"""Errors of something that comes again and again: logged once, and after a while once more. No ROS here."""

from __future__ import annotations

import time
from collections.abc import Callable

ANOTHER_ERROR_PERIOD_S, SAME_ERROR_PERIOD_S = 5.0, 30.0


class ErrorLog:
    """Lets an error of a key through when it is new, or when the last one is long ago.

    Args:
        log: Takes what is to be logged.
        another_s: Time between two different errors of a key [s].
    """

    def __init__(self, log: Callable[[str], object], another_s: float = ANOTHER_ERROR_PERIOD_S) -> None:
        self._log, self._another_s = log, another_s
        self._logged: dict[str, tuple[float, str]] = {}

    def __call__(self, key: str, text: str) -> None:
        """Log `text`, unless `key` has had an error shortly before; any thread."""
        now_s = time.monotonic()
        logged_s, logged = self._logged.get(key, (-SAME_ERROR_PERIOD_S, text))
        if now_s - logged_s >= (SAME_ERROR_PERIOD_S if logged == text else self._another_s):
            self._logged[key] = now_s, text
            self._log(text)
