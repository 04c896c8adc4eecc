"""Where the fingers of a hand are and point, and joint positions that bring them to a place.

Letters: J joints of the arm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from beingh_core.contract.kinematics import Kinematics

# A radian of the hand's direction weighs as much as so many metres of its place; a turn about that direction less, since
# arms with five joints cannot have all [m/rad].
_DIRECTION_M, _TURN_M = 0.15, 0.05
_ITERATIONS, _MAX_STEP = 60, 0.25
# Steps without gain after which it gives up.
_PATIENCE = 6
_DONE_M, _STALLED = 1e-5, 1e-4
# Share of the way to the rest posture that free joints drift in one solution, and its cap [rad].
_PULL, _MAX_PULL = 0.02, 0.02
_EYE = np.eye(3)
# How far a posture may miss what was asked for [m, rad].
NEAR_M, NEAR_RAD, NEAR_TURN_RAD = 0.002, 0.09, 0.14


@dataclass(frozen=True, kw_only=True, eq=False)
class Aim:
    """Where to bring the fingers.

    Attributes:
        point: (3,) place between the fingertips [m, root link].
        approach: (3,) unit vector along which the hand comes.
        closing: (3,) unit vector along which the fingers close; at right angles to `approach`.
        one_way: whether the hand's own closing is to point there; else it may be either way round.
    """

    point: np.ndarray
    approach: np.ndarray
    closing: np.ndarray
    one_way: bool = False


class Fingers:
    """The point between the fingers of an arm. Not thread-safe, as its kinematics.

    Args:
        kinematics: of the link that carries the fingers, in the root link.
        point, approach, closing: see `Aim`, in the axes of that link.
        rest: (J,) posture to which joints that are free drift.
    """

    def __init__(
        self, kinematics: Kinematics, point: np.ndarray, approach: np.ndarray, closing: np.ndarray, rest: np.ndarray
    ) -> None:
        self.kinematics, self.rest = kinematics, np.array(rest, dtype=float)
        self._point, self._approach, self._closing = (np.array(one, dtype=float) for one in (point, approach, closing))

    def at(self, q_J: np.ndarray) -> Aim:
        """Where they are at joint positions (J,)."""
        position, rotation = self.kinematics.fk(q_J)
        return Aim(
            point=position + rotation @ self._point,
            approach=rotation @ self._approach,
            closing=rotation @ self._closing,
        )

    def misses(self, q_J: np.ndarray, aim: Aim) -> tuple[float, float, float]:
        """Distance [m], angle between the approaches and turn about them [rad] from an aim."""
        here = self.at(q_J)
        return (
            float(np.linalg.norm(here.point - aim.point)),
            float(np.arccos(np.clip(here.approach @ aim.approach, -1.0, 1.0))),
            float(np.arccos(np.clip(_along(here.closing, aim), -1.0, 1.0))),
        )

    def reaches(self, q_J: np.ndarray, aim: Aim) -> bool:
        """Whether joint positions are near enough to an aim."""
        distance, angle, turn = self.misses(q_J, aim)
        return distance < NEAR_M and angle < NEAR_RAD and turn < NEAR_TURN_RAD

    def solve(self, aim: Aim, q_start: np.ndarray, iterations: int = _ITERATIONS) -> np.ndarray:
        """Joint positions (J,) within the limits that come nearest to an aim, from a posture.

        Weighted damped least squares: place, then direction, then turn; free joints drift to `rest`. (Levenberg-Marquardt,
        with the damping of Sugihara, IEEE T-RO 2011.)
        """
        lower, upper = self.kinematics.lower, self.kinematics.upper
        q = np.clip(np.asarray(q_start, dtype=float), lower, upper)
        best, least, still, waited = q, np.inf, np.zeros(len(q)), 0
        pull = np.clip(_PULL * (self.rest - q), -_MAX_PULL, _MAX_PULL)
        for iteration in range(iterations):
            error, rows = self._linearised(q, aim)
            size = float(np.linalg.norm(error))
            if size < least * (1.0 - _STALLED) and not (iteration == 0 and pull.any()):
                waited = waited + 1 if size > 0.99 * least else 0
                best, least = q, size
            else:
                waited += 1
            if waited > _PATIENCE:
                break
            if size < _DONE_M:
                break
            q = self._stepped(q, error, rows, pull if iteration == 0 else still)
        return best

    def _linearised(self, q: np.ndarray, aim: Aim) -> tuple[np.ndarray, np.ndarray]:
        """Weighted error (7,) and its Jacobian (7, J)."""
        position, rotation = self.kinematics.fk(q)
        jacobian = self.kinematics.jacobian(q)
        arm = rotation @ self._point
        approach, closing = rotation @ self._approach, rotation @ self._closing
        back = float(closing @ aim.closing) < 0.0
        wanted = -aim.closing if back and not aim.one_way else aim.closing
        error, rows = np.empty(7), np.empty((7, len(q)))
        error[:3] = aim.point - position - arm
        rows[:3] = jacobian[:3] - _cross(arm) @ jacobian[3:]
        error[3:6] = _DIRECTION_M * (_cross(approach) @ aim.approach)
        if approach @ aim.approach < -0.99:  # the opposite direction has no nearest way round
            error[3:6] = _DIRECTION_M * closing
        across = _EYE - approach[:, None] * approach
        rows[3:6] = _DIRECTION_M * across @ jacobian[3:]
        sine = float(approach @ _cross(closing) @ wanted)
        # More than a quarter turn away the sine becomes smaller again.
        error[6] = _TURN_M * (sine if not (back and aim.one_way) else np.copysign(1.0, sine))
        rows[6] = _TURN_M * approach @ jacobian[3:]
        return error, rows

    def _stepped(self, q: np.ndarray, error: np.ndarray, rows: np.ndarray, pull: np.ndarray) -> np.ndarray:
        """One damped step within the limits; joints at a limit leave the step to the others."""
        lower, upper = self.kinematics.lower, self.kinematics.upper
        free, moved = np.ones(len(q), dtype=bool), q
        damping = 0.1 * float(error @ error) + 1e-9
        for _ in range(len(q)):
            active = rows * free
            gram = active @ active.T
            gram.flat[:: len(gram) + 1] += damping
            drift = pull * free
            step = drift + active.T @ np.linalg.solve(gram, error - active @ drift)
            step *= min(1.0, _MAX_STEP / max(float(np.abs(step).max()), 1e-12))
            moved = q + step
            outside = free & ((moved < lower) | (moved > upper))
            if not outside.any():
                break
            free &= ~outside
        return np.clip(moved, lower, upper)


def _along(closing: np.ndarray, aim: Aim) -> float:
    """Cosine of the angle between where fingers close and where they are to."""
    cosine = float(closing @ aim.closing)
    return cosine if aim.one_way else abs(cosine)


def _cross(vector: np.ndarray) -> np.ndarray:
    """(3, 3) matrix of the cross product with a vector."""
    x, y, z = vector
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
