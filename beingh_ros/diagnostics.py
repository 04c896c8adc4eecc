"""Machine-readable node health on /diagnostics, once a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR

Report = tuple[bytes, str, Mapping[str, object]]


class Samples:
    """The newest `keep` values of a measured quantity. `add` from any one thread; reading from another is safe."""

    def __init__(self, keep: int = 10_000) -> None:
        # An array, because a copy of many thousand Python floats once a second would hold up the ticks.
        self._values = np.zeros(keep)
        self._added = 0

    def add(self, value: float) -> None:
        """Append one value."""
        self._values[self._added % len(self._values)] = value
        self._added += 1

    def newest(self, count: int) -> np.ndarray:
        """The newest `count` values or as many as there are, oldest first."""
        added, keep = self._added, len(self._values)
        return self._values[np.arange(added - min(count, added, keep), added) % keep]

    def summary(self, name: str, percentiles: Iterable[int]) -> dict[str, float]:
        """`name_pNN` and `name_max`; empty before the first value."""
        values = self._values[: self._added].copy()
        if not values.size:
            return {}
        return {f"{name}_p{p}": self.percentile(values, p) for p in percentiles} | {f"{name}_max": float(values.max())}

    @staticmethod
    def percentile(values: np.ndarray, p: float) -> float:
        """A percentile of at least one value."""
        return float(np.percentile(values, p))


class Diagnostics:
    """Publishes reports of one node every second, on a clock that runs even when simulated time stands still.

    Args:
        node: Owner.
        hardware_id: Robot name.
        reports: Component name -> function returning (level, message, values); called in the executor's thread. The
            status is named "NAMESPACE/NODE: COMPONENT", so that robots in namespaces can be told apart.
    """

    def __init__(self, node: Node, hardware_id: str, reports: Mapping[str, Callable[[], Report]]) -> None:
        self._node, self._hardware_id, self._reports = node, hardware_id, dict(reports)
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._timer = node.create_timer(1.0, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def set_reports(self, hardware_id: str, reports: Mapping[str, Callable[[], Report]]) -> None:
        """Replace robot name and reports; executor thread."""
        self._hardware_id, self._reports = hardware_id, dict(reports)

    def publish(self) -> None:
        """Publish every report now."""
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        for component, report in self._reports.items():
            level, text, values = report()
            message.status.append(
                DiagnosticStatus(
                    level=level,
                    name=f"{self._node.get_fully_qualified_name().strip('/')}: {component}",
                    message=text,
                    hardware_id=self._hardware_id,
                    values=[KeyValue(key=key, value=_text(value)) for key, value in values.items()],
                )
            )
        self._publisher.publish(message)


def read_status(status: DiagnosticStatus) -> dict[str, str]:
    """The key-values of a status as a mapping."""
    return {pair.key: pair.value for pair in status.values}


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
