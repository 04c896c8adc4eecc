"""Which columns of a LeRobot dataset are which slots and views of a robot contract, or of a released data config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.contract.schema import POSITION_SLOTS, ROTATION_SLOTS
from beingh_core.data.contract_rows import ACTION, IMAGES, STATE, slot_names
from beingh_core.data.lerobot import Dataset
from beingh_core.errors import BeingHError, shown
from beingh_core.files import read_json

BY_OPTION = "--view {view}=KEY"


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where everything stands.

    Attributes:
        state, action: order in which a row's numbers are the contract's, slot after slot.
        views: view -> key of its pictures.
        notes: what was assumed, for people.
        gaps: whether NaN may stand for what is not known.
    """

    state: np.ndarray
    action: np.ndarray
    views: Mapping[str, str]
    notes: tuple[str, ...]
    gaps: bool = False

    @property
    def state_columns(self) -> tuple[tuple[str, np.ndarray], ...]:
        """Columns, and places in them, of the numbers of a state."""
        return ((STATE, self.state),)

    @property
    def action_columns(self) -> tuple[tuple[str, np.ndarray], ...]:
        """The same of an action."""
        return ((ACTION, self.action),) if len(self.action) else ()

    def check(self, rows_ND: np.ndarray) -> None:
        """Whether states can be used; whoever knows more of them says so with a BeingHError."""


def find_columns(
    dataset: Dataset, contract: RobotContract, views: Mapping[str, str] | None = None, how: str = BY_OPTION
) -> Columns:
    """Columns by meta/modality.json, else by the names of the numbers, else in the contract's order where widths agree.

    Args:
        dataset: Anybody's.
        contract: The robot.
        views: view -> key of its pictures, for those whose names differ.
        how: How a user gives these.

    Raises:
        BeingHError: The rate differs, or a column, slot or view cannot be found.
    """
    if dataset.spec.fps != contract.rate_hz:
        raise BeingHError(
            f"has {dataset.spec.fps} rows per second, and one step of `{contract.robot}` is 1/{contract.rate_hz:g} s",
            where=dataset.root, allowed=f"{contract.rate_hz:g}",
            remedy="give the contract (a copy of it) with the dataset's rate_hz, if the checkpoint was trained at that",
        )  # fmt: skip
    return match_columns(
        dataset,
        f"the contract of `{contract.robot}`",
        {signal.slot: slot_names(signal) for signal in contract.state},
        {signal.slot: slot_names(signal) for signal in contract.action},
        [camera.name for camera in contract.cameras],
        views,
        how,
        _joint_names(contract),
    )


def _joint_names(contract: RobotContract) -> dict[str, str]:
    """Names that joints have in datasets of LeRobot -> the contract's, where they differ, as for `gripper.pos`."""
    found: dict[str, set[str]] = {}
    for signal in (*contract.state, *contract.action):
        if signal.slot in (*POSITION_SLOTS, *ROTATION_SLOTS) or len(signal.joints) != signal.width:
            continue
        for joint, name in zip(signal.joints, slot_names(signal)):
            for other in (joint, f"{joint}.pos"):
                found.setdefault(other, set()).add(name)
    return {other: names.pop() for other, names in found.items() if len(names) == 1}


def match_columns(
    dataset: Dataset,
    whose: str,
    state: Mapping[str, Sequence[str]],
    action: Mapping[str, Sequence[str]],
    views: Sequence[str],
    given: Mapping[str, str] | None = None,
    how: str = BY_OPTION,
    aliases: Mapping[str, str] | None = None,
) -> Columns:
    """The same for whatever says which slots and views there are.

    Args:
        dataset: Anybody's.
        whose: What says it, for errors.
        state, action: slot -> a name for each of its numbers.
        views: views.
        given: view -> key of its pictures, for those whose names differ.
        how: How a user gives these.
        aliases: other name of a number -> its name in `state` and `action`.

    Raises:
        BeingHError: A column, slot or view cannot be found.
    """
    notes: list[str] = []
    order = {
        key: _order(dataset, whose, key, parts, aliases or {}, notes)
        for key, parts in ((STATE, state), (ACTION, action))
    }
    found = find_views(dataset, whose, views, given or {}, how)
    return Columns(state=order[STATE], action=order[ACTION], views=found, notes=tuple(notes))


