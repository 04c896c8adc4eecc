"""Nodes that follow /clock: time stands still, goes by steps, jumps ahead, and begins again."""

import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from ros_support import NodeProcess, Recorder, ros_graph, wait_matched, wait_until
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from beingh_core.contract import load_contract
from beingh_core.realtime.clock import parse_epoch
from beingh_ros.messages.controller_state import QOS, read_state
from beingh_ros.messages.conversions import ns_to_stamp, stamp_to_ns
from beingh_ros.messages.diagnostics import read_status

FR3 = load_contract("fr3")
ARM, HAND = FR3.driver.groups
DT_NS = 50_000_000
START_NS = 1_000_000_000_000


class World:
    """A robot that stands still, in a time that a test sets; repeats /clock as simulators do when paused."""

    def __init__(self, graph):
        self.node, self.now_ns = graph, None
        self._clock = graph.create_publisher(Clock, "/clock", 10)
        self._states = graph.create_publisher(JointState, "/joint_states", 10)
        self.arm, self.hand = (Recorder(graph, JointTrajectory, group.topic) for group in (ARM, HAND))
        self.diagnostics = Recorder(graph, DiagnosticArray, "/diagnostics")
        self.states = Recorder(graph, DiagnosticStatus, "controller/state", QOS)
        graph.create_timer(0.01, self._talk)

    def _talk(self):
        message = JointState(name=list(FR3.joint_names), position=list(FR3.home))
        if self.now_ns is not None:
            self._clock.publish(Clock(clock=ns_to_stamp(self.now_ns)))
            message.header.stamp = ns_to_stamp(self.now_ns)
        self._states.publish(message)

    def status(self):
        """Key-values of the next diagnostics, which come once a second of wall time."""
        return read_status(self.diagnostics.wait_next().status[0])

    def stamps(self):
        return [stamp_to_ns(message.header.stamp) for message in self.arm.messages]


@pytest.fixture
def world(tmp_path):
    with ros_graph() as graph:
        world = World(graph)
        with NodeProcess(graph, "controller_node", {"contract": "fr3", "use_sim_time": True}, tmp_path / "log"):
            yield world


def start(world):
    """Begin at START_NS and return the time of the first tick."""
    world.now_ns = START_NS
    rest(world)
    first_ns = parse_epoch(world.status()["epoch"])[1]
    assert START_NS < first_ns <= world.now_ns + 3 * DT_NS and not world.arm.messages
    return first_ns


def rest(world):
    """Let simulated time go on until the controller has seen the robot at rest for long enough, and no further."""

    def running():
        if not any(read_state(message).state == "running" for message in world.states.messages[seen:]):
            world.now_ns += DT_NS // 2
            time.sleep(0.1)
            return False
        return True

    seen = len(world.states.messages)
    wait_until(running, what="running")


def test_without_a_clock_it_waits_and_says_so(world):
    wait_until(lambda: "/clock" in world.status()["reason"], what="the reason")
    assert world.status()["state"] == "waiting" and not world.arm.messages


def test_a_paused_clock_sends_nothing_and_a_stepped_one_exactly_its_ticks(world):
    first_ns = start(world)
    for n in range(8):
        world.now_ns = first_ns + n * DT_NS
        world.arm.wait_for(n + 1)
        if n == 3:
            world.now_ns += DT_NS - 1
            world.status(), world.status()  # a second of wall time, the clock standing just short of the next tick
    assert world.status()["overruns"] == "0"
    assert world.stamps() == [first_ns + n * DT_NS for n in range(8)]


def test_a_jump_ahead_sends_no_burst(world):
    first_ns = start(world)
    world.now_ns = first_ns
    world.arm.wait_for(1)
    world.now_ns = later_ns = first_ns + 10 * DT_NS
    wait_until(lambda: parse_epoch(world.status()["epoch"])[1] > later_ns, what="a new epoch")
    status = world.status()
    assert status["state"] == "running" and status["overruns"] == "1" and len(world.arm.messages) == 1
    world.now_ns = parse_epoch(status["epoch"])[1]
    world.arm.wait_for(2)
    assert world.stamps()[1] == world.now_ns


def test_a_jump_by_seconds_stops_it(world):
    first_ns = start(world)
    world.now_ns = first_ns
    world.arm.wait_for(1)
    world.now_ns += 5 * 10**9
    wait_until(lambda: read_state(world.states.messages[-1]).state == "stopped", what="stopped")
    status = read_state(world.states.messages[-1])
    assert status.cause == "clock" and "ahead by 5.0" in status.reason and len(world.arm.messages) == 1


def test_time_that_goes_back_stops_it_until_a_reset(world):
    first_ns = start(world)
    world.now_ns = first_ns
    world.arm.wait_for(1)
    world.now_ns = START_NS // 2
    status = wait_until(lambda: (s := world.status())["state"] == "stopped" and s, what="stopped")
    assert (status["cause"], status["reason"]) == ("clock", "simulated time went back") and status["at_rest"] == "True"
    client = world.node.create_client(Trigger, "/controller/reset")
    wait_matched(world.node, world._clock)
    assert client.wait_for_service(10.0)
    future = client.call_async(Trigger.Request())
    wait_until(future.done, what="reset")
    assert future.result().success, future.result().message
    rest(world)
    world.now_ns = parse_epoch(world.status()["epoch"])[1]
    assert world.now_ns < START_NS
    world.arm.wait_for(2)
    assert world.stamps() == [first_ns, world.now_ns] and len(world.arm.messages) == 2
    np.testing.assert_allclose(world.arm.messages[-1].points[0].positions, FR3.home[:7])
