"""Where a LeRobot dataset of human hands has its numbers, by its meta/modality.json, and what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from beingh_core.data.contract_rows import STATE
from beingh_core.data.dataset_columns import Columns, find_views, modality_of
from beingh_core.data.lerobot import Dataset
from beingh_core.errors import BeingHError, did_you_mean, shown
from beingh_core.rotations import WIDTHS, from_axis_angle, to_axis_angle, width_of
from beingh_core.train.hands import BETA, JOINTS, POSITION, ROTATION, SHAPE, SIDES, THETA, Hands, Poses

CAMERA, WORLD = "camera", "world"
CAMERA_POSE, EXTRINSICS = "camera_pose", "camera_extrinsics"
SEEN = ("right_seen", "left_seen")
_NAMES = (*POSITION, *ROTATION, *THETA, *BETA, *SEEN, CAMERA_POSE, EXTRINSICS)
_REMEDY = "docs/training.md, section `Human hands`, shows a meta/modality.json"
_ALIASES = {"euler_angles_rpy": "euler_xyz"}
_BY_WIDTH = {3: "axis_angle", 6: "rotation_6d", 9: "matrix"}
_HOMOGENEOUS = 16  # numbers of a 4x4 matrix, row after row


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some numbers of a row.

    Attributes:
        first, last: where they begin, and behind them.
        rotation: representation of its rotations; "" where it has none.
    """

    first: int
    last: int
    rotation: str = ""


