"""The shipped URDFs against what the makers publish: kinematics, limits, what MuJoCo makes of them, and every value's origin."""

import json
import math
import re

import mujoco
import numpy as np
import pytest
import yaml
from ros_support import ROOT
from test_robots import ROBOTS

from beingh_core.contract import load_contract
from beingh_core.contract.audit import MAX_FK_ERROR_M, audit, fk_error, limit_differences
from beingh_core.contract.chains import chain_of, read_chain
from beingh_core.contract.codec import SignalCodec
from beingh_core.contract.urdf import read_urdf
from beingh_ros.cli import main

URDFS = sorted(path.stem for path in (ROOT / "urdf").glob("*.urdf"))


def urdf_of(name):
    return ROOT / "urdf" / f"{name}.urdf"


def chain(name):
    return chain_of(urdf_of(name))


def test_every_robot_is_valid_and_near_its_chain(tmp_path, capsys):
    assert main(["robots", "check", "--all", "--json", str(tmp_path / "all.json")]) == 0
    found = json.loads((tmp_path / "all.json").read_text())
    assert set(found) == set(ROBOTS) and len(found) >= 14
    assert f"robots: {len(ROBOTS)}, errors: 0" in capsys.readouterr().out
    for name, verdict in found.items():
        assert verdict["valid"] and verdict["limits_equal"], name
        assert 0.0 <= verdict["fk_max_error_m"] <= 1e-6, name
        said = " ".join(verdict["assumed"])
        document = yaml.safe_load((ROOT / "config" / "robots" / f"{name}.yaml").read_text())
        assert document["assumed"], f"{name}: cameras and latency are the owner's, so something is assumed"
        for key, text in document["assumed"].items():
            assert f"{key}: {text}" in said and len(text) > 15, f"{name}: {key} says what to measure"


def test_every_urdf_has_a_chain_with_sources():
    assert {path.stem for path in (ROOT / "config" / "chains").glob("*.yaml")} == set(URDFS)
    for name in URDFS:
        one = chain(name)
        assert one.sources and all(re.search(r"[\w-]+/[\w.-]+ [0-9a-f]{7}", source) for source in one.sources)
        assert set(one.assumed) <= {joint.name for joint in one.joints}


def test_the_chain_is_computed_right():
    """By franka_description's own pose, and by hand at zero where every rotation but one is none."""
    q = dict(zip([f"fr3_joint{i}" for i in range(1, 8)], np.pi * np.array([0, -0.25, 0, -0.75, 0, 0.5, 0.25])))
    one = chain("fr3")
    pose = one.link_poses(one.positions(q | {"fr3_finger_joint1": 0.02}))
    np.testing.assert_allclose(pose["fr3_hand_tcp"][:3, 3], [0.3069, 0.0, 0.4869], atol=1e-4)
    np.testing.assert_allclose(pose["fr3_leftfinger"][:3, 3] - pose["fr3_rightfinger"][:3, 3], [0, -0.04, 0], atol=1e-4)
    one = chain("vx300s")
    at_zero = one.link_poses(one.positions({joint.name: 0.0 for joint in one.free}))
    places = np.array([joint.xyz for joint in one.joints[:9]])
    np.testing.assert_allclose(at_zero["fingers_link"][:3, 3], places.sum(axis=0), atol=1e-9)


