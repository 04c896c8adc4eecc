"""A robot contract whose arm and hand are in the other side's slots."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from beingh_core.contract import RobotContract, load_contract
from beingh_core.contract.yaml_text import read_yaml_file
from beingh_core.errors import BeingHError

OTHER = {
    name: f"left_{name}"
    for name in ("eef_position", "eef_rotation", "gripper_position", "dexhand_position", "arm_joint_position")
}


def moved(contract: RobotContract, folder: Path) -> RobotContract:
    """Writes and reads the contract with the signals of `OTHER` in the left slots; all else stays.

    Args:
        contract: Of a robot with one arm, in the right slots.
        folder: Where the file goes, under the same name; made where it is missing.

    Raises:
        BeingHError: The robot has something in the left slots, or nothing in the right ones.
    """
    used = {signal.slot for signal in (*contract.state, *contract.action)}
    if taken := sorted(used & set(OTHER.values())):
        raise BeingHError(f"`{taken[0]}` is in use, so nothing can be moved there", where=contract.path)
    if not used & OTHER.keys():
        raise BeingHError("nothing of this robot is in the slots of a right arm", where=contract.path, allowed=OTHER)
    raw: dict[str, Any] = read_yaml_file(contract.path)[0]
    for kind in ("state", "action"):
        raw[kind] = {OTHER.get(slot, slot): signal for slot, signal in raw[kind].items()}
    raw["policy"]["normalization"] = _renamed(raw["policy"].get("normalization", {}))
    raw["assumed"] = _renamed(raw.get("assumed", {}))
    raw["urdf"] = str(contract.urdf_path.resolve())
    folder.mkdir(parents=True, exist_ok=True)
    path, part = folder / contract.path.name, folder / f".{contract.path.name}.part"
    part.write_text(yaml.safe_dump(raw, sort_keys=False, allow_unicode=True), encoding="utf-8")
    os.replace(part, path)
    return load_contract(path)


def _renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Keys such as `state.eef_position` with the other slot."""
    found = {}
    for key, value in values.items():
        kind, *rest = key.split(".")
        if kind in ("state", "action") and rest:
            rest[0] = OTHER.get(rest[0], rest[0])
        found[".".join([kind, *rest])] = value
    return found