def _order(
    dataset: Dataset,
    whose: str,
    key: str,
    slots: Mapping[str, Sequence[str]],
    aliases: Mapping[str, str],
    notes: list[str],
) -> np.ndarray:
    vector = next((v for v in dataset.spec.vectors if v.key == key), None)
    if vector is None:
        raise BeingHError(f"has no column `{key}`", where=dataset.root, allowed=[v.key for v in dataset.spec.vectors])
    wanted = [name for names in slots.values() for name in names]
    parts = modality_of(dataset).get("state" if key == STATE else "action", {})
    if all(_fits(parts.get(slot), key, len(names), len(vector.names)) for slot, names in slots.items()):
        return np.concatenate([np.arange(parts[slot]["start"], parts[slot]["end"]) for slot in slots])
    have = [name if name in wanted else aliases.get(name, name) for name in vector.names]
    if len(set(have)) == len(have) and set(wanted) <= set(have):
        return np.array([have.index(name) for name in wanted])
    if len(have) != len(wanted):
        raise BeingHError(
            f"`{key}` has {len(have)} numbers, {shown(have)}; {whose} has {len(wanted)}",
            where=dataset.root, allowed=wanted,
            remedy="give the contract of the robot that it was recorded with",
        )  # fmt: skip
    unknown = [name for name in vector.names if aliases.get(name, name) not in wanted] or list(vector.names)
    notes.append(f"{key}: taken in the order of {whose} ({', '.join(wanted)}), which does not know {shown(unknown)}")
    return np.arange(len(wanted))


def modality_of(dataset: Dataset) -> dict:
    """Content of meta/modality.json; {} where there is none."""
    path = dataset.root / "meta/modality.json"
    return read_json(path) if path.exists() else {}


def _fits(part: object, key: str, width: int, most: int) -> bool:
    """Whether an entry of modality.json describes a slot of this width in this column."""
    if not isinstance(part, Mapping) or part.get("original_key", key) != key:
        return False
    start, end = part.get("start"), part.get("end")
    return isinstance(start, int) and isinstance(end, int) and 0 <= start and end - start == width and end <= most


def find_views(
    dataset: Dataset, whose: str, names: Sequence[str], given: Mapping[str, str], how: str = BY_OPTION
) -> dict[str, str]:
    """View -> key of its pictures; see `match_columns`."""
    keys = [*(camera.key for camera in dataset.spec.cameras), *dataset.images]
    foreign = [view for view in given if view not in names]
    if foreign:
        raise BeingHError(
            f"{how.partition(' ')[0].rstrip(':')} names {shown(foreign[0])}, which is no view of {whose}", allowed=names
        )
    told, found = modality_of(dataset).get("video", {}), {}
    for view in names:
        key = given.get(view) or (IMAGES + view if IMAGES + view in keys else _original_key(told.get(view), keys))
        key = key or IMAGES + view
        if key not in keys:
            raise BeingHError(
                f"has no pictures `{key}` for the view `{view}`", where=dataset.root, allowed=keys,
                remedy=f"name them: {how.format(view=view)}",
            )  # fmt: skip
        if key not in dataset.images and dataset.camera(key).depth:
            raise BeingHError(f"`{key}` is depth, and the view `{view}` a picture", where=dataset.root, allowed=keys)
        found[view] = key
    return found


def _original_key(part: object, keys: Sequence[str]) -> str | None:
    """The key that modality.json gives for a view, if it is there."""
    key = part.get("original_key") if isinstance(part, Mapping) else None
    return key if key in keys else None
