"""ROS 2 edge of the package: messages in, messages out; the logic lives in `beingh_core`.

Names without a leading slash are relative to the node's namespace. Every node also publishes /diagnostics (1 Hz,
except sim) and describes its parameters (`ros2 param describe`). `C` marks topics that the robot contract names,
absolute where the contract says so.

sim_node (node `sim`), the robot's drivers in simulation
    publishes   joint_states (50 Hz), every camera C (rate of the contract, reliable), sim/objects, sim/contacts (MarkerArray,
                objects at 20 Hz, contacts while there are any), spectator_camera/color/image_raw (when spectator_fps > 0)
    subscribes  driver topics C, as the robot's controllers do (JointTrajectory, Float64MultiArray, JointState)
    actions     of grippers and of joint_trajectory_controller C
    services    sim/reset (Trigger; scene of parameter `seed`)
    parameters  contract, seed (may be set while it runs), spectator_fps

controller_node (lifecycle node `controller`), owner of the ticks
    publishes   controller/buffer (JointTrajectory, every tick until a stop has come to rest), controller/accepted
                (Header), controller/state (DiagnosticStatus, on every change, latched: state, cause, epoch, stamp_ns
                of the cause, estop; see `stop_causes`), driver topics C; with a base controller/base_buffer
                (MultiDOFJointTrajectory: its velocities, same stamp and frame_id as the buffer)
    subscribes  policy/chunk (JointTrajectory), with a base policy/base_chunk (MultiDOFJointTrajectory: the other
                part of the chunk with that stamp and frame_id), joint state topics C, e-stop topic C (Bool)
    services    ~/stop, ~/reset (Trigger), ~/estop (SetBool: true stops, false allows a reset)
    parameters  contract, dry_run, autostart, joint_state_timeout_s (0: watchdog.joint_states_s C), max_late_ticks,
                subscriber_settle_s, use_sim_time
    start       at the measured positions, once the robot has been at rest for 0.2 s, somebody subscribes to every command
                topic (an action server is ready) and neither the number of subscribers nor that of the publishers of joint
                states has changed for subscriber_settle_s; not while joint states contradict each other, several
                publishers speak for one joint, or another node publishes commands (which stops it, too)
    reset       needs fresh joint states and a released e-stop; brakes first when moving. To move the robot by other
                means (or to reset the simulator), call ~/stop and wait until controller/buffer falls silent.
    time        a clock that is set (by more than 20 ms; simulated time: back, or ahead by more than 1 s) stops it
    deactivate  stops; the braking path is the last command. Activation starts as the node does
    exit        status 1 after a defect, whose braking path is the last command; the last line says what has ended it

policy_node (lifecycle node `policy`), the model
    publishes   policy/chunk (JointTrajectory), with a base policy/base_chunk (MultiDOFJointTrajectory), policy/latency
                (Float32MultiArray: inference_ms, latency_ms)
    subscribes  cameras C, joint state topics C, controller/buffer, with a base controller/base_buffer,
                controller/accepted, policy/instruction (String; latched or not, reliable or best effort)
    parameters  contract, checkpoint, dataset_name, instruction (may be set while it runs), autostart, device,
                torch_threads, seed, early_start, policy_url, policy_token_file, policy_jpeg_quality,
                allow_state_outside_statistics (may be set while it runs), use_sim_time
    inputs      joints are joined by name from any number of messages, each as old as its own stamp; a stamp further in
                the future than max_age_s C is refused. Of several controllers the one that began last is followed
    exit        status 2 after one error line when something a user can fix does not fit

expert_node (lifecycle node `policy`), the scripted expert in its place, in simulation
    as policy_node, without a model; besides
    subscribes  sim/objects (MarkerArray: where the cubes are); without it there are no chunks
    parameters  inference_s (least time of an answer)

markers_node (node `markers`), where the robot goes, for RViz; all gone after 0.5 s without news
    publishes   markers/eef_path (MarkerArray, in the arm's base frame), markers/ghost (MarkerArray: the robot where the plan
                ends, each moving shape in the frame of the link under it), markers/state (MarkerArray: one text)
                with joint_states_hz also markers/joint_states (JointState: all topics' joints in the URDF's names and units)
    subscribes  controller/buffer, policy/chunk, controller/state; with joint_states_hz joint state topics C
    parameters  contract, rate_hz, trail_s, joint_states_hz, use_sim_time

record (node `record`), episodes as bags; docs/record.md
    publishes   record/in_charge (Header, every tick: stamp of the tick, frame_id policy | person | nobody), record/events
                (String, JSON), record/state (DiagnosticStatus, latched)
    subscribes  every topic of the robot (see `record/topics.py`), raw; record/command (String), pedals (Bool), joy (Joy)
    services    ~/start, ~/stop, ~/discard, ~/mark_contact, ~/mark_release, ~/mark_correction (Trigger), ~/success,
                ~/person (SetBool)
    parameters  contract, out, storage, topics, without, task and operator (may be set while it runs), in_charge, preroll_s,
                preroll_mb, buffer_mb, min_free_mb, max_s, pedals, joy_topic, joy_buttons, keyboard, start, use_sim_time
"""

from __future__ import annotations

import importlib
import sys
import warnings
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_loader
from types import ModuleType

# `python -m beingh_ros.controller_node` starts a node where nothing is installed, as `ros2 run` does.
__path__.append(f"{__path__[0]}/nodes")
_ROOMS = ("beingh_core.control", "beingh_core.inference", "beingh_ros.messages")


class _OldNames:
    """Finds a module also without the name of its room, as in `beingh_ros.conversions`, and says where it is."""

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        """The spec of the same module under its own name; None for others."""
        parent, _, last = name.rpartition(".")
        if parent not in (__name__, f"{__name__}.drivers"):
            return None
        places = (f"{room}.{last}" for room in (_ROOMS[:1] if parent != __name__ else _ROOMS))
        place = next((place for place in places if find_spec(place)), None)
        return place and spec_from_loader(name, _Alias(place))


class _Alias:
    def __init__(self, place: str) -> None:
        self._place = place

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        warnings.warn(f"{spec.name} is {self._place}", DeprecationWarning, stacklevel=2)
        module = importlib.import_module(self._place)
        self._own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._own


sys.meta_path.append(_OldNames)
