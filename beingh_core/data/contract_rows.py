"""Between messages, a robot contract and the rows of a dataset: the one place where these three meet.

State and action vectors are the contract's slots one after another, in its order, in physical units, as the live nodes
encode them (`contract.codec`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from beingh_core.contract import ActionSignal, CameraStream, RobotContract, StateSignal
from beingh_core.contract.codec import SignalCodec
from beingh_core.contract.encodings import RAW_TYPE
from beingh_core.contract.schema import POSITION_SLOTS, ROTATION_SLOTS
from beingh_core.data.lerobot.schema import Camera, DatasetSpec, Vector, VideoSettings
from beingh_core.data.pixels import compressed_pixels, fields_of, raw_pixels
from beingh_core.errors import BeingHError

STATE, ACTION, IMAGES = "observation.state", "action", "observation.images."
SUCCESS = "next.success"  # as LeRobot names it: true in the row with which an episode succeeds
NS = 1_000_000_000


def dataset_spec(
    contract: RobotContract,
    sizes: Mapping[str, tuple[int, int]],
    video: VideoSettings,
    version: str,
    subtasks: str | None = None,
    success: bool = False,
) -> DatasetSpec:
    """The dataset of a robot.

    Args:
        contract: The robot.
        sizes: View -> (height, width) of its pictures.
        video, version, subtasks: See `DatasetSpec`.
        success: Whether it has the column `SUCCESS`.

    Raises:
        BeingHError: A rate that is not whole, an action that one row cannot hold, or messages that are not read here.
    """
    _check_messages(contract)
    for signal in contract.action:
        if signal.frame == "chunk_start" or signal.mode == "relative":
            raise BeingHError(
                f"action `{signal.slot}` counts from the start of a chunk; a row of a dataset belongs to many chunks",
                where=contract.path,
                allowed="absolute, or delta with frame world or eef",
                remedy="export with a copy of the contract that has one of these, and let training make chunks of it",
            )
    rate = contract.rate_hz
    return DatasetSpec(
        fps=int(rate) if float(rate).is_integer() else rate,  # refused there
        robot=contract.robot,
        vectors=(
            Vector(key=STATE, names=tuple(n for s in contract.state for n in _names(s))),
            Vector(key=ACTION, names=tuple(n for s in contract.action for n in _names(s))),
            *([Vector(key=SUCCESS, names=("success",), dtype="bool")] if success else []),
        ),
        cameras=tuple(
            Camera(key=IMAGES + c.name, height=sizes[c.name][0], width=sizes[c.name][1]) for c in contract.cameras
        ),
        version=version, video=video, subtasks=subtasks,
    )  # fmt: skip


def unread_states(contract: RobotContract) -> list[str]:
    """Keys of states that the live nodes can read and `joint_positions` cannot."""
    return [
        f"state.{s.slot}"
        for s in contract.state
        if s.source not in ("position", "fk") or (s.wire is not None and not s.wire.is_plain)
    ]


def _check_messages(contract: RobotContract) -> None:
    """Refuses what the live nodes can read and the export cannot."""
    strange = unread_states(contract)
    strange += [
        f"drivers of {', '.join(d.joints)}"
        for d in contract.drivers
        for g in d.groups
        if g.wire is not None and not g.wire.is_plain
    ]
    strange += [
        f"{kind}.{s.slot}" for kind, signals in (("state", contract.state), ("action", contract.action))
        for s in signals if s.rotation != "axis_angle"
    ]  # fmt: skip
    strange += [
        f"cameras.{c.name}" for c in contract.cameras if c.undistort or c.rotate or c.crop or c.depth or c.optional
    ]
    if strange:
        raise BeingHError(
            f"the export does not read {', '.join(strange)}",
            where=contract.path,
            allowed="joint states in radians and metres with the URDF's names, poses as axis and angle, plain pictures",
            remedy="export with a copy of the contract without these",
        )


def modality(contract: RobotContract) -> dict[str, Any]:
    """meta/modality.json: where each slot lies in its vector, and which column each view is."""
    parts: dict[str, Any] = {}
    for kind, key, signals in (("state", STATE, contract.state), ("action", ACTION, contract.action)):
        first, parts[kind] = 0, {}
        for signal in signals:
            width = len(_names(signal))
            parts[kind][signal.slot] = {"start": first, "end": first + width, "original_key": key}
            first += width
    views = {camera.name: {"original_key": IMAGES + camera.name} for camera in contract.cameras}
    return parts | {"video": views, "annotation": {"human.task_description": {"original_key": "task_index"}}}


class RowEncoder:
    """Encodes rows of one recording; keeps rotation vectors on one branch from row to row.

    Args:
        contract: The robot.
    """

    def __init__(self, contract: RobotContract) -> None:
        self._contract, self._codec = contract, SignalCodec(contract)
        self._previous: dict[str, np.ndarray] | None = None

    def restart(self) -> None:
        """The next row has none before it."""
        self._previous = None

    def state(self, positions: Mapping[str, float]) -> np.ndarray:
        """(D,) state of measured joint positions."""
        self._previous = self._codec.encode_state(positions, self._previous)
        return np.concatenate([self._previous[signal.slot] for signal in self._contract.state])

    def action(self, before_J: np.ndarray, after_J: np.ndarray) -> np.ndarray:
        """(D,) action that leads from one command to the next."""
        encoded = self._codec.encode_commands(np.stack([before_J, after_J]))
        return np.concatenate([encoded[signal.slot][0] for signal in self._contract.action])


def joint_positions(message: Any) -> dict[str, float]:
    """Joint name -> position of a JointState or of the first point of a JointTrajectory; {} when it holds none.

    Raises:
        BeingHError: Names and positions differ in number, or another type of message.
    """
    if hasattr(message, "points"):
        names, positions = message.joint_names, message.points[0].positions if message.points else ()
    elif hasattr(message, "name") and hasattr(message, "position"):
        names, positions = message.name, message.position
    else:
        raise BeingHError(
            f"a message of type {type(message).__name__} names no joints", allowed=["JointState", "JointTrajectory"]
        )
    if len(positions) not in (0, len(names)):
        raise BeingHError(f"{len(names)} joint names and {len(positions)} positions")
    return dict(zip(names, map(float, positions)))


def delay_ns(message: Any) -> int:
    """How long after its stamp a command is due [ns]."""
    points = getattr(message, "points", None)
    return 0 if not points else points[0].time_from_start.sec * NS + points[0].time_from_start.nanosec


def picture(message: Any, camera: CameraStream) -> np.ndarray:
    """uint8 (H, W, 3) of a camera's message, as the live nodes see it.

    Raises:
        BeingHError: Another encoding than the contract's, or sizes that do not fit.
    """
    if camera.type == RAW_TYPE:
        return raw_pixels(**fields_of(message), promised=camera.encoding)
    return compressed_pixels(message.data, text=message.format, promised=camera.encoding)


def _names(signal: StateSignal | ActionSignal) -> list[str]:
    """A name for each number of a slot."""
    if signal.slot in POSITION_SLOTS:
        return [f"{signal.slot}.{axis}" for axis in "xyz"]
    if signal.slot in ROTATION_SLOTS:
        return [f"{signal.slot}.r{axis}" for axis in "xyz"]
    if signal.closed is not None:
        return [signal.slot]
    return [f"{joint}.pos" for joint in signal.joints]
