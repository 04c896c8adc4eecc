"""Publishes two raw cameras at 30 Hz and joints at 100 Hz for so many seconds."""

import array
import sys
import time

import rclpy
from sensor_msgs.msg import Image, JointState

rclpy.init()
node = rclpy.create_node("camera_load")
cameras = [node.create_publisher(Image, f"/{name}_camera/color/image_raw", 30) for name in ("scene", "wrist")]
joints = node.create_publisher(JointState, "/joint_states", 50)
image = Image(height=480, width=640, encoding="rgb8", step=1920, data=array.array("B", bytes(640 * 480 * 3)))
state = JointState(name=[f"joint{i}" for i in range(9)], position=[0.0] * 9)
while any(publisher.get_subscription_count() < 1 for publisher in (*cameras, joints)):
    time.sleep(0.05)
time.sleep(0.5)
start, images = time.monotonic(), 0
steps = round(100 * float(sys.argv[1]))
for step in range(steps):
    state.header.stamp = image.header.stamp = node.get_clock().now().to_msg()
    joints.publish(state)
    if step * 0.3 >= images:
        images += 1
        for publisher in cameras:
            publisher.publish(image)
    time.sleep(max(0.0, start + 0.01 * (step + 1) - time.monotonic()))
