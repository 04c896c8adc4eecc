"""Machine-readable node health on /diagnostics, once a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR

Report = tuple[bytes, str, Mapping[str, object]]


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
