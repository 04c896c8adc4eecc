"""How a robot's hands grasp: frame, directions, opening and joints, from the shapes of the URDF and the contract's signals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from beingh_core.contract.schema import ActionSignal, RobotContract
from beingh_core.contract.signals import GRIPPER_SLOTS
from beingh_core.contract.urdf import UrdfFacts, read_urdf
from beingh_core.sim.describe import carried_by, followed, robot_spec
from beingh_core.sim.fingers import HELD_M, Finger, Pads, fingers_of, pinch

HAND_SLOTS = (*GRIPPER_SLOTS, "dexhand_position", "left_dexhand_position")
# How far the tips reach beyond the middle of what they grasp, and how far a jaw that stands still keeps from it [m].
TIPS_BEYOND_M, _CLEARANCE_M = 0.012, 0.008
# A hand opens no further than its tips are level within this, and than this [m]; when open its tips are no further ahead than
# where they grasp, and this [m].
_LEVEL_M, _WIDEST_M, _AHEAD_M = 0.03, 0.11, 0.006
_SHARES = np.linspace(0.0, 1.0, 41)


@dataclass(frozen=True, kw_only=True)
class Hand:
    """What grasps at the end of an arm.

    Attributes:
        slot: the action signal that moves its fingers.
        arm: the action signal that moves the link.
        arm_joints: joints of that signal, between the root and the link.
        link: of the URDF, that carries the fingers; the vectors below are in its axes.
        point: (3,) middle of what it grasps [m].
        approach: (3,) direction in which it goes to the thing.
        closing: (3,) direction of the line on which the fingers meet, square to `approach`.
        closed, open: joint -> position [rad or m] of all joints of `slot`, at shares 0 and 1 of the opening.
        widths_m: free width between the fingers at `shares` of the opening [m].
        shares: from 0 to 1, rising.
        spread_m: distance across the two directions that the fingers of one side span [m].
        beyond_m: no tip is further than this ahead of `point` along `approach`, between open and the grasp [m].
        is_still: whether nothing moves the side to which `closing` points.
    """

    slot: str
    arm: str
    arm_joints: tuple[str, ...]
    link: str
    point: tuple[float, ...]
    approach: tuple[float, ...]
    closing: tuple[float, ...]
    closed: Mapping[str, float]
    open: Mapping[str, float]
    widths_m: tuple[float, ...]
    shares: tuple[float, ...]
    spread_m: float = 0.0
    beyond_m: float = 0.0
    is_still: bool = False

    @property
    def opening_m(self) -> float:
        """Free width between the open fingers [m]."""
        return self.widths_m[-1]

    @property
    def push_sign(self) -> int:
        """1 where it pushes best along `closing`, -1 against it: with a jaw that stands still, or with fingers rather than a thumb; 0 both."""
        return (-1 if self.is_still else 0) if self.slot in GRIPPER_SLOTS else 1

    @property
    def axes(self) -> np.ndarray:
        """(3, 3) rotation from the grasp frame (x across, y `closing`, z `approach`) to the link."""
        closing, approach = np.array(self.closing), np.array(self.approach)
        return np.column_stack([np.cross(closing, approach), closing, approach])

    def posture(self, share: float) -> dict[str, float]:
        """Joint -> position [rad or m] at a share of the opening, 0 closed and 1 open."""
        return {joint: low + share * (self.open[joint] - low) for joint, low in self.closed.items()}

    def share_of(self, width_m: float) -> float:
        """The least opening that leaves this width free; 1 where none does."""
        wide = [share for share, width in zip(self.shares, self.widths_m) if width >= width_m]
        return wide[0] if wide else 1.0


def hands_of(contract: RobotContract) -> tuple[Hand, ...]:
    """The hands of a contract in the order of its action signals; a hand that cannot grasp anything is left out.

    Raises:
        BeingHError: MuJoCo cannot read the URDF.
    """
    urdf = read_urdf(contract.urdf_path)
    model = robot_spec(contract.urdf_path).compile()
    found = [_hand(contract, signal, urdf, model) for signal in contract.action if signal.slot in HAND_SLOTS]
    return tuple(hand for hand in found if hand is not None)


def _hand(contract: RobotContract, signal: ActionSignal, urdf: UrdfFacts, model: mujoco.MjModel) -> Hand | None:
    own = [joint for joint in signal.commanded if joint in urdf.joints]
    moved = {name for name, joint in urdf.joints.items() if name in own or joint.mimics in own}
    if not moved:
        return None
    palm = _palm(model, moved)
    arm = _arm(contract, urdf.movers(model.body(palm).name), signal)
    fingers = fingers_of(model, palm, moved)
    if arm is None or not fingers:
        return None
    home = {name: value for name, value in zip(contract.joint_names, contract.home) if name in urdf.joints}
    data = mujoco.MjData(model)

    def place(positions: Mapping[str, float]) -> None:
        for name, value in followed(urdf, home | _coupled(signal, positions)).items():
            data.joint(name).qpos = value
        mujoco.mj_kinematics(model, data)

    place({})
    if signal.slot in GRIPPER_SLOTS:
        closed, widest = {own[0]: signal.closed}, {own[0]: signal.open}
        pads = Pads.facing(model, data, palm, fingers, lambda share: place(_between(closed, widest, share)))
    else:
        closed, widest, pads = pinch(model, data, palm, fingers, place, _bounds(contract, signal, urdf))
    if pads is None:
        return None
    return _measured(
        signal, arm, _commands(signal, closed), _commands(signal, widest), pads, place, model.body(palm).name
    )


def _measured(
    signal: ActionSignal,
    arm: ActionSignal,
    closed: Mapping[str, float],
    widest: Mapping[str, float],
    pads: Pads,
    place: Callable[[Mapping[str, float]], None],
    link: str,
) -> Hand | None:
    """The hand whose fingers `pads` are, opened so far that its tips stay level."""
    place(closed)
    approach = pads.approach()
    place(widest)
    closing = pads.closing(approach)
    for _ in range(3):
        place(_between(closed, widest, _share_at(HELD_M, closed, widest, pads, place, closing, approach)))
        closing, approach = pads.level(closing, approach)
    held = _share_at(HELD_M, closed, widest, pads, place, closing, approach)
    place(_between(closed, widest, held))
    grasp_end = pads.end(approach)
    point = pads.middle(closing, approach, TIPS_BEYOND_M, _CLEARANCE_M)
    gaps, slips = np.array([_at(share, closed, widest, pads, place, closing, approach) for share in _SHARES]).T
    ends = []
    for share in _SHARES:
        place(_between(closed, widest, share))
        ends.append(pads.end(approach))
    usable = (np.abs(slips) <= _LEVEL_M) & (gaps <= _WIDEST_M) & (np.array(ends) <= grasp_end + _AHEAD_M)
    most = int(np.argmax(np.where(usable, gaps, -1.0)))
    if gaps[most] <= 0.01:
        return None
    opened = _between(closed, widest, _SHARES[most])
    beyond = max(end for end, share in zip(ends[: most + 1], _SHARES) if share >= min(held, _SHARES[most]))
    to_link = pads.palm_axes().T
    return Hand(
        slot=signal.slot,
        arm=arm.slot,
        arm_joints=arm.joints,
        link=link,
        point=tuple((to_link @ (point - pads.palm_place())).tolist()),
        approach=tuple((to_link @ approach).tolist()),
        closing=tuple((to_link @ closing).tolist()),
        closed=dict(closed),
        open=opened,
        widths_m=tuple(max(0.0, float(gap)) for gap in gaps[: most + 1]),
        shares=tuple((_SHARES[: most + 1] / _SHARES[most]).tolist()),
        spread_m=pads.spread(closing, approach),
        beyond_m=float(beyond - point @ approach),
        is_still=pads.is_still,
    )


def _at(share, closed, widest, pads: Pads, place, closing, approach) -> tuple[float, float]:
    """`Pads.gap` at a share of the way from closed to widest."""
    place(_between(closed, widest, share))
    return pads.gap(closing, approach)


def _share_at(width_m: float, closed, widest, pads: Pads, place, closing, approach) -> float:
    """The share of the way from closed to widest at which the tips are about so far apart."""
    gaps = np.array([_at(share, closed, widest, pads, place, closing, approach)[0] for share in _SHARES])
    return float(_SHARES[int(np.argmin(np.abs(gaps - width_m)))])


def _between(closed: Mapping[str, float], opened: Mapping[str, float], share: float) -> dict[str, float]:
    return {joint: float(low + share * (opened[joint] - low)) for joint, low in closed.items()}


def _coupled(signal: ActionSignal, positions: Mapping[str, float]) -> dict[str, float]:
    """`positions` with those of the joints that the contract couples to them."""
    found = dict(positions)
    for coupling in signal.coupling:
        if coupling.of in found:
            found[coupling.joint] = coupling.scale * found[coupling.of] + coupling.offset
    return found


def _commands(signal: ActionSignal, positions: Mapping[str, float]) -> dict[str, float]:
    found = _coupled(signal, positions)
    return {joint: float(found[joint]) for joint in signal.commanded if joint in found}


def _bounds(contract: RobotContract, signal: ActionSignal, urdf: UrdfFacts) -> dict[str, tuple[float, float]]:
    """Joint of a signal -> (lower, upper) such that joints coupled to it stay within their limits too [rad or m]."""
    names, limits = list(contract.joint_names), contract.limits
    found = {j: (limits.lower[names.index(j)], limits.upper[names.index(j)]) for j in signal.joints if j in urdf.joints}
    for coupling in signal.coupling:
        if coupling.of in found and coupling.scale:
            ends = [(limits.lower[names.index(coupling.joint)], limits.upper[names.index(coupling.joint)])]
            low, high = sorted((end - coupling.offset) / coupling.scale for end in ends[0])
            found[coupling.of] = (max(low, found[coupling.of][0]), min(high, found[coupling.of][1]))
    return {joint: (float(low), float(high)) for joint, (low, high) in found.items()}


def _palm(model: mujoco.MjModel, moved: set[str]) -> int:
    """The body that carries all bodies that the joints `moved` move, and is moved by none of them."""
    body = min(int(model.joint(name).bodyid[0]) for name in moved)
    bodies = {int(model.joint(name).bodyid[0]) for name in moved}
    while body and not (body not in bodies and bodies <= set(carried_by(model, body))):
        body = int(model.body_parentid[body])
    return body


def _arm(contract: RobotContract, movers: Sequence[str], hand: ActionSignal) -> ActionSignal | None:
    """The action signal with the most joints between the root and a hand."""
    counts = [
        (sum(joint in movers for joint in signal.joints), -index, signal)
        for index, signal in enumerate(contract.action)
        if signal is not hand and any(joint in movers for joint in signal.joints)
    ]
    return max(counts, key=lambda count: count[:2])[2] if counts else None


__all__ = ["HAND_SLOTS", "TIPS_BEYOND_M", "Finger", "Hand", "hands_of"]
