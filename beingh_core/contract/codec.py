"""Between a robot's joint positions and the physical values of its state and action slots.

Rows are called T (steps), columns J (commanded joints, in the order of `contract.joint_names`) or dim
(width of a slot). Everything is in physical units; normalisation is the policy's work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pinocchio as pin

from beingh_core.contract.kinematics import Kinematics
from beingh_core.contract.schema import (
    POSE_SLOTS,
    POSITION_SLOTS,
    ROTATION_SLOTS,
    ActionSignal,
    RobotContract,
    StateSignal,
)
from beingh_core.errors import BeingHError
from beingh_core.rotations import from_axis_angle, to_axis_angle

# How far one step turns the commanded orientation towards a reference that the caller passes [rad].
MAX_ROTATION_CORRECTION = 0.02


@dataclass(frozen=True, kw_only=True)
class DecodedCommands:
    """Joint commands decoded from actions.

    Attributes:
        positions: (T, J) joint commands [rad or m].
        unreached: steps whose pose the arm cannot reach; there the nearest posture stands.
    """

    positions: np.ndarray
    unreached: tuple[int, ...]


class SignalCodec:
    """Encoder and decoder of one robot contract.

    The only state is the scratch memory of the kinematics: use one codec per thread.

    Args:
        contract: the robot contract.
    """

    def __init__(self, contract: RobotContract) -> None:
        self._contract = contract
        self._column = {joint: index for index, joint in enumerate(contract.joint_names)}
        self._home = np.array(contract.home)
        self._arms: dict[tuple, Kinematics] = {}
        signals: list[StateSignal | ActionSignal] = [*contract.state, *contract.action]
        for signal in signals:
            if signal.eef_frame is not None:
                self._arm(signal)
        self._actions = {signal.slot: signal for signal in contract.action}
        self._couplings = {c.joint: c for signal in contract.action for c in signal.coupling}

    def encode_state(
        self, positions: Mapping[str, float], previous: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """State slots from measured joint positions.

        Args:
            positions: name of `StateSignal.values` -> number, of joints in rad or m; more than needed is fine.
            previous: an earlier result; rotation vectors then keep to the branch nearest to it.

        Returns:
            slot name -> (dim,) float64.

        Raises:
            BeingHError: a joint is missing or not finite.
        """
        encoded = {}
        for signal in self._contract.state:
            values = np.array([_measured(positions, name) for name in signal.values])
            if signal.source == "fk":
                position, rotation = self._arm(signal).fk(values)
                values = position if signal.slot in POSITION_SLOTS else pin.log3(rotation)
            if signal.source in ("fk", "pose") and signal.slot not in (*POSITION_SLOTS, "base_position"):
                if previous is not None:
                    values = nearest_branch(values, to_axis_angle(previous[signal.slot], signal.rotation))
                values = from_axis_angle(values, signal.rotation)
            encoded[signal.slot] = _to_slot(values, signal)
        return encoded

    def encode_commands(
        self, q_TJ: np.ndarray, *, q_chunk_start: np.ndarray | None = None, first_state: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Action slots from a sequence of commands; the inverse of `decode_actions`.

        Args:
            q_TJ: (T+1, J) commands; action k leads from row k to row k+1.
            q_chunk_start: (J,) command at the start of the chunk, for `chunk_start` deltas; default row 0.
            first_state: (J,) measured state at the start of the chunk, for `relative` actions; default `q_chunk_start`.

        Returns:
            slot name -> (T, dim). Absolute slots are row k+1, relative ones row k+1 seen from the first state, deltas
            row k+1 seen from row k (from the chunk's start for `chunk_start`).
        """
        q_TJ = np.asarray(q_TJ, dtype=np.float64)
        if q_TJ.ndim != 2 or q_TJ.shape[1] != len(self._column) or len(q_TJ) < 1:
            raise ValueError(f"commands have shape {q_TJ.shape}, not (T+1, {len(self._column)})")
        start_J = q_TJ[0] if q_chunk_start is None else np.asarray(q_chunk_start, dtype=np.float64)
        first_J = start_J if first_state is None else np.asarray(first_state, dtype=np.float64)
        encoded = {}
        for signal in self._contract.action:
            columns = self._columns(signal)
            if not columns:
                encoded[signal.slot] = np.full((len(q_TJ) - 1, 1), signal.value)
            elif signal.slot in POSE_SLOTS:
                encoded[signal.slot] = self._encode_poses(
                    signal, q_TJ[:, columns], (first_J if signal.mode == "relative" else start_J)[columns]
                )
            else:
                rows = _to_slot(q_TJ[:, columns], signal)
                before = {"absolute": 0.0, "relative": _to_slot(first_J[columns], signal), "delta": rows[:-1]}
                encoded[signal.slot] = rows[1:] - before[signal.mode]
        return encoded

    def _encode_poses(self, signal: ActionSignal, q_TJ: np.ndarray, origin_J: np.ndarray) -> np.ndarray:
        """(T, dim) the part of the poses along (T+1, J) rows that a slot holds."""
        arm, is_position = self._arm(signal), signal.slot in POSITION_SLOTS
        poses, steps = [arm.fk(row) for row in q_TJ], len(q_TJ) - 1
        if signal.mode == "absolute":
            parts = [position if is_position else pin.log3(rotation) for position, rotation in poses[1:]]
        else:
            stands = signal.mode == "relative" or signal.frame == "chunk_start"
            before = [arm.fk(origin_J)] * steps if stands else poses[:-1]
            parts = [_delta(start, pose, signal) for start, pose in zip(before, poses[1:])]
        vectors = np.array(parts, dtype=np.float64).reshape(steps, 3)
        if is_position:
            return vectors
        if signal.mode == "absolute":
            for k in range(1, steps):
                vectors[k] = nearest_branch(vectors[k], vectors[k - 1])
        return from_axis_angle(vectors, signal.rotation)

    def decode_actions(
        self,
        actions: Mapping[str, np.ndarray],
        q_anchor: np.ndarray,
        *,
        q_chunk_start: np.ndarray | None = None,
        first_state: np.ndarray | None = None,
        reference_rotation: Mapping[str, np.ndarray] | None = None,
    ) -> np.ndarray:
        """Joint commands (T, J) from actions; `decode` without its report of unreached steps."""
        return self.decode(
            actions,
            q_anchor,
            q_chunk_start=q_chunk_start,
            first_state=first_state,
            reference_rotation=reference_rotation,
        ).positions

    def decode(
        self,
        actions: Mapping[str, np.ndarray],
        q_anchor: np.ndarray,
        *,
        q_chunk_start: np.ndarray | None = None,
        first_state: np.ndarray | None = None,
        reference_rotation: Mapping[str, np.ndarray] | None = None,
    ) -> DecodedCommands:
        """Joint commands from actions.

        Cartesian deltas are integrated from the commanded pose at `q_anchor` and never re-anchored to a
        measured pose. Where the contract has no rotation action, the orientation of `q_anchor` is kept,
        or turned slowly to the reference.

        Args:
            actions: slot name -> (T, dim), physical units; every action slot of the contract. Grippers
                are cut to 0..1.
            q_anchor: (J,) command of the step before the first action (the end of the prefix).
            q_chunk_start: (J,) command at the start of the chunk, for `chunk_start` deltas; default `q_anchor`.
            first_state: (J,) measured state at the start of the chunk, for `relative` actions; default `q_chunk_start`.
            reference_rotation: position slot -> (3, 3) orientation to hold where there is no rotation
                action. It stops the drift that limits cause when they cut single joints.

        Raises:
            BeingHError: a missing slot, a wrong shape, or a value that is not finite.
        """
        actions = self._checked(actions)
        anchor = np.asarray(q_anchor, dtype=np.float64)
        start = anchor if q_chunk_start is None else np.asarray(q_chunk_start, dtype=np.float64)
        first = start if first_state is None else np.asarray(first_state, dtype=np.float64)
        steps = len(next(iter(actions.values())))
        q_TJ = np.tile(anchor, (steps, 1))
        unreached: set[int] = set()
        for slot, signal in self._actions.items():
            columns = self._columns(signal)
            if slot not in POSE_SLOTS:
                if columns:
                    q_TJ[:, columns] = _from_slot(actions[slot], signal, anchor[columns], first[columns])
            elif slot in POSITION_SLOTS:
                rotation_slot = ROTATION_SLOTS[POSITION_SLOTS.index(slot)]
                turns = actions.get(rotation_slot)
                if turns is not None:
                    turns = to_axis_angle(turns, self._actions[rotation_slot].rotation)
                reference = (reference_rotation or {}).get(slot)
                q_start = (first if signal.mode == "relative" else start)[columns]
                poses = self._integrate(signal, actions[slot], turns, anchor[columns], q_start, reference)
                q_TJ[:, columns], missed = self._follow(signal, poses, anchor[columns])
                unreached.update(missed)
        for joint, coupling in self._couplings.items():
            followed = q_TJ[:, self._column[coupling.of]]
            q_TJ[:, self._column[joint]] = coupling.scale * followed + coupling.offset
        return DecodedCommands(positions=q_TJ, unreached=tuple(sorted(unreached)))

    def _integrate(
        self,
        signal: ActionSignal,
        moves: np.ndarray,
        turns: np.ndarray | None,
        q_anchor: np.ndarray,
        q_start: np.ndarray,
        reference: np.ndarray | None,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The commanded poses (position, rotation) of every step."""
        arm = self._arm(signal)
        position, rotation = arm.fk(q_anchor)
        start_position, start_rotation = arm.fk(q_start)
        poses = []
        for step, move in enumerate(moves):
            turn = None if turns is None else pin.exp3(turns[step])
            if signal.mode == "absolute":
                position, rotation = move, rotation if turn is None else turn
            elif signal.frame == "world":
                position = position + move
                rotation = rotation if turn is None else turn @ rotation
            elif signal.frame == "eef":
                position = position + rotation @ move
                rotation = rotation if turn is None else rotation @ turn
            else:
                position = start_position + start_rotation @ move
                rotation = rotation if turn is None else start_rotation @ turn
            if turn is None and reference is not None:
                rotation = _turn_towards(rotation, reference)
            poses.append((position, rotation))
        return poses

    def _follow(self, signal: ActionSignal, poses: list, q_anchor: np.ndarray) -> tuple[np.ndarray, list[int]]:
        """Joint positions along poses, each solved from the one before, and the steps out of reach."""
        arm, rest = self._arm(signal), self._home[self._columns(signal)]
        q, rows, missed = q_anchor, np.empty((len(poses), len(q_anchor))), []
        for step, (position, rotation) in enumerate(poses):
            result = arm.solve(position, rotation, q, rest)
            q = rows[step] = result.positions
            if not result.converged:
                missed.append(step)
        return rows, missed

    def _checked(self, actions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The contract's actions as float64 (T, dim) with one T."""
        checked: dict[str, np.ndarray] = {}
        for slot, signal in self._actions.items():
            if slot not in actions:
                raise BeingHError(
                    f"the actions have no `{slot}`",
                    where=self._contract.path,
                    allowed=self._actions,
                    remedy="use a checkpoint trained for this contract",
                )
            values = np.asarray(actions[slot], dtype=np.float64)
            dim = signal.width
            steps = len(next(iter(checked.values()))) if checked else len(values)
            if values.shape != (steps, dim):
                raise BeingHError(f"action `{slot}` has shape {values.shape}", allowed=f"({steps}, {dim})")
            if not np.isfinite(values).all():
                raise BeingHError(f"action `{slot}` has values that are not finite")
            checked[slot] = values
        return checked

    def _columns(self, signal: StateSignal | ActionSignal) -> list[int]:
        return [self._column[joint] for joint in signal.joints]

    def _arm(self, signal: StateSignal | ActionSignal) -> Kinematics:
        key = (signal.joints, signal.eef_frame, signal.base_frame)
        if key not in self._arms:
            limits = None
            if all(joint in self._column for joint in signal.joints):
                columns = self._columns(signal)
                limits = self._contract.limits.lower[columns], self._contract.limits.upper[columns]
            assert signal.eef_frame is not None, "only signals of poses have an arm"
            self._arms[key] = Kinematics(
                self._contract.urdf_path, signal.joints, signal.eef_frame, signal.base_frame, limits
            )
        return self._arms[key]


def nearest_branch(vector: np.ndarray, previous: np.ndarray) -> np.ndarray:
    """The rotation vector (3,) of the same rotation that lies nearest to `previous` (3,).

    A rotation by angle t about an axis is also one by t + 2 pi k; which of them is meant matters to a
    model that sees the vector.
    """
    angle = float(np.linalg.norm(vector))
    axis = vector / angle if angle > 1e-9 else previous / max(float(np.linalg.norm(previous)), 1e-9)
    turns = np.round((float(axis @ previous) - angle) / (2.0 * np.pi))
    return vector if turns == 0 else axis * (angle + 2.0 * np.pi * turns)


def _delta(before: tuple, after: tuple, signal: ActionSignal) -> np.ndarray:
    """The step (3,) from one pose to another, in the signal's frame."""
    (p0, r0), (p1, r1) = before, after
    if signal.slot in POSITION_SLOTS:
        return p1 - p0 if signal.frame == "world" else r0.T @ (p1 - p0)
    return pin.log3(r1 @ r0.T) if signal.frame == "world" else pin.log3(r0.T @ r1)


def _turn_towards(rotation: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """`rotation` turned by at most `MAX_ROTATION_CORRECTION` towards `reference`."""
    error = pin.log3(rotation.T @ np.asarray(reference, dtype=np.float64))
    angle = float(np.linalg.norm(error))
    return rotation @ pin.exp3(error * min(1.0, MAX_ROTATION_CORRECTION / max(angle, 1e-12)))


def _measured(positions: Mapping[str, float], joint: str) -> float:
    """One finite joint position."""
    if joint not in positions:
        raise BeingHError(f"the state has no `{joint}`", allowed=positions)
    value = float(positions[joint])
    if not np.isfinite(value):
        raise BeingHError(f"the position of `{joint}` is {value}")
    return value


def _ends(signal: StateSignal | ActionSignal) -> tuple[np.ndarray, np.ndarray] | None:
    """Positions (J,) that a slot has as 0 and as 1; None where it has radians or metres."""
    if signal.closed is not None:
        return np.array([signal.closed]), np.array([signal.open])
    if signal.ranges:
        closed, opened = np.array(signal.ranges).T
        return closed, opened
    return None


def _to_slot(values: np.ndarray, signal: StateSignal | ActionSignal) -> np.ndarray:
    """Joint positions as the slot has them: 0 = closed and 1 = open, where the signal has a range."""
    ends = _ends(signal)
    return values if ends is None else (values - ends[0]) / (ends[1] - ends[0])


def _from_slot(values_TJ: np.ndarray, signal: ActionSignal, anchor_J: np.ndarray, first_J: np.ndarray) -> np.ndarray:
    """Joint positions (T, J) of an action; shares of a range are cut to 0..1."""
    if signal.mode == "relative":
        values_TJ = values_TJ + _to_slot(first_J, signal)
    elif signal.mode == "delta":
        values_TJ = np.cumsum(values_TJ, axis=0) + _to_slot(anchor_J, signal)
    ends = _ends(signal)
    return values_TJ if ends is None else ends[0] + np.clip(values_TJ, 0.0, 1.0) * (ends[1] - ends[0])
