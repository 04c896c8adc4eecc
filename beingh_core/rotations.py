"""Rotations in the representation a dataset uses, to and from the axis-angle vectors of the slots.

Quaternions are taken up to sign and the rotation vector is always the short one (angle <= pi).
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from beingh_core.errors import BeingHError, did_you_mean

# representation -> number of values
WIDTHS = {
    "axis_angle": 3,
    "quaternion_wxyz": 4,
    "quaternion_xyzw": 4,
    "euler_xyz": 3,  # fixed axes: roll about x, then pitch about y, then yaw about z [rad]
    "matrix": 9,  # row major
    "rotation_6d": 6,  # the first two columns of the matrix, one after the other
}


def width_of(representation: str) -> int:
    """Number of values of one rotation.

    Raises:
        BeingHError: unknown representation.
    """
    if representation not in WIDTHS:
        raise BeingHError(
            f"unknown rotation representation `{representation}`",
            allowed=WIDTHS,
            remedy=did_you_mean(representation, WIDTHS),
        )
    return WIDTHS[representation]


def to_axis_angle(values: np.ndarray, representation: str) -> np.ndarray:
    """Rotation vectors (..., 3) [rad] of rotations (..., W) in `representation`.

    Raises:
        BeingHError: unknown representation, or a value that is no rotation (a zero quaternion,
            a reflection).
    """
    values = np.asarray(values, dtype=np.float64)
    width = width_of(representation)
    assert values.shape[-1] == width, (values.shape, representation)
    if representation == "axis_angle":
        return values
    flat = values.reshape(-1, width)
    try:
        rotation = _from_flat(flat, representation)
    except ValueError as error:
        raise BeingHError(f"not a rotation ({representation}): {error}") from None
    return rotation.as_rotvec().reshape(*values.shape[:-1], 3)


def from_axis_angle(rotvec: np.ndarray, representation: str) -> np.ndarray:
    """Rotations (..., W) in `representation` of rotation vectors (..., 3) [rad].

    Quaternions come with a real part >= 0.
    """
    rotvec = np.asarray(rotvec, dtype=np.float64)
    width = width_of(representation)
    if representation == "axis_angle":
        return rotvec
    rotation = Rotation.from_rotvec(rotvec.reshape(-1, 3))
    return _to_flat(rotation, representation).reshape(*rotvec.shape[:-1], width)


def between(start: np.ndarray, end: np.ndarray, share: np.ndarray, representation: str) -> np.ndarray:
    """Rotations (N, W) on the shortest way from one to another, `share` (N, 1) of it gone."""
    first, last = (Rotation.from_rotvec(to_axis_angle(values, representation)) for values in (start, end))
    turned = first * Rotation.from_rotvec(share * (first.inv() * last).as_rotvec())
    return from_axis_angle(turned.as_rotvec(), representation)


def _from_flat(flat: np.ndarray, representation: str) -> Rotation:
    if representation == "quaternion_wxyz":
        return Rotation.from_quat(flat[:, [1, 2, 3, 0]])
    if representation == "quaternion_xyzw":
        return Rotation.from_quat(flat)
    if representation == "euler_xyz":
        return Rotation.from_euler("xyz", flat)
    if representation == "matrix":
        return Rotation.from_matrix(flat.reshape(-1, 3, 3))
    return Rotation.from_matrix(_gram_schmidt(flat))


def _to_flat(rotation: Rotation, representation: str) -> np.ndarray:
    if representation == "quaternion_wxyz":
        return rotation.as_quat(canonical=True)[:, [3, 0, 1, 2]]
    if representation == "quaternion_xyzw":
        return rotation.as_quat(canonical=True)
    if representation == "euler_xyz":
        return rotation.as_euler("xyz")
    matrices = rotation.as_matrix()
    if representation == "matrix":
        return matrices.reshape(-1, 9)
    return np.concatenate([matrices[:, :, 0], matrices[:, :, 1]], axis=1)


def _gram_schmidt(flat: np.ndarray) -> np.ndarray:
    """Matrices (N, 3, 3) of two column vectors (N, 6) (Zhou et al. 2019, arXiv:1812.07035, eq. 15)."""
    first, second = flat[:, :3], flat[:, 3:]
    norm = np.linalg.norm(first, axis=1, keepdims=True)
    if np.any(norm < 1e-9):
        raise ValueError("the first column is zero")
    x = first / norm
    y = second - (x * second).sum(axis=1, keepdims=True) * x
    norm = np.linalg.norm(y, axis=1, keepdims=True)
    if np.any(norm < 1e-9):
        raise ValueError("the two columns are parallel")
    y = y / norm
    return np.stack([x, y, np.cross(x, y)], axis=2)
