"""How far parts of a robot can move against each other while its joints move from one posture to another.

Letters: P pairs of joints, J commanded joints, K steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pinocchio as pin

# A slide without an end is taken to be this long [m].
LONGEST_SLIDE = 10.0


class RelativeMotion:
    """A bound on the motion of shapes against each other: a joint that turns by an angle moves what it carries by at most
    that angle times the length of the way to it; only joints between two shapes move these against each other.

    Args:
        model: the robot.
        shapes: its shapes.
        pairs: shapes that may move against each other.
        columns: (place in the model's vector, J, scale) of what is commanded.
        width: number of commanded joints.
    """

    def __init__(
        self,
        model: pin.Model,
        shapes: pin.GeometryModel,
        pairs: Iterable[tuple[int, int]],
        columns: Sequence[tuple[int, int, float]],
        width: int,
    ) -> None:
        sizes = [0.0] * model.njoints  # of what hangs on each joint, from its origin
        for one in shapes.geometryObjects:
            one.geometry.computeLocalAABB()
            far = np.linalg.norm(one.placement.act(one.geometry.aabb_center)) + one.geometry.aabb_radius
            sizes[one.parentJoint] = max(sizes[one.parentJoint], float(far))
        joints = {
            tuple(sorted((shapes.geometryObjects[i].parentJoint, shapes.geometryObjects[k].parentJoint)))
            for i, k in pairs
        }
        arms = [_lever_arms(model, sizes, columns, width, joint) for joint in range(model.njoints)]
        rows = [_between(arms[first], arms[second]) for first, second in sorted(joints)]
        self._arms_PJ = np.array(rows).reshape(len(rows), width)

    def bound(self, moves_KJ: np.ndarray) -> np.ndarray:
        """(K,) [m] no two shapes move further against each other than this while the joints move by (K, J)."""
        return (np.abs(moves_KJ) @ self._arms_PJ.T).max(axis=1, initial=0.0)


def _lever_arms(
    model: pin.Model, sizes: list[float], columns: Sequence[tuple[int, int, float]], width: int, joint: int
) -> dict[int, np.ndarray]:
    """For each joint of the model on the way from the base to `joint`: (J,) [m per rad or m] what moves its shapes."""
    found, length = {}, sizes[joint]
    while joint:
        slides = model.joints[joint].shortname().startswith("JointModelP")  # PX, PY, PZ, PrismaticUnaligned
        place, arm = model.joints[joint].idx_q, np.zeros(width)
        for column, source, scale in columns:
            if column == place:
                arm[source] = abs(scale) * (1.0 if slides else length)
        found[joint] = arm
        length += float(np.linalg.norm(model.jointPlacements[joint].translation))
        if slides:
            ends = abs(model.lowerPositionLimit[place]), abs(model.upperPositionLimit[place])
            length += min(max(ends), LONGEST_SLIDE)
        joint = model.parents[joint]
    return found


def _between(one: dict[int, np.ndarray], other: dict[int, np.ndarray]) -> np.ndarray:
    """(J,) of the joints that carry one of two shapes and not the other."""
    alone = [arms[joint] for arms, others in ((one, other), (other, one)) for joint in arms.keys() - others.keys()]
    return sum(alone, start=np.zeros(len(next(iter((one | other).values())))))
