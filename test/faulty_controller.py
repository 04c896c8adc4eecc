"""controller_node with faults that no test could bring about from outside; each comes with a word on /fault."""

import sys
import threading
import time

from std_msgs.msg import String

from beingh_core.control.command_path import CommandPath
from beingh_core.control.controller import Controller
from beingh_core.control.path_check import ShapeCheck
from beingh_ros.drivers.joint_trajectory import JointTrajectoryDriver
from beingh_ros.nodes.controller_node import ControllerNode
from beingh_ros.nodes.runtime import run_node


def fail(*_arguments):
    raise RuntimeError("injected fault")


class FaultyController(ControllerNode):
    """The node as it is, plus the subscription."""

    def __init__(self):
        super().__init__()
        self._send, self._check = JointTrajectoryDriver.send, ShapeCheck.__call__
        self._goes_on = threading.Event()
        self.create_subscription(String, "/fault", self._on_fault, 10)

    def _check_slowly(self, *path):
        self.get_logger().info("a check has begun")
        self._goes_on.wait()
        self.get_logger().info("a check has ended")
        return self._check(*path)

    def _on_fault(self, message):
        if message.data == "clock":
            real = time.time_ns
            time.time_ns = lambda: real() + 3_000_000_000
        elif message.data == "driver":
            JointTrajectoryDriver.send = fail
        elif message.data == "driver works":
            JointTrajectoryDriver.send = self._send
        elif message.data == "tick":
            Controller.tick = fail
        elif message.data == "setpoint":
            CommandPath.sample = fail
        elif message.data == "callback":
            fail()
        elif message.data == "slow check":
            self._goes_on.clear()
            ShapeCheck.__call__ = lambda check, *path: self._check_slowly(check, *path)
            self.get_logger().info("checks are slow")
        elif message.data == "check goes on":
            ShapeCheck.__call__ = self._check
            self._goes_on.set()
        elif message.data == "check":
            ShapeCheck.__call__ = fail


if __name__ == "__main__":
    sys.exit(run_node(FaultyController, "controller"))
