"""`Complaints`: what others do wrong, told in a few lines however often they do it."""

from __future__ import annotations

import logging
import threading
import time

from beingh_core.policy.remote.headers import told

log = logging.getLogger(__name__)
PERIOD_S = 10.0


class Complaints:
    """Logs at most one line of each kind in `PERIOD_S`, with how many there were. Any thread.

    Args:
        clock: [s].
    """

    def __init__(self, clock=time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._untold: dict[str, int] = {}
        self._told_s: dict[str, float] = {}

    def tell(self, kind: str, reason: str) -> None:
        """Counts one, and logs it when that may be.

        Args:
            kind: one of a few words.
            reason: the one that is told of those since the last line.
        """
        with self._lock:
            count = self._untold[kind] = self._untold.get(kind, 0) + 1
            now_s = self._clock()
            if now_s - self._told_s.get(kind, -PERIOD_S) < PERIOD_S:
                return
            self._told_s[kind], self._untold[kind] = now_s, 0
        log.warning("%s: %s%s", kind, told(reason), f" ({count} of this kind since the last line)" if count > 1 else "")
