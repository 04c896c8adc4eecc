"""When a controller had no epoch: it was stopped, waited to begin, or a new one had not begun. No commands are due then."""

from __future__ import annotations

from typing import Any

from beingh_core.data.doctor.facts import Run

STATE, STATE_TYPE = "controller/state", "diagnostic_msgs/msg/DiagnosticStatus"
_RUNNING = "running"


class Epochs:
    """Collects what the controller of one bag says; times are those of recording."""

    def __init__(self) -> None:
        self._states: list[tuple[int, str]] = []
        self._ticks: list[tuple[int, int, str]] = []  # first and last tick of each epoch

    def state(self, log_ns: int, status: Any) -> None:
        """A message of `controller/state`; one that does not say its state is left out."""
        found = next((pair.value for pair in status.values if pair.key == "state"), "")
        if found and (not self._states or self._states[-1][1] != found):
            self._states.append((log_ns, found))

    def tick(self, log_ns: int, epoch: str) -> None:
        """A message of `controller/buffer`, whose frame_id is the epoch."""
        if self._ticks and self._ticks[-1][2] == epoch:
            self._ticks[-1] = (self._ticks[-1][0], log_ns, epoch)
        else:
            self._ticks.append((log_ns, log_ns, epoch))

    def pauses(self, begin_ns: int, end_ns: int) -> list[Run]:
        """Stretches without an epoch, in order and apart, in seconds after `begin_ns`."""
        ends = [log_ns for log_ns, _ in self._states[1:]] + [end_ns]
        found = [(since, until) for (since, state), until in zip(self._states, ends) if state != _RUNNING]
        found += [(one[1], other[0]) for one, other in zip(self._ticks, self._ticks[1:]) if one[2] and other[2]]
        runs: list[Run] = []
        for since, until in sorted(found):
            start_s, end_s = ((min(max(at, begin_ns), end_ns) - begin_ns) * 1e-9 for at in (since, until))
            if runs and start_s <= runs[-1].end_s:
                start_s, end_s = runs[-1].start_s, max(end_s, runs.pop().end_s)
            if end_s > start_s:
                runs.append(Run(start_s=start_s, end_s=end_s, count=0))
        return runs
