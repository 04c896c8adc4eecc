"""What a fault run holds in its hands: injector, onlooker, processes, and what a person could press."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError
from beingh_core.sim import CUBE_COLOURS
from beingh_ros.nodes.graph import QUIET_PUBLISHER
from beingh_ros.nodes.runtime import raise_priority
from beingh_ros.soak.injector import PREFIX, Injector, joint_state_topics
from beingh_ros.soak.onlooker import Onlooker
from beingh_ros.soak.processes import (
    CONTROLLER,
    POLICY,
    SERVER,
    SIM,
    TIMER,
    SystemProcesses,
)
from beingh_ros.soak.strangers import Strangers

START_S, CALL_S, DISCOVERY_S = 180.0, 20.0, 4.0
# While everything starts, a busy machine may hold the robot up; this often it is reset.
START_STOPS = 3


class Rig:
    """Two nodes, spun by a thread each; the methods are for the main thread. Use as a context manager.

    Args:
        contract: Robot.
        processes: The processes; none of them is running yet.
        seed: Of the first scene.

    Attributes:
        injector, onlooker: The two nodes.
        strangers: Nodes that come and go.
        moved: (from, to) times in which the harness has moved the robot [ns].
    """

    def __init__(self, contract: RobotContract, processes: SystemProcesses, seed: int) -> None:
        self.contract, self.processes = contract, processes
        self._seeds = itertools.count(seed)
        self._tasks = itertools.cycle(f"pick up the {colour} cube" for colour in CUBE_COLOURS)
        self._task = next(self._tasks)
        self._news = threading.Condition()
        self.moved: list[tuple[int, int]] = []
        self._served = False
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._nodes = [Node("soak_injector"), Node("soak_onlooker")]
        self.injector = Injector(self._nodes[0], contract)
        self.onlooker = Onlooker(self._nodes[1], contract, self._received)
        states = joint_state_topics(contract)[0]
        self.strangers = Strangers(contract, states, f"{PREFIX}/{states.lstrip('/')}")
        node = self._nodes[1]
        publish = partial(node.create_publisher, event_callbacks=QUIET_PUBLISHER)
        self._estop = publish(Bool, contract.estop_topic, 10)
        self._instruction = publish(String, "policy/instruction", 10)
        self._stop = node.create_client(Trigger, "controller/stop")
        self._reset = node.create_client(Trigger, "controller/reset")
        self._sim_reset = node.create_client(Trigger, "sim/reset")
        self._lifecycles = {
            name: node.create_client(ChangeState, f"{name}/change_state") for name in (CONTROLLER, POLICY)
        }
        self._sim_seed = node.create_client(SetParameters, "sim/set_parameters")
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._spin, args=(one,), daemon=True) for one in self._nodes]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_exc) -> None:
        self.processes.stop()
        self.strangers.end()
        self.injector.close()
        self._ending.set()
        for thread in self._threads:
            thread.join()
        for node in self._nodes:
            node.destroy_node()
        rclpy.try_shutdown()

    @staticmethod
    def now_ns() -> int:
        """The system clock, on which the middleware stamps what is sent [ns]."""
        return time.time_ns()

    def wait(self, condition: Callable[[], object], timeout_s: float) -> bool:
        """Wait until a condition holds, looked at after every message; whether it did in time.

        Raises:
            BeingHError: A process has ended by itself.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._news:
            while not condition():
                self.processes.check()
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    return False
                self._news.wait(min(left_s, 0.02))
        return True

    def need(self, condition: Callable[[], object], timeout_s: float, what: str) -> None:
        """Like `wait`.

        Raises:
            BeingHError: The time is over.
        """
        if not self.wait(condition, timeout_s):
            raise BeingHError(f"not within {timeout_s:g} s: {what}", remedy="read the logs of the nodes")

    def start(self) -> None:
        """Start simulator, controller, timer and policy, and wait until the robot moves by chunks."""
        for name in (SIM, CONTROLLER, TIMER):
            self.processes.start(name)
        self.start_policy(served=False)
        self.need(lambda: self.onlooker.joint_states, START_S, "joint states of the simulator")
        self.need(lambda: self.running, START_S, "a running controller")
        end_s, stops = time.monotonic() + START_S, 0
        while not self.wait(lambda: self.onlooker.accepted_count, 1.0):
            self.keep_telling()
            if self.stopped:
                stops += 1
                told = f"the controller stopped before the first fault: {self.onlooker.state.reason}"
                if stops > START_STOPS:
                    raise BeingHError(told, remedy="remove the cause; a busy machine holds up joint states, too")
                print(f"{told}; reset", flush=True)
                self.reset()
            if time.monotonic() > end_s:
                why = self.onlooker.policy.get("gate") or self.onlooker.policy.get("message", "it says nothing")
                raise BeingHError(f"no chunk was accepted within {START_S:g} s; the policy: {why}")

    @property
    def running(self) -> bool:
        """Whether the controller says that it runs."""
        state = self.onlooker.state
        return state is not None and state.state == "running"

    @property
    def stopped(self) -> bool:
        """Whether the controller says that it has stopped and rests."""
        state = self.onlooker.state
        return state is not None and state.state == "stopped"

    @property
    def served(self) -> bool:
        """Whether the policy asks the server."""
        return self._served

    def start_policy(self, *, served: bool, checkpoint: Path | None = None) -> None:
        """Start the policy, with a server, its own checkpoint or another one."""
        self._served = served
        self.onlooker.policy = {}
        self.processes.start(POLICY, served=served, checkpoint=checkpoint)
        self._tell_again()

    def start_controller(self) -> None:
        """Start the controller."""
        self.processes.start(CONTROLLER)

    def start_server(self) -> None:
        """Start the policy server and wait until it serves; one that runs (for a policy that was killed) goes on."""
        if self.processes.running(SERVER):
            return
        self.processes.start(SERVER)
        path = self.processes.log_path(SERVER)
        self.need(lambda: "serving" in path.read_text(errors="replace"), START_S, "a policy server that serves")

    def new_task(self) -> None:
        """Tell the policy to do something else, so that the robot moves."""
        self._task = next(self._tasks)
        self._instruction.publish(String(data=self._task))

    def _tell_again(self) -> None:
        """A policy that has just begun to listen does not know what to do."""
        self._instruction.publish(String(data=self._task))

    def keep_telling(self) -> None:
        """Tell the task as long as the policy does not know it."""
        if self.onlooker.policy.get("instruction", "") != self._task:
            self._tell_again()

    def press_estop(self, pressed: bool) -> int:
        """Press or release the emergency stop; when [ns]."""
        pressed_ns = self.now_ns()
        self._estop.publish(Bool(data=pressed))
        return pressed_ns

    def step_clock(self, step_ns: int) -> int:
        """Set the controller's system clock to `step_ns` after the machine's; when [ns]."""
        stepped_ns = self.now_ns()
        self.processes.clock.set(step_ns)
        return stepped_ns

    def call_stop(self) -> int:
        """Call the controller's stop service; when [ns]."""
        called_ns = self.now_ns()
        self._call(self._stop, Trigger.Request())
        return called_ns

    def reset(self) -> tuple[bool, str]:
        """Call the controller's reset service; whether it agreed, and what it said."""
        response = self._call(self._reset, Trigger.Request())
        return response.success, response.message

    def change_state(self, name: str, *transitions: int) -> None:
        """Take the controller or the policy through transitions of its lifecycle.

        Raises:
            BeingHError: One is refused.
        """
        for number in transitions:
            request = ChangeState.Request(transition=Transition(id=number))
            if not self._call(self._lifecycles[name], request).success:
                raise BeingHError(f"{name} has refused transition {number} of its lifecycle")

    def restart_robot(self) -> None:
        """Start a simulator in the place of one that was killed; its arm is at home."""
        since_ns, received = self.now_ns(), len(self.onlooker.joint_states)
        self.processes.start(SIM)
        self.need(lambda: len(self.onlooker.joint_states) > received + 5, START_S, "joint states of the new simulator")
        # The controller receives joint states through the injector, so it cannot see that their publisher is a new one, after
        # which it would wait until the new robot surely receives its commands.
        self.wait(lambda: False, DISCOVERY_S)
        self.moved.append((since_ns, self.now_ns()))

    def new_scene(self) -> None:
        """With a controller that has stopped: the arm at home and the cubes at other places."""
        self.need(lambda: self.stopped, CALL_S, "a controller that has stopped")
        seed = Parameter("seed", value=next(self._seeds)).to_parameter_msg()
        self._call(self._sim_seed, SetParameters.Request(parameters=[seed]))
        since_ns = self.now_ns()
        self._call(self._sim_reset, Trigger.Request())
        received = len(self.onlooker.joint_states)
        self.need(lambda: len(self.onlooker.joint_states) > received + 5, CALL_S, "joint states after the reset")
        self.moved.append((since_ns, self.now_ns()))

    def tidy_up(self) -> None:
        """Stop, set up a new scene, and go on: the robot is where it can work again."""
        self.call_stop()
        self.new_scene()
        self.need(lambda: self.reset()[0], CALL_S, "a reset")

    def _call(self, client, request):
        if not client.wait_for_service(CALL_S):
            raise BeingHError(f"there is no service {client.srv_name}")
        future = client.call_async(request)
        self.need(future.done, CALL_S, f"an answer of {client.srv_name}")
        return future.result()

    def _received(self) -> None:
        with self._news:
            self._news.notify_all()

    def _spin(self, node: Node) -> None:
        raise_priority()  # of this thread: a harness that is held up would be a fault of its own
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not self._ending.is_set():
            executor.spin_once(timeout_sec=0.1)
