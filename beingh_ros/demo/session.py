"""The demo's hold on the running nodes: waits for them, resets them, tells the policy what to do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import rclpy
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String
from std_srvs.srv import Trigger

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError
from beingh_ros.bringup import ProcessGroup
from beingh_ros.demo.observer import Observer
from beingh_ros.demo.recorder import Recorder, VideoThread
from beingh_ros.messages.topics import OBJECTS_TOPIC
from beingh_ros.nodes.graph import QUIET_PUBLISHER
from beingh_ros.nodes.guard import GuardedNode
from beingh_ros.nodes.sim_cameras import SPECTATOR_TOPIC

START_TIMEOUT_S = 180.0
CALL_TIMEOUT_S = 20.0
REST_TIMEOUT_S = 5.0
FIRST_CHUNK_TIMEOUT_S = 20.0
# How often the controller is reset until it runs, and how long its report is waited for.
RESETS, RUNS_TIMEOUT_S = 4, 6.0
# Drivers that stream repeat the posture at rest for half a second.
AFTER_REST_S = 0.8
# The controller publishes every tick while it has anything to send.
SILENT_TICKS = 5
# Messages stamped that much after the reset's answer show the new scene.
FRESH_NS = 200_000_000


class DemoSession:
    """One node with everything the demo needs, spun by a thread of its own; the methods are for the main thread.

    Use as a context manager.

    Args:
        contract: Robot.
        group: The node processes; one that ends makes every wait raise its error.
        video: File for the spectator's frames.
        spectator_fps: Their rate [1/s].
    """

    def __init__(self, contract: RobotContract, group: ProcessGroup, video: Path, spectator_fps: float) -> None:
        self._contract, self._group = contract, group
        self._news = threading.Condition()
        # Ctrl-C must leave the context usable until the nodes have been stopped in order.
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self.node = GuardedNode("demo")
        self._video = VideoThread(video, spectator_fps)
        self.recorder = Recorder(self.node, contract, SPECTATOR_TOPIC, self._received, self._video)
        self.observer = Observer(self.node, contract, self._received)
        self._instruction = self.node.create_publisher(
            String, "policy/instruction", 10, event_callbacks=QUIET_PUBLISHER
        )
        client = self.node.create_client
        self._seed = client(SetParameters, "sim/set_parameters")
        self._sim_reset = client(Trigger, "sim/reset")
        self._stop = client(Trigger, "controller/stop")
        self._reset = client(Trigger, "controller/reset")
        self._change_state = client(ChangeState, "policy/change_state")
        self._get_state = client(GetState, "policy/get_state")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="spin", daemon=True)
        self._thread.start()

    def __enter__(self) -> DemoSession:
        return self

    def __exit__(self, *_exc) -> None:
        self.close()

    def close(self) -> None:
        """Receive nothing more and finish the video."""
        self._ending.set()
        self._thread.join()
        self._video.close()
        self.node.destroy_node()
        rclpy.try_shutdown()

    def wait(self, condition: Callable[[], object], timeout_s: float, what: str) -> None:
        """Wait until a condition holds; it is looked at after every message.

        Raises:
            BeingHError: When a node has ended, or the time is over.
        """
        if not self.wait_or_not(condition, timeout_s):
            raise BeingHError(
                f"not within {timeout_s:g} s: {what}",
                where=self._group.log_dir,
                remedy="read the nodes' logs there; a very busy machine can be the cause",
            )

    def wait_or_not(self, condition: Callable[[], object], timeout_s: float) -> bool:
        """Like `wait`; False when the time is over."""
        deadline_s = time.monotonic() + timeout_s
        with self._news:
            while not condition():
                self._group.check()
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    return False
                self._news.wait(min(left_s, 0.1))
        return True

    def discover(self) -> None:
        """Wait until every node is up and every topic has its publishers and subscribers."""
        clients = (self._seed, self._sim_reset, self._stop, self._reset, self._change_state, self._get_state)
        for client in clients:
            self.wait(client.service_is_ready, START_TIMEOUT_S, f"the service {client.srv_name}")
        trajectories = [driver for driver in self._contract.drivers if driver.kind == "joint_trajectory"]
        driver_topics = [group.topic for driver in trajectories for group in driver.groups]
        camera_topics = [camera.topic for camera in self._contract.cameras]
        pairs = {
            topic: (1, 2)
            for topic in (*driver_topics, *camera_topics, "controller/buffer", "controller/accepted", "policy/chunk")
        }
        pairs |= {
            **dict.fromkeys(self._contract.joint_state_topics, (1, 3)),
            OBJECTS_TOPIC: (1, 1),
            "policy/latency": (1, 1),
            "policy/instruction": (1, 1),
        }
        for topic, (publishers, subscribers) in pairs.items():
            self.wait(
                lambda t=topic, p=publishers, s=subscribers: (
                    self.node.count_publishers(t) >= p and self.node.count_subscribers(t) >= s
                ),
                START_TIMEOUT_S,
                f"{publishers} publishers and {subscribers} subscribers of {topic}",
            )
        self.wait(
            lambda: all(s.get_publisher_count() for s in (*self.observer.subscriptions, *self.recorder.subscriptions)),
            START_TIMEOUT_S,
            "a publisher of every topic that the demo records",
        )
        for topic in camera_topics:
            self.wait(lambda t=topic: t in self.recorder.newest_ns, START_TIMEOUT_S, f"an image on {topic}")

    def prepare(self, seed: int, instruction: str) -> None:
        """Still robot, new scene, new epoch, new instruction; the policy is left inactive."""
        self.halt()
        self._instruction.publish(String(data=instruction))
        self._call(self._seed, SetParameters.Request(parameters=[Parameter("seed", value=seed).to_parameter_msg()]))
        self._trigger(self._sim_reset)
        # Anything older may still show the last scene.
        before_ns = dict(self.recorder.newest_ns)
        self.wait(
            lambda: all(self.recorder.newest_ns[topic] > ns + FRESH_NS for topic, ns in before_ns.items()),
            CALL_TIMEOUT_S,
            "fresh images, joint states and cubes after the reset of the simulator",
        )
        self._start_controller()
        self.wait_or_not(lambda: False, ramps_of(self._contract)[0])
        self.wait(
            lambda: self.policy_status.get("instruction") == instruction,
            CALL_TIMEOUT_S,
            "the policy's taking the instruction",
        )

    def _start_controller(self) -> None:
        """A new epoch; again where a busy machine has stopped it at once, or has told it late where the robot is."""
        for tries_left in reversed(range(RESETS)):
            epoch = self.observer.epoch
            try:
                self._trigger(self._reset)
            except BeingHError:
                if not tries_left:
                    raise
                self.wait_or_not(lambda: False, AFTER_REST_S)
                continue
            self.wait(lambda e=epoch: self.observer.epoch != e, CALL_TIMEOUT_S, "a new epoch of the controller")
            if self.wait_or_not(self._is_running, RUNS_TIMEOUT_S):
                return
        self.wait(self._is_running, CALL_TIMEOUT_S, "the controller's report that it runs")

    def halt(self) -> None:
        """No more chunks; the robot comes to rest and the controller stops."""
        self._set_policy(State.PRIMARY_STATE_ACTIVE, Transition.TRANSITION_DEACTIVATE)
        self.wait_or_not(lambda: self.observer.at_rest or self._is_silent(), REST_TIMEOUT_S)
        self._trigger(self._stop)
        self.wait(self._is_silent, CALL_TIMEOUT_S, "the controller's coming to rest")
        self.wait_or_not(lambda: False, ramps_of(self._contract)[1])

    def release(self) -> None:
        """Let the policy act."""
        self._set_policy(State.PRIMARY_STATE_INACTIVE, Transition.TRANSITION_ACTIVATE)

    def wait_for_new_status(self) -> None:
        """Wait until every node has reported once more."""
        counts = dict(self.recorder.status_count)
        self.wait(
            lambda: all(self.recorder.status_count[name] > count + 1 for name, count in counts.items()),
            CALL_TIMEOUT_S,
            "the nodes' diagnostics",
        )

    @property
    def policy_status(self) -> dict[str, str]:
        """Newest diagnostics of inference."""
        return self.recorder.status.get("policy: inference", {})

    @property
    def controller_status(self) -> dict[str, str]:
        """Newest diagnostics of the commands."""
        return self.recorder.status.get("controller: commands", {})

    def _is_running(self) -> bool:
        return self.controller_status.get("state") == "running"

    def _is_silent(self) -> bool:
        return self.observer.silent_s() > SILENT_TICKS * self._contract.dt_s

    def _set_policy(self, wanted_state: int, transition: int) -> None:
        """Make a lifecycle transition if the policy is in the state it starts from."""
        if self._call(self._get_state, GetState.Request()).current_state.id != wanted_state:
            return
        request = ChangeState.Request(transition=Transition(id=transition))
        if not self._call(self._change_state, request).success:
            raise BeingHError("the policy node refused a change of state", where=self._group.log_path("policy"))

    def _trigger(self, client) -> None:
        response = self._call(client, Trigger.Request())
        if not response.success:
            raise BeingHError(f"{client.srv_name}: {response.message}")

    def _call(self, client, request):
        future = client.call_async(request)
        future.add_done_callback(lambda _: self._received())
        self.wait(future.done, CALL_TIMEOUT_S, f"an answer of {client.srv_name}")
        return future.result()

    def _received(self) -> None:
        with self._news:
            self._news.notify_all()

    def _spin(self) -> None:
        while not self._ending.is_set():
            self._executor.spin_once(timeout_sec=0.1)


def ramps_of(contract: RobotContract) -> tuple[float, float]:
    """How long after its first command a robot is not wholly in the drivers' hands, and how long after the controller's last
    plan they may still send something [s]."""
    streams = any(driver.kind != "joint_trajectory" for driver in contract.drivers)
    begin_s, end_s = (max(d.options.get(key, 0.0) for d in contract.drivers) for key in ("ramp_in_s", "ramp_out_s"))
    return begin_s, end_s + (AFTER_REST_S if streams else 0.0)
