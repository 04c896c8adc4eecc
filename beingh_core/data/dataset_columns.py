"""Which columns of a LeRobot dataset are which slots and views of a robot contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.data.contract_rows import ACTION, IMAGES, STATE, slot_names
from beingh_core.data.lerobot import Dataset
from beingh_core.errors import BeingHError, shown
from beingh_core.files import read_json


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where everything stands.

    Attributes:
        state, action: order in which a row's numbers are the contract's, slot after slot.
        views: view -> key of its pictures.
        notes: what was assumed, for people.
    """

    state: np.ndarray
    action: np.ndarray
    views: Mapping[str, str]
    notes: tuple[str, ...]


def find_columns(dataset: Dataset, contract: RobotContract, views: Mapping[str, str] | None = None) -> Columns:
    """Columns by meta/modality.json, else by the names of the numbers, else in the contract's order where widths agree.

    Args:
        dataset: Anybody's.
        contract: The robot.
        views: view -> key of its pictures, for those whose names differ.

    Raises:
        BeingHError: The rate differs, or a column, slot or view cannot be found.
    """
    if dataset.spec.fps != contract.rate_hz:
        raise BeingHError(
            f"has {dataset.spec.fps} rows per second, and one step of `{contract.robot}` is 1/{contract.rate_hz:g} s",
            where=dataset.root, allowed=f"{contract.rate_hz:g}",
            remedy="give the contract (a copy of it) with the dataset's rate_hz, if the checkpoint was trained at that",
        )  # fmt: skip
    notes: list[str] = []
    found = {}
    for key, signals in ((STATE, contract.state), (ACTION, contract.action)):
        found[key] = _order(dataset, contract, key, signals, notes)
    return Columns(state=found[STATE], action=found[ACTION], views=_views(dataset, contract, views or {}),
                   notes=tuple(notes))  # fmt: skip


def _order(dataset: Dataset, contract: RobotContract, key: str, signals: Sequence, notes: list[str]) -> np.ndarray:
    vector = next((v for v in dataset.spec.vectors if v.key == key), None)
    if vector is None:
        raise BeingHError(f"has no column `{key}`", where=dataset.root, allowed=[v.key for v in dataset.spec.vectors])
    wanted = [name for signal in signals for name in slot_names(signal)]
    parts = _modality(dataset).get("state" if key == STATE else "action", {})
    if all(_fits(parts.get(s.slot), key, len(slot_names(s)), len(vector.names)) for s in signals):
        return np.concatenate([np.arange(parts[s.slot]["start"], parts[s.slot]["end"]) for s in signals])
    have = list(vector.names)
    if len(set(have)) == len(have) and set(wanted) <= set(have):
        return np.array([have.index(name) for name in wanted])
    if len(have) != len(wanted):
        raise BeingHError(
            f"`{key}` has {len(have)} numbers, {shown(have)}; the contract of `{contract.robot}` has {len(wanted)}",
            where=dataset.root, allowed=wanted,
            remedy="give the contract of the robot that it was recorded with",
        )  # fmt: skip
    notes.append(
        f"{key}: taken in the contract's order ({', '.join(wanted)}), since its names {shown(have)} say nothing"
    )
    return np.arange(len(wanted))


def _modality(dataset: Dataset) -> dict:
    path = dataset.root / "meta/modality.json"
    return read_json(path) if path.exists() else {}


def _fits(part: object, key: str, width: int, most: int) -> bool:
    """Whether an entry of modality.json describes a slot of this width in this column."""
    if not isinstance(part, Mapping) or part.get("original_key", key) != key:
        return False
    start, end = part.get("start"), part.get("end")
    return isinstance(start, int) and isinstance(end, int) and 0 <= start and end - start == width and end <= most


def _views(dataset: Dataset, contract: RobotContract, given: Mapping[str, str]) -> dict[str, str]:
    keys, names = [camera.key for camera in dataset.spec.cameras], [camera.name for camera in contract.cameras]
    foreign = [view for view in given if view not in names]
    if foreign:
        raise BeingHError(f"--view names {shown(foreign[0])}, which is no view of `{contract.robot}`", allowed=names)
    found = {}
    for view in names:
        key = given.get(view, IMAGES + view)
        if key not in keys:
            raise BeingHError(
                f"has no pictures `{key}` for the view `{view}`", where=dataset.root, allowed=keys,
                remedy=f"name them: --view {view}=KEY",
            )  # fmt: skip
        if dataset.camera(key).depth:
            raise BeingHError(f"`{key}` is depth, and the view `{view}` a picture", where=dataset.root, allowed=keys)
        found[view] = key
    return found
