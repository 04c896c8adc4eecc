"""Everything of a contract that can be checked without a robot: what was found, one row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from beingh_core.contract.arms import arms_of
from beingh_core.contract.called import differences
from beingh_core.contract.described import action_words, camera_words, group_words, state_words
from beingh_core.contract.encodings import IMAGE_ENCODINGS
from beingh_core.contract.loader import load_contract
from beingh_core.contract.places import place, placed
from beingh_core.contract.schema import CameraStream, RobotContract
from beingh_core.contract.urdf import UrdfJoint, read_urdf
from beingh_core.contract.urdf_doubts import urdf_doubts
from beingh_core.errors import BeingHError

if TYPE_CHECKING:
    from beingh_core.contract.codec import SignalCodec

OK, WARN, ERROR = "OK", "WARN", "ERROR"
# Of a round trip through the codec: largest difference, and move of each joint [rad or m].
ROUND_TRIP, MOVE = 1e-4, 0.01


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        level: OK, WARN or ERROR.
        subject: What was looked at.
        found: What was found, and what to do where it does not fit.
    """

    level: str
    subject: str
    found: str


def table(rows: list[Row]) -> str:
    """The rows as text, a line each."""
    width = max((len(row.subject) for row in rows), default=0)
    return "\n".join(f"{row.level:<5}  {row.subject:<{width}}  {_one_line(row.found)}" for row in rows)


def checked(
    subject: str, check: Callable[[], str], contract: RobotContract | None = None, keys: tuple[str, ...] = ()
) -> Row:
    """The row of a check that returns what it found or raises BeingHError; one without a place is at these keys of a contract."""
    try:
        return Row(level=OK, subject=subject, found=check())
    except BeingHError as error:
        found = error if contract is None else placed(error, place(contract.path, *keys))
        return Row(level=ERROR, subject=subject, found=str(found))


def check_contract(path_or_name: str | Path) -> tuple[RobotContract | None, list[Row]]:
    """The contract, None where it cannot be loaded, and what was found in it."""
    try:
        contract = load_contract(path_or_name)
    except BeingHError as error:
        return None, [Row(level=ERROR, subject="contract", found=str(error))]
    joints = read_urdf(contract.urdf_path).joints
    rows = [
        Row(level=OK, subject="contract", found=f"{contract.path}, robot {contract.robot}, hash {contract.hash[:12]}"),
        *(Row(level=WARN, subject="contract", found=note) for note in contract.notes),
        checked("urdf", lambda: _urdf(contract), contract, ("urdf",)),
        *(Row(level=WARN, subject="urdf", found=found) for found in urdf_doubts(contract.urdf_path, _ranges(contract))),
        _limits(contract, joints),
        Row(level=OK, subject="uac", found=_uac(contract)),
        *(
            checked(f"cameras.{name}", partial(_camera, camera), contract, ("cameras", name, "encoding"))
            for name, camera in ((camera.name, camera) for camera in contract.cameras)
        ),
        *(
            Row(level=OK, subject=f"state.{signal.slot}", found=state_words(signal, joints))
            for signal in contract.state
        ),
        *(Row(level=OK, subject=f"action.{signal.slot}", found=action_words(signal)) for signal in contract.action),
        *(
            Row(level=OK, subject=f"driver {driver.kind}", found=group_words(driver, group, joints))
            for driver in contract.drivers
            for group in driver.groups
        ),
        *(Row(level=WARN, subject="names", found=found) for found in differences(contract)),
        checked("kinematics", lambda: _kinematics(contract), contract, ("eef_frame",)),
        checked("codec", lambda: _codec(contract), contract, ("home",)),
        checked("self_collision", lambda: _self_collision(contract), contract, ("keep_out",)),
    ]
    return contract, rows


def _urdf(contract: RobotContract) -> str:
    urdf = read_urdf(contract.urdf_path)
    return f"{contract.urdf_path}, {len(urdf.joints)} movable joints, {len(contract.joint_names)} columns commanded"


def _ranges(contract: RobotContract) -> dict[str, tuple[float, float]]:
    """Commanded column -> (lower, upper)."""
    limits = contract.limits
    return dict(zip(contract.joint_names, zip(limits.lower.tolist(), limits.upper.tolist())))


def _limits(contract: RobotContract, joints: dict[str, UrdfJoint]) -> Row:
    """A warning of joints that turn without end, unless the file says under `assumed.limits` that they may."""
    limits = contract.limits
    free = ~np.isfinite(limits.upper - limits.lower)
    endless = [name for name, is_free in zip(contract.joint_names, free) if is_free]
    found = f"speeds up to {limits.velocity.max():g} rad/s or m/s"
    if unlimited := [name for name in contract.joint_names if name in joints and not joints[name].velocity]:
        found += f"; the URDF has no speed (velocity 0) for {', '.join(unlimited)}: only `limits.velocity` bounds it"
    if not endless:
        return Row(level=OK, subject="limits", found=found)
    found += f"; NO limits of position for {', '.join(endless)}, which turn without end"
    if any(one.key == "limits" for one in contract.assumed):
        return Row(level=OK, subject="limits", found=f"{found}, as `assumed.limits` says")
    remedy = "add them to `limits.position`, or say under `assumed` as `limits` what lets them"
    return Row(level=WARN, subject="limits", found=f"{found}. To fix: {remedy}")


