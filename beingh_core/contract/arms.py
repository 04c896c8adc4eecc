"""The end effectors of a robot, and the frame that its positions are told in."""

from __future__ import annotations

from dataclasses import dataclass

from beingh_core.contract.schema import ActionSignal, RobotContract, StateSignal


@dataclass(frozen=True)
class Arm:
    """An end effector whose joints are all commanded: its link, the link of the positions, the joints between."""

    eef_frame: str
    base_frame: str
    joints: tuple[str, ...]


def arms_of(contract: RobotContract) -> tuple[Arm, ...]:
    """The end effectors of a contract, those that are commanded first; empty when it names no frame of one."""
    found: dict[str, Arm] = {}
    signals: list[ActionSignal | StateSignal] = [*contract.action, *contract.state]
    for signal in signals:
        if signal.eef_frame and signal.base_frame and set(signal.joints) <= set(contract.joint_names):
            found.setdefault(signal.eef_frame, Arm(signal.eef_frame, signal.base_frame, tuple(signal.joints)))
    return tuple(found.values())


def base_frame(contract: RobotContract) -> str:
    """The frame in which positions of the hand and of objects are told; "world" for a robot without any."""
    signals: list[ActionSignal | StateSignal] = [*contract.state, *contract.action]
    frames = [signal.base_frame for signal in signals if signal.base_frame]
    return frames[0] if frames else "world"


def gripper_ends(contract: RobotContract, joint: str) -> tuple[float, float]:
    """closed and open positions of a gripper's joint [rad or m]; its limits where it is not commanded as a gripper."""
    for signal in contract.action:
        if signal.joints == (joint,) and signal.closed is not None and signal.open is not None:
            return signal.closed, signal.open
    column = contract.joint_names.index(joint)
    return float(contract.limits.lower[column]), float(contract.limits.upper[column])
