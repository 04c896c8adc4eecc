"""`beingh robots new`: what a URDF tells stands in the contract, what it does not tell is listed, and nothing is overwritten."""

import os
import re
import sys

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ros_support import ROOT

from beingh_core.contract import load_contract
from beingh_core.contract.check import ERROR, WARN, check_contract
from beingh_core.contract.draft.command import write_draft
from beingh_core.contract.draft.words import part_of, side_of, words
from beingh_core.errors import BeingHError
from beingh_ros.cli import main

# URDF -> shipped contract that commands the same joints, and slots of further joints that the draft proposes.
SHIPPED = {
    "adam_u": ("adam_u", set()),
    "aloha": ("aloha", set()),
    "d1": ("d1", set()),
    "fr3": ("fr3_joints", set()),
    "fr3_inspire": ("fr3_inspire", set()),
    "g1": ("g1", {"waist_position"}),
    "g1_dex3": ("g1_dex3", {"waist_position"}),
    "g1_inspire": ("g1_inspire", {"waist_position"}),
    "gen3": ("gen3", set()),
    "so101": ("so101", set()),
    "ur5e": ("ur5e", set()),
    "ur5e_2f85": ("ur5e_2f85", set()),
    "vx300s": ("vx300s", set()),
    "xarm7": ("xarm7", set()),
}


def joint(
    name, kind="revolute", parent="base", child=None, limit='lower="-1" upper="1" velocity="2" effort="5"', more=""
):
    limit = f"<limit {limit}/>" if limit is not None else ""
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child or name + "_link"}"/>'
        f'<origin xyz="0 0 0.1"/><axis xyz="0 0 1"/>{limit}{more}</joint>'
    )


def robot(*joints, links=()):
    text = "".join(joints)
    names = dict.fromkeys([*links, *re.findall(r'(?:parent|child) link="([^"]*)"', text)])
    return f'<robot name="r">{"".join(f"""<link name="{name}"/>""" for name in names)}{text}</robot>'


def drafted(tmp_path, text, **options):
    """The draft from a URDF, as a contract and as a document."""
    path = tmp_path / "r.urdf"
    path.write_text(text)
    out = write_draft(path, options.get("srdf"), tmp_path / "r.yaml")
    contract, rows = check_contract(out)
    assert not [row for row in rows if row.level in (ERROR, WARN)], rows
    return contract, yaml.safe_load(out.read_text())


@pytest.mark.parametrize("urdf", SHIPPED)
def test_the_slots_of_a_shipped_urdf_are_found(urdf, tmp_path, capsys):
    out = tmp_path / f"{urdf}.yaml"
    assert main(["robots", "new", "--urdf", str(ROOT / "urdf" / f"{urdf}.urdf"), "--out", str(out)]) == 0
    captured, contract = capsys.readouterr().out, load_contract(out)
    shipped, more = SHIPPED[urdf]
    wanted = {signal.slot: set(signal.commanded) for signal in load_contract(shipped).action}
    found = {signal.slot: set(signal.commanded) for signal in contract.action}
    assert {slot: joints for slot, joints in found.items() if slot not in more} == wanted and more <= found.keys()
    assert not re.search("ERROR|WARN", captured) and f"wrote {out}" in captured
    for key in ("cameras", "limits.acceleration", "driver"):
        assert key in {assumed.key for assumed in contract.assumed} and key in captured
    document = out.read_text()
    for name in re.findall(
        r'<joint name="(\w+)" type="(?:revolute|continuous|prismatic)">', contract.urdf_path.read_text()
    ):
        assert name in document, f"{name} is neither commanded nor named"


def test_mimic_endless_wheels_legs_and_floating_joints_are_told(tmp_path):
    contract, _ = drafted(
        tmp_path,
        robot(
            joint("turn", "continuous", limit=None),
            joint("lift", parent="turn_link"),
            joint("left_wheel", "continuous", limit=None),
            joint("knee"),
            joint("free", "floating", limit=None),
            joint("copy", parent="lift_link", more='<mimic joint="lift" multiplier="-1"/>'),
        ),
    )
    text = contract.path.read_text()
    assert contract.joint_names == ("turn", "lift")
    assert "turn without end: turn, left_wheel" in text and "copy: it mimics lift" in text
    for name, why in (("left_wheel", "wheels"), ("knee", "legs"), ("free", "floating")):
        assert re.search(rf"#   {name}: .*{why}", text)


