"""Which of a robot's commands the onlooker compares with the plan, tick by tick.

Trajectories name their ticks. Actions and streams between the ticks do not: of a robot that takes nothing else, the plan of
each tick stands for what is sent at it, and the streams are judged beside it (`streams`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.contract.schema import DriverGroup
from beingh_core.realtime.limits import JointLimits
from beingh_ros.demo.observer import positioned


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Joints whose ticks are judged, in the contract's order, and the trajectory topics that command them.

    Attributes:
        joints: their names.
        groups: topics and joints; () where the plan stands for them (`planned`).
        limits, must_follow: of these joints.
    """

    joints: tuple[str, ...]
    groups: tuple[DriverGroup, ...]
    limits: JointLimits
    must_follow: np.ndarray

    @classmethod
    def of(cls, contract: RobotContract) -> Seen:
        """From a contract."""
        groups = tuple(g for driver in contract.drivers if driver.kind == "joint_trajectory" for g in driver.groups)
        named = {joint for group in groups for joint in group.joints} or set(positioned(contract))
        joints = tuple(joint for joint in contract.joint_names if joint in named)
        columns = np.array([contract.joint_names.index(joint) for joint in joints])
        follow = np.isfinite(np.array(contract.watchdog.tracking_error)[columns])
        return cls(joints=joints, groups=groups, limits=_of_columns(contract.limits, columns), must_follow=follow)

    @property
    def planned(self) -> bool:
        """Whether plans stand for commands."""
        return not self.groups


def _of_columns(limits: JointLimits, columns: np.ndarray) -> JointLimits:
    return JointLimits(**{field.name: getattr(limits, field.name)[columns] for field in fields(limits)})
