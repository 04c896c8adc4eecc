"""Postures that touch are found, those that do not pass: neighbours, hands and homes raise no alarm, boxes keep the robot out."""

import mujoco
import numpy as np
import pytest
from path_check_support import FOLDED, folded
from ros_support import ROOT

from beingh_core.contract import load_contract
from beingh_core.contract.chains import chain_of
from beingh_core.contract.keep_out import KeepOut
from beingh_core.contract.kinematics import Kinematics
from beingh_core.contract.self_collision import Collisions, collisions_of
from beingh_core.contract.urdf import read_urdf
from beingh_core.errors import BeingHError

NAMES = (
    *("adam_u", "aloha", "d1", "fr3", "fr3_inspire", "g1", "gen3", "mobile_ur5e", "so101", "ur5e", "ur5e_2f85"),
    *("vx300s", "xarm7"),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("g1_dex3", "g1_inspire")),
)


def postures(contract, count, spread=None, seed=0):
    """Random postures of the commanded joints: anywhere, or so far from home at most [rad or m]."""
    rng, joints = np.random.default_rng(seed), ~contract.limits.is_velocity
    home = np.array(contract.home)[joints]
    lower, upper = (np.clip(ends[joints], -3.2, 3.2) for ends in (contract.limits.lower, contract.limits.upper))
    if spread is not None:
        lower, upper = np.maximum(lower, home - spread), np.minimum(upper, home + spread)
    return rng.uniform(lower, upper, (count, len(home)))


@pytest.mark.parametrize("name", NAMES)
def test_no_alarm_around_home_and_some_in_the_whole_range(name):
    contract = load_contract(name)
    check = collisions_of(contract)
    assert check.first_hit(postures(contract, 50, 0.1)) is None
    found = [check.first_hit(posture[None]) for posture in postures(contract, 200)]
    assert any(found) and not all(found)
    assert all(hit is None or (hit.first, hit.second) in check.pairs for hit in found)


@pytest.mark.parametrize("name", FOLDED)
def test_a_folded_posture_is_found_at_its_row(name):
    contract = load_contract(name)
    links, home, goal = FOLDED[name][1], np.array(contract.home), folded(contract)
    path = home + np.linspace(0.0, 1.0, 41)[:, None] * (goal - home)
    check = collisions_of(contract)
    hit = check.first_hit(path)
    assert hit is not None and hit.row > 0 and any(word in f"{hit.first} {hit.second}" for word in links.split())
    assert check.first_hit(path[: hit.row]) is None, "the step before is free"
    assert check.first_hit(path[hit.row : hit.row + 1]) is not None


@pytest.mark.parametrize("name", ["aloha", "d1", "fr3", "ur5e_2f85", "so101"])
def test_mujoco_sees_the_same(name):
    """Another engine on the same shapes: a hit is a contact of that pair of bodies, and a free posture has none."""
    contract = load_contract(name)
    check, urdf, chain = (
        collisions_of(contract, margin=0.0),
        read_urdf(contract.urdf_path),
        chain_of(contract.urdf_path),
    )
    model = mujoco.MjModel.from_xml_path(str(contract.urdf_path))
    data = mujoco.MjData(model)

    def body(link):
        """Of the body that MuJoCo makes of a link and of what is fixed to it."""
        movers = urdf.movers(link)
        return model.joint(movers[0]).bodyid[0] if movers else 0

    pairs = {frozenset(map(body, pair)) for pair in check.pairs}
    free = {joint.name: 0.0 for joint in chain.free}
    joints = [joint for joint, moves in zip(contract.joint_names, ~contract.limits.is_velocity) if moves]
    for posture in postures(contract, 60, seed=3):
        for joint, value in chain.positions(free | dict(zip(joints, posture))).items():
            data.qpos[model.joint(joint).qposadr[0]] = value
        mujoco.mj_forward(model, data)
        touching = {frozenset(model.geom_bodyid[pair]) for pair in data.contact.geom if data.ncon}
        hit = check.first_hit(posture[None])
        assert (hit is not None) == bool(touching & pairs), hit
        assert hit is None or frozenset((body(hit.first), body(hit.second))) in touching


