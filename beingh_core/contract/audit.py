"""All contracts of the package at once: whether they are valid, and whether their URDFs are what the makers publish."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from beingh_core.contract.chains import Chain, chain_of
from beingh_core.contract.check import ERROR, OK, WARN, Row, check_contract
from beingh_core.contract.urdf import UrdfFacts, read_urdf

POSES = 100
# A URDF may be this far from its chain [m].
MAX_FK_ERROR_M = 1e-6
# Points of each link that are compared: its origin and one on each axis, which its rotation moves [m].
_POINTS = np.vstack([np.zeros(3), 0.1 * np.eye(3)])


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found about one contract.

    Attributes:
        valid: whether everything that can be checked without a robot is in order.
        fk_max_error_m: largest distance between a link's points by the URDF and by the published chain; None without a chain.
        limits_equal: whether joints, types and limits are the chain's; None without a chain.
        assumed: `key: what to measure` of every value that no source gives.
        notes: what is wrong or missing, a line each.
    """

    valid: bool
    fk_max_error_m: float | None = None
    limits_equal: bool | None = None
    assumed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; a robot without a published chain may be."""
        near = self.fk_max_error_m is None or self.fk_max_error_m <= MAX_FK_ERROR_M
        return self.valid and near and self.limits_equal is not False

    def as_json(self) -> dict[str, object]:
        """Its attributes as plain data; JSON has no infinity."""
        far = self.fk_max_error_m is not None and not math.isfinite(self.fk_max_error_m)
        return asdict(self) | ({"fk_max_error_m": 1e9} if far else {})


def audit(path_or_name: str | Path) -> Verdict:
    """Checks one contract and compares its URDF with the chain that its makers publish."""
    contract, rows = check_contract(path_or_name)
    notes = [f"{row.subject}: {row.found}" for row in rows if row.level == ERROR]
    if contract is None:
        return Verdict(valid=False, notes=tuple(notes))
    valid = not notes
    assumed = [f"{one.key}: {one.measure}" for one in contract.assumed]
    chain = chain_of(contract.urdf_path)
    if chain is None:
        notes.append(f"no published chain for {contract.urdf_path.name}: its kinematics and limits are not compared")
        return Verdict(valid=valid, assumed=tuple(assumed), notes=tuple(notes))
    differences = limit_differences(read_urdf(contract.urdf_path), chain)
    return Verdict(
        valid=valid,
        fk_max_error_m=fk_error(contract.urdf_path, chain),
        limits_equal=not differences,
        assumed=(*assumed, *(f"{chain.path.name}, {joint}: {text}" for joint, text in chain.assumed.items())),
        notes=(*notes, *differences),
    )


def line_of(name: str, verdict: Verdict) -> Row:
    """A verdict for people."""
    off, assumed = verdict.fk_max_error_m, f"{len(verdict.assumed)} values assumed"
    if off is None:
        near = "no published chain"
    else:
        near = f"URDF within {off:.1e} m of the published chain, limits {'equal' if verdict.limits_equal else 'differ'}"
    level = OK if verdict.ok and off is not None else WARN if verdict.ok else ERROR
    return Row(level=level, subject=name, found="; ".join([near, assumed, *verdict.notes]))


def limit_differences(urdf: UrdfFacts, chain: Chain) -> list[str]:
    """In what joints, types, limits and couplings of a URDF are not those of a chain, a line each."""
    published = {joint.name: joint for joint in chain.joints if joint.axis}
    found = [f"`{name}` is in one of URDF and chain only" for name in sorted(set(published) ^ set(urdf.joints))]
    for name in published.keys() & urdf.joints.keys():
        joint, mine = published[name], urdf.joints[name]
        ends = [sign * math.inf if end is None else end for end, sign in zip(joint.limits, (-1, 1))]
        wanted = (joint.type, *ends, *joint.limits[2:], *(joint.mimic or (None, 1.0, 0.0)))
        given = (
            mine.type,
            mine.lower,
            mine.upper,
            mine.velocity,
            mine.effort,
            mine.mimics,
            mine.multiplier,
            mine.offset,
        )
        if given != wanted:
            found.append(f"`{name}` is {given} in the URDF and {wanted} in the chain")
    return found


def fk_error(urdf_path: Path, chain: Chain, poses: int = POSES) -> float:
    """Largest distance [m] between points of the links by pinocchio on the URDF and by numpy on the chain, at random postures.

    Infinite where a link of the chain is not in the URDF.
    """
    import pinocchio as pin

    from beingh_core.contract.kinematics import load_model

    model = load_model(urdf_path)
    data, urdf = model.createData(), read_urdf(urdf_path)
    positions = chain.random_positions(np.random.default_rng(0), poses)
    wanted = chain.link_poses(positions)
    frames = {frame.name: i for i, frame in enumerate(model.frames) if frame.type == pin.BODY}
    if not wanted.keys() <= frames.keys():
        return math.inf
    links = [frames[link] for link in wanted]
    vectors = np.tile(pin.neutral(model), (poses, 1))
    for name, joint in urdf.joints.items():
        source = positions.get(joint.mimics or name, 0.0)
        column = model.joints[model.getJointId(name)].idx_q
        vectors[:, column] = source if joint.mimics is None else joint.multiplier * source + joint.offset
    root = links[list(wanted).index(chain.joints[0].parent)]
    found = np.empty((len(links), poses, 4, 4))
    for row, vector in enumerate(vectors):
        pin.framesForwardKinematics(model, data, vector)
        from_root = data.oMf[root].inverse()
        for number, link in enumerate(links):
            found[number, row] = (from_root * data.oMf[link]).homogeneous
    off = (_points(found[number]) - _points(pose) for number, pose in enumerate(wanted.values()))
    return max(float(np.linalg.norm(distance, axis=-1).max()) for distance in off)


def _points(pose: np.ndarray) -> np.ndarray:
    return _POINTS @ np.swapaxes(pose[..., :3, :3], -1, -2) + pose[..., None, :3, 3]
