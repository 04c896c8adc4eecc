"""Positions of joints that turn without end: such a joint may report its angle within one turn only. No ROS here."""

from __future__ import annotations

import math

import numpy as np

from beingh_core.contract.schema import RobotContract
from beingh_core.contract.urdf import read_urdf

TURN = 2 * math.pi
# Positions farther apart are no angles, and too coarse to take turns off [rad].
_MOST = 1e4


def endless_joints(contract: RobotContract) -> np.ndarray:
    """(A,) bool: which commanded columns are joints that the URDF calls continuous."""
    joints = read_urdf(contract.urdf_path).joints
    return np.array([name in joints and joints[name].type == "continuous" for name in contract.joint_names])


def way(to: float, start: float, endless: bool) -> float:
    """The way from one sample of a joint to another, signed [rad or m]; the shorter one around for an endless joint."""
    apart = to - start
    return math.remainder(apart, TURN) if endless and abs(apart) < _MOST else apart


def nearest_turn(position_J: np.ndarray, reference_J: np.ndarray, endless_J: np.ndarray) -> np.ndarray:
    """(J,) positions, those of endless joints moved by whole turns to within half a turn of a reference (J,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        apart = position_J - reference_J
        turns = np.where(endless_J & (np.abs(apart) < _MOST), np.round(apart / TURN), 0.0)
    return position_J - TURN * turns
