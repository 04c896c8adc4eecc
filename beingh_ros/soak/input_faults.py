"""Faults of the pictures and joint states on their way to the policy and the controller, which must not stop the robot."""

from __future__ import annotations

import random

from sensor_msgs.msg import Image, JointState

from beingh_core.contract import RobotContract
from beingh_ros.soak.disturbance import Effect, delayed, delayed_in_order, dropped, frozen, once
from beingh_ros.soak.fault import HOLDS, Fault, Makers, wire_fault
from beingh_ros.soak.injector import joint_state_topics
from beingh_ros.soak.tampering import beside_efforts, one_by_one, stamped_ahead

AHEAD_S = 3600


def input_faults(contract: RobotContract, rng: random.Random) -> Makers:
    """Kind -> maker of a fault."""
    topics = [camera.topic for camera in contract.cameras]

    def camera(kind: str, effect: Effect, expected: str = HOLDS) -> Fault:
        return wire_fault(kind, 3.0, {rng.choice(topics): [effect]}, expected)

    def states(kind: str, effect: Effect) -> Fault:
        return wire_fault(kind, 3.0, {topic: [effect] for topic in joint_state_topics(contract)}, may_hold=True)

    return {
        "camera_freeze": lambda: camera("camera_freeze", frozen()),
        "camera_loss": lambda: camera("camera_loss", dropped(1.0, rng)),
        "camera_late": lambda: wire_fault(
            "camera_late", 3.0, {rng.choice(topics): [delayed(0.0, contract.uac.latency_budget_s, rng)]}, may_hold=True
        ),
        "camera_ahead": lambda: wire_fault(
            "camera_ahead", 3.0, {topic: [once(stamped_ahead(Image, AHEAD_S))] for topic in topics}, may_hold=True
        ),
        "joint_states_late": lambda: states("joint_states_late", delayed_in_order(0.0, 0.05, rng)),
        "joint_states_ahead": lambda: states("joint_states_ahead", once(stamped_ahead(JointState, AHEAD_S))),
        "joint_states_one_by_one": lambda: states("joint_states_one_by_one", one_by_one),
        "joint_states_efforts": lambda: states("joint_states_efforts", beside_efforts),
    }
