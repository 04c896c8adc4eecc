"""Says in the log why the policy makes no chunks, and not every time it is asked. No ROS here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

PATIENCE_S, AGAIN_S = 4.0, 10.0
# Nothing is wrong: nobody has asked for chunks.
_IDLE = frozenset({"instruction", "lifecycle"})
# The controller tells by itself why it is silent.
_ONCE = frozenset({"controller/buffer"})


class GateLog:
    """Warns when the gate stays closed. One thread.

    Args:
        warn, inform: Take a line for the log.
    """

    def __init__(self, warn: Callable[[str], None], inform: Callable[[str], None]) -> None:
        self._warn, self._inform = warn, inform
        self._since_s: float | None = None
        self._told_s: float | None = None

    def look(self, now_s: float, closed: Sequence[tuple[str, str]]) -> None:
        """Note what keeps the gate closed; call it once a second.

        Args:
            now_s: Monotonic time [s].
            closed: (what, why) of every reason.
        """
        what = {name for name, _ in closed}
        if not what or what & _IDLE:
            if self._told_s is not None and not what:
                self._inform("chunks are made again")
            self._since_s = self._told_s = None
            return
        if self._since_s is None:
            self._since_s = now_s
        if self._told_s is None:
            due = now_s - self._since_s >= PATIENCE_S
        else:
            due = not what <= _ONCE and now_s - self._told_s >= AGAIN_S
        if due:
            self._told_s = now_s
            self._warn("no chunks are made: " + "; ".join(f"{name}: {why}" for name, why in closed))
