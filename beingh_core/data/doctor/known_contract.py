"""The robot contract by which an episode is judged: the one that is given, or the one that it brings along."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from beingh_core.contract import RobotContract, load_contract
from beingh_core.data import contract_rows
from beingh_core.data.contract_rows import ACTION, STATE
from beingh_core.errors import BeingHError

LARGEST = 1 << 20  # of a contract's text [characters]
GRIP_TOLERANCE = 0.05  # of a share from closed to open


@functools.lru_cache(maxsize=8)  # a folder of bags brings the same one along with each
def from_text(text: str) -> tuple[RobotContract | None, str]:
    """A contract that an episode brings along, and why there is none.

    Its URDF must be one of this package, as the paths in it are relative to a place that is not here.
    """
    if not text or len(text) > LARGEST:
        return None, ""
    try:
        with tempfile.TemporaryDirectory(prefix="beingh_doctor_") as folder:
            path = Path(folder) / "contract.yaml"
            path.write_text(text, "utf-8")
            return load_contract(path), ""
    except BeingHError as error:
        return None, f"the contract that it brings along cannot be used here ({error.what}); give it with --contract"


def grips(contract: RobotContract) -> dict[str, tuple[float, float]]:
    """Joint -> (closed, open) positions of the grippers."""
    return {
        joint: (signal.closed, signal.open)
        for signal in (*contract.state, *contract.action)
        if signal.closed is not None
        for joint in signal.joints
    }


def limits(contract: RobotContract) -> dict[str, tuple[float, float, float]]:
    """Joint -> (lower, upper, tolerance) of commanded positions [rad or m]."""
    columns = zip(
        contract.joint_names,
        contract.limits.lower.tolist(),
        contract.limits.upper.tolist(),
        contract.start_tolerance,
        contract.limits.is_velocity.tolist(),
    )
    return {name: (low, high, tolerance) for name, low, high, tolerance, is_velocity in columns if not is_velocity}


def column_limits(contract: RobotContract) -> dict[tuple[str, int, str], tuple[float, float, float]]:
    """(column of a dataset, number of the value, its name) -> (lower, upper, tolerance), as our export lays them out."""
    places, of_joints, found = contract_rows.modality(contract), limits(contract), {}
    for part, key, signals in (("state", STATE, contract.state), ("action", ACTION, contract.action)):
        for signal in signals:
            first = places[part][signal.slot]["start"]
            if signal.closed is not None:
                found[key, first, signal.slot] = (0.0, 1.0, GRIP_TOLERANCE)
            elif _holds_joints(signal):
                for number, joint in enumerate(signal.joints, first):
                    share = (0.0, 1.0, GRIP_TOLERANCE) if signal.ranges else of_joints.get(joint)
                    found |= {(key, number, f"{joint}.pos"): share} if share else {}
    return found


def _holds_joints(signal) -> bool:
    """Whether the slot's numbers are its joints' positions."""
    source, mode = getattr(signal, "source", "position"), getattr(signal, "mode", "absolute")
    return source == "position" and mode == "absolute" and len(signal.joints) == signal.width
