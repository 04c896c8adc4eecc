"""A thread that fails brakes by itself; whoever ends the node meanwhile waits for it, and gives the robot back after it."""

import threading
from types import SimpleNamespace

from control_support import HOME, controller
from ros_support import wait_until

from beingh_core.control.timing import SteadyTime
from beingh_ros.nodes.controller_node import ControllerNode


class SlowCommander:
    """Takes until it is told to send a path, as a driver does that ramps a weight out."""

    def __init__(self):
        self.done, self.begun, self.log = threading.Event(), threading.Event(), []

    def end(self):
        return True

    def stop(self, _path):
        self.log.append("stop begins")
        self.begun.set()
        assert self.done.wait(30.0)
        self.log.append("stop ends")

    def come_to_rest(self):
        self.log.append("rest")
        return False

    def release(self):
        self.log.append("release")


def failing_node(commander, target):
    """The parts of a controller node that its end uses."""
    node = SimpleNamespace(
        _failing=threading.Lock(),
        _braking=threading.Lock(),
        _controller=target,
        _commander=commander,
        _ticks=SimpleNamespace(time=SteadyTime(), close=lambda: True),
        _tell=lambda: None,
        _log=SimpleNamespace(end=lambda: None),
        get_logger=lambda: SimpleNamespace(error=lambda *_: None, info=lambda *_: None),
    )
    node._send_path = lambda path: ControllerNode._send_path(node, path)
    return node


def test_the_end_of_a_node_waits_for_a_thread_that_is_sending_the_braking_path():
    target, commander = controller(), SlowCommander()
    now_ns = SteadyTime().now_ns()
    for ago in range(6, -1, -1):
        target.joint_state(now_ns - ago * 50_000_000, HOME)
    wait_until(lambda: target.tick(SteadyTime().now_ns()), what="a tick")
    node = failing_node(commander, target)
    failing = threading.Thread(target=ControllerNode._on_failure, args=(node, ValueError("defect")))
    ending = threading.Thread(target=ControllerNode._end, args=(node, "the node ends"))
    failing.start()
    assert commander.begun.wait(30.0)
    ending.start()
    ending.join(0.2)
    assert ending.is_alive() and commander.log == ["stop begins"]
    commander.done.set()
    failing.join(30.0), ending.join(30.0)
    assert commander.log == ["stop begins", "stop ends", "rest", "release"] and node.exit_status == 1
