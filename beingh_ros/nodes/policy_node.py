"""The policy as a lifecycle node: cameras, joint states and the controller's buffer in, chunks out.

Topics and parameters are listed in `beingh_ros/__init__.py`. Callbacks run in the executor's thread: they convert,
push and return. Inference has its own thread.
"""

from __future__ import annotations

from beingh_ros.nodes.quiet_start import end_quietly_while_importing

end_quietly_while_importing(__name__)

import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Float32MultiArray, Header, String
from trajectory_msgs.msg import JointTrajectory, MultiDOFJointTrajectory

from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError, shown
from beingh_core.inference.chunk_maker import ChunkMaker, MadeChunk
from beingh_core.inference.chunk_schedule import ChunkSchedule, Request, commanded
from beingh_core.inference.inference_thread import InferenceThread
from beingh_core.inference.policy_inputs import PolicyInputs
from beingh_core.inference.policy_loading import load_policy
from beingh_core.interrupts import was_interrupted
from beingh_core.policy.observations import image_key
from beingh_core.realtime.commit_buffer import SAME_PERIOD_S
from beingh_core.realtime.samples import Samples
from beingh_ros.messages.conversions import Trajectory, stamp_to_ns
from beingh_ros.messages.diagnostics import WARN, Diagnostics, Report
from beingh_ros.messages.latency import latency_message
from beingh_ros.messages.plan_messages import PlanReader, PlanWriter, most_bytes
from beingh_ros.messages.state_messages import StateReader
from beingh_ros.nodes.camera_input import CameraInput
from beingh_ros.nodes.error_log import ErrorLog
from beingh_ros.nodes.gate_log import GateLog
from beingh_ros.nodes.graph import QUIET, sent_ns, with_info
from beingh_ros.nodes.guard import GuardedNode, bounded
from beingh_ros.nodes.joint_intake import JOINT_STATES
from beingh_ros.nodes.managed import ManagedNode
from beingh_ros.nodes.policy_report import PolicyReport
from beingh_ros.nodes.runtime import declare, on_time_going_back, run_node

RELIABLE = QoSProfile(depth=10)
# What was said before the node came is received only by one that asks for it, what is said volatile or best effort only by
# one that does not.
INSTRUCTIONS = (
    RELIABLE,
    QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT),
    QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL),
)
CLOCKS = "set the clocks of this computer and of the publisher by one (chrony), and stamp with the time of measurement"
SETTINGS = ("contract", "checkpoint", "dataset_name", "instruction", "device", "torch_threads", "seed", "early_start")
SETTINGS += ("policy_url", "policy_token_file", "policy_jpeg_quality")


