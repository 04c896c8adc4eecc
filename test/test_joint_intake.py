"""Joint state messages that name a joint twice: refused by controller and policy where it is one of theirs, else taken."""

import math
from types import SimpleNamespace

import pytest
from control_support import FR3, HOME, NOW
from sensor_msgs.msg import JointState

from beingh_core.inference.policy_inputs import PolicyInputs
from beingh_ros.messages.state_messages import StateReader
from beingh_ros.nodes.joint_intake import JointIntake
from beingh_ros.nodes.policy_node import PolicyNode

TOPIC = FR3.joint_state_topics[0]


def twice(name, value):
    return JointState(name=[*HOME, name], position=[*HOME.values(), value])


class Log:
    def __init__(self):
        self.lines = []

    def error(self, text, **_):
        self.lines.append(text)


def controller_takes(message):
    """(positions that the controller got, why it was told to stop, log)"""
    log, taken, refused, received = Log(), [], [], {}
    node = SimpleNamespace(
        resolve_topic_name=lambda topic: f"/cell{topic}",
        create_subscription=lambda _type, name, callback, _qos: received.update({name: callback}),
        get_logger=lambda: log,
    )
    controller = SimpleNamespace(
        joint_state=lambda now_ns, positions, *_: taken.append(positions),
        malformed_joint_state=lambda now_ns, reason: refused.append(reason),
    )
    intake = JointIntake(node, FR3)
    intake.connect(controller, lambda _positions: None, lambda: NOW)
    intake._receive(f"/cell{TOPIC}", message, {})
    return taken, refused, log.lines


def policy_takes(message):
    """(positions that the policy's buffers have got, why the gate is closed, log)"""
    log, inputs = [], PolicyInputs(FR3, lambda topic: f"/cell{topic}")
    node = SimpleNamespace(
        _inputs=inputs,
        _readers={TOPIC: StateReader(FR3, TOPIC)},
        _log_error=lambda _name, text: log.append(text),
        resolve_topic_name=lambda topic: f"/cell{topic}",
        now_ns=lambda: NOW,
    )
    message.header.stamp.sec = NOW // 10**9
    PolicyNode._on_state(node, TOPIC, message)
    taken = [name for name in ("state.eef_position",) if inputs.streams[name].latest() is not None]
    return taken, [reason for name, reason in inputs.closed(NOW) if name == "state.eef_position"], log


@pytest.mark.parametrize("takes", [controller_takes, policy_takes])
@pytest.mark.parametrize("value", [HOME["fr3_joint1"], 0.7, math.nan])
def test_a_wanted_joint_twice_is_one_error_with_topic_joint_and_remedy(takes, value):
    taken, refused, log = takes(twice("fr3_joint1", value))
    assert not taken and len(refused) == len(log) == 1
    assert "joint state holds fr3_joint1 more than once. To fix" in refused[0]
    assert log[0].startswith(f"/cell{TOPIC}: ") and f"/cell{TOPIC}" in refused[0] and "fr3_joint2" not in refused[0]


@pytest.mark.parametrize("takes", [controller_takes, policy_takes])
def test_strangers_may_come_twice(takes):
    message = twice("lamp", 0.0)
    message.name, message.position = (
        [*message.name, "lamp", "x" * 5000, "x" * 5000],
        [*message.position, 1.0, 0.0, math.nan],
    )
    taken, refused, log = takes(message)
    assert taken and not log and (takes is policy_takes or not refused)