@pytest.mark.parametrize("name", ["fr3", "fr3_inspire", "xarm7", "gen3"])
def test_a_hand_may_close(name):
    """Fingers touch each other and the palm when they grasp."""
    contract = load_contract(name)
    (signal,) = (s for s in contract.action if "gripper" in s.slot or "dexhand" in s.slot)
    ends = dict(zip(signal.joints, signal.ranges or [(signal.closed, signal.open)]))
    closed = [ends[j][0] if j in ends else home for j, home in zip(contract.joint_names, contract.home)]
    assert collisions_of(contract).first_hit(np.array([closed])) is None


def box_around(contract, point, size=0.1, **changes):
    return KeepOut(**({"name": "wall", "frame": "fr3_link0", "center": tuple(point), "size": (size,) * 3} | changes))


def test_a_box_keeps_the_robot_out():
    """A box before the hand: reached where kinematics says, and named; what stands still may be in it."""
    contract = load_contract("fr3")
    home = np.array(contract.home)
    arm = Kinematics(contract.urdf_path, contract.joint_names[:7], "fr3_hand_tcp", "fr3_link0")
    place, rotation = arm.fk(home[:7])
    ahead = place + [0.0, 0.25, 0.0]
    reach = arm.solve(place + [0.0, 0.3, 0.0], rotation, home[:7]).positions
    path = np.linspace(home, [*reach, home[7]], 31)
    boxes = [box_around(contract, ahead), box_around(contract, (0.0, 0.0, -0.1), name="table", size=0.3)]
    args = (
        contract.urdf_path,
        contract.joint_names,
        home,
        contract.limits.lower,
        contract.limits.upper,
        ["fr3_finger_joint1"],
    )
    hit = Collisions(*args, boxes).first_hit(path)
    assert hit.second == "keep_out.wall" and hit.row > 5
    before, _ = arm.fk(path[hit.row - 1, :7])
    assert ahead[1] - 0.05 - before[1] > 0.0
    assert Collisions(*args, boxes[1:]).first_hit(path) is None
    with pytest.raises(BeingHError, match="at home .* is in the box `keep_out.wall`"):
        Collisions(*args, [box_around(contract, place)])


def contract_with(tmp_path, keep_out):
    path = tmp_path / "fr3.yaml"
    path.write_text((ROOT / "config" / "robots" / "fr3.yaml").read_text() + f"\nkeep_out:\n  {keep_out}\n")
    return load_contract(path)


def test_boxes_of_a_contract(tmp_path):
    contract = contract_with(tmp_path, "wall: {center: [0, 1, 0.5], size: [2, 0.1, 1]}")
    assert contract.keep_out == (KeepOut(name="wall", frame="fr3_link0", center=(0, 1, 0.5), size=(2, 0.1, 1)),)
    assert contract.hash == load_contract("fr3").hash, "a checkpoint does not depend on the owner's walls"
    assert ("fr3_link7", "keep_out.wall") in collisions_of(contract).pairs
    assert load_contract("fr3").keep_out == () and contract.notes == load_contract("fr3").notes == ()


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        ("wall: {center: [0, 1], size: [1, 1, 1]}", "3 numbers"),
        ("wall: {center: [0, 1, .nan], size: [1, 1, 1]}", "3 numbers"),
        ("wall: {center: [0, 1, 0], size: [1, 0, 1]}", "no size"),
        ("wall: {center: [0, 1, 0], size: [1, -1, 1]}", "no size"),
        ("wall: {center: [0, 1000, 0], size: [1, 1, 1]}", "far from the robot"),
        ("wall: {center: [0, 1, 0]}", "size"),
        ("wall: {center: [0, 1, 0], size: [1, 1, 1], frame: fr3_link9}", "fr3_link"),
        ("wall: {center: [0, 1, 0], size: [1, 1, 1], frame: fr3_link3}", "moves with `fr3_joint3`"),
        ("wall: {center: [0, 1, 0], size: [1, 1, 1], colour: red}", "unknown key `colour`"),
    ],
)
def test_a_box_that_is_none_is_one_error(entry, wanted, tmp_path):
    with pytest.raises(BeingHError, match=wanted.replace("[", r"\[")):
        contract_with(tmp_path, entry)


def test_a_urdf_without_shapes_is_one_error():
    contract = load_contract(ROOT / "test" / "data" / "robots" / "degrees_arm.yaml")
    with pytest.raises(BeingHError, match="no collision shapes"):
        collisions_of(contract)
