"""What the monitor has received, and its verdict. No ROS and no drawing here.

All times are monotonic [s] and given by the caller, but for stamps, which are those of the messages [ns].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from beingh_core.realtime.clock import TickClock, parse_stamp
from beingh_ros.messages.thresholds import ERROR, OK, WARN, Finding, worst

# Every node reports once a second.
SILENT_AFTER_S = 3.0
# No value that a node reports comes near it.
LARGEST = 1e12
CONTROLLER, INFERENCE = "controller: commands", "policy: inference"
STOPPED_STATES = ("stopping", "stopped")


@dataclass(frozen=True, kw_only=True)
class Status:
    """One diagnostic status and when it was received.

    Attributes:
        level: OK, WARN or ERROR of `thresholds`.
        message: In words.
        robot: Its hardware id.
        values: Its key-values.
        received_s: When.
    """

    level: int
    message: str
    robot: str
    values: Mapping[str, str]
    received_s: float

    def number(self, key: str) -> float | None:
        """A value as a number, None where it is missing or none that can be shown."""
        try:
            value = float(self.values[key])
        except (KeyError, ValueError):
            return None
        return value if abs(value) < LARGEST else None


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Why the robot was stopped, and when by the controller's clock [ns]; 0 when that is not told."""

    cause: str
    reason: str
    stamp_ns: int


@dataclass
class MonitorState:
    """Everything received from one robot. One thread at a time.

    Attributes:
        namespace: Of the robot's nodes, without slashes; "" is the root.
        statuses: Diagnostics by "NODE: COMPONENT", without the namespace.
        last_stop: Newest stop, None before there is one.
    """

    namespace: str = ""
    statuses: dict[str, Status] = field(default_factory=dict)
    last_stop: Stop | None = None
    _control: Mapping[str, str] = field(default_factory=dict)
    _buffer: tuple[str, int, float, float] | None = None  # epoch, next tick [ns], period [s], received [s]
    _used: tuple[str, int] | None = None  # epoch and base tick [ns] of the newest chunk that was merged
    _length: int = 0

    def diagnostic(
        self, now_s: float, name: str, level: int, message: str, robot: str, values: Mapping[str, str]
    ) -> None:
        """Take one status; those of other namespaces and other packages are left out."""
        prefix = f"{self.namespace}/" if self.namespace else ""
        node, separator, component = name.removeprefix(prefix).partition(": ")
        if not name.startswith(prefix) or not separator or node not in ("controller", "policy"):
            return
        status = Status(level=level, message=message, robot=robot, values=dict(values), received_s=now_s)
        self.statuses[f"{node}: {component}"] = status
        # Without controller/state, the report tells of a stop.
        if f"{node}: {component}" == CONTROLLER and not self._control and values.get("state") in STOPPED_STATES:
            self._note_stop(values, values.get("reason", ""))

    def control(self, reason: str, values: Mapping[str, str]) -> None:
        """Take a message of controller/state.

        Args:
            reason: The cause in words.
            values: Its key-values: state, cause, epoch, stamp_ns.
        """
        self._control = {**values, "reason": reason}
        if values.get("state") in STOPPED_STATES:
            self._note_stop(values, reason)

    def buffer(self, now_s: float, epoch: str, stamp_ns: int, period_s: float) -> None:
        """Take a publication of controller/buffer, whose first point is at its stamp."""
        self._buffer = epoch, stamp_ns, period_s, now_s

    def chunk(self, length: int) -> None:
        """Take a chunk of `length` steps."""
        self._length = length

    def accepted(self, epoch: str, stamp_ns: int) -> None:
        """Take a message of controller/accepted."""
        self._used = epoch, stamp_ns

    @property
    def robot(self) -> str:
        """The robot's name, "" before anything is received from it."""
        return next((status.robot for status in self.statuses.values() if status.robot), "")

    @property
    def receives_control(self) -> bool:
        """Whether controller/state was received."""
        return bool(self._control)

    @property
    def control_state(self) -> str:
        """State of the controller, "" when nothing is received from it."""
        report = self.statuses.get(CONTROLLER)
        return self._control.get("state") or (report.values.get("state", "") if report else "")

    @property
    def control_reason(self) -> str:
        """What it waits for, or why it holds or has stopped; "" while it runs."""
        report = self.statuses.get(CONTROLLER)
        return self._control.get("reason") or (report.values.get("reason", "") if report else "")

    @property
    def streams(self) -> dict[str, Status]:
        """Status of every stream of the policy."""
        return {
            name.partition(": ")[2]: status
            for name, status in self.statuses.items()
            if name.startswith("policy: ") and name != INFERENCE
        }

    @property
    def chunk_length(self) -> int:
        """H, 0 while it is unknown."""
        report = self.statuses.get(CONTROLLER)
        return self._length or int((report and report.number("chunk_length")) or 0)

    def depth(self, now_s: float) -> int | None:
        """Steps that the newest merged chunk has left; None while the controller is silent."""
        if self._buffer is None or now_s - self._buffer[3] > 1.0:
            return None
        epoch, next_ns, period_s, _ = self._buffer
        if self._used is None or self._used[0] != epoch or not period_s > 0:
            return 0
        return max(0, self.chunk_length - TickClock(1 / period_s, self._used[1]).nearest_tick(next_ns))

    def findings(self, now_s: float) -> list[Finding]:
        """Everything that is not as it should be, the worst first."""
        found: dict[Finding, list[str]] = {}
        for name, status in self.statuses.items():
            silent_s = now_s - status.received_s
            if silent_s > SILENT_AFTER_S:
                words = f"silent for {silent_s:.0f} s, the node has ended or hangs"
                found.setdefault((ERROR, words), []).append(name)
            elif status.level != OK:
                found.setdefault((status.level, status.message), []).append(name.replace("policy: ", "", 1))
        findings = [(level, f"{', '.join(names)}: {text}") for (level, text), names in found.items()]
        if CONTROLLER not in self.statuses:
            findings.append((WARN, "no controller reports"))
        return sorted(findings, key=lambda finding: -finding[0])

    def hints(self) -> list[str]:
        """What to do about the state that it is in."""
        hints = []
        if self._control.get("estop") == "True":
            hints.append("the emergency stop is active: release it before the reset")
        if self.control_state == "stopped":
            reset = f"{'/' + self.namespace if self.namespace else ''}/controller/reset"
            hints.append(f"to go on: remove the cause, then `ros2 service call {reset} std_srvs/srv/Trigger`")
        if self.statuses and INFERENCE not in self.statuses:
            hints.append("no policy reports: the robot holds its position")
        return hints

    def verdict(self, now_s: float) -> Finding:
        """The worst level, and every finding in one line."""
        return worst(self.findings(now_s), "as it should be")

    def _note_stop(self, values: Mapping[str, str], reason: str) -> None:
        stop = Stop(cause=values.get("cause", ""), reason=reason, stamp_ns=parse_stamp(values.get("stamp_ns", "")))
        self.last_stop = stop