@dataclass(frozen=True, kw_only=True)
class HandLayout:
    """What the numbers of a row are.

    Attributes:
        parts: name -> its numbers; only those that the dataset has.
        frame: in which wrists are recorded, `CAMERA` (of the row) or `WORLD`.
        taught: in which they are taught, `WORLD`, or `CAMERA`: that of a chunk's first row.
    """

    parts: Mapping[str, Part]
    frame: str
    taught: str

    def known(self, rows_TD: np.ndarray) -> np.ndarray:
        """(T, S, 3) whether wrist, joints and shape of a side are known.

        They are not where its flag says that it is not seen, where a number is NaN, where all of its numbers are 0, and
        wrists where the camera that they need is not known.
        """
        found = np.zeros((len(rows_TD), len(SIDES), 3), bool)
        camera = self._camera_known(rows_TD) if self.frame == CAMERA else np.ones(len(rows_TD), bool)
        for s in range(len(SIDES)):
            groups = ((POSITION[s], ROTATION[s]), (THETA[s],), (BETA[s],))
            mine = [self._numbers(rows_TD, name) for group in groups for name in group if name in self.parts]
            if not mine:
                continue
            all_of_it = np.concatenate(mine, axis=1)
            seen = np.isfinite(all_of_it).all(1) & (all_of_it != 0).any(1)
            if SEEN[s] in self.parts:
                seen &= self._numbers(rows_TD, SEEN[s])[:, 0] > 0.5
            for at, group in enumerate(groups):
                if all(name in self.parts for name in group):
                    found[:, s, at] = seen & camera if at == 0 else seen
        return found

    def hands(self, rows_TD: np.ndarray) -> Hands:
        """The hands of rows in the world.

        Raises:
            BeingHError: What is known has a rotation that is none.
        """
        known, rows = self.known(rows_TD), np.asarray(rows_TD, np.float64)
        values: dict[str, list[np.ndarray]] = {"position": [], "rotation": [], "theta": [], "beta": []}
        for s in range(len(SIDES)):
            for at, (name, key, width) in enumerate(
                (("position", POSITION[s], 3), ("rotation", ROTATION[s], 3), ("theta", THETA[s], 3 * JOINTS), ("beta", BETA[s], SHAPE))
            ):  # fmt: skip
                values[name].append(self._values(rows, key, known[:, s, max(0, at - 1)], width))
        hands = Hands(known=known, **{name: np.stack(sides, 1) for name, sides in values.items()})
        return hands.out_of(self.cameras(rows)) if self.frame == CAMERA else hands

    def chunk_hands(self, rows_TD: np.ndarray) -> Hands:
        """The hands of a row and of those behind it, in the frame in which they are taught.

        Raises:
            BeingHError: What is known has a rotation that is none.
        """
        hands = self.hands(rows_TD)
        if self.taught == WORLD:
            return hands
        known = hands.known & (self._camera_known(rows_TD[:1])[0] | (np.arange(3) > 0))
        return replace(hands.within(self.cameras(rows_TD[:1])), known=known)

    def each(self, rows_TD: np.ndarray, kind: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Key -> (T, W) state or action ("state", "action") of every row of an episode by itself, and (T,) what is known.

        Raises:
            BeingHError: See `hands`.
        """
        hands = self.hands(rows_TD)
        values, known = hands.state() if kind == "state" else hands.steps()
        if self.taught == CAMERA:
            cameras, there = self.cameras(rows_TD), self._camera_known(rows_TD)
            turn = Rotation.from_rotvec(cameras.rotation).inv()
            if kind == "state":
                values = hands.within(cameras).state()[0]
            else:  # a step is a difference: turned, not moved
                values |= {key: turn.apply(values[key]) for key in (*POSITION, *ROTATION)}
            known |= {key: known[key] & there for key in (*POSITION, *ROTATION)}
        return values, known

    def cameras(self, rows_TD: np.ndarray) -> Poses:
        """Poses of the camera in the world; where they are not known, that of the world.

        Raises:
            BeingHError: A rotation that is none.
        """
        name = CAMERA_POSE if CAMERA_POSE in self.parts else EXTRINSICS
        known, rows = self._camera_known(rows_TD), self._numbers(rows_TD, name)
        if rows.shape[1] == _HOMOGENEOUS:
            matrices = rows.reshape(-1, 4, 4)
            if not np.allclose(matrices[known, 3], (0, 0, 0, 1), atol=1e-3):
                raise BeingHError(f"`{name}` is no 4x4 matrix, row after row: its last row is not 0, 0, 0, 1")
            position, turned, kind = matrices[:, :3, 3], matrices[:, :3, :3].reshape(-1, 9), "matrix"
        else:
            position, turned, kind = rows[:, :3], rows[:, 3:], self.parts[name].rotation
        rest = from_axis_angle(np.zeros(3), kind)
        rotation = to_axis_angle(np.where(known[:, None], turned, rest), kind)
        poses = Poses(position=np.where(known[:, None], position, 0.0), rotation=rotation)
        return inverted(poses) if name == EXTRINSICS else poses

    def _camera_known(self, rows_TD: np.ndarray) -> np.ndarray:
        """(T,)"""
        name = CAMERA_POSE if CAMERA_POSE in self.parts else EXTRINSICS
        rows = self._numbers(rows_TD, name)
        # A camera may well be at the origin of its world, but only some kinds write that as zeros.
        may_be_zero = not from_axis_angle(np.zeros(3), self.parts[name].rotation).any()
        return np.isfinite(rows).all(1) & (may_be_zero | (rows != 0).any(1))

    def _numbers(self, rows_TD: np.ndarray, name: str) -> np.ndarray:
        part = self.parts[name]
        return rows_TD[:, part.first : part.last]

    def _values(self, rows: np.ndarray, name: str, known: np.ndarray, width: int) -> np.ndarray:
        """(T, W) as the slots have them; 0 where they are not known."""
        if name not in self.parts:
            return np.zeros((len(rows), width))
        part = self.parts[name]
        values = self._numbers(rows, name)
        if not part.rotation:
            return np.where(known[:, None], values, 0.0)
        values = values.reshape(len(rows), -1, width_of(part.rotation))
        rest = from_axis_angle(np.zeros(3), part.rotation)
        return to_axis_angle(np.where(known[:, None, None], values, rest), part.rotation).reshape(len(rows), width)


@dataclass(frozen=True, kw_only=True)
class HandColumns(Columns):
    """Columns of a dataset of hands: numbers of the state alone, in which gaps are NaN."""

    layout: HandLayout
    state_from: tuple[tuple[str, np.ndarray], ...] = ()
    action: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    gaps: bool = True

    @property
    def state_columns(self) -> tuple[tuple[str, np.ndarray], ...]:
        """Also those of other columns than `observation.state`."""
        return self.state_from

    def check(self, rows_ND: np.ndarray) -> None:
        """BeingHError where what is known is no rotation."""
        self.layout.hands(rows_ND)


def inverted(poses: Poses) -> Poses:
    """Of each frame, where the frame is in which it is known: R^T, -R^T t."""
    turn = Rotation.from_rotvec(poses.rotation).inv()
    return Poses(position=-turn.apply(poses.position), rotation=turn.as_rotvec())


def hand_columns(
    dataset: Dataset, views: tuple[str, ...], given: Mapping[str, str], how: str, taught: str
) -> HandColumns:
    """Reads meta/modality.json of a dataset of hands.

    Args:
        dataset: Anybody's.
        views: views.
        given: view -> key of its pictures, for those whose names differ.
        how: How a user gives these.
        taught: frame in which wrists are taught.

    Raises:
        BeingHError: There is none, it does not say what is needed, or what it says is not in the dataset.
    """
    told, where = modality_of(dataset), dataset.root / "meta/modality.json"
    frame = told.get("hands", {}).get("frame") if isinstance(told.get("hands"), Mapping) else None
    if frame not in (CAMERA, WORLD):
        raise BeingHError(
            f"`hands.frame` is {shown(frame)}: the frame in which the wrists are recorded", where=where,
            allowed=f"{CAMERA}, {WORLD}", remedy=_REMEDY,
        )  # fmt: skip
    state, parts, picked, width = told.get("state"), {}, [], 0
    for name, entry in (state if isinstance(state, Mapping) else {}).items():
        if name not in _NAMES:
            close = did_you_mean(name, _NAMES)
            if close and isinstance(name, str) and name.split("_")[0] in SIDES:
                raise BeingHError(f"`state.{name}` is no part of a hand", where=where, allowed=_NAMES, remedy=close)
            continue
        key, places = _places(dataset, name, entry, where)
        rotation = _rotation_of(name, len(places), entry.get("rotation_type"), where)
        parts[name] = Part(first=width, last=width + len(places), rotation=rotation)
        picked.append((key, places))
        width += len(places)
    layout = HandLayout(parts=parts, frame=frame, taught=taught)
    _check(layout, where)
    lacking = [name for name in (*POSITION, *ROTATION, *THETA, *BETA) if name not in parts]
    notes = (f"hands without {', '.join(lacking)}: these are masked",) if lacking else ()
    return HandColumns(
        state=np.arange(width), views=find_views(dataset, "hands", views, given, how), notes=notes, layout=layout,
        state_from=tuple(picked),
    )  # fmt: skip


def _places(dataset: Dataset, name: str, entry: Any, where: object) -> tuple[str, np.ndarray]:
    """Column, and places in it, of a part."""
    entry = entry if isinstance(entry, Mapping) else {}
    key, start, end = entry.get("original_key", STATE), entry.get("start"), entry.get("end")
    vector = next((v for v in dataset.spec.vectors if v.key == key), None)
    if vector is None:
        raise BeingHError(
            f"`state.{name}` is in {shown(key)}, which is no column",
            where=where,
            allowed=[v.key for v in dataset.spec.vectors],
        )
    if not (type(start) is int and type(end) is int and 0 <= start < end <= len(vector.names)):
        raise BeingHError(
            f"`state.{name}` is from {shown(start)} to {shown(end)} of `{key}`", where=where,
            allowed=f"whole numbers, 0 <= start < end <= {len(vector.names)}", remedy=_REMEDY,
        )  # fmt: skip
    return key, np.arange(start, end)


def _rotation_of(name: str, width: int, told: Any, where: object) -> str:
    """Representation of a part's rotations, by its name and width."""
    count = JOINTS if name in THETA else 1
    if name not in (*ROTATION, *THETA, CAMERA_POSE, EXTRINSICS):
        wanted = 3 if name in POSITION else SHAPE if name in BETA else 1
        if width != wanted:
            raise BeingHError(f"`state.{name}` has {width} numbers", where=where, allowed=f"{wanted}", remedy=_REMEDY)
        return ""
    if name in (CAMERA_POSE, EXTRINSICS):
        if width == _HOMOGENEOUS:
            return "matrix"
        width -= 3  # a place stands before
    kind = _ALIASES.get(told, told) or _BY_WIDTH.get(width // count)
    if kind not in WIDTHS or WIDTHS[kind] * count != width:
        raise BeingHError(
            f"`state.{name}` has {width} numbers for {count} rotation{'s' * (count > 1)}, its `rotation_type` is {shown(told)}",
            where=where, allowed=[f"{kind} ({count * each})" for kind, each in WIDTHS.items()],
            remedy="write rotations of one of these kinds; components of a hand's principal poses must be unpacked first",
        )  # fmt: skip
    return kind


def _check(layout: HandLayout, where: object) -> None:
    parts = layout.parts
    if not any(name in parts for name in (*POSITION, *THETA)):
        raise BeingHError("`state` has no part of a hand", where=where, allowed=_NAMES, remedy=_REMEDY)
    for position, rotation in zip(POSITION, ROTATION):
        if (position in parts) != (rotation in parts):
            raise BeingHError(f"`state` has only one of {position} and {rotation}", where=where, remedy=_REMEDY)
    if CAMERA_POSE in parts and EXTRINSICS in parts:
        raise BeingHError(f"`state` has both {CAMERA_POSE} and {EXTRINSICS}", where=where, remedy="keep one of the two")
    if not {CAMERA_POSE, EXTRINSICS} & parts.keys() and CAMERA in (layout.frame, layout.taught):
        raise BeingHError(
            f"`state` has neither {CAMERA_POSE} nor {EXTRINSICS}, and wrists are recorded in the frame of the {layout.frame} "
            f"and taught in that of the {layout.taught}", where=where,
            remedy=f"add the camera's pose of every row; the frame of a camera that never moves is a {WORLD}",
        )  # fmt: skip
