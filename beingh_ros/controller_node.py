"""Owner of the ticks: merges chunks, sends every tick's command once, tells what is committed.

Topics, services and parameters are listed in `beingh_ros/__init__.py`. Callbacks run in the executor's thread and
only hand over; the tick thread is the only one that sends.
"""

from __future__ import annotations

import sys
import traceback

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Header
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from beingh_core.contract import RobotContract, load_contract
from beingh_core.errors import BeingHError
from beingh_core.realtime.clock import parse_epoch
from beingh_core.realtime.commit_buffer import Chunk
from beingh_ros.controller import BY_SERVICE, REQUESTED, STOPPED, WAITING, Controller, Plan, TickOutput
from beingh_ros.controller_report import ControllerReport, sentence
from beingh_ros.conversions import joint_positions, read_trajectory, trajectory_message
from beingh_ros.diagnostics import Diagnostics, Report
from beingh_ros.drivers import Setpoints, make_drivers
from beingh_ros.runtime import declare, on_time_going_back, raise_priority, run_node
from beingh_ros.tick_thread import TickThread
from beingh_ros.timing import SimulatedTime, SteadyTime

RELIABLE = QoSProfile(depth=10)


class ControllerNode(Node):
    """The node; `close()` stops in order: no more chunks, no more ticks, then the braking path as last command.

    Attributes:
        exit_status: Set when the node must end because its tick thread has a defect.
    """

    def __init__(self) -> None:
        super().__init__("controller")
        self.exit_status: int | None = None
        contract = load_contract(declare(self, "contract", "fr3", "robot contract: name or path"))
        self._dry_run = declare(self, "dry_run", False, "do everything but send commands to the robot")
        self._controller = Controller(
            contract,
            joint_state_timeout_s=declare(
                self, "joint_state_timeout_s", 1.0, "without joint states for longer it stops [s]", between=(0.05, 60.0)
            ),
            max_late_ticks=declare(
                self, "max_late_ticks", 2.0, "a tick later than this starts a new epoch [periods]", between=(1.0, 100.0)
            ),
        )
        self._contract = contract
        self._overruns_told = 0
        self._rivals_told: list[str] = []
        self._told: tuple[str, str] | None = None
        self._drivers = make_drivers(self, contract)
        self._buffer_publisher = self.create_publisher(JointTrajectory, "controller/buffer", RELIABLE)
        self._accepted_publisher = self.create_publisher(Header, "controller/accepted", RELIABLE)
        simulated = self.get_parameter("use_sim_time").value
        self._jumps = on_time_going_back(self, self._controller.time_went_back) if simulated else None
        self._ticks = TickThread(
            self._controller,
            SimulatedTime(self.get_clock()) if simulated else SteadyTime(),
            send=self._send,
            publish=self._publish,
            fail=self._on_failure,
        )
        self._report = ControllerReport(contract, self._controller, self._ticks, dry_run=self._dry_run)
        self._connect(contract)
        self._diagnostics = Diagnostics(self, contract.robot, {"commands": self._look})
        self._ticks.start()

    def close(self) -> None:
        """Stop the ticks and send the rest of the braking path."""
        ended = self._ticks.close()
        path = self._controller.final_path()
        if path is not None and ended and not self._dry_run:
            points = self._setpoints(*path)
            for driver in self._drivers:
                driver.stop(points)
            self.get_logger().info("sent the braking path and ends")

    def _connect(self, contract: RobotContract) -> None:
        topics = dict.fromkeys(signal.topic for signal in contract.state) or ["/joint_states"]
        for topic in topics:
            self.create_subscription(
                JointState, topic, lambda message, t=topic: self._on_joint_state(t, message), qos_profile_sensor_data
            )
        self.create_subscription(JointTrajectory, "policy/chunk", self._on_chunk, RELIABLE)
        # Twice: a reliable subscription alone would never hear a best-effort publisher.
        for qos in (RELIABLE, qos_profile_sensor_data):
            self.create_subscription(Bool, contract.estop_topic, self._on_estop, qos)
        self.create_service(Trigger, "~/stop", self._on_stop)
        self.create_service(Trigger, "~/reset", self._on_reset)

    def _send(self, output: TickOutput) -> None:
        """Tick thread: the committed ticks to the robot."""
        if not self._dry_run:
            points = self._setpoints(output.stamp_ns, output.committed)
            for driver in self._drivers:
                driver.send(points)

    def _setpoints(self, stamp_ns: int, positions_TJ: np.ndarray) -> Setpoints:
        """Row i is to be reached i + 1 periods after the stamp."""
        dt_s = self._contract.dt_s
        return Setpoints(
            stamp_ns=stamp_ns,
            times_s=np.arange(1, len(positions_TJ) + 1) * dt_s,
            positions=positions_TJ,
            velocities=np.gradient(positions_TJ, dt_s, axis=0) if len(positions_TJ) > 1 else np.zeros_like(positions_TJ),
        )

    def _publish(self, plan: Plan) -> None:
        """Tick thread: the plan to whoever infers."""
        contract = self._contract
        self._buffer_publisher.publish(
            trajectory_message(
                contract.joint_names,
                plan.positions,
                stamp_ns=plan.stamp_ns,
                rate_hz=contract.rate_hz,
                frame_id=plan.epoch,
            )
        )

    def _on_joint_state(self, topic: str, message: JointState) -> None:
        try:
            self._controller.joint_state(self._ticks.time.now_ns(), joint_positions(message))
        except BeingHError as error:
            self.get_logger().error(f"{topic}: {error}", throttle_duration_sec=5.0)
        self._tell()

    def _on_chunk(self, message: JointTrajectory) -> None:
        try:
            read = read_trajectory(message)
            base_tick = self._base_tick(read.frame_id, read.stamp_ns)
        except BeingHError as error:
            self._report.malformed += 1
            self.get_logger().error(f"policy/chunk refused: {error}", throttle_duration_sec=5.0)
            return
        result = self._controller.merge(
            Chunk(
                base_tick=base_tick, epoch=read.frame_id, joints=read.joints, positions=read.positions, dt_s=read.dt_s
            )
        )
        if result is None:
            return
        self._report.merged(result, read.frame_id, read.stamp_ns)
        if result.accepted:
            self._accepted_publisher.publish(Header(stamp=message.header.stamp, frame_id=read.frame_id))
        if result.status != "merged":
            self.get_logger().warning(f"policy/chunk {result.status}: {result.reason}", throttle_duration_sec=5.0)

    def _base_tick(self, epoch: str, stamp_ns: int) -> int:
        """Tick number of a chunk's stamp in its own epoch; the buffer refuses another epoch than the present."""
        _, start_ns = parse_epoch(epoch)
        return round((stamp_ns - start_ns) * self._contract.rate_hz / 1e9)

    def _on_estop(self, message: Bool) -> None:
        self._controller.set_estop(message.data)
        self._tell()

    def _on_stop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._controller.stop(BY_SERVICE)
        response.success, response.message = True, f"{self._controller.state}: {self._controller.reason}"
        return response

    def _on_reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            self._controller.reset(self._ticks.time.now_ns())
            response.success, response.message = True, "a new epoch starts at the measured positions"
        except BeingHError as error:
            response.success, response.message = False, str(error)
        return response

    def _on_failure(self, error: Exception) -> None:
        """Tick thread: it ends with this error, and the node with it."""
        self.get_logger().error("".join(traceback.format_exception(error)))
        self.exit_status = 1

    def _tell(self) -> None:
        """Log a change of state or reason, once."""
        if self._controller.overruns != self._overruns_told:
            self._overruns_told = self._controller.overruns
            self.get_logger().warning("the tick thread was held up or the clock was set: a new epoch has begun")
        told = self._controller.state, self._controller.reason
        if told != self._told:
            self._told = told
            self._log_state(*told)

    def _log_state(self, state: str, reason: str) -> None:
        log, text = self.get_logger(), sentence(state, reason)
        if state == STOPPED and reason not in REQUESTED:
            reset = f"{self.get_fully_qualified_name()}/reset"
            log.error(
                f"{text}. The robot brakes and gets no more commands. To fix: remove the cause, then call {reset}."
            )
        elif state == WAITING and not reason.startswith(WAITING):
            log.warning(f"{text}. The robot gets no commands until that is put right.")
        else:
            log.info(text)

    def _find_rivals(self) -> list[str]:
        """Command topics with another publisher, such as a controller that a crashed launch has left behind."""
        rivals = [group.topic for group in self._contract.command_groups if self.count_publishers(group.topic) > 1]
        if rivals and rivals != self._rivals_told:
            self.get_logger().error(
                f"another node publishes commands on {', '.join(rivals)} too. To fix: find it with "
                f"`ros2 topic info --verbose {rivals[0]}` and end it."
            )
        self._rivals_told = rivals
        return rivals

    def _look(self) -> Report:
        """Once a second: tell changes, look for rivals, report."""
        self._tell()
        return self._report(self._find_rivals())


def main(args=None) -> int:
    """Entry point."""
    raise_priority()
    return run_node(ControllerNode, "controller", args)


if __name__ == "__main__":
    sys.exit(main())
