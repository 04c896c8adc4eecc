"""Forward and inverse kinematics of one arm, on pinocchio.

All poses are of `eef_frame`, expressed in `base_frame`: position (3,) in metres and rotation (3, 3).
Joint vectors are in the order of the `joints` given at construction; joints of the URDF that are
not named there stay at their zero (or nearest allowed) position.

Not thread-safe: one `Kinematics` per thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pinocchio as pin

from beingh_core.contract.urdf import read_urdf
from beingh_core.errors import BeingHError, did_you_mean

POSITION_TOLERANCE_M = 1e-6
ROTATION_TOLERANCE_RAD = 1e-6
MAX_ITERATIONS = 60
# One step of the solver never asks for more than this, so that a far target is approached along the
# path instead of across a singularity.
MAX_STEP_M = 0.15
MAX_STEP_RAD = 0.6
MAX_STEP_JOINT = 0.5
# Share of the way to the rest posture taken in the null space by one solve, and its cap [rad].
NULL_SPACE_GAIN = 0.05
NULL_SPACE_MAX_STEP = 0.02
# Joints without an end are solved for within this [rad].
FARTHEST_TURN = 1000.0


@dataclass(frozen=True, kw_only=True)
class IkResult:
    """What one inverse-kinematics solve found.

    Attributes:
        positions: (J,) joint positions within the limits; the best reached when not converged.
        converged: whether both errors are within tolerance.
        position_error_m: distance to the wanted position.
        rotation_error_rad: angle to the wanted rotation.
        iterations: solver steps taken.
    """

    positions: np.ndarray
    converged: bool
    position_error_m: float
    rotation_error_rad: float
    iterations: int


class Kinematics:
    """Kinematics of the chain from `base_frame` to `eef_frame`.

    Args:
        urdf_path: the robot's URDF.
        joints: names of the joints to solve for; fixes the order of every joint vector.
        eef_frame: link whose pose is meant.
        base_frame: link in which poses are expressed; must not move with `joints`. Default: the root.
        position_limits: (lower, upper), each (J,), that narrow those of the URDF.

    Attributes:
        lower, upper: (J,) position limits that inverse kinematics respects.

    Raises:
        BeingHError: unreadable URDF, unknown joint or frame, a base frame that moves with the joints.
    """

    def __init__(
        self,
        urdf_path: str | Path,
        joints: Sequence[str],
        eef_frame: str,
        base_frame: str | None = None,
        position_limits: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        self.joints, urdf_path = tuple(joints), Path(urdf_path)
        full = load_model(urdf_path)
        names = [name for name in full.names if name != "universe"]
        for joint in self.joints:
            if joint not in names:
                raise BeingHError(
                    f"the URDF has no movable joint `{joint}`",
                    where=urdf_path,
                    allowed=names,
                    remedy=did_you_mean(joint, names),
                )
        locked = [full.getJointId(name) for name in names if name not in self.joints]
        neutral = np.clip(pin.neutral(full), full.lowerPositionLimit, full.upperPositionLimit)
        self._model = pin.buildReducedModel(full, locked, neutral)
        if self._model.nq != self._model.nv:
            raise BeingHError("the arm has joints that no single number describes", where=urdf_path)
        self._data = self._model.createData()
        columns = [self._model.joints[self._model.getJointId(j)].idx_q for j in self.joints]
        self._columns = np.array(columns)  # place of each named joint in the model's vector
        self._eef = self._frame_id(eef_frame, urdf_path)
        self._base_from_world = self._fixed_base(base_frame, urdf_path)
        self.lower = self._model.lowerPositionLimit[self._columns]
        self.upper = self._model.upperPositionLimit[self._columns]
        if position_limits is not None:
            self.lower = np.maximum(self.lower, position_limits[0])
            self.upper = np.minimum(self.upper, position_limits[1])

    def fk(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pose of the end effector.

        Args:
            positions: (J,) joint positions [rad or m].

        Returns:
            position (3,) [m] and rotation (3, 3), in the base frame.
        """
        pin.framesForwardKinematics(self._model, self._data, self._model_vector(positions))
        pose = self._base_from_world * self._data.oMf[self._eef]
        return pose.translation.copy(), pose.rotation.copy()

    def jacobian(self, positions: np.ndarray) -> np.ndarray:
        """How the end effector moves with the joints: (6, J), linear rows [m] first, in the axes of the base frame.

        Args:
            positions: (J,) joint positions [rad or m].
        """
        frame = pin.ReferenceFrame.LOCAL_WORLD_ALIGNED
        vector = self._model_vector(positions)
        in_world = pin.computeFrameJacobian(self._model, self._data, vector, self._eef, frame)[:, self._columns]
        turn = self._base_from_world.rotation
        return np.vstack([turn @ in_world[:3], turn @ in_world[3:]])

    @property
    def reach(self) -> float:
        """No position of the end effector is further from the base frame than this [m]."""
        model, joint = self._model, self._model.frames[self._eef].parentJoint
        length = np.linalg.norm(self._base_from_world.translation)
        length += np.linalg.norm(model.frames[self._eef].placement.translation)
        while joint:
            length += np.linalg.norm(model.jointPlacements[joint].translation)
            if model.joints[joint].shortname().startswith("JointModelP"):  # PX, PY, PZ, PrismaticUnaligned
                column = model.joints[joint].idx_q
                length += max(abs(model.lowerPositionLimit[column]), abs(model.upperPositionLimit[column]))
            joint = model.parents[joint]
        return float(length)

    def ik(
        self,
        position: np.ndarray,
        rotation: np.ndarray,
        q_start: np.ndarray,
        q_rest: np.ndarray | None = None,
    ) -> np.ndarray:
        """Joint positions (J,) for a pose; see `solve`.

        Raises:
            BeingHError: the pose is out of reach.
        """
        result = self.solve(position, rotation, q_start, q_rest)
        if not result.converged:
            raise BeingHError(
                f"no joint positions within the limits reach {np.round(position, 4).tolist()}: the best is "
                f"{result.position_error_m * 1e3:.1f} mm and {result.rotation_error_rad:.3f} rad away",
                remedy="choose a pose inside the workspace, or a starting posture nearer to it",
            )
        return result.positions

    def solve(
        self,
        position: np.ndarray,
        rotation: np.ndarray,
        q_start: np.ndarray,
        q_rest: np.ndarray | None = None,
        most_iterations: int = MAX_ITERATIONS,
    ) -> IkResult:
        """Damped least squares from a warm start, with error-proportional damping.

        Each step solves (J J^T + lambda I) x = e - J q0 and moves by q0 + J^T x, where e is the pose
        error and q0 the pull to the rest posture (first step only: the rest of the solve takes back
        what the pull disturbs). A joint that a step would push past its limit is put on the limit and
        left out of that step. (Levenberg-Marquardt with lambda = |e|^2 / 2: Sugihara, IEEE T-RO 2011.)

        Args:
            position: (3,) wanted position in the base frame [m].
            rotation: (3, 3) wanted rotation in the base frame.
            q_start: (J,) where to start, normally the previous solution.
            q_rest: (J,) posture to drift to in the null space; None for no pull.
            most_iterations: after so many steps it is not converged.

        Returns:
            the solution, or the nearest it came to with `converged` False.
        """
        target = self._base_from_world.actInv(pin.SE3(np.asarray(rotation), np.asarray(position)))
        q = np.clip(np.asarray(q_start, dtype=np.float64), self.lower, self.upper)
        pull = np.zeros_like(q)
        if q_rest is not None:
            pull = np.clip(NULL_SPACE_GAIN * (q_rest - q), -NULL_SPACE_MAX_STEP, NULL_SPACE_MAX_STEP)
        best, best_size, best_errors, iteration = q, np.inf, (np.inf, np.inf), 0
        for iteration in range(most_iterations + 1):
            error, jacobian = self._error_and_jacobian(q, target)
            errors = float(np.linalg.norm(error[:3])), float(np.linalg.norm(error[3:]))
            size = errors[0] + errors[1]
            if size < best_size and not (iteration == 0 and pull.any()):
                best, best_size, best_errors = q, size, errors
                if errors[0] <= POSITION_TOLERANCE_M and errors[1] <= ROTATION_TOLERANCE_RAD:
                    break
            if iteration < most_iterations:
                q = self._step(q, error, errors, jacobian, pull)
                pull = np.zeros_like(q)
        converged = best_errors[0] <= POSITION_TOLERANCE_M and best_errors[1] <= ROTATION_TOLERANCE_RAD
        return IkResult(
            positions=best,
            converged=converged,
            position_error_m=best_errors[0],
            rotation_error_rad=best_errors[1],
            iterations=iteration,
        )

    def _step(
        self, q: np.ndarray, error: np.ndarray, errors: tuple[float, float], jacobian: np.ndarray, pull: np.ndarray
    ) -> np.ndarray:
        """One damped step from `q` that stays within the position limits."""
        shrink = max(1.0, errors[0] / MAX_STEP_M, errors[1] / MAX_STEP_RAD)
        wanted = error / shrink
        damping = 0.5 * float(error @ error) + 1e-12
        free = np.ones(len(q), dtype=bool)
        drift = pull  # what the step is given; the free joints then work off what is left of the error
        moved = q
        for _ in range(len(q)):
            active = jacobian * free
            gram = active @ active.T
            gram.flat[:: len(gram) + 1] += damping
            step = drift + active.T @ np.linalg.solve(gram, wanted - jacobian @ drift)
            step *= min(1.0, MAX_STEP_JOINT / max(float(np.abs(step).max()), 1e-12))
            moved = q + step
            outside = free & ((moved < self.lower) | (moved > self.upper))
            if not outside.any():
                break
            free &= ~outside
            drift = np.where(outside, np.clip(moved, self.lower, self.upper) - q, drift)
        return np.clip(moved, self.lower, self.upper)

    def _error_and_jacobian(self, q: np.ndarray, target: pin.SE3) -> tuple[np.ndarray, np.ndarray]:
        """Pose error (6,) and Jacobian (6, J), position rows first, in world axes."""
        vector = self._model_vector(q)
        jacobian = pin.computeFrameJacobian(
            self._model, self._data, vector, self._eef, pin.ReferenceFrame.LOCAL_WORLD_ALIGNED
        )
        pose = pin.updateFramePlacement(self._model, self._data, self._eef)
        rotation = pose.rotation
        error = np.empty(6)
        error[:3] = target.translation - pose.translation
        error[3:] = rotation @ pin.log3(rotation.T @ target.rotation)
        return error, jacobian[:, self._columns]

    def _model_vector(self, positions: np.ndarray) -> np.ndarray:
        vector = np.empty(self._model.nq)
        vector[self._columns] = positions
        return vector

    def _frame_id(self, name: str, urdf_path: Path) -> int:
        links = [frame.name for frame in self._model.frames if frame.type == pin.FrameType.BODY]
        if name not in links:
            raise BeingHError(
                f"the URDF has no link `{name}`", where=urdf_path, allowed=links, remedy=did_you_mean(name, links)
            )
        return self._model.getFrameId(name, pin.FrameType.BODY)

    def _fixed_base(self, name: str | None, urdf_path: Path) -> pin.SE3:
        """Transform from the model's world to the base frame, which must not move with the joints."""
        if name is None:
            return pin.SE3.Identity()
        frame = self._frame_id(name, urdf_path)
        if self._model.frames[frame].parentJoint != 0:
            raise BeingHError(
                f"base frame `{name}` moves with the joints of the arm",
                where=urdf_path,
                remedy="choose a base frame before the arm's first joint",
            )
        pin.framesForwardKinematics(self._model, self._data, pin.neutral(self._model))
        return self._data.oMf[frame].inverse()


