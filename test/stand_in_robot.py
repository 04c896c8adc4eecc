"""A robot that is not there: joint states out, commands in, recorded; and a fixture that puts a controller beside it."""

import math
from contextlib import contextmanager

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import ChangeState
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_support import NodeProcess, Recorder, ros_graph, wait_matched, wait_until
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Header
from std_srvs.srv import SetBool, Trigger
from trajectories import trajectory_message
from trajectory_msgs.msg import JointTrajectory

from beingh_core.contract import load_contract
from beingh_core.realtime.clock import TickClock, parse_epoch
from beingh_ros.messages.controller_state import QOS, read_state
from beingh_ros.messages.conversions import read_trajectory
from beingh_ros.messages.diagnostics import read_status

FR3 = load_contract("fr3")
H = FR3.policy.chunk_length
ARM, HAND = FR3.driver.groups
DT_NS = 50_000_000
BEST_EFFORT = ReliabilityPolicy.BEST_EFFORT


class StandInRobot:
    """Publishes joint states at 50 Hz, records the commands of both groups, and follows them at once.

    Attributes:
        talking: Whether it publishes joint states.
        following: Whether it follows its commands.
        driving: Speed of joint 1 [rad/tick] that its policy asks for, 0 for no chunks.
        extra: Attributes of the joint states that are set otherwise.
    """

    def __init__(self, graph):
        self.node = graph
        self.positions = dict(zip(FR3.joint_names, FR3.home))
        self.talking = self.following = True
        self.driving = 0.0
        self.extra = {}
        self._states = graph.create_publisher(JointState, "joint_states", 10)
        self.arm, self.hand = (Recorder(graph, JointTrajectory, group.topic) for group in (ARM, HAND))
        self.buffer = Recorder(graph, JointTrajectory, "controller/buffer")
        self.accepted = Recorder(graph, Header, "controller/accepted")
        self.state = Recorder(graph, DiagnosticStatus, "controller/state", QOS)
        self.diagnostics = Recorder(graph, DiagnosticArray, "/diagnostics")
        self.chunks = graph.create_publisher(JointTrajectory, "policy/chunk", 10)
        self.estop = graph.create_publisher(Bool, FR3.estop_topic, QoSProfile(depth=1, reliability=BEST_EFFORT))
        self._timers = [graph.create_timer(0.02, self._talk), graph.create_timer(0.1, self._drive)]
        self._links = [
            graph.create_subscription(JointTrajectory, group.topic, self._follow, 10) for group in (ARM, HAND)
        ]

    def _talk(self):
        if self.talking:
            message = JointState(name=list(self.positions), position=list(self.positions.values()))
            message.header.stamp = self.node.get_clock().now().to_msg()
            for name, value in self.extra.items():
                setattr(message, name, value)
            self._states.publish(message)

    def _drive(self):
        """A chunk that continues the plan at the speed wanted, and turns before the end of the joint's range."""
        if not self.driving or not self.buffer.messages:
            return
        first, planned = self.next_tick()
        rows, delay = planned[:H].copy(), FR3.uac.delay_steps
        if abs(rows[delay - 1, 0]) > 1.5:
            self.driving = -math.copysign(self.driving, rows[delay - 1, 0])
        rows[delay:] = rows[delay - 1]
        rows[delay:, 0] += self.driving * np.arange(1, H - delay + 1)
        self.send_chunk(rows, first)

    def _follow(self, message):
        if self.following:
            self.positions.update(zip(message.joint_names, message.points[0].positions))

    def follow(self, message_type, topic, values):
        """Follow another topic too: `values` gives (joint, position) pairs of a message."""
        take = lambda message: self.positions.update(values(message))
        self._links.append(self.node.create_subscription(message_type, topic, take, 10))

    def start(self):
        """Wait until the controller runs and receives the policy; returns the clock of its epoch."""
        self.buffer.wait_for(1)
        wait_matched(self.node, self.chunks, self.estop)
        return self.clock()

    def clock(self):
        return TickClock(FR3.rate_hz, parse_epoch(self.buffer.messages[-1].header.frame_id)[1])

    def status(self):
        """Key-values of the next diagnostics."""
        status = self.diagnostics.wait_next().status[0]
        return read_status(status) | {"message": status.message}

    def call(self, service, request=None):
        """Call one of the controller's services, a Trigger when no request is given."""
        kind = {SetBool.Request: SetBool, ChangeState.Request: ChangeState}.get(type(request), Trigger)
        client = self.node.create_client(kind, f"controller/{service}")
        assert client.wait_for_service(10.0)
        future = client.call_async(request or Trigger.Request())
        wait_until(future.done, what=service)
        return future.result()

    def move(self, speed=0.06):
        """Drive, and wait until joint 1 moves."""
        start = self.positions["fr3_joint1"]
        self.driving = speed
        wait_until(lambda: abs(self.positions["fr3_joint1"] - start) > 0.1, what="motion")

    def wait_for_state(self, state, cause="", since=0):
        """The first published status from message `since` on that has this state and cause."""

        def found():
            received = (read_state(message) for message in self.state.messages[since:])
            return next((status for status in received if (status.state, status.cause) == (state, cause)), None)

        return wait_until(
            found, what=lambda: f"{state} {cause}, received {[m.values for m in self.state.messages[since:]]}"
        )

    def next_tick(self):
        """(tick, planned rows) of the newest buffer."""
        read = read_trajectory(self.buffer.messages[-1])
        return self.clock().nearest_tick(read.stamp_ns), read.positions

    def send_chunk(self, rows, base, *, epoch=None, joints=FR3.joint_names, rate_hz=FR3.rate_hz):
        epoch = epoch or self.buffer.messages[-1].header.frame_id
        self.chunks.publish(
            trajectory_message(joints, rows, stamp_ns=self.clock().stamp_ns(base), rate_hz=rate_hz, frame_id=epoch)
        )

    def wave(self, base, amplitude=0.05):
        """(H, J) a smooth chunk from the planned position at the next tick: joint 1 swings with tick number."""
        first, planned = self.next_tick()
        rows = np.tile(planned[0], (H, 1))
        ticks = base + np.arange(H)
        rows[:, 0] += amplitude * (np.cos(0.3 * ticks) - np.cos(0.3 * first))
        return rows


@contextmanager
def controller_beside_robot(log_dir):
    """A stand-in robot; yields a starter of controllers, which calls `before` with the robot and takes parameters."""
    with ros_graph() as graph:
        robot = StandInRobot(graph)
        processes = []

        def start(program="controller_node", *, before=None, **parameters):
            if before is not None:
                before(robot)
            process = NodeProcess(
                graph,
                program,
                {"contract": "fr3", "joint_state_timeout_s": 5.0} | parameters,
                log_dir / f"controller{len(processes)}.log",
            )
            processes.append(process)
            return robot, process

        try:
            yield start
        finally:
            for process in processes:
                process.__exit__()
