"""The typed, frozen form of a robot contract (see `loader` for the YAML)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from beingh_core.errors import BeingHError
from beingh_core.realtime.limits import JointLimits

STATE_SOURCES = ("position", "fk")
ACTION_MODES = ("absolute", "delta")
ACTION_FRAMES = ("world", "eef", "chunk_start")
NORMALIZATIONS = ("q99", "mean_std", "min_max", "binary", "none")
# Bounds of numbers: positions [rad or m], two positions that differ, and ages [s].
POSITION: dict[str, float] = {"at_least": -1000.0, "at_most": 1000.0}
MIN_RANGE = 1e-5
MAX_AGE_S: dict[str, float] = {"above": 0.001, "at_most": 60.0}
# Slots that hold a pose of the end effector: computed from joints by kinematics, not read from them.
POSITION_SLOTS = ("eef_position", "left_eef_position")
ROTATION_SLOTS = ("eef_rotation", "left_eef_rotation")


@dataclass(frozen=True, kw_only=True)
class CameraStream:
    """One camera view, in the order in which the model sees them.

    Attributes:
        name: view name; the model's key is `video.<name>`.
        topic: ROS topic.
        type: message type, e.g. `sensor_msgs/msg/Image`.
        encoding: the only accepted encoding, one of `encodings.IMAGE_ENCODINGS[type]`.
        max_age_s: older images are stale [s].
    """

    name: str
    topic: str
    type: str
    encoding: str
    max_age_s: float


@dataclass(frozen=True, kw_only=True)
class StateSignal:
    """One state slot and the joints it is made from.

    Attributes:
        slot: name in `slots.STATE_SLOTS`; the model's key is `state.<slot>`.
        topic: topic of the joint states.
        source: `position` (the joints' positions in order) or `fk` (pose of `eef_frame`).
        joints: joint names, in order.
        max_age_s: older messages are stale [s].
        closed, open: joint positions of gripper 0 and 1 [m or rad]; None where it is no gripper.
        eef_frame, base_frame: links of the pose, None where `source` is not `fk`.
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


@dataclass(frozen=True, kw_only=True)
class ActionSignal:
    """One action slot and the joints it commands.

    Attributes:
        slot: name in `slots.ACTION_SLOTS`; the model's key is `action.<slot>`.
        mode: `absolute` joint positions, or `delta` of the commanded end-effector pose.
        frame: axes of a delta: `world` (of `base_frame`), `eef` (of the commanded pose before it) or
            `chunk_start` (offset from the pose at the start of the chunk, in its axes). None when absolute.
        joints: joint names, in order.
        closed, open: joint positions of gripper 0 and 1 [m or rad]; None where it is no gripper.
        eef_frame, base_frame: links of the pose, None where `mode` is `absolute`.
    """

    slot: str
    mode: str
    joints: tuple[str, ...]
    frame: str | None = None
    closed: float | None = None
    open: float | None = None
    eef_frame: str | None = None
    base_frame: str | None = None


@dataclass(frozen=True, kw_only=True)
class DriverGroup:
    """One command topic (or action) and the joints that go out on it, in message order."""

    topic: str
    joints: tuple[str, ...]


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
        blend_steps: steps behind the prefix in which an arm goes over from the last chunk's motion to the new one's.
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
class Assumption:
    """A value of the file that no source gives.

    Attributes:
        key: dotted path of the key, of a value or of all below it.
        measure: what to measure on the robot, and how.
        line: line of the key in the file.
    """

    key: str
    measure: str
    line: int


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
        assumed: values that no source gives.
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
    assumed: tuple[Assumption, ...] = ()

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
        """Topics of the joint states as the file names them, each once."""
        return tuple(dict.fromkeys(signal.topic for signal in self.state)) or ("joint_states",)

    @property
    def hash(self) -> str:
        """SHA-256 (hex) over what a trained model depends on; topics, limits and home are not in it.

        Two contracts with one hash can run one checkpoint; the hash travels in the checkpoint's
        metadata and in the server's handshake.
        """
        model_side = {
            "rate_hz": self.rate_hz,
            "chunk_length": self.policy.chunk_length,
            "cameras": [camera.name for camera in self.cameras],
            "state": [
                [s.slot, s.source, s.joints, s.closed, s.open, s.eef_frame, s.base_frame] for s in self.state
            ],
            "action": [
                [a.slot, a.mode, a.frame, a.joints, a.closed, a.open, a.eef_frame, a.base_frame] for a in self.action
            ],
            "normalization": sorted(self.policy.normalization.items()),
        }
        return hashlib.sha256(json.dumps(model_side, sort_keys=True).encode()).hexdigest()
