"""The topic `controller/state`: the controller's status as a message, and back."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rclpy.qos import DurabilityPolicy, QoSProfile

from beingh_core.control.stop_causes import REQUESTED, RUNNING, STOPPED, STOPPING, Status
from beingh_core.realtime.clock import parse_stamp
from beingh_ros.messages.diagnostics import ERROR, OK, WARN, read_status

TOPIC = "controller/state"
# Latched: who comes later receives the newest.
QOS = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def state_level(status: Status) -> bytes:
    """OK while chunks run, ERROR when stopped by something that must be put right, else WARN."""
    if status.state == RUNNING and not status.cause:
        return OK
    failed = status.state in (STOPPING, STOPPED) and status.cause not in REQUESTED
    return ERROR if failed else WARN


def state_message(robot: str, status: Status) -> DiagnosticStatus:
    """What is published on every change."""
    values = {
        "state": status.state,
        "cause": status.cause,
        "epoch": status.epoch,
        "stamp_ns": str(status.stamp_ns),
        "estop": str(status.estop),
    }
    return DiagnosticStatus(
        level=state_level(status),
        name=robot,
        message=status.reason,
        hardware_id=robot,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )


def read_state(message: DiagnosticStatus) -> Status:
    """The status in a message."""
    values = read_status(message)
    return Status(
        state=values["state"],
        cause=values["cause"],
        reason=message.message,
        epoch=values["epoch"],
        stamp_ns=parse_stamp(values["stamp_ns"]),
        estop=values["estop"] == "True",
    )
