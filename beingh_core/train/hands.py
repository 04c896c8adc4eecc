"""Human hands in numbers: wrists and MANO joints in a frame, mirrored, and as state and actions of the slots.

Lengths in metres, rotations as axis-angle vectors. A mirror image is that behind the plane x = 0: the left hand of MANO is
the mirror image of its right one in this plane (Romero, Tzionas, Black 2017, doi:10.1145/3130800.3130883), and so is a
picture that is turned about its middle, in the frame of its camera. Shape letters: T rows, S sides (right, left), H steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

JOINTS, SHAPE = 15, 10
SIDES = ("right", "left")
POSITION, ROTATION = ("eef_position", "left_eef_position"), ("eef_rotation", "left_eef_rotation")
THETA, BETA = ("right_theta", "left_theta"), ("right_beta", "left_beta")
_OTHER_SIDE = [1, 0]
# Behind x = 0 a point changes the sign of x, and a rotation vector those of y and z.
_POINT, _TURN = np.array([-1.0, 1.0, 1.0]), np.array([1.0, -1.0, -1.0])


@dataclass(frozen=True, kw_only=True)
class Poses:
    """Frames, one a row.

    Attributes:
        position: (T, 3) origin [m].
        rotation: (T, 3) rotation vector [rad].
    """

    position: np.ndarray
    rotation: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Hands:
    """Both hands over some rows; what is not known has any finite number.

    Attributes:
        position, rotation: (T, S, 3) wrist.
        theta: (T, S, 45) joints, counted from the flat hand, each in its parent's frame.
        beta: (T, S, 10) shape.
        known: (T, S, 3) whether wrist, joints and shape are known.
    """

    position: np.ndarray
    rotation: np.ndarray
    theta: np.ndarray
    beta: np.ndarray
    known: np.ndarray

    def within(self, frames: Poses) -> Hands:
        """The same seen from a frame for each row (or one for all), in which this frame is known: p' = R^T (p - t)."""
        turn = Rotation.from_rotvec(frames.rotation).inv()
        return self._moved(turn, self.position - frames.position[:, None])

    def out_of(self, frames: Poses) -> Hands:
        """The same in the frame in which the frames of the rows are known: p' = R p + t."""
        moved = self._moved(Rotation.from_rotvec(frames.rotation), self.position)
        return replace(moved, position=moved.position + frames.position[:, None])

    def part(self, rows: slice) -> Hands:
        """Some of the rows."""
        return Hands(**{name: values[rows] for name, values in vars(self).items()})

    def mirrored(self) -> Hands:
        """The mirror image: right and left change places. Mirrored twice it is what it was."""
        swapped = {
            name: getattr(self, name)[:, _OTHER_SIDE] for name in ("position", "rotation", "theta", "beta", "known")
        }
        swapped["position"] = swapped["position"] * _POINT
        swapped["rotation"] = swapped["rotation"] * _TURN
        swapped["theta"] = swapped["theta"] * np.tile(_TURN, JOINTS)
        return Hands(**swapped)

    def _moved(self, turn: Rotation, position: np.ndarray) -> Hands:
        """Wrists turned; `position` too."""
        by_side = [
            (turn.apply(position[:, s]), turn * Rotation.from_rotvec(self.rotation[:, s])) for s in range(len(SIDES))
        ]
        return replace(
            self, position=np.stack([place for place, _ in by_side], 1),
            rotation=np.stack([turned.as_rotvec() for _, turned in by_side], 1),
        )  # fmt: skip

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Key -> (T, W) of every row, and key -> (T,) whether it is known."""
        values, known = {}, {}
        for s in range(len(SIDES)):
            for at, (key, found) in enumerate(
                (
                    (POSITION[s], self.position),
                    (ROTATION[s], self.rotation),
                    (THETA[s], self.theta),
                    (BETA[s], self.beta),
                )
            ):
                values[key], known[key] = found[:, s], self.known[:, s, max(0, at - 1)]
        return values, known

    def steps(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Key -> (T, W) what each row's action is, and key -> (T,) whether it is known.

        A wrist's action is how far it goes to the next row, a rotation's R' R^T; the joints' action is where they are in the
        next row. The last row stays where it is.
        """
        values, later = {}, _later(len(self.position))
        for s in range(len(SIDES)):
            turns = Rotation.from_rotvec(self.rotation[:, s])
            values[POSITION[s]] = self.position[later, s] - self.position[:, s]
            values[ROTATION[s]] = (turns[later] * turns.inv()).as_rotvec()
            values[THETA[s]] = self.theta[later, s]
        return values, known_steps(self.known)


def known_steps(known_TS3: np.ndarray) -> dict[str, np.ndarray]:
    """Action key -> (T,) whether each row's action is known; see `Hands.steps`."""
    found, later = {}, _later(len(known_TS3))
    for s in range(len(SIDES)):
        wrist = known_TS3[:, s, 0] & known_TS3[later, s, 0]
        found |= {POSITION[s]: wrist, ROTATION[s]: wrist, THETA[s]: known_TS3[later, s, 1]}
    return found


def _later(count: int) -> np.ndarray:
    return np.minimum(np.arange(count) + 1, count - 1)


def chunk(hands: Hands, length: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Key -> (H, W) the actions from the first row on, and key -> (H,) whether they are known.

    Args:
        hands: the first row and the next H, or as many as the episode has; behind its end the hands rest.
        length: H.
    """
    values, known = hands.steps()
    places = np.minimum(np.arange(length), len(hands.position) - 1)
    return {key: rows[places] for key, rows in values.items()}, {key: rows[places] for key, rows in known.items()}


def mentions_a_side(text: str) -> bool:
    """Whether an instruction is another one in the mirror."""
    low = text.lower()
    return any(word in low for word in ("left", "right", "clockwise", "左", "右", "顺时针", "逆时针"))


def any_within(known: Mapping[str, np.ndarray], length: int) -> np.ndarray:
    """(T,) whether anything is known of the actions of a row's chunk of H steps.

    Args:
        known: key -> (T,), as `Hands.steps` says.
        length: H.
    """
    something = np.any(list(known.values()), axis=0)
    total = np.concatenate([[0], np.cumsum(something)])
    end = np.minimum(np.arange(len(something)) + length, len(something))
    return total[end] > total[:-1]