def load_model(urdf_path: Path) -> pin.Model:
    """The URDF as a fixed-base pinocchio model: each joint is one number, those that mimic move by themselves.

    Raises:
        BeingHError: there is no such file, or pinocchio cannot read it.
    """
    try:
        return pin.buildModelFromXML(model_text(urdf_path))
    except (ValueError, RuntimeError) as error:
        raise BeingHError(
            f"pinocchio cannot read this URDF: {error}", where=urdf_path, remedy="`check_urdf FILE` names the mistake"
        ) from error


def model_text(urdf_path: Path) -> str:
    """The URDF as `load_model` has it: with continuous joints that may turn far.

    Raises:
        BeingHError: there is no such file.
    """
    if not urdf_path.is_file():
        raise BeingHError("there is no such URDF", where=urdf_path, remedy="correct `urdf` in the contract")
    try:
        text = urdf_path.read_text(encoding="utf-8")
    except ValueError as error:
        raise BeingHError(
            f"this is no UTF-8: {error}", where=urdf_path, remedy="`iconv -t utf-8` converts it"
        ) from error
    if any(joint.type == "continuous" for joint in read_urdf(urdf_path).joints.values()):
        return _bounded(text)
    return text


def _bounded(text: str) -> str:
    """A URDF whose continuous joints are revolute ones that may turn far: one number each, that counts turns."""
    root = ElementTree.fromstring(text)
    for joint in root.iter("joint"):
        if joint.get("type") == "continuous":
            joint.set("type", "revolute")
            limit = joint.find("limit")
            if limit is None:
                limit = ElementTree.SubElement(joint, "limit", effort="1", velocity="1")
            limit.set("lower", str(-FARTHEST_TURN))
            limit.set("upper", str(FARTHEST_TURN))
    return ElementTree.tostring(root, encoding="unicode")
