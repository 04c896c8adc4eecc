"""Why the controller stops, and its state as it is published."""

from __future__ import annotations

from dataclasses import dataclass

WAITING, RUNNING, STOPPING, STOPPED = "waiting", "running", "stopping", "stopped"
# The reason of a controller that waits and has received nothing begins with this.
FOR_JOINT_STATES = "waiting for joint states"

ESTOP = "estop"
STOP_SERVICE = "stop_service"
JOINT_STATES_SILENT = "joint_states_silent"
JOINT_STATES_INVALID = "joint_states_invalid"
TRACKING_ERROR = "tracking_error"
CLOCK = "clock"
CHUNKS_SILENT = "chunks_silent"
COLLISION = "collision"
DRIVER = "driver"
EXCEPTION = "exception"
SHUTDOWN = "shutdown"
RESET = "reset"

# What each cause means. `CHUNKS_SILENT` and `COLLISION` are no stops: the joints brake and hold, the next chunk moves.
CAUSES = {
    ESTOP: "the emergency stop, by topic or service",
    STOP_SERVICE: "the stop service",
    JOINT_STATES_SILENT: "no joint states of a commanded joint for too long",
    JOINT_STATES_INVALID: "joint states that cannot be used or cannot all be true",
    TRACKING_ERROR: "a joint that does not follow its commands",
    CLOCK: "a clock that was set, or ticks that were held up for long",
    CHUNKS_SILENT: "no chunk came before the last one was used up",
    COLLISION: "the newest chunk was cut: it would have run the robot into itself or into a box of `keep_out`",
    DRIVER: "a driver that cannot send, that nobody subscribes to, whose robot does not follow or gets others' commands",
    EXCEPTION: "a defect in the controller",
    SHUTDOWN: "the end or deactivation of the node",
    RESET: "a reset while moving",
}
# Causes that nobody needs to put right.
REQUESTED = (STOP_SERVICE, SHUTDOWN, RESET)


@dataclass(frozen=True, kw_only=True)
class Status:
    """The controller's state and what led to it.

    Attributes:
        state: `WAITING`, `RUNNING`, `STOPPING` (brakes) or `STOPPED` (rests; nothing is sent until a reset).
        cause: One of `CAUSES`, "" when there is none.
        reason: The cause in words, or what it waits for.
        epoch: Present epoch, "" before the first.
        stamp_ns: When the cause came up [ns].
        estop: Whether the emergency stop is active, which refuses a reset.
    """

    state: str
    cause: str = ""
    reason: str = ""
    epoch: str = ""
    stamp_ns: int = 0
    estop: bool = False

    @property
    def sentence(self) -> str:
        """State and reason for people."""
        doubled = not self.reason or self.reason.startswith(self.state)
        return (self.reason or self.state) if doubled else f"{self.state}: {self.reason}"
