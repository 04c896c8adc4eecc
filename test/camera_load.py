"""Publishes two raw cameras at 30 Hz (`cameras`) or joints at 100 Hz (`joints`) for so many seconds, as their drivers would."""

import array
import sys
import time

import rclpy
from sensor_msgs.msg import Image, JointState

kind, seconds = sys.argv[1], float(sys.argv[2])
rclpy.init()
node = rclpy.create_node(f"{kind}_load")
if kind == "cameras":
    rate = 30
    message = Image(height=480, width=640, encoding="rgb8", step=1920, data=array.array("B", bytes(640 * 480 * 3)))
    publishers = [node.create_publisher(Image, f"/{name}_camera/color/image_raw", 30) for name in ("scene", "wrist")]
else:
    rate = 100
    message = JointState(name=[f"joint{i}" for i in range(9)], position=[0.0] * 9)
    publishers = [node.create_publisher(JointState, "/joint_states", 50)]
start = time.monotonic()
for step in range(round(rate * seconds)):
    message.header.stamp = node.get_clock().now().to_msg()
    for publisher in publishers:
        publisher.publish(message)
    time.sleep(max(0.0, start + (step + 1) / rate - time.monotonic()))