CHANGES = {
    "a place": ('xyz="0 0 0.267"', 'xyz="0 0 0.26701"', True, False),
    "an angle": ('rpy="-1.5708 0 0"', 'rpy="-1.5709 0 0"', True, False),
    "the axis": ('<axis xyz="-1 0 0"/>', '<axis xyz="1 0 0"/>', True, False),
    "a limit": ('lower="-2.059"', 'lower="-2.06"', False, True),
    "a velocity": ('velocity="3.14"', 'velocity="3.15"', False, True),
    "an effort": ('effort="30"', 'effort="90"', False, True),
    "a coupling": ('multiplier="1"', 'multiplier="0.9"', True, True),
    "a type": ('<joint name="joint7" type="revolute">', '<joint name="joint7" type="continuous">', False, True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_urdf_that_is_off_is_noticed(change, tmp_path):
    old, new, moves, differs = CHANGES[change]
    text = urdf_of("xarm7").read_text()
    assert old in text
    path = tmp_path / "xarm7.urdf"
    path.write_text(text.replace(old, new, 1))
    assert (fk_error(path, chain("xarm7"), poses=10) > MAX_FK_ERROR_M) == moves
    assert bool(limit_differences(read_urdf(path), chain("xarm7"))) == differs


def test_a_missing_link_a_missing_chain_and_a_broken_contract(tmp_path):
    (tmp_path / "urdf").mkdir()
    (tmp_path / "ur5e.yaml").write_text((ROOT / "config" / "robots" / "ur5e.yaml").read_text())
    path = tmp_path / "urdf" / "ur5e.urdf"
    text = urdf_of("ur5e").read_text()
    path.write_text(text)
    verdict = audit(tmp_path / "ur5e.yaml")
    assert verdict.ok and verdict.fk_max_error_m is None and verdict.limits_equal is None
    assert "no published chain for ur5e.urdf" in verdict.notes[0]
    path.write_text(text.replace('"tool0"', '"tool1"'))
    assert fk_error(path, chain("ur5e"), poses=1) == math.inf
    verdict = audit(tmp_path / "ur5e.yaml")
    assert not verdict.valid and not verdict.ok and "tool0" in verdict.notes[0]


@pytest.mark.parametrize("words", [["--json", "x"], [], ["ur5e", "--all"], ["--all", "--live"]])
def test_what_does_not_go_together_is_refused(words, capsys):
    assert main(["robots", "check", *words]) != 0
    assert "To fix" in capsys.readouterr().err


@pytest.mark.parametrize("name", URDFS)
def test_mujoco_takes_the_urdf_and_agrees(name):
    """Names, ranges and places of links at random postures; every moving link has mass and a shape that can touch."""
    model = mujoco.MjModel.from_xml_path(str(urdf_of(name)))
    data, one, rng = mujoco.MjData(model), chain(name), np.random.default_rng(1)
    moving = [joint for joint in one.joints if joint.axis]
    assert {model.joint(i).name for i in range(model.njnt)} == {joint.name for joint in moving}
    for joint in moving:
        body = model.body(model.joint(joint.name).bodyid[0])
        assert body.mass[0] > 0.0 and (body.inertia > 0.0).all(), joint.child
        touching = model.geom_contype[body.geomadr[0] : body.geomadr[0] + body.geomnum[0]]
        assert body.geomnum[0] and touching.all(), f"{joint.child} has no shape"
        if joint.limits[0] is not None:
            np.testing.assert_allclose(model.joint(joint.name).range, joint.limits[:2], atol=1e-12)
    for _ in range(3):
        positions = one.random_positions(rng)
        for joint in moving:
            data.qpos[model.joint(joint.name).qposadr[0]] = positions[joint.name]
        mujoco.mj_kinematics(model, data)
        poses = one.link_poses(positions)
        for joint in moving:
            np.testing.assert_allclose(data.body(joint.child).xpos, poses[joint.child][:3, 3], atol=1e-6)


@pytest.mark.parametrize("name", ROBOTS)
def test_commands_and_actions_are_two_ways_to_say_one_thing(name):
    """Small moves from postures around home, as actions and back; absolute joints anywhere in their range."""
    contract, rng = load_contract(name), np.random.default_rng(2)
    codec, limits, home = SignalCodec(contract), contract.limits, np.array(contract.home)
    lower = np.where(np.isfinite(limits.lower), limits.lower, home - 3.0)
    upper = np.where(np.isfinite(limits.upper), limits.upper, home + 3.0)
    poses = any(signal.eef_frame for signal in contract.action)
    for _ in range(5):
        start = np.clip(home + rng.uniform(-0.1, 0.1, len(home)), lower, upper)
        goal = (
            np.clip(start + rng.uniform(-0.01, 0.01, len(home)), lower, upper) if poses else rng.uniform(lower, upper)
        )
        start, goal = (_in_grip(contract, q) for q in (start, goal))
        actions = codec.encode_commands(np.stack([start, goal]))
        decoded = codec.decode(actions, start).positions[0]
        again = codec.encode_commands(np.stack([start, decoded]))
        for slot, values in actions.items():
            np.testing.assert_allclose(again[slot], values, atol=2e-5, err_msg=f"{slot} of {name}")
        if not poses:
            np.testing.assert_allclose(decoded, goal, atol=2e-5)


def _in_grip(contract, positions):
    """Positions whose coupled joints follow, and whose grippers and hands are between closed and open."""
    found = dict(zip(contract.joint_names, positions))
    for signal in contract.action:
        ends = signal.ranges or ([(signal.closed, signal.open)] if signal.closed is not None else [])
        for joint, (closed, opened) in zip(signal.joints, ends):
            found[joint] = np.clip(found[joint], min(closed, opened), max(closed, opened))
        for coupled in signal.coupling:
            found[coupled.joint] = coupled.scale * found[coupled.of] + coupled.offset
    return np.clip([found[name] for name in contract.joint_names], contract.limits.lower, contract.limits.upper)


def test_the_page_of_all_robots_says_what_is():
    rows = re.findall(
        r"^\| `(\w+)` \|.*\| (\d+) \|.*\|(.*)\| (\d+) \|$", (ROOT / "docs" / "robots.md").read_text(), re.M
    )
    assert sorted(row[0] for row in rows) == ROBOTS
    for name, commanded, actions, assumed in rows:
        contract = load_contract(name)
        assert int(commanded) == len(contract.joint_names), name
        assert ("poses" in actions) == any(signal.eef_frame for signal in contract.action), name
        assert int(assumed) == len(contract.assumed) + len(chain_of(contract.urdf_path).assumed), name


def test_joints_without_limits_are_told(tmp_path, capsys):
    """What turns without end says so, until the owner bounds it."""
    assert main(["robots", "check", "gen3"]) in (0, 1)  # 1 where the gripper's messages are not installed
    assert "NO limits of position for joint_1, joint_3, joint_5, joint_7" in capsys.readouterr().out
    text = (ROOT / "config" / "robots" / "gen3.yaml").read_text()
    bounds = ", ".join(f"joint_{i}: [-6.0, 6.0]" for i in (1, 3, 5, 7))
    (tmp_path / "gen3.yaml").write_text(text.replace("limits:\n", f"limits:\n  position: {{{bounds}}}\n", 1))
    assert main(["robots", "check", str(tmp_path / "gen3.yaml")]) in (0, 1)
    assert "NO limits" not in capsys.readouterr().out
    (tmp_path / "gen3.yaml").write_text(re.sub(r"  limits: .*\n", "", text))
    main(["robots", "check", str(tmp_path / "gen3.yaml")])
    assert re.search("WARN +limits .*NO limits of position for joint_1.*limits.position", capsys.readouterr().out)


def test_a_chain_that_is_no_yaml_is_one_error(tmp_path):
    (tmp_path / "bad.yaml").write_text("joints: [")
    with pytest.raises(Exception, match="bad.yaml"):
        read_chain(tmp_path / "bad.yaml")
