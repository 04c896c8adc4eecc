"""Kinematic chains as their makers publish them (`config/chains`), and where they put the links of a robot.

A chain is what a URDF of this package is judged by, so nothing here reads a URDF and everything is computed with numpy alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from beingh_core.contract.paths import is_file
from beingh_core.contract.yaml_text import read_yaml_file

# Joints without an end are compared within one turn either way [rad].
TURN = 2.0 * np.pi


@dataclass(frozen=True, kw_only=True)
class ChainJoint:
    """One joint of a chain, in the words of URDF.

    Attributes:
        name, type, parent, child: as in URDF.
        xyz, rpy: (3,) place [m] and fixed-axis roll, pitch, yaw [rad] of the child in the parent at zero.
        axis: (3,) direction that it turns about or slides along; () where it is fixed.
        limits: lower, upper, velocity and effort; None where the source gives none; () where it is fixed.
        mimic: (joint, multiplier, offset) that it follows; () where it moves by itself.
    """

    name: str
    type: str
    parent: str
    child: str
    xyz: tuple[float, ...]
    rpy: tuple[float, ...]
    axis: tuple[float, ...] = ()
    limits: tuple[float | None, ...] = ()
    mimic: tuple = ()


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A robot's chain.

    Attributes:
        path: the file.
        sources: where the numbers are from.
        assumed: joint -> what no source gives of it, and what to measure.
        joints: parents before their children.
    """

    path: Path
    sources: tuple[str, ...]
    assumed: Mapping[str, str]
    joints: tuple[ChainJoint, ...]

    @property
    def free(self) -> tuple[ChainJoint, ...]:
        """The joints that move by themselves."""
        return tuple(joint for joint in self.joints if joint.axis and not joint.mimic)

    def positions(self, free: Mapping[str, Any]) -> dict[str, Any]:
        """Positions of all movable joints from those that move by themselves, numbers or (N,) of N postures [rad or m]."""
        found = dict(free)
        for joint in self.joints:
            if joint.mimic:
                source, multiplier, offset = joint.mimic
                found[joint.name] = multiplier * found[source] + offset
        return found

    def random_positions(self, rng: np.random.Generator, count: int | None = None) -> dict[str, Any]:
        """Positions of all movable joints, with those that move by themselves anywhere within their limits; (count,) each."""
        free = {}
        for joint in self.free:
            lower, upper = (end if end is not None else sign * TURN for end, sign in zip(joint.limits, (-1.0, 1.0)))
            free[joint.name] = rng.uniform(lower, upper, count)
        return self.positions(free)

    def link_poses(self, positions: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Link -> (4, 4) pose in the root link, at positions of all movable joints.

        (N, 4, 4) for links that joints with (N,) positions move.
        """
        poses = {self.joints[0].parent: np.eye(4)}
        for joint, pose in zip(self.joints, self._placements):
            moved = pose @ _motion(joint, positions[joint.name]) if joint.axis else pose
            poses[joint.child] = poses[joint.parent] @ moved
        return poses

    @cached_property
    def _placements(self) -> list[np.ndarray]:
        """(4, 4) pose of each joint's child in its parent, at zero."""
        poses = []
        for joint in self.joints:
            pose = np.eye(4)
            pose[:3, :3] = Rotation.from_euler("xyz", joint.rpy).as_matrix()
            pose[:3, 3] = joint.xyz
            poses.append(pose)
        return poses


def chain_of(urdf_path: Path) -> Chain | None:
    """The chain that belongs to `urdf/NAME.urdf`: `config/chains/NAME.yaml` beside that folder; None where there is none."""
    path = urdf_path.parent.parent / "config" / "chains" / f"{urdf_path.stem}.yaml"
    return read_chain(path) if is_file(path) else None


def read_chain(path: Path) -> Chain:
    """Reads a chain.

    Raises:
        BeingHError: no readable YAML.
    """
    data: Any = read_yaml_file(path)[0]
    joints = tuple(ChainJoint(**_tuples(entry)) for entry in data["joints"])
    return Chain(path=path, sources=tuple(data["sources"]), assumed=data.get("assumed", {}), joints=joints)


def _tuples(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


def _motion(joint: ChainJoint, position: Any) -> np.ndarray:
    """(4, 4) pose of the child after its joint has moved; (N, 4, 4) for (N,) positions."""
    axis = np.asarray(joint.axis, dtype=np.float64) / np.linalg.norm(joint.axis)
    moved = np.multiply.outer(np.asarray(position, dtype=np.float64), axis)
    pose = np.broadcast_to(np.eye(4), (*moved.shape[:-1], 4, 4)).copy()
    if joint.type == "prismatic":
        pose[..., :3, 3] = moved
    else:
        pose[..., :3, :3] = Rotation.from_rotvec(moved).as_matrix()
    return pose
