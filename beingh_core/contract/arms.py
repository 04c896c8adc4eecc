"""The end effectors of a robot, and the frame that its positions are told in."""

from __future__ import annotations

from dataclasses import dataclass

from beingh_core.contract.schema import ActionSignal, RobotContract, StateSignal
from beingh_core.contract.urdf import read_urdf


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
    """The frame in which objects around the robot are told: the root link, or the arm's base where that is the same place."""
    signals: list[ActionSignal | StateSignal] = [*contract.state, *contract.action]
    frames = [signal.base_frame for signal in signals if signal.base_frame]
    urdf = read_urdf(contract.urdf_path)
    root = next(link for link in urdf.links if link not in urdf.carriers)
    return frames[0] if frames and _is_at_root(contract, frames[0], root) else root


def _is_at_root(contract: RobotContract, frame: str, root: str) -> bool:
    import pinocchio as pin

    from beingh_core.contract.kinematics import load_model

    model = load_model(contract.urdf_path)
    data = model.createData()
    pin.framesForwardKinematics(model, data, pin.neutral(model))
    one, other = (data.oMf[model.getFrameId(link, pin.FrameType.BODY)] for link in (frame, root))
    return bool(one.isApprox(other, 1e-9))


def gripper_ends(contract: RobotContract, joint: str) -> tuple[float, float]:
    """closed and open positions of a gripper's joint [rad or m]; its limits where it is not commanded as a gripper."""
    for signal in contract.action:
        if signal.joints == (joint,) and signal.closed is not None and signal.open is not None:
            return signal.closed, signal.open
    column = contract.joint_names.index(joint)
    return float(contract.limits.lower[column]), float(contract.limits.upper[column])
