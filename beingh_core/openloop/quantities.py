"""From actions, as slots or as joint commands, to the quantities of a comparison: slots, joints, places of hands.

Letters: N chunks, K decided steps, D numbers of all action slots in the contract's order, J commanded joints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from beingh_core.contract import ActionSignal, RobotContract
from beingh_core.contract.codec import SignalCodec
from beingh_core.contract.eef_path import EefPaths
from beingh_core.contract.schema import POSE_SLOTS, POSITION_SLOTS, ROTATION_SLOTS
from beingh_core.contract.urdf import read_urdf
from beingh_core.errors import BeingHError
from beingh_core.evaluate.openloop import HAND, JOINT, SLOT, Quantity
from beingh_core.evaluate.trivial import trivial_actions

MILLI = 1e3  # lengths in mm, angles in mrad


def columns_of(contract: RobotContract) -> dict[str, slice]:
    """Slot -> its numbers in a row of all action slots."""
    found, first = {}, 0
    for signal in contract.action:
        found[signal.slot] = slice(first, first + signal.width)
        first += signal.width
    return found


def is_delta(contract: RobotContract) -> np.ndarray:
    """(D,) which numbers of an action row say how far to go in one step, from the step before."""
    return np.concatenate([
        np.full(signal.width, signal.mode == "delta" and signal.frame != "chunk_start") for signal in contract.action
    ])  # fmt: skip


def row_of(contract: RobotContract, actions: Mapping[str, np.ndarray]) -> np.ndarray:
    """(T, D) of slot -> (T, width)."""
    return np.concatenate([np.asarray(actions[signal.slot], dtype=float) for signal in contract.action], axis=1)


def slots_of(contract: RobotContract, rows_TD: np.ndarray) -> dict[str, np.ndarray]:
    """Slot -> (T, width), the inverse of `row_of`."""
    return {slot: rows_TD[:, part] for slot, part in columns_of(contract).items()}


def with_trivial(
    contract: RobotContract,
    predicted: Mapping[str, np.ndarray],
    last_ND: np.ndarray,
    before_ND: np.ndarray,
    mean_D: np.ndarray,
) -> dict[str, np.ndarray]:
    """The predictions (N, K, D) of policies and of the trivial ones beside them."""
    steps = next(iter(predicted.values())).shape[1]
    return {**predicted, **trivial_actions(last_ND, before_ND, mean_D, is_delta(contract), steps)}


def of_slots(
    contract: RobotContract, recorded_NKD: np.ndarray, predicted: Mapping[str, np.ndarray], travelled_ND: np.ndarray
) -> tuple[Quantity, ...]:
    """Quantities of action rows: each slot, joints where a slot commands them, hands where they follow from slots.

    Steps that say how far to go are summed up, so that a hand's or joint's error is one of places, counted from where the
    recording began.

    Args:
        contract: Robot.
        recorded_NKD: what was done; NaN where that is not known.
        predicted: source -> (N, K, D).
        travelled_ND: sum of the recorded actions before each chunk's first decided step.
    """
    found, kinds = [], read_urdf(contract.urdf_path).joints
    for signal, (slot, part) in zip(contract.action, columns_of(contract).items()):
        found.append(_slot(signal, slot, part, recorded_NKD, predicted))
        if signal.slot == "control_mode" or signal.slot in ROTATION_SLOTS:
            continue
        if signal.slot in POSITION_SLOTS:
            found += _hand_of_slot(signal, part, recorded_NKD, predicted, travelled_ND)
        elif signal.joints and not signal.ranges and signal.closed is None:
            for index, joint in enumerate(signal.joints):
                own = slice(part.start + index, part.start + index + 1)
                place = _place(own, travelled_ND if signal.mode == "delta" else None, MILLI)
                found.append(_quantity(joint, JOINT, _joint_unit(kinds, joint), place, recorded_NKD, predicted))
    return (*found, *_hands_of_joint_slots(contract, recorded_NKD, predicted))


def of_joints(
    contract: RobotContract,
    before_NJ: np.ndarray,
    recorded_NKJ: np.ndarray,
    predicted: Mapping[str, np.ndarray],
) -> tuple[Quantity, ...]:
    """Quantities of joint commands: each joint, each hand by kinematics, each slot as the contract encodes it.

    Args:
        contract: Robot.
        before_NJ: commands of the tick before the first decided step.
        recorded_NKJ: what was commanded; NaN where that is not known.
        predicted: source -> (N, K, J).
    """
    found, kinds = [], read_urdf(contract.urdf_path).joints
    for column, joint in enumerate(contract.joint_names):
        unit = "1e-3/s" if contract.limits.is_velocity[column] else _joint_unit(kinds, joint)
        take = lambda rows, c=column: MILLI * rows[:, :, c : c + 1]
        found.append(_quantity(joint, JOINT, unit, take, recorded_NKJ, predicted))
    paths = EefPaths(contract)
    for arm in paths.arms:
        place = lambda rows, a=arm: _along(paths, a, contract.joint_names, rows)
        found.append(_quantity(arm.eef_frame, HAND, "mm", place, recorded_NKJ, predicted))
    codec = SignalCodec(contract)
    encoded = {
        source: _encoded(contract, codec, before_NJ, rows) for source, rows in (("", recorded_NKJ), *predicted.items())
    }
    for signal, (slot, part) in zip(contract.action, columns_of(contract).items()):
        others = {source: values for source, values in encoded.items() if source}
        found.append(_slot(signal, slot, part, encoded[""], others))
    return tuple(found)


def gripper_shares(contract: RobotContract, quantities: Sequence[Quantity]) -> dict[str, Quantity]:
    """Slot -> quantity of every gripper: 0 closed to 1 open, absolute."""
    grippers = {s.slot for s in contract.action if s.closed is not None and s.mode == "absolute"}
    return {q.name: q for q in quantities if q.kind == SLOT and q.name in grippers}


def _quantity(name, kind, unit, take, recorded: np.ndarray, predicted: Mapping[str, np.ndarray]) -> Quantity:
    return Quantity(
        name=name, kind=kind, unit=unit, recorded=take(recorded),
        predicted={source: take(rows) for source, rows in predicted.items()},
    )  # fmt: skip


def _slot(signal: ActionSignal, slot: str, part: slice, recorded, predicted) -> Quantity:
    """A slot's numbers as they are, shares of a gripper's range, or in thousandths of metres and radians."""
    is_share = signal.closed is not None or bool(signal.ranges) or not signal.joints
    name = "share" if is_share else "mm" if signal.slot in POSITION_SLOTS else "mrad"
    unit = f"{name}/step" if signal.mode == "delta" else name
    scale = 1.0 if is_share else MILLI
    return _quantity(slot, SLOT, unit, lambda rows: scale * rows[:, :, part], recorded, predicted)


def _joint_unit(kinds: Mapping, joint: str) -> str:
    """Of a joint's position."""
    return "mm" if joint in kinds and kinds[joint].type == "prismatic" else "mrad"