def _self_collision(contract: RobotContract) -> str:
    """What keeps chunks from running the robot into itself; an error only where boxes are left unchecked."""
    if not contract.self_collision.check:
        return "chunks are NOT checked: `self_collision.check` is false"
    try:
        if find_spec("coal") is None:
            raise BeingHError("coal is not installed, which looks at shapes", remedy="pip install pin")
        from beingh_core.contract.self_collision import collisions_of

        check = collisions_of(contract)
    except BeingHError as error:
        if contract.keep_out:
            raise
        return f"chunks are NOT checked: {error}"
    meshes = f"; NOT looked at, as their shapes are meshes: {', '.join(check.meshed)}" if check.meshed else ""
    return f"{len(check.pairs)} pairs keep {check.margin:g} m from each other{meshes}"


def _uac(contract: RobotContract) -> str:
    uac = contract.uac
    return (
        f"{contract.rate_hz:g} Hz, chunk of {contract.policy.chunk_length}, locked prefix {uac.delay_steps}, "
        f"inference every {uac.execution_steps} steps, blend {uac.blend_steps}"
    )


def _camera(camera: CameraStream) -> str:
    if IMAGE_ENCODINGS[camera.type][camera.encoding].needs_opencv and find_spec("cv2") is None:
        raise BeingHError(
            f"{camera.encoding} needs OpenCV, which is not installed", remedy="pip install opencv-python-headless"
        )
    return camera_words(camera)


def _codec_of(contract: RobotContract) -> SignalCodec:
    if find_spec("pinocchio") is None:
        raise BeingHError("pinocchio is not installed, which every node needs", remedy="pip install pin")
    from beingh_core.contract.codec import SignalCodec

    return SignalCodec(contract)


def _at_home(contract: RobotContract) -> dict[str, float]:
    """What every signal reads: joints at home, or in the middle of their range where they are not commanded; other numbers 0."""
    urdf = read_urdf(contract.urdf_path).joints
    home = dict(zip(contract.joint_names, contract.home))
    names = [name for signal in contract.state for name in signal.values if name not in home]
    middles = {name: (urdf[name].lower + urdf[name].upper) / 2.0 if name in urdf else 0.0 for name in names}
    return home | {name: middle if np.isfinite(middle) else 0.0 for name, middle in middles.items()}


def _kinematics(contract: RobotContract) -> str:
    """Where the end effectors are in the home posture."""
    _codec_of(contract)
    from beingh_core.contract.kinematics import Kinematics

    home, found = dict(zip(contract.joint_names, contract.home)), []
    for arm in arms_of(contract):
        chain = Kinematics(contract.urdf_path, arm.joints, arm.eef_frame, arm.base_frame)
        place, _ = chain.fk(np.array([home[joint] for joint in arm.joints]))
        found.append(f"{arm.eef_frame} at home: {np.round(place, 3).tolist()} m in {arm.base_frame}")
    return "; ".join(found) or "no poses of an end effector"


def _codec(contract: RobotContract) -> str:
    """Home as state, and a small move away from it as actions, as commands, and as actions again."""
    codec = _codec_of(contract)
    state = codec.encode_state(_at_home(contract))
    limits, home = contract.limits, np.array(contract.home)
    ends = np.array([limits.lower, limits.upper])
    middle = np.where(np.isfinite(ends).all(axis=0), np.nan_to_num(ends, posinf=0.0, neginf=0.0).mean(axis=0), 0.0)
    move = np.where(limits.is_velocity, 0.0, np.clip(middle - home, -MOVE, MOVE))
    actions = codec.encode_commands(np.stack([home, home + move]))
    again = codec.encode_commands(np.stack([home, codec.decode(actions, home).positions[0]]))
    off = {slot: float(np.max(np.abs(again[slot] - values))) for slot, values in actions.items()}
    worst = max(off, key=lambda slot: off[slot])
    if not off[worst] <= ROUND_TRIP:
        raise BeingHError(
            f"a small move from home comes back {off[worst]:.3g} away in action.{worst}",
            remedy="choose a home within closed..open of grippers, and away from singular postures",
        )
    values = sum(len(value) for value in state.values())
    return f"home is {values} state values; a small move, decoded and encoded again, is off by {off[worst]:.1e}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