def test_an_open_range_is_narrowed_and_a_speed_that_is_missing_or_wild_is_careful(tmp_path):
    limits = 'lower="-1e10" upper="1e10" velocity="1e9" effort="1"', 'lower="-1e10" upper="2" velocity="0" effort="1"'
    contract, document = drafted(
        tmp_path,
        robot(
            joint("a", limit=limits[0]),
            joint("b", parent="a_link", limit=limits[1]),
            joint("c", "prismatic", "b_link", limit=limits[0]),
        ),
    )
    assert contract.limits.velocity.tolist() == [1.0, 1.0, 0.1]
    assert document["limits"]["position"] == {"a": [-3.1416, 3.1416], "b": [-3.1416, 2.0], "c": [-0.1, 0.1]}
    assert "limits.position" in document["assumed"]


def test_a_joint_without_a_range_is_left_out_and_named(tmp_path):
    contract, _ = drafted(tmp_path, robot(joint("a"), joint("b", parent="a_link", limit='velocity="1" effort="1"')))
    assert contract.joint_names == ("a",) and "#   b: the URDF gives it no range" in contract.path.read_text()


def test_two_fingers_share_one_number(tmp_path):
    slide = 'lower="0" upper="0.04" velocity="0.2" effort="9"', 'lower="-0.02" upper="0" velocity="0.2" effort="9"'
    fingers = (
        joint("finger_a", "prismatic", "wrist_link", limit=slide[0]),
        joint("finger_b", "prismatic", "wrist_link", limit=slide[1]),
    )
    contract, document = drafted(tmp_path, robot(joint("wrist"), *fingers))
    (grip,) = (signal for signal in contract.action if signal.slot == "gripper_position")
    assert (grip.closed, grip.open) == (0.0, 0.04) and grip.joints == ("finger_a",)
    assert [(one.joint, one.scale, one.offset) for one in grip.coupling] == [("finger_b", -0.5, 0.0)]
    assert {"state.gripper_position", "state.gripper_position.coupling"} <= document["assumed"].keys()


@pytest.mark.parametrize(
    ("urdf", "slot"), [("dex3_hand", "left_dexhand_position"), ("inspire_hand", "left_dexhand_position")]
)
def test_a_hand_without_an_arm(urdf, slot, tmp_path):
    source = ROOT / "test" / "data" / "robots" / f"{urdf}.urdf"
    (signal,) = load_contract(write_draft(source, None, tmp_path / "r.yaml")).action
    (shipped,) = load_contract(source.with_suffix(".yaml")).action
    assert signal.slot == slot and set(signal.commanded) == set(shipped.commanded)


def test_a_single_left_arm_takes_the_left_slots(tmp_path):
    contract, _ = drafted(tmp_path, robot(joint("left_shoulder"), joint("left_elbow", parent="left_shoulder_link")))
    assert [signal.slot for signal in contract.action] == ["left_arm_joint_position"]


def test_names_that_yaml_would_take_for_something_else(tmp_path):
    names = ["yes", "1e3", "a: b", "{x}", "#c", "ü", "null", "'q'", "it's"]
    joints = [joint(name, parent="base" if not i else f"k{i - 1}", child=f"k{i}") for i, name in enumerate(names[:7])]
    contract, _ = drafted(tmp_path, robot(*joints))
    assert contract.joint_names == tuple(names[:7])


@pytest.mark.parametrize("there", ["file", "link", "folder"])
def test_nothing_is_overwritten(there, tmp_path, capsys):
    out = tmp_path / "r.yaml"
    {"file": lambda: out.write_text("mine"), "link": lambda: os.symlink(tmp_path / "none", out), "folder": out.mkdir}[
        there
    ]()
    (tmp_path / "r.urdf").write_text(robot(joint("a")))
    assert main(["robots", "new", "--urdf", str(tmp_path / "r.urdf"), "--out", str(out)]) != 0
    assert "is there already" in capsys.readouterr().err and sorted(os.listdir(tmp_path)) == ["r.urdf", "r.yaml"]
    assert there != "file" or out.read_text() == "mine"


