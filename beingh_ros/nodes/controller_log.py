"""What the controller node writes of its states: each change once, what it waits for again and again.

Executor thread only.
"""

from __future__ import annotations

import time

from beingh_core.control.stop_causes import (
    COLLISION,
    DRIVER,
    FOR_JOINT_STATES,
    REQUESTED,
    RUNNING,
    STOPPED,
    STOPPING,
    WAITING,
    Status,
)

# What keeps the robot from its start is told again after so long; missing joint states first after a moment [s].
AGAIN_S, FIRST_S = 10.0, 1.0
# When everything is ended together, the robot's side may go this long before this node is told; that is no error [s].
PATIENCE_S = 0.5
GONE = ("nobody subscribes", "there is no action server")
IDLE = "The robot gets no commands until that is put right."


class ControllerLog:
    """Writes states.

    Args:
        logger: Of the node.
        reset: Full name of the reset service.
    """

    def __init__(self, logger, reset: str) -> None:
        self._log, self._reset = logger, reset
        self._before = Status(state="")
        self._due_s = 0.0
        self._held: tuple[float, str] | None = None

    def state(self, status: Status) -> None:
        """A change."""
        text, before = status.sentence.rstrip("."), self._before
        self._before = status
        self._due_s = time.monotonic() + (FIRST_S if status.reason.startswith(FOR_JOINT_STATES) else AGAIN_S)
        if status.state in (STOPPING, STOPPED) and status.cause not in REQUESTED:
            if (status.cause, status.stamp_ns) != (before.cause, before.stamp_ns):
                text = f"{text}. The robot brakes and gets no more commands. "
                text += f"To fix: remove the cause, then call {self._reset}."
                if status.cause == DRIVER and status.reason.startswith(GONE):
                    self._tell_held()
                    self._held = time.monotonic(), text
                else:
                    self._log.error(text)
            elif status.state != before.state:
                self._log.info(f"the robot is at rest ({status.cause})")
        elif status.state == WAITING and not status.reason.startswith(WAITING):
            self._log.warning(f"{text}. {IDLE}")
        elif status.state == RUNNING and status.cause == COLLISION:
            # A line of its own, since each is throttled by itself.
            self._log.warning(text, throttle_duration_sec=5.0)
        elif status.state == RUNNING and status.cause:
            self._log.warning(text, throttle_duration_sec=5.0)
        elif status.sentence != before.sentence:
            self._log.info(text)

    def look(self) -> None:
        """Often: what is due."""
        now_s = time.monotonic()
        if self._held is not None and now_s - self._held[0] >= PATIENCE_S:
            self._tell_held()
        if self._before.state == WAITING and now_s >= self._due_s:
            self._due_s = now_s + AGAIN_S
            self._log.warning(f"{self._before.sentence.rstrip('.')}. {IDLE}")

    def end(self) -> None:
        """The node is ended by somebody."""
        if self._held is not None:
            self._log.info(f"{self._held[1].partition('. The robot brakes')[0]} (everything is being ended)")
            self._held = None

    def _tell_held(self) -> None:
        if self._held is not None:
            self._log.error(self._held[1])
            self._held = None