def _place(part: slice, travelled_ND: np.ndarray | None, scale: float):
    """What makes places of a part of action rows: sums behind what was travelled before, or the rows as they are."""
    if travelled_ND is None:
        return lambda rows: scale * rows[:, :, part]
    return lambda rows: scale * (travelled_ND[:, None, part] + np.cumsum(rows[:, :, part], axis=1))


def _hand_of_slot(signal: ActionSignal, part: slice, recorded, predicted, travelled_ND: np.ndarray) -> list[Quantity]:
    """The hand's place, where no orientation is needed to know it."""
    if signal.mode == "delta" and signal.frame == "eef":
        return []
    sums = signal.mode == "delta" and signal.frame == "world"
    place = _place(part, travelled_ND if sums else None, MILLI)
    return [_quantity(signal.eef_frame or signal.slot, HAND, "mm", place, recorded, predicted)]


def _hands_of_joint_slots(contract: RobotContract, recorded, predicted) -> list[Quantity]:
    """Hands of arms all of whose joints are commanded by absolute joint slots."""
    columns: dict[str, int] = {}
    for signal, part in zip(contract.action, columns_of(contract).values()):
        if signal.mode == "absolute" and signal.slot not in POSE_SLOTS and not signal.ranges and signal.closed is None:
            columns |= {joint: part.start + index for index, joint in enumerate(signal.joints)}
    paths, found = EefPaths(contract), []
    for arm in paths.arms:
        if set(arm.joints) <= columns.keys():
            at = [columns[joint] for joint in arm.joints]
            place = lambda rows, a=arm, at=at: _along(paths, a, a.joints, rows[:, :, at])
            found.append(_quantity(arm.eef_frame, HAND, "mm", place, recorded, predicted))
    return found


def _along(paths: EefPaths, arm, joints: Sequence[str], rows_NKJ: np.ndarray) -> np.ndarray:
    """(N, K, 3) places of a hand [mm]; NaN where a joint is not known."""
    flat = rows_NKJ.reshape(-1, rows_NKJ.shape[2])
    places = np.full((len(flat), 3), np.nan)
    known = np.isfinite(flat[:, [list(joints).index(name) for name in arm.joints]]).all(axis=1)
    if known.any():
        places[known] = MILLI * paths.along(arm, joints, flat[known])
    return places.reshape(*rows_NKJ.shape[:2], 3)


def _encoded(contract: RobotContract, codec: SignalCodec, before_NJ: np.ndarray, rows_NKJ: np.ndarray) -> np.ndarray:
    """(N, K, D) action rows of joint commands; NaN behind the first command that is not known."""
    width = sum(signal.width for signal in contract.action)
    encoded = np.full((*rows_NKJ.shape[:2], width), np.nan)
    for index, (before, rows) in enumerate(zip(before_NJ, rows_NKJ)):
        known = np.isfinite(rows).all(axis=1)
        count = len(rows) if known.all() else int(np.argmin(known))
        if count and np.isfinite(before).all():
            encoded[index, :count] = row_of(contract, codec.encode_commands(np.vstack([before, rows[:count]])))
    return encoded


def decoded(
    contract: RobotContract, rows_NKD: np.ndarray, anchor_NJ: np.ndarray, codec: SignalCodec | None = None
) -> np.ndarray:
    """(N, K, J) joint commands of action rows, from the command (N, J) before each chunk's first decided step.

    Raises:
        BeingHError: An action that is not finite.
    """
    codec = codec or SignalCodec(contract)
    if not np.isfinite(rows_NKD).all():
        raise BeingHError("an action row holds values that are not finite")
    return np.array([
        codec.decode_actions(slots_of(contract, rows), anchor) for rows, anchor in zip(rows_NKD, anchor_NJ)
    ]).reshape(*rows_NKD.shape[:2], anchor_NJ.shape[1])  # fmt: skip