class PolicyNode(GuardedNode, ManagedNode):
    """configure loads contract and checkpoint and connects the inputs; activate lets chunks out.

    Attributes:
        exit_status: Set when the node must end because inference has a defect.
        loading: Whether contract and checkpoint are being loaded, which a signal breaks off.
    """

    _load_policy = staticmethod(load_policy)  # another policy: replace it

    def __init__(self) -> None:
        super().__init__("policy")
        self.exit_status: int | None = None
        self.loading = False
        self._inference: InferenceThread | None = None
        self._entities: list = []
        self._error: BeingHError | None = None
        self._log_error = ErrorLog(self.get_logger().error)
        self._log_instruction = ErrorLog(self.get_logger().error, another_s=0.5)  # a person waits for a word
        self._instructions: deque[tuple[int, str]] = deque(maxlen=16)
        self._gate_log = GateLog(self.get_logger().warning, self.get_logger().info)
        self._chunk_publisher = self.create_lifecycle_publisher(JointTrajectory, "policy/chunk", RELIABLE)
        self._base_publisher = self.create_lifecycle_publisher(MultiDOFJointTrajectory, "policy/base_chunk", RELIABLE)
        self._latency_publisher = self.create_lifecycle_publisher(Float32MultiArray, "policy/latency", RELIABLE)
        self._declare()
        self._autostart = self.get_parameter("autostart").value
        self._simulated = self.get_parameter("use_sim_time").value
        self._jumps = on_time_going_back(self, self._forget) if self._simulated else None
        self._diagnostics = Diagnostics(self, "", {"inference": self._unconfigured})
        self.add_on_set_parameters_callback(self._on_parameters)
        if self._autostart:
            if self.trigger_configure() != TransitionCallbackReturn.SUCCESS:
                raise self._error or RuntimeError("configure failed")
            self.trigger_activate()
        else:
            self.tell_waiting()

    def close(self) -> None:
        """Stop inference; nothing is published after."""
        if self._inference is not None:
            self._inference.close()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load contract and checkpoint and connect; refuse with one clear error."""
        self.loading = True
        try:
            self._configure()
        except BeingHError as error:
            self._error = error
            if not self._autostart:
                self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            if was_interrupted(error):
                raise KeyboardInterrupt from None
            self.get_logger().error(traceback.format_exc())
            return TransitionCallbackReturn.ERROR
        finally:
            self.loading = False
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let chunks out."""
        result = super().on_activate(state)
        self._inference.set_active(True)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let no chunk out any more; the controller runs its buffer out and holds."""
        self._inference.set_active(False)
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget contract and checkpoint."""
        self._disconnect()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End inference."""
        self._disconnect()
        return super().on_shutdown(state)

    def _declare(self) -> None:
        declare(self, "contract", "fr3", "robot contract: name or path")
        declare(self, "checkpoint", "", "checkpoint directory in the released format")
        declare(self, "dataset_name", "", "whose statistics to normalise with; empty: the contract's")
        declare(self, "instruction", "", "the task in words; empty: no inference", read_only=False)
        declare(self, "autostart", False, "configure and activate without a lifecycle manager")
        declare(self, "device", "cpu", "torch device of the model")
        declare(self, "torch_threads", 0, "CPU threads of torch, 0 for its default", between=(0, 256))
        declare(self, "policy_url", "", "policy server, as tcp://HOST:PORT; empty: the model runs in this node")
        declare(self, "policy_token_file", "", "file with the token that the policy server asks for")
        declare(self, "policy_jpeg_quality", 0, "of pictures sent to the policy server, 0 for pixels", between=(0, 100))
        declare(self, "early_start", True, "compute images and words shortly before the committed prefix is known")
        declare(
            self,
            "allow_state_outside_statistics",
            False,
            "infer although the measured state is far outside what the checkpoint's statistics say",
            read_only=False,
        )
        declare(self, "seed", -1, "seed of the model's noise, -1 for none", between=(-1, 2**31 - 1))

    def _configure(self) -> None:
        value = {name: self.get_parameter(name).value for name in SETTINGS}
        contract = load_contract(value["contract"])
        for note in contract.notes:
            self.get_logger().warning(note)
        policy = self._load_policy(
            contract,
            value["checkpoint"],
            dataset_name=value["dataset_name"],
            device=value["device"],
            threads=value["torch_threads"],
            seed=value["seed"],
            url=value["policy_url"],
            token_file=value["policy_token_file"],
            jpeg_quality=value["policy_jpeg_quality"],
        )
        self._contract = contract
        self._writer, self._reader = PlanWriter(contract), PlanReader(contract)
        self._schedule = ChunkSchedule(contract, policy.trained_delay)
        maker, self._consumed = ChunkMaker(contract, policy), Samples()
        self._inputs = PolicyInputs(contract, self.resolve_topic_name, maker.before_ns)
        facts = {"checkpoint": value["policy_url"] or value["checkpoint"], **policy.model_facts}
        self.get_logger().info(f"policy: {facts}")
        self._report = PolicyReport(contract, self._inputs, facts, self._simulated)
        maker.check_instruction(value["instruction"])
        self._inference = InferenceThread(
            self._inputs,
            self._schedule,
            maker,
            self._publish,
            self._on_failure,
            self.now_ns,
            prefetch=value["early_start"],
        )
        self._inference.instruction = value["instruction"]
        self._inference.allow_outside = self.get_parameter("allow_state_outside_statistics").value
        self._connect()

    def _connect(self) -> None:
        contract, make = self._contract, self.create_subscription
        self._cameras = {image_key(camera.name): self._camera(camera) for camera in contract.cameras}
        self._readers = {topic: StateReader(contract, topic) for topic in contract.state_topics}
        for topic, reader in self._readers.items():
            self._entities.append(
                make(reader.type, topic, lambda message, t=topic: self._on_state(t, message), JOINT_STATES)
            )
        most, refuse = most_bytes(contract), lambda error: self._log_error("controller/buffer", str(error))
        buffer = bounded(JointTrajectory, most, self._on_buffer, refuse)
        self._entities += [
            make(JointTrajectory, "controller/buffer", buffer, RELIABLE, raw=True),
            make(Header, "controller/accepted", self._on_accepted, RELIABLE),
        ]
        for qos in INSTRUCTIONS:  # each publisher fits one of them, so that the others need not complain
            self._entities.append(
                make(String, "policy/instruction", with_info(self._on_instruction), qos, event_callbacks=QUIET)
            )
        if self._reader.has_base:
            base_buffer = bounded(MultiDOFJointTrajectory, most, self._on_base_buffer, refuse)
            self._entities.append(
                make(MultiDOFJointTrajectory, "controller/base_buffer", base_buffer, RELIABLE, raw=True)
            )
        self._timer = self.create_timer(0.5, self._match_cameras, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._diagnostics.set_reports(
            contract.robot,
            {"inference": self._report_inference}
            | {name: lambda n=name: self._report_stream(n) for name in self._inputs.streams},
        )

    def _disconnect(self) -> None:
        if self._inference is None:
            return
        self._inference.close()
        self._inference = None
        self._diagnostics.set_reports("", {"inference": self._unconfigured})
        self.destroy_timer(self._timer)
        for camera in self._cameras.values():
            camera.close()
        for subscription in self._entities:
            self.destroy_subscription(subscription)
        self._entities.clear()

    def _camera(self, camera) -> CameraInput:
        name = image_key(camera.name)
        return CameraInput(
            self,
            camera,
            push=lambda stamp_ns, pixels: self._on_image(name, stamp_ns, pixels),
            refuse=lambda error: self._refuse(name, str(error)),
        )

    def _forget(self) -> None:
        """Drop everything that is stamped with a time that has not come yet."""
        if self._inference is not None:
            self._inputs.clear()
            self._schedule.clear()

    def _match_cameras(self) -> None:
        for name, camera in self._cameras.items():
            self._inputs.hints[name] = camera.match_publishers()

    def _refuse(self, name: str, reason: str) -> None:
        text = f"{self._inputs.topics[name]}: {reason}"
        self._inputs.refuse(name, text)
        self._log_error(name, text)

    def _on_image(self, name: str, stamp_ns: int, pixels: np.ndarray) -> None:
        unusable = self._inputs.push_image(name, stamp_ns, pixels, self.now_ns())
        if unusable is not None:
            self._log_error(name, f"{self._inputs.topics[name]}: a picture {unusable}. To fix: {CLOCKS}.")

    def _on_state(self, topic: str, message: Any) -> None:
        now_ns = self.now_ns()
        try:
            read = self._readers[topic].read(message, now_ns)
        except BeingHError as error:
            self._inputs.set_aside(topic, str(error))
            self._log_error(topic, f"{self.resolve_topic_name(topic)}: {error}")
            return
        if not read.positions:
            reader = self._readers[topic]
            self._inputs.set_aside(topic, reader.nothing, refused=not reader.shared)
            return
        wrong = self._inputs.push_joints(topic, read.stamp_ns, read.positions, now_ns)
        for what, name in {what: name for name, what in wrong.items()}.items():
            self._log_error(name, f"{self._inputs.topics[name]}: a message {what}. To fix: repair its publisher.")

    def _on_buffer(self, message: JointTrajectory) -> None:
        self._take_plan(self._reader.joints, message)

    def _on_base_buffer(self, message: MultiDOFJointTrajectory) -> None:
        self._take_plan(self._reader.base, message)

    def _take_plan(self, read_part: Callable[[Any, int], Trajectory | None], message: Any) -> None:
        """Note the controller's plan once all its parts are there; half a plan says nothing."""
        now_ns = time.monotonic_ns()
        self._reader.expired(now_ns)
        try:
            read = read_part(message, now_ns)
            if read is None:
                return
            if not abs(read.dt_s - self._contract.dt_s) <= SAME_PERIOD_S:
                raise BeingHError(f"the points of a plan are not {self._contract.dt_s:g} s apart from its stamp on")
            rows = commanded(self._contract.joint_names, read.joints, read.positions)
            self._schedule.buffer(read.frame_id, read.stamp_ns, rows, self.now_ns())
            self._inference.notify()
        except BeingHError as error:
            self._log_error("controller/buffer", str(error))

    def _on_accepted(self, message: Header) -> None:
        consumed = self._schedule.accepted(message.frame_id, stamp_to_ns(message.stamp), self.now_ns())
        if consumed is not None:
            self._consumed.add(consumed)

    def _on_instruction(self, message: String, info: Mapping) -> None:
        """Received once by each subscription that fits: what was said once counts once."""
        said = sent_ns(info), message.data
        if said in self._instructions:
            return
        if said[0]:
            self._instructions.append(said)
        text = message.data.strip()
        if text == self._inference.instruction:
            return
        try:
            self._inference.instruct(text)
        except BeingHError as error:
            self._log_instruction("", f"policy/instruction: the old instruction stays: {error}")
            return
        self.get_logger().info(f"instruction: {shown(text)}")

    def _on_parameters(self, parameters) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == "instruction" and self._inference is not None:
                try:
                    self._inference.instruct(parameter.value)
                except BeingHError as error:
                    return SetParametersResult(successful=False, reason=f"the old instruction stays: {error}")
            if parameter.name == "allow_state_outside_statistics" and self._inference is not None:
                self._inference.allow_outside = parameter.value
        return SetParametersResult(successful=True)

    def _publish(self, request: Request, made: MadeChunk) -> None:
        """Inference thread."""
        base = self._writer.base(made.positions, request.stamp_ns, request.epoch)
        if base is not None:
            self._base_publisher.publish(base)
        self._chunk_publisher.publish(self._writer.joints(made.positions, request.stamp_ns, request.epoch))
        latency_ms = (self.now_ns() - made.observation_ns) / 1e6
        self._latency_publisher.publish(latency_message(made.inference_ms, latency_ms))

    def _on_failure(self, error: Exception) -> None:
        """Inference thread: report what a user can fix, end the node on a defect."""
        if isinstance(error, BeingHError):
            self._log_error("inference", f"no chunk: {error}")
            return
        self.get_logger().error("".join(traceback.format_exception(error)))
        self.exit_status = 1

    def _report_inference(self) -> Report:
        self._gate_log.look(time.monotonic(), self._inference.closed())
        return self._report.inference(self._inference, self._schedule, self._consumed, self._rivals())

    def _rivals(self) -> str:
        """The nodes that publish a plan, when several do."""
        if not self._schedule.has_rivals(self.now_ns()):
            return ""
        infos = self.get_publishers_info_by_topic("controller/buffer")
        names = ", ".join(f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in infos)
        text = f"several controllers publish a plan, the newest is followed: {names}. To fix: end one."
        self._log_error("rivals", text)
        return names or "their nodes are not known"

    def _report_stream(self, name: str) -> Report:
        camera = self._cameras.get(name)
        qos = (camera.reliability if camera else JOINT_STATES.reliability).name.lower()
        publishers = self.count_publishers(self._inputs.topics[name])
        return self._report.stream(name, self.now_ns(), qos, publishers)

    @staticmethod
    def _unconfigured() -> Report:
        return WARN, "not configured", {}


def main(args=None) -> int:
    """Entry point."""
    return run_node(PolicyNode, "policy", args)


if __name__ == "__main__":
    sys.exit(main())
