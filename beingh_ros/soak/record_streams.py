"""Publishes a raw camera or joints as its driver would, once somebody subscribes to all of them.

`python -m beingh_ros.soak.record_streams TOPIC SECONDS`; it stays until it is told to end, as a driver does.
"""

from __future__ import annotations

import array
import os
import sys
import time

import rclpy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image, JointState

from beingh_core.contract import load_contract

ROBOT = "fr3"
HEIGHT, WIDTH = 480, 640
CAMERA_HZ, JOINTS_HZ = 30, 100
# Connections that carry large messages take their time after they have been found [s].
SETTLE_S = 3.0


def rates() -> dict[str, int]:
    """Topic -> messages a second."""
    contract = load_contract(ROBOT)
    cameras = {f"/{camera.topic}": CAMERA_HZ for camera in contract.cameras}
    return cameras | {f"/{topic}": JOINTS_HZ for topic in contract.joint_state_topics}


def main(topic: str, seconds: float) -> None:
    """Publishes `seconds` of one of `rates`, then waits for SIGINT."""
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(f"load{topic.replace('/', '_')}", start_parameter_services=False)
    rate = rates()[topic]
    if rate == CAMERA_HZ:
        pixels = array.array("B", os.urandom(HEIGHT * WIDTH * 3))
        message = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH, data=pixels)
    else:
        names = load_contract(ROBOT).joint_names
        message = JointState(name=list(names), position=[0.0] * len(names))
    publisher = node.create_publisher(type(message), topic, 50)
    try:
        while not all(node.count_subscribers(other) for other in rates()):
            time.sleep(0.05)
        time.sleep(SETTLE_S)
        begin_s = time.monotonic()
        for step in range(round(rate * seconds)):
            message.header.stamp = node.get_clock().now().to_msg()
            publisher.publish(message)
            time.sleep(max(0.0, begin_s + (step + 1) / rate - time.monotonic()))
        while True:
            time.sleep(1.0)
    except KeyboardInterrupt:
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
