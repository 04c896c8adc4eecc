"""Owner of the ticks: merges chunks, sends every tick's command once, publishes what is committed.

Topics, services and parameters are listed in `beingh_ros/__init__.py`. Callbacks run in the executor's thread and
only hand over; the tick thread is the only one that sends, and the chunk thread the only one that merges.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory, MultiDOFJointTrajectory

from beingh_core.contract import RobotContract, load_contract
from beingh_core.control.chunk_thread import ChunkThread
from beingh_core.control.commander import Commander
from beingh_core.control.controller import Controller
from beingh_core.control.path_check import path_check
from beingh_core.control.setpoints import Setpoints
from beingh_core.control.stop_causes import DRIVER, EXCEPTION, STOP_SERVICE, Status
from beingh_core.control.subscribers import SubscriberWatch
from beingh_core.control.tick_thread import TickThread
from beingh_core.control.timing import SimulatedTime, SteadyTime
from beingh_core.errors import BeingHError
from beingh_core.realtime.clock import TickClock, parse_epoch
from beingh_core.realtime.commit_buffer import Chunk
from beingh_ros.drivers import make_drivers
from beingh_ros.messages import controller_state
from beingh_ros.messages.conversions import Trajectory, ns_to_stamp
from beingh_ros.messages.diagnostics import Diagnostics, Report
from beingh_ros.messages.plan_messages import PlanReader, PlanWriter, most_bytes
from beingh_ros.nodes.controller_log import ControllerLog
from beingh_ros.nodes.controller_report import ControllerReport
from beingh_ros.nodes.estop_intake import EstopIntake
from beingh_ros.nodes.graph import resolved, rival_text, rivals
from beingh_ros.nodes.guard import bounded
from beingh_ros.nodes.joint_intake import JointIntake
from beingh_ros.nodes.managed import ManagedNode
from beingh_ros.nodes.runtime import declare, raise_priority, rename, run_node, subscribe_latched_clock

RELIABLE = QoSProfile(depth=10)
FLUSH_S = 0.5
BRAKING_S = 10.0  # longest wait for another thread that sends the braking path; a ramp of weight takes seconds
SWITCH_S = 1e-4
SUBSCRIBERS_PERIOD_S = 0.1


class ControllerNode(ManagedNode):
    """The node; while it is active it ticks. `close()` and deactivation stop in order: no more chunks, no more ticks,
    then the braking path as last command.

    Attributes:
        exit_status: Set when the node must end because a thread that sends or merges has a defect.
    """

    def __init__(self) -> None:
        super().__init__("controller")
        self.exit_status: int | None = None
        contract = load_contract(declare(self, "contract", "fr3", "robot contract: name or path"))
        self._dry_run = declare(self, "dry_run", False, "do everything but send commands to the robot")
        autostart = declare(self, "autostart", True, "configure and activate without a lifecycle manager")
        self._contract = contract
        for note in contract.notes:
            self.get_logger().warning(note)
        self._changes: deque[Status] = deque()
        self._change = self.create_guard_condition(self._tell)
        self._joints = JointIntake(self, contract)
        self._controller = self._make_controller(contract)
        rename(self, "listener_settle_s", "subscriber_settle_s")
        settle_s = declare(
            self,
            "subscriber_settle_s",
            4.0,
            "it starts when the subscribers of its commands and the publishers of joint states have been the same for so "
            "long [s], above 3 with Fast DDS; 0: as soon as there are any",
            between=(0.0, 60.0),
        )
        self._subscribers = SubscriberWatch(settle_s)
        commanded = () if self._dry_run else (group.topic for group in contract.command_groups)
        self._command_topics = [resolved(self, topic) for topic in commanded]
        self._overruns_told = 0
        self._log = ControllerLog(self.get_logger(), f"{self.get_fully_qualified_name()}/reset")
        # Taken by the first thread that fails; held by whoever sends the braking path.
        self._failing, self._braking = threading.Lock(), threading.Lock()
        self._writer, self._reader = PlanWriter(contract), PlanReader(contract)
        self._commander = Commander(contract, [] if self._dry_run else make_drivers(self, contract), self._on_driver)
        self._buffer_publisher = self.create_publisher(JointTrajectory, "controller/buffer", RELIABLE)
        self._base_publisher = None
        if self._reader.has_base:
            self._base_publisher = self.create_publisher(MultiDOFJointTrajectory, "controller/base_buffer", RELIABLE)
        self._accepted_publisher = self.create_publisher(Header, "controller/accepted", RELIABLE)
        self._state_publisher = self.create_publisher(DiagnosticStatus, controller_state.TOPIC, controller_state.QOS)
        subscribe_latched_clock(self)
        self._simulated = self.get_parameter("use_sim_time").value
        self._ticks = self._make_ticks()
        self._chunks = ChunkThread(self._merge, self._on_failure)
        self._chunks.start()
        self._report = ControllerReport(
            contract, self._controller, self._ticks, dry_run=self._dry_run,
            setpoints=self._commander.statistics, unchecked=self._unchecked,
        )  # fmt: skip
        self._connect(contract)
        self._look_around()
        self._diagnostics = Diagnostics(self, contract.robot, {"commands": self._look})
        self._on_change(self._controller.status)
        if autostart:
            self.trigger_configure()
            self.trigger_activate()
        else:
            self._controller.deactivate(self._ticks.time.now_ns(), "not activated")
            self.tell_waiting()

    def _make_controller(self, contract: RobotContract) -> Controller:
        check, self._unchecked = path_check(contract)
        if self._unchecked:
            self.get_logger().warning(self._unchecked)
        return Controller(
            contract,
            joint_state_timeout_s=declare(
                self,
                "joint_state_timeout_s",
                0.0,
                "without joint states for longer it stops [s]; 0: as the contract says",
                between=(0.0, 60.0),
            ),
            max_late_ticks=declare(
                self, "max_late_ticks", 2.0, "a tick later than this starts a new epoch [periods]", between=(1.0, 100.0)
            ),
            watch_tracking=not self._dry_run,
            topics=self._joints.topics,
            publishers=self._joints.publishers,
            changed=self._on_change,
            check=check,
            still=lambda: self._commander.still(),
        )

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start ticking; the robot moves once it is measured at rest and chunks come."""
        self._controller.activate()
        self._commander.start(self._ticks.time, self._on_failure)
        self._ticks.start()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop; the braking path is the last command."""
        self._end("deactivated")
        self._ticks = self._report.ticks = self._make_ticks()
        return super().on_deactivate(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop, like `on_deactivate`."""
        self._end("shut down")
        return super().on_shutdown(state)

    def failed(self, error: BaseException) -> None:
        """Note that the node ends because of an error in a callback."""
        self._controller.stop(EXCEPTION, f"{type(error).__name__}: {error}", self._ticks.time.now_ns())

    def close(self) -> None:
        """Stop the ticks, send the rest of the braking path, tell the last state."""
        self._end("the node ends")
        self._chunks.close()
        self._state_publisher.wait_for_all_acked(Duration(seconds=FLUSH_S))

    def _end(self, reason: str) -> None:
        """Executor thread, or the main thread after it: the order of stopping."""
        now_ns = self._ticks.time.now_ns()
        self._controller.deactivate(now_ns, reason)
        self._tell()  # that it stops, before what cuts the plan is sent
        ticks_end, setpoints_end = self._ticks.close(), self._commander.end()
        if ticks_end and setpoints_end and self._braking.acquire(timeout=BRAKING_S):
            try:  # after a thread that fails, whose path has been sent, only what is left
                self._send_path(self._controller.final_path(now_ns))
                self._commander.release()
            finally:
                self._braking.release()
        else:
            self.get_logger().error("a thread that sends does not end: the braking path was not sent")
        self._tell()
        self._log.end()

    def _send_path(self, path: Setpoints | None) -> None:
        if path is not None:
            self._commander.stop(path)
        if path is not None or self._commander.come_to_rest():
            self.get_logger().info("sent the braking path")

    def _make_ticks(self) -> TickThread:
        return TickThread(
            self._controller,
            SimulatedTime(self.get_clock()) if self._simulated else SteadyTime(),
            send=self._commander.send,
            publish=self._publish,
            clock_set=self._on_clock_set,
            fail=self._on_failure,
        )

    def _connect(self, contract: RobotContract) -> None:
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(SUBSCRIBERS_PERIOD_S, self._look_around, clock=steady)
        self._joints.connect(self._controller, self._commander.measured, lambda: self._ticks.time.now_ns())
        most = most_bytes(contract)
        chunk = bounded(JointTrajectory, most, self._on_chunk, self._refuse_chunk)
        self.create_subscription(JointTrajectory, "policy/chunk", chunk, RELIABLE, raw=True)
        if self._reader.has_base:
            base_chunk = bounded(MultiDOFJointTrajectory, most, self._on_base_chunk, self._refuse_chunk)
            self.create_subscription(MultiDOFJointTrajectory, "policy/base_chunk", base_chunk, RELIABLE, raw=True)
            self.create_timer(0.5 * contract.dt_s, self._drop_incomplete, clock=steady)
        self._estop = EstopIntake(self, contract.estop_topic, self._on_estop)
        self.create_service(Trigger, "~/stop", self._on_stop)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(SetBool, "~/estop", self._on_estop_service)

    def _publish(self, plan: Setpoints) -> None:
        """Tick thread: the plan to whoever infers."""
        if self._base_publisher is not None:
            self._base_publisher.publish(self._writer.base(plan.positions, plan.stamp_ns, plan.epoch))
        self._buffer_publisher.publish(self._writer.joints(plan.positions, plan.stamp_ns, plan.epoch))

    def _on_chunk(self, message: JointTrajectory) -> None:
        self._take_chunk(self._reader.joints, message)

    def _on_base_chunk(self, message: MultiDOFJointTrajectory) -> None:
        self._take_chunk(self._reader.base, message)

    def _take_chunk(self, read_part: Callable[[Any, int], Trajectory | None], message: Any) -> None:
        """Hand a chunk to the thread that merges, once all its parts are there."""
        self._drop_incomplete()
        try:
            read = read_part(message, time.monotonic_ns())
            if read is None:
                return
            base_tick = self._base_tick(read.frame_id, read.stamp_ns)
        except BeingHError as error:
            self._refuse_chunk(error)
            return
        if waits := self._commander.taking_over():
            self.get_logger().info(f"policy/chunk is not taken yet: {waits}", throttle_duration_sec=5.0)
            return
        if not self._chunks.put((base_tick, read)):
            self._report.crowded += 1
            text = "a chunk was dropped: chunks come faster than they can be checked"
            self.get_logger().error(text, throttle_duration_sec=5.0)

    def _merge(self, chunk: tuple[int, Trajectory]) -> None:
        """Chunk thread: merge one, and tell what has become of it."""
        base_tick, read = chunk
        self._ticks.let_pass()
        result = self._controller.merge(
            Chunk(
                base_tick=base_tick, epoch=read.frame_id, joints=read.joints, positions=read.positions, dt_s=read.dt_s
            )
        )
        if result is None:
            return
        self._report.merged(result, read.frame_id, read.stamp_ns)
        if result.accepted:
            self._accepted_publisher.publish(Header(stamp=ns_to_stamp(read.stamp_ns), frame_id=read.frame_id))
        if result.status != "merged":
            self.get_logger().warning(f"policy/chunk {result.status}: {result.reason}", throttle_duration_sec=5.0)

    def _refuse_chunk(self, error: BeingHError) -> None:
        """A chunk cannot be read."""
        self._report.malformed += 1
        self.get_logger().error(f"policy/chunk refused: {error}", throttle_duration_sec=5.0)

    def _drop_incomplete(self) -> None:
        """Give up chunks whose other part has not come within half a tick."""
        for missing in self._reader.expired(time.monotonic_ns()):
            self._report.incomplete += 1
            self.get_logger().error(f"a chunk was dropped: its {missing} part did not come", throttle_duration_sec=5.0)

    def _base_tick(self, epoch: str, stamp_ns: int) -> int:
        """Tick number of a chunk's stamp in its own epoch; the buffer refuses another epoch than the present."""
        _, start_ns = parse_epoch(epoch)
        return TickClock(self._contract.rate_hz, start_ns).nearest_tick(stamp_ns)

    def _on_estop(self, active: bool) -> None:
        self._controller.set_estop(active, self._ticks.time.now_ns())

    def _on_estop_service(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._controller.set_estop(request.data, self._ticks.time.now_ns(), source="service")
        response.success, response.message = True, self._controller.status.sentence
        return response

    def _on_stop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._controller.stop(STOP_SERVICE, "stop service", self._ticks.time.now_ns())
        response.success, response.message = True, self._controller.status.sentence
        return response

    def _on_reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            self._controller.reset(self._ticks.time.now_ns())
            response.success, response.message = True, "a new epoch starts at the measured positions"
        except BeingHError as error:
            response.success, response.message = False, str(error)
        return response

    def _on_clock_set(self, step_ns: int, reason: str) -> None:
        """Tick thread: its clock shows another time."""
        if self._simulated:
            self._commander.shift(step_ns)
        self._controller.clock_set(self._ticks.time.now_ns(), step_ns, reason)

    def _on_driver(self, problem: str) -> None:
        """Tick thread: a driver has failed."""
        self._controller.stop(DRIVER, problem, self._ticks.time.now_ns())

    def _on_failure(self, error: Exception) -> None:
        """A thread that sends or merges ends with this error; it sends the braking path itself, and the node ends."""
        if not self._failing.acquire(blocking=False):
            return  # the other thread does all that
        self.get_logger().error("".join(traceback.format_exception(error)))
        try:
            with self._braking:
                self._ticks.close()
                now_ns = self._ticks.time.now_ns()
                self._commander.end()
                self._send_path(self._controller.final_path(now_ns, EXCEPTION, f"{type(error).__name__}: {error}"))
        finally:
            self.exit_status = 1

    def _on_change(self, status: Status) -> None:
        """Any thread: hand a new status to the executor."""
        self._changes.append(status)
        self._change.trigger()

    def _tell(self) -> None:
        """Executor thread: publish and log every change once."""
        while self._changes:
            status = self._changes.popleft()
            self._state_publisher.publish(controller_state.state_message(self._contract.robot, status))
            self._log.state(status)
        if self._controller.overruns != self._overruns_told:
            self._overruns_told = self._controller.overruns
            self.get_logger().warning("the tick thread was held up or the clock was set: a new epoch has begun")

    def _look_around(self) -> None:
        """Often: whether the robot receives its commands, and none but these; what else is due."""
        counts, unsubscribed = self._commander.subscribers(), self._commander.unsubscribed()
        if counts:
            counts |= self._joints.counts()
        self._rivals = rivals(self, self._command_topics)
        others = "; ".join(rival_text(topic, names) for topic, names in self._rivals.items())
        self._estop.look()
        obstacle = self._joints.doubled() or self._estop.unsubscribed() or self._estop.awaited()
        subscribed = self._subscribers.look(time.monotonic(), counts, unsubscribed, others, obstacle)
        self._controller.subscribers(subscribed, self._ticks.time.now_ns())
        if elsewhere := self._estop.elsewhere():
            self.get_logger().warning(elsewhere, once=True)
        self._log.look()

    def _look(self) -> Report:
        """Once a second: tell changes, report."""
        self._tell()
        self._ticks.let_pass()
        gc.collect()  # little: what was there at the start is frozen
        return self._report(self._rivals, self._joints.doubled())


def main(args=None) -> int:
    """Entry point."""
    raise_priority()
    # The tick thread must not wait for the interpreter: neither for a thread that computes, nor for a collection.
    sys.setswitchinterval(SWITCH_S)
    gc.disable()
    return run_node(ControllerNode, "controller", args)


if __name__ == "__main__":
    sys.exit(main())