CYCLE = robot(joint("a", parent="x", child="y"), joint("b", parent="y", child="x"))
HOSTILE = {
    "no limits": (robot(joint("a", limit=None)), "needs <limit>"),
    "endless limits": (robot(joint("a", limit='lower="-inf" upper="inf" velocity="1" effort="1"')), "'-inf' in lower"),
    "not numbers": (robot(joint("a", limit='lower="nan" upper="1" velocity="1" effort="1"')), "'nan' in lower"),
    "upside down": (robot(joint("a", limit='lower="1" upper="-1" velocity="1" effort="1"')), "above upper"),
    "a cycle": (CYCLE, "cycle"),
    "a name twice": (robot(joint("a"), joint("a", child="z")), "twice"),
    "no joints": (robot(links=["base"]), "no joint of this URDF can be commanded"),
    "only wheels": (robot(joint("wheel", "continuous", limit=None)), "wheel: wheels"),
    "no ranges": (robot(joint("a", limit='velocity="1" effort="1"')), "no range"),
    "another root": ("<sdf/>", "root element"),
    "no xml": ("robot", "not XML"),
    "empty": ("", "not XML"),
    "a document type": ('<!DOCTYPE r [<!ENTITY a "b">]><robot name="r"/>', "DOCTYPE"),
    "xacro inside": ('<robot name="r"><xacro:include filename="x"/></robot>', "xacro"),
    "huge": ("<robot>" + " " * (9 * 1024 * 1024) + "</robot>", "too large"),
    "many links": (robot(links=[f"l{i}" for i in range(1001)]), "1001 links"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_urdf_is_one_clear_error_and_leaves_nothing(case, tmp_path, capsys):
    text, wanted = HOSTILE[case]
    (tmp_path / "r.urdf").write_text(text)
    assert main(["robots", "new", "--urdf", str(tmp_path / "r.urdf"), "--out", str(tmp_path / "r.yaml")]) != 0
    captured = capsys.readouterr().err
    assert wanted in captured and "Traceback" not in captured and len(captured) < 2000
    assert os.listdir(tmp_path) == ["r.urdf"]


def test_meshes_are_not_looked_for(tmp_path):
    mesh = '<visual><geometry><mesh filename="package://nowhere/a.dae"/></geometry></visual>'
    text = robot(joint("a")).replace('<link name="base"/>', f'<link name="base">{mesh}</link>')
    assert drafted(tmp_path, text)[0].joint_names == ("a",)


@pytest.mark.parametrize("name", ["none.urdf", "a\x00b.urdf"])
def test_a_urdf_that_is_not_there(name, tmp_path, capsys):
    assert main(["robots", "new", "--urdf", str(tmp_path / name)]) != 0
    assert "no such URDF" in capsys.readouterr().err


def test_a_name_that_is_none_and_a_folder_that_is_not_there(tmp_path, capsys):
    (tmp_path / "7.urdf").write_text(robot(joint("a")))
    assert main(["robots", "new", "--urdf", str(tmp_path / "7.urdf")]) != 0
    assert "--robot NAME" in capsys.readouterr().err
    out = tmp_path / "no" / "r.yaml"
    assert main(["robots", "new", "--urdf", str(tmp_path / "7.urdf"), "--robot", "r", "--out", str(out)]) != 0
    assert "cannot be written" in capsys.readouterr().err


XACRO = '<robot xmlns:xacro="http://ros.org/wiki/xacro" name="r"><xacro:property name="w" value="2.0"/>{}</robot>'


def test_a_xacro_is_expanded_where_xacrodoc_is_installed(tmp_path):
    pytest.importorskip("xacrodoc")
    inner = robot(joint("a", limit='lower="${-w/2}" upper="${w/2}" velocity="${w}" effort="1"'))[
        len('<robot name="r">') : -len("</robot>")
    ]
    (tmp_path / "r.urdf.xacro").write_text(XACRO.format(inner))
    out = write_draft(tmp_path / "r.urdf.xacro", None, tmp_path / "r.yaml")
    contract = load_contract(out)
    assert contract.urdf_path == tmp_path / "r.urdf" and contract.limits.upper.tolist() == [1.0]
    (tmp_path / "bad.xacro").write_text(XACRO.format('<link name="${nothing}"/>'))
    with pytest.raises(BeingHError, match="xacro cannot expand this"):
        write_draft(tmp_path / "bad.xacro", None, tmp_path / "bad.yaml")
    out.unlink()
    with pytest.raises(BeingHError, match="r.urdf.*is there already"):
        write_draft(tmp_path / "r.urdf.xacro", None, out)


def test_a_xacro_without_xacrodoc_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "xacrodoc", None)
    (tmp_path / "r.urdf.xacro").write_text(XACRO.format(""))
    with pytest.raises(BeingHError, match="pip install xacrodoc.*xacro r.urdf.xacro > r.urdf"):
        write_draft(tmp_path / "r.urdf.xacro", None, tmp_path / "r.yaml")
    assert os.listdir(tmp_path) == ["r.urdf.xacro"]


def test_a_xacro_called_urdf_is_not_expanded_over_itself(tmp_path, capsys):
    (tmp_path / "u_xacro.urdf").write_text(XACRO.format(""))
    assert main(["robots", "new", "--urdf", str(tmp_path / "u_xacro.urdf")]) != 0
    told = capsys.readouterr().err
    assert "`xacro u_xacro.urdf > u_xacro_expanded.urdf`" in told and "--urdf FILE" in told


def test_words():
    assert words("shoulderPitch_Left") == ["shoulder", "pitch", "left"]
    assert words("R_thumb_proximal_yaw_joint")[:2] == ["r", "thumb"] and words("fr3_joint1") == [
        "fr",
        "3",
        "joint",
        "1",
    ]
    assert part_of("drive_joint", "left_outer_knuckle") == "finger" and part_of("wrist_roll", "gripper_link") == "arm"
    assert side_of(("L_elbow", "L_wrist")) == "left" and side_of(("elbow", "wrist_left")) is None


NAMES = [
    "arm",
    "left_arm",
    "right_arm",
    "wrist",
    "finger",
    "left_finger",
    "thumb",
    "head",
    "neck",
    "torso",
    "waist",
    "wheel",
    "hip",
    "x",
]


@st.composite
def trees(draw):
    """URDFs of random trees: any part anywhere, with and without ranges, coupled and endless joints."""
    joints, links = [], ["base"]
    for index in range(draw(st.integers(1, 14))):
        kind = draw(st.sampled_from(["revolute", "revolute", "prismatic", "continuous", "fixed", "floating"]))
        low, high = sorted(draw(st.tuples(*[st.sampled_from([-1e16, -7.0, -0.5, 0.0, 0.001, 0.6, 3.0, 2e3])] * 2)))
        velocity = draw(st.sampled_from([0, 1e-6, 0.3, 9.0, 1e6]))
        more = f'<mimic joint="{draw(st.sampled_from(joints))[0]}"/>' if joints and draw(st.integers(0, 5)) == 0 else ""
        name = f"{draw(st.sampled_from(NAMES))}_{index}"
        parent = draw(st.sampled_from(links))
        limit = f'lower="{low}" upper="{high}" velocity="{velocity}" effort="1"'
        joints.append(
            (name, joint(name, kind, parent, f"link{index}", limit, more if kind not in ("fixed", "floating") else ""))
        )
        links.append(f"link{index}")
    return robot(*(text for _, text in joints))


@given(trees())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_tree_gives_a_contract_that_loads_or_one_error(tmp_path, text):
    urdf, out = tmp_path / "r.urdf", tmp_path / "r.yaml"
    urdf.write_text(text)
    out.unlink(missing_ok=True)
    try:
        write_draft(urdf, None, out)
    except BeingHError:
        assert not out.exists()
        return
    contract, rows = check_contract(out)
    assert contract is not None and not [row for row in rows if row.level in (ERROR, WARN)], (rows, out.read_text())
