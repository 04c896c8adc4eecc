"""The typed, frozen form of a robot contract (see `loader` for the YAML)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from beingh_core.contract.assumed import Assumption
from beingh_core.contract.collision_settings import SelfCollision
from beingh_core.contract.keep_out import KeepOut
from beingh_core.contract.key import Bounds
from beingh_core.contract.simulated import SimWorld
from beingh_core.contract.sources import JOINT_STATE
from beingh_core.contract.wire import Wire, merged, plain
from beingh_core.errors import BeingHError
from beingh_core.realtime.limits import JointLimits
from beingh_core.rotations import WIDTHS

VERSION = 2
STATE_SOURCES = ("position", "fk", "pose", "field")
# The numbers of these are joints by name; those of the others have no name.
JOINT_SOURCES = ("position", "fk")
ACTION_MODES = ("absolute", "relative", "delta")
ACTION_FRAMES = ("world", "eef", "chunk_start")
NORMALIZATIONS = ("q99", "mean_std", "min_max", "binary", "none")
# Bounds of numbers: positions [rad or m], two positions that differ, and ages [s].
POSITION: Bounds = {"at_least": -1000.0, "at_most": 1000.0}
MIN_RANGE = 1e-5
MAX_AGE_S: Bounds = {"above": 0.001, "at_most": 60.0}
# Slots that hold a pose of the end effector: computed from joints by kinematics, not read from them.
POSITION_SLOTS = ("eef_position", "left_eef_position")
ROTATION_SLOTS = ("eef_rotation", "left_eef_rotation")
POSE_SLOTS = POSITION_SLOTS + ROTATION_SLOTS
# A pose that only something on the robot can measure: the state has it, no action moves it.
BASE_POSE_SLOTS = ("base_position", "base_rotation")
ROTATIONS = ("axis_angle", "quaternion_xyzw", "quaternion_wxyz", "rotation_6d", "matrix", "euler_xyz")


@dataclass(frozen=True, kw_only=True)
class CameraStream:
    """One camera view, in the order in which the model sees them.

    Attributes:
        name: view name; the model's key is `video.<name>`.
        topic: ROS topic.
        type: message type, e.g. `sensor_msgs/msg/Image`.
        encoding: the only accepted encoding, one of `encodings.IMAGE_ENCODINGS[type]`.
        max_age_s: older images are stale [s].
        undistort: topic of its CameraInfo, by which lens distortion is taken out first; "" for none.
        rotate: then it is turned clockwise by so much [deg].
        crop: then this is cut out: left, top, width, height [pixels]; () for all.
        depth: (metres a step, nearest, farthest) of a depth image, shown as grey from near (255) to far (0); () for a
            picture. Pixels without a distance are 0.
        optional: whether the policy goes on without it; it sees black then.
    """

    name: str
    topic: str
    type: str
    encoding: str
    max_age_s: float
    undistort: str = ""
    rotate: int = 0
    crop: tuple[int, ...] = ()
    depth: tuple[float, ...] = ()
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class Coupling:
    """A joint that follows another one: position = scale * position of `of` + offset [rad or m]."""

    joint: str
    of: str
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, kw_only=True)
class StateSignal:
    """One state slot and what it is made from.

    Attributes:
        slot: name in `slots.STATE_SLOTS`; the model's key is `state.<slot>`.
        topic: where it comes from.
        source: `position` (the joints' positions in order), `fk` (pose of `eef_frame`), `pose` (a measured pose) or
            `field` (numbers of a message as they are).
        joints: joint names, in order; () for `pose` and `field`.
        max_age_s: older messages are stale [s].
        closed, open: joint positions of gripper 0 and 1 [m or rad]; None where it is no gripper.
        eef_frame, base_frame: links of the pose, None where `source` is not `fk`.
        type: message type.
        fields: of each number in such a message; () for joint states and poses.
        wire: names and units in messages, of `joints` and of the joints coupled to them; None for the URDF's.
        ranges: (closed, open) positions of each joint, which the slot has as 0 and 1; () for radians or metres.
        rotation: how the values describe a rotation, one of `ROTATIONS`.
        frame_id, child_frame_id: the only frames of a measured pose that are accepted; "" for any.
        coupling: joints that are measured beside those of the slot, as they follow them.
    """

    slot: str
    topic: str
    source: str
    joints: tuple[str, ...]
    max_age_s: float
    closed: float | None = None
    open: float | None = None
    eef_frame: str | None = None
    base_frame: str | None = None
    type: str = JOINT_STATE
    fields: tuple[str, ...] = ()
    wire: Wire | None = None
    ranges: tuple[tuple[float, float], ...] = ()
    rotation: str = "axis_angle"
    frame_id: str = ""
    child_frame_id: str = ""
    coupling: tuple[Coupling, ...] = ()

    @property
    def values(self) -> tuple[str, ...]:
        """Names of the numbers that are kept of its messages: joints, or numbers without a name."""
        if self.source in JOINT_SOURCES:
            return self.joints
        count = 3 if self.source == "pose" else len(self.fields)
        return tuple(f"{self.slot}[{index}]" for index in range(count))

    @property
    def width(self) -> int:
        """How many values the model's key has."""
        if self.slot in ROTATION_SLOTS or self.slot == "base_rotation":
            return WIDTHS[self.rotation]
        return 3 if self.source in ("fk", "pose") else len(self.values)


@dataclass(frozen=True, kw_only=True)
class ActionSignal:
    """One action slot and the joints it commands.

    Attributes:
        slot: name in `slots.ACTION_SLOTS`; the model's key is `action.<slot>`.
        mode: `absolute`, `relative` (to the measured state at the start of the chunk) or `delta` (of the commands);
            of joint positions, or of the pose of `eef_frame`.
        frame: axes of a pose's delta: `world` (of `base_frame`), `eef` (of the commanded pose before it) or
            `chunk_start` (offset from the commanded pose at the start of the chunk, in its axes). None otherwise.
        joints: joint names, in order; () for `control_mode`.
        closed, open: joint positions of gripper 0 and 1 [m or rad]; None where it is no gripper.
        eef_frame, base_frame: links of the pose, None where it commands joint positions.
        ranges: see `StateSignal`.
        rotation: see `StateSignal`.
        coupling: joints that are commanded beside those of the slot.
        value: what stands in the slot of a signal without joints.
    """

    slot: str
    mode: str
    joints: tuple[str, ...]
    frame: str | None = None
    closed: float | None = None
    open: float | None = None
    eef_frame: str | None = None
    base_frame: str | None = None
    ranges: tuple[tuple[float, float], ...] = ()
    rotation: str = "axis_angle"
    coupling: tuple[Coupling, ...] = ()
    value: float = 0.0

    @property
    def width(self) -> int:
        """How many values the model's key has."""
        if self.slot in POSE_SLOTS:
            return WIDTHS[self.rotation] if self.slot in ROTATION_SLOTS else 3
        return len(self.joints) or 1

    @property
    def commanded(self) -> tuple[str, ...]:
        """Its joints and those coupled to them."""
        return (*self.joints, *(coupled.joint for coupled in self.coupling))


@dataclass(frozen=True, kw_only=True)
class DriverGroup:
    """One command topic (or action) and the joints that go out on it, in message order, with their names and units there."""

    topic: str
    joints: tuple[str, ...]
    wire: Wire | None = None


@dataclass(frozen=True, kw_only=True)
class Driver:
    """One way of commanding some of the joints.

    Attributes:
        kind: one of `driver_options.DRIVER_KINDS`.
        groups: command topics (or actions) and the joints on each.
        options: the further keys of that kind, each with its value or default.
        is_velocity: whether it commands velocities of a base.
    """

    kind: str
    groups: tuple[DriverGroup, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    is_velocity: bool = False

    @property
    def joints(self) -> tuple[str, ...]:
        """All joints of this driver, in the order of its groups."""
        return tuple(joint for group in self.groups for joint in group.joints)


@dataclass(frozen=True, kw_only=True)
class Uac:
    """Timing of chunks (DESIGN 4.4).

    Attributes:
        latency_budget_s: L, from the camera's picture to the merged chunk [s].
        margin_steps: steps added to the delay.
        commit_margin: ticks ahead of the next one that a chunk can no longer change.
        execution_steps: s, steps between starts of inference.
        delay_steps: d = ceil(L / dt) + margin, the locked prefix.
        blend_steps: steps behind the prefix in which an arm's motion is blended from the last chunk's to the new one's.
    """

    latency_budget_s: float
    margin_steps: int
    commit_margin: int
    execution_steps: int
    delay_steps: int
    blend_steps: int = 0


@dataclass(frozen=True, kw_only=True)
class Watchdog:
    """When the controller stops by itself.

    Attributes:
        joint_states_s: without joint states for longer [s].
        tracking_error: (J,) how far a measured position may be from the commands of the last while [rad or m];
            infinite where nobody watches.
        tracking_delay_s: that while: the delay with which the robot follows, at most [s].
        tracking_time_s: how long it may be further away [s].
    """

    joint_states_s: float
    tracking_error: tuple[float, ...]
    tracking_delay_s: float
    tracking_time_s: float


@dataclass(frozen=True, kw_only=True)
class PolicySettings:
    """What the checkpoint must agree with.

    Attributes:
        chunk_length: H, steps of one chunk.
        dataset_name: statistics are in `<dataset_name>_metadata.json`.
        normalization: model key (`state.<slot>`, `action.<slot>`) -> one of `NORMALIZATIONS`.
    """

    chunk_length: int
    dataset_name: str
    normalization: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class RobotContract:
    """Everything that live nodes, export, replay and training need to know of one robot.

    Attributes:
        robot: name.
        path: the YAML file.
        urdf_path: the URDF.
        rate_hz: action steps per second.
        cameras: views, in the order of the prompt.
        state, action: signals, in the order of the file.
        joint_names: what is commanded: joints in the order of the drivers' groups, then velocities of a base.
        limits: of these, in that order.
        drivers: each commands some of the joints, together all of them.
        uac, watchdog, policy: see their classes.
        start_tolerance: (J,) how far outside its limits a joint may stand at the start [rad or m].
        home: (J,) start posture [rad or m].
        estop_topic: topic of the emergency stop (std_msgs/Bool).
        keep_out: boxes that no part of the robot may enter.
        self_collision: how chunks are checked for that and for the robot running into itself.
        sim: what the simulator does not choose by itself.
        assumed: values that no source gives.
        version: of the file's format.
        notes: what its reader should know, such as that the format is an old one; a line each.
    """

    robot: str
    path: Path
    urdf_path: Path
    rate_hz: float
    cameras: tuple[CameraStream, ...]
    state: tuple[StateSignal, ...]
    action: tuple[ActionSignal, ...]
    joint_names: tuple[str, ...]
    limits: JointLimits
    drivers: tuple[Driver, ...]
    uac: Uac
    watchdog: Watchdog
    policy: PolicySettings
    start_tolerance: tuple[float, ...]
    home: tuple[float, ...]
    estop_topic: str
    keep_out: tuple[KeepOut, ...] = ()
    self_collision: SelfCollision = field(default_factory=SelfCollision)
    sim: SimWorld = SimWorld()
    assumed: tuple[Assumption, ...] = ()
    version: int = VERSION
    notes: tuple[str, ...] = ()

    @property
    def dt_s(self) -> float:
        """One action step [s]."""
        return 1.0 / self.rate_hz

    @property
    def driver(self) -> Driver:
        """The driver of a robot that has only one.

        Raises:
            BeingHError: the contract has several.
        """
        if len(self.drivers) > 1:
            kinds = ", ".join(driver.kind for driver in self.drivers)
            raise BeingHError(f"this works with one driver, not with {kinds}", where=f"{self.path}: drivers")
        return self.drivers[0]

    @property
    def command_groups(self) -> tuple[DriverGroup, ...]:
        """The groups of all drivers."""
        return tuple(group for driver in self.drivers for group in driver.groups)

    @property
    def joint_state_topics(self) -> tuple[str, ...]:
        """Topics of the joint states, each once."""
        joints = [signal.topic for signal in self.state if signal.source in JOINT_SOURCES]
        return tuple(dict.fromkeys(joints)) or ("joint_states",)

    @property
    def state_topics(self) -> tuple[str, ...]:
        """Topics of all state signals, each once."""
        return tuple(dict.fromkeys(signal.topic for signal in self.state))

    @property
    def state_at_home(self) -> dict[str, float]:
        """What `SignalCodec.encode_state` takes at the home posture; 0 for everything that is not commanded."""
        home = dict(zip(self.joint_names, self.home))
        return {name: home.get(name, 0.0) for signal in self.state for name in signal.values}

    def wire_of(self, topic: str) -> Wire:
        """Names and units of the joints that are read from a topic."""
        return merged([signal.wire or plain(signal.joints) for signal in self.state if signal.topic == topic])

    @property
    def hash(self) -> str:
        """SHA-256 (hex) over what a trained model depends on; topics, limits and home are not in it.

        Two contracts with one hash can run one checkpoint; the hash travels in the checkpoint's
        metadata and in the server's handshake.
        """
        model_side: dict[str, Any] = {
            "rate_hz": self.rate_hz,
            "chunk_length": self.policy.chunk_length,
            "cameras": [[camera.name, *_given(camera, _SEEN_OF_CAMERA)] for camera in self.cameras],
            "state": [
                [*(getattr(s, name) for name in _SEEN_OF_STATE), *_given(s, ("ranges", "rotation"))] for s in self.state
            ],
            "action": [
                [a.slot, a.mode, a.frame, a.joints, a.closed, a.open, a.eef_frame, a.base_frame]
                + _given(a, ("ranges", "rotation", "coupling", "value"))
                for a in self.action
            ],
            "normalization": sorted(self.policy.normalization.items()),
        }
        model_side["cameras"] = [parts if len(parts) > 1 else parts[0] for parts in model_side["cameras"]]
        return hashlib.sha256(json.dumps(model_side, sort_keys=True, default=vars).encode()).hexdigest()


_SEEN_OF_STATE = ("slot", "source", "joints", "closed", "open", "eef_frame", "base_frame")
_SEEN_OF_CAMERA = ("crop", "undistort", "rotate", "depth", "optional")


def _given(part: Any, names: tuple[str, ...]) -> list[list[Any]]:
    """Name and value of the attributes that are not what they are by default: contracts without them keep their hash."""
    default = {field.name: field.default for field in fields(part)}
    return [[name, getattr(part, name)] for name in names if getattr(part, name) != default[name]]
