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
from beingh_core.contract.schema import POSITION_SLOTS, ROTATION_SLOTS
from beingh_core.data.branches import BranchForm
from beingh_core.data.in_charge import INTERVENTION, WHO
from beingh_core.data.lerobot.depth import DepthScale
from beingh_core.data.lerobot.schema import Camera, DatasetSpec, Vector, VideoSettings
from beingh_core.errors import BeingHError

STATE, ACTION, IMAGES = "observation.state", "action", "observation.images."
IN_CHARGE = "in_charge"
SUCCESS = "next.success"  # as LeRobot names it: true in the row with which an episode succeeds


def dataset_spec(
    contract: RobotContract,
    sizes: Mapping[str, tuple[int, int]],
    video: VideoSettings,
    version: str,
    subtasks: str | None = None,
    *,
    depth: bool = False,
    in_charge: bool = True,
    success: bool = False,
    branches: BranchForm | None = None,
) -> DatasetSpec:
    """The dataset of a robot.

    Args:
        contract: The robot.
        sizes: View -> (height, width) of its pictures.
        video, version, subtasks: See `DatasetSpec`.
        depth: Whether depth cameras have a column of depth beside their picture.
        in_charge: Whether rows say who was in charge.
        success: Whether it has the column `SUCCESS`.
        branches: Of its rows, if they have any.

    Raises:
        BeingHError: A rate that is not whole, or an action that one row cannot hold.
    """
    for signal in contract.action:
        if signal.frame == "chunk_start" or signal.mode == "relative":
            raise BeingHError(
                f"action `{signal.slot}` counts from the start of a chunk; a row of a dataset belongs to many chunks",
                where=contract.path,
                allowed="absolute, or delta with frame world or eef",
                remedy="export with a copy of the contract that has one of these, and let training make chunks of it",
            )
    rate = contract.rate_hz
    cameras = [Camera(key=IMAGES + c.name, height=sizes[c.name][0], width=sizes[c.name][1]) for c in contract.cameras]
    for view, column in depth_columns(contract).items() if depth else ():
        cameras.append(Camera(key=column.key, height=sizes[view][0], width=sizes[view][1], depth=column.scale))
    charge = (
        Vector(key=IN_CHARGE, names=(IN_CHARGE,), dtype="int64"),
        Vector(key=INTERVENTION, names=(INTERVENTION,), dtype="bool"),
    )
    names = tuple(n for s in contract.action for n in slot_names(s))
    return DatasetSpec(
        fps=int(rate) if float(rate).is_integer() else rate,  # refused there
        robot=contract.robot,
        vectors=(
            Vector(key=STATE, names=tuple(n for s in contract.state for n in slot_names(s))),
            Vector(key=ACTION, names=names),
            *(charge if in_charge else ()),
            *([Vector(key=SUCCESS, names=("success",), dtype="bool")] if success else []),
            *(branches.vectors(names) if branches else ()),
        ),
        cameras=tuple(cameras),
        version=version, video=video, subtasks=subtasks,
    )  # fmt: skip


def depth_columns(contract: RobotContract) -> dict[str, DepthColumn]:
    """View -> column of its depth, of all depth cameras."""
    return {c.name: DepthColumn(c) for c in contract.cameras if c.depth}


class DepthColumn:
    """The column in which a depth camera's depth stands beside the picture of it.

    Args:
        camera: The contract's.

    Attributes:
        key: Of the column.
        scale: LeRobot's: millimetres where the camera counts these, else metres.
    """

    def __init__(self, camera: CameraStream) -> None:
        self.key = f"{IMAGES}{camera.name}_depth"
        self._metres = camera.depth[0]
        self.scale = DepthScale(unit="mm" if self._metres == 0.001 else "m")

    def values(self, counted_HW: np.ndarray) -> np.ndarray:
        """(H, W) depth in the unit of the scale, of what the camera counts."""
        return counted_HW if self.scale.unit == "mm" else (counted_HW * self._metres).astype(np.float32)


def modality(contract: RobotContract) -> dict[str, Any]:
    """meta/modality.json: where each slot lies in its vector, which column each view is, and who the numbers in `in_charge` are."""
    parts: dict[str, Any] = {}
    for kind, key, signals in (("state", STATE, contract.state), ("action", ACTION, contract.action)):
        first, parts[kind] = 0, {}
        for signal in signals:
            width = len(slot_names(signal))
            parts[kind][signal.slot] = {"start": first, "end": first + width, "original_key": key}
            first += width
    views = {camera.name: {"original_key": IMAGES + camera.name} for camera in contract.cameras}
    annotation = {"human.task_description": {"original_key": "task_index"}}
    return parts | {"video": views, "annotation": annotation, IN_CHARGE: list(WHO)}


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
        return self.actions(np.stack([before_J, after_J]))[0]

    def actions(self, commands_TJ: np.ndarray) -> np.ndarray:
        """(T - 1, D) actions that lead from each command to the next."""
        encoded = self._codec.encode_commands(commands_TJ)
        return np.concatenate([encoded[signal.slot] for signal in self._contract.action], axis=1)


def slot_names(signal: StateSignal | ActionSignal) -> list[str]:
    """A name for each number of a slot."""
    if signal.slot in (*POSITION_SLOTS, "base_position"):
        return [f"{signal.slot}.{axis}" for axis in "xyz"]
    if signal.slot in (*ROTATION_SLOTS, "base_rotation"):
        plain = signal.rotation == "axis_angle"
        return [f"{signal.slot}.{'r' + 'xyz'[k] if plain else k}" for k in range(signal.width)]
    if signal.closed is not None or not signal.joints:
        return [signal.slot] if signal.width == 1 else [f"{signal.slot}.{k}" for k in range(signal.width)]
    return [f"{joint}.pos" for joint in signal.joints]
