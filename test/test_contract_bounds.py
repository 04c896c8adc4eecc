"""Contracts and URDFs that ask for too much: one error with place, allowed values and remedy; what is sensible stays."""

import copy
import re
from pathlib import Path

import pytest
import yaml
from fuzz_support import failures

from beingh_core.contract import load_contract
from beingh_core.contract.codec import SignalCodec
from beingh_core.contract.urdf import read_urdf
from beingh_core.contract.yaml_text import read_yaml_file
from beingh_core.errors import BeingHError

ROOT = Path(__file__).resolve().parents[1]
FR3 = (ROOT / "config" / "robots" / "fr3.yaml").read_text()
URDF = (ROOT / "urdf" / "fr3.urdf").read_text()


def load(tmp_path, text, urdf=URDF):
    path = tmp_path / "robot.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.replace("urdf/fr3.urdf", "robot.urdf").encode())
    (tmp_path / "robot.urdf").write_bytes(urdf if isinstance(urdf, bytes) else urdf.encode())
    return load_contract(path)


def refused(tmp_path, text, urdf=URDF):
    """The one error of a contract."""
    with pytest.raises(BeingHError) as caught:
        load(tmp_path, text, urdf)
    message = str(caught.value)
    assert len(message) < 1500 + 2 * len(str(tmp_path)) and message.isprintable(), message
    return message


def replaced(old, new):
    assert FR3.count(old) == 1
    return FR3.replace(old, new)


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 10))
TEXTS = {
    "aliases that multiply": (LAUGHS + FR3, r"robot\.yaml:\d+: a\d.*more than such a file holds.*each alias counted"),
    "merged aliases that multiply": (MERGES + FR3, r"robot\.yaml:\d+: a\d.*more than such a file holds"),
    "an anchor that holds itself": ("a: &a [*a]\n" + FR3, "an anchor must not hold itself"),
    "a mapping that merges itself": ("a: &a\n  <<: *a\n" + FR3, "an anchor must not hold itself"),
    "deep nesting": ("a: " + "[" * 90_000, r"robot\.yaml:1: .*20 levels"),
    "deep mappings": ("".join(" " * i + "a:\n" for i in range(300)), r"robot\.yaml:\d\d: .*20 levels"),
    "many keys": ("".join(f"k{i}: 1\n" for i in range(20_000)), "5000 entries"),
    "a huge file": ("#" * 1_000_000 + "\n" + FR3, "this file is too large. Allowed: 262144 bytes"),
    "a long key": (f"? {'x' * 5000}\n: 1\n" + FR3, "key is not a name. Allowed: 1 to 200"),
    "a list as a key": ("? [a]\n: 1\n" + FR3, "key is not a name"),
    "a key that is no text": ("1: 2\n" + FR3, "unknown key `1`"),
    "a tag": ("robot: !!python/name:os.system\n", "tag 'tag:yaml.org,2002:python/name:os.system' has no meaning"),
    "binary": (bytes(range(256)), "cannot read this file.*YAML in UTF-8"),
    "UTF-16": (FR3.encode("utf-16"), "cannot read this file.*YAML in UTF-8"),
    "a null character": ("robot: \x00\n", r"robot\.yaml:1: .*character U\+0000 is not allowed"),
    "a tab": ("uac:\n\tmargin_steps: 1\n", r"robot\.yaml:2: this is not YAML.*spaces, not tabs"),
    "two documents": (FR3 + "---\n" + FR3, "this is not YAML"),
    "an unknown alias": ("a: *b\n", r"robot\.yaml:1: this is not YAML: found undefined alias"),
    "nothing": ("", "not a mapping of keys"),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_yaml_that_holds_more_than_a_contract(name, tmp_path):
    text, words = TEXTS[name]
    assert re.search(words, refused(tmp_path, text))


@pytest.mark.parametrize(
    "value, words",
    [
        ("9" * 5000, "number has 5000 characters. Allowed: up to 60"),
        ("-" + "9" * 5000, "number has 5001 characters"),
        ("1e" + "9" * 5000, "number has 5002 characters"),
        ("9" * 50, "is out of range. Allowed: more than 0.5, at most 1000"),
        ("1e-308", "1e-308 is out of range"), ("1e308", r"1e\+308 is out of range"), ("1e999", "inf is not finite"),
        ("-0.0", "-0 is out of range"), (".nan", "nan is not finite. Allowed: more than 0.5"), ("-.inf", "not finite"),
        ("010", "without leading zeros: 10"), ("0x14", "`0x14` is not a number"),
        ("1:30", "`1:30` is not a number"), ("2024-01-31", "`2024-01-31` is not a number"), ("1_0", "`1_0` is not a number"),
        ("0b1", "not a number"), ("'20'", "`\"20\"` is a text, not a number. Allowed: more than 0.5, at most 1000. To fix: write it without quotes: 20"), ("~", "nothing is written behind the colon. Allowed: more than 0.5, at most 1000. To fix: write a number"),
        ("on", "`true` is not a number"), ("[20]", "is not a number"), ("x" * 100_000, "is not a number"),
    ],
)  # fmt: skip
def test_a_number_is_written_in_plain_digits_and_of_sensible_size(value, words, tmp_path):
    message = refused(tmp_path, re.sub(r"^rate_hz: 20 ", f"rate_hz: {value} ", FR3, flags=re.M))
    assert re.search(r"robot\.yaml:\d+: rate_hz: ", message) and re.search(words, message), message


def edited(dotted, value):
    document = yaml.safe_load(FR3)
    holder, (*parents, last) = document, dotted.split(".")
    for key in parents:
        holder = holder[int(key) if isinstance(holder, list) else key]
    holder[last] = value
    return yaml.safe_dump(document, sort_keys=False)


@pytest.mark.parametrize(
    "dotted, value, words",
    [
        ("policy.chunk_length", 1_000_000_000, "policy.chunk_length.*at least 1, at most 1000"),
        ("policy.chunk_length", 0, "at least 1"),
        ("uac.execution_steps", 10**9, "uac.execution_steps.*at most 1000"),
        ("uac.margin_steps", 10**9, "uac.margin_steps.*at most 1000"),
        ("uac.commit_margin", 11, "uac.commit_margin.*leave nothing of a chunk.*0 to 10"),
        ("uac.blend_steps", 10**9, "uac.blend_steps"),
        ("uac.latency_budget_s", 1e308, "uac.latency_budget_s.*at most 60"),
        ("uac.latency_budget_s", 1e-308, "uac.latency_budget_s.*more than 0.001"),
        ("cameras.wrist_view.max_age_s", 1e-9, "max_age_s.*more than 0.001, at most 60"),
        ("state.eef_position.max_age_s", 1e9, "state.eef_position.max_age_s.*at most 60"),
        ("state.gripper_position.open", 1e-9, "closed and open are the same position"),
        ("limits.acceleration.fr3_joint3", 1e300, "limits.acceleration.fr3_joint3.*at most 10000"),
        ("limits.acceleration.fr3_joint3", 0.01, "acceleration.fr3_joint3.*a stop from .* takes .* s.*at most 20 s"),
        ("limits.velocity_scale", 1e-300, "velocity_scale is out of range for `fr3_joint1`.*change velocity_scale"),
        ("limits.velocity", {"fr3_joint1": 1e-9}, "limits.velocity.fr3_joint1.*more than 0.0001"),
        ("limits.position", {"fr3_joint1": [0.0, 1e-9]}, "limits.position.fr3_joint1.*at least 1e-05 wide"),
        ("limits.position", {"fr3_joint1": [0.0, 10**50]}, "limits.position.fr3_joint1"),
        ("limits.position", {"fr3_joint1": [0] * 5000}, "more than such a file holds|fr3_joint1"),
        (
            "limits.jerk",
            dict.fromkeys([f"fr3_joint{i}" for i in range(1, 8)] + ["fr3_finger_joint1"], 1e-9),
            "limits.jerk",
        ),
        ("watchdog", {"joint_states_s": 1e9}, "watchdog.joint_states_s.*at most 60"),
        ("watchdog", {"tracking_error": 1e9}, "watchdog.tracking_error.*or .inf for no limit"),
        ("home.fr3_joint1", 1e308, "home.fr3_joint1.*at least -1000, at most 1000"),
        ("robot", "", "robot: `` is not a name"),
        ("robot", "a\x1b[31m", "robot: .* is too long or unprintable"),
        ("robot", "x" * 5000, "robot: .* up to 500 printable characters"),
        ("policy.dataset_name", "../../etc/passwd", "policy.dataset_name.*without slashes"),
        ("estop_topic", "/" + "x" * 400, "estop_topic.*not a topic name.*up to 200 characters"),
        ("urdf", "x" * 499, "there is no file"),
        ("urdf", "/dev/zero", "there is no file"),
        ("driver.groups", [{}] * 3000, "driver.groups|more than such a file holds"),
        ("driver.groups.0.joints", [f"j{i}" for i in range(300)], "the list has 300 entries. Allowed: 1 to 200"),
        ("driver.groups.0.joints", ["fr3_joint1", 7], "`7` is not a name"),
        ("cameras", {f"v{i}": {} for i in range(17)}, "17 cameras are named. Allowed: 1 to 16"),
    ],
)
def test_a_value_out_of_bounds(dotted, value, words, tmp_path):
    message = refused(tmp_path, edited(dotted, value))
    assert re.search(words, message) and "robot.yaml:" in message, message


def test_what_is_sensible_still_loads(tmp_path):
    """Aliases, merges, exponents without a point, times and ages at the edge, topics of one name."""
    text = replaced(
        "  wrist_view: {topic: ",
        "  <<: {extra_view: {topic: /x, type: sensor_msgs/msg/Image, encoding: rgb8, max_age_s: 6e1}}\n  wrist_view: {topic: ",
    )
    text = re.sub(r"^rate_hz: 20 ", "rate_hz: 2e1 ", text, flags=re.M)
    (tmp_path / "robot.yaml").write_text(text)
    contract = load_contract(tmp_path / "robot.yaml")
    assert contract.rate_hz == 20.0 and {camera.name for camera in contract.cameras} == {
        "extra_view",
        "scene_view",
        "wrist_view",
    }
    (tmp_path / "a.yaml").write_text("{base: &b {x: 1, y: 2}, over: {<<: *b, x: yes, z: '010'}, 7: -.inf, k: 0.5}")
    data, lines = read_yaml_file(tmp_path / "a.yaml")
    assert data == {"base": {"x": 1, "y": 2}, "over": {"x": True, "y": 2, "z": "010"}, "7": float("-inf"), "k": 0.5}
    assert lines[("over", "z")] == 1


JOINT = '<joint name="fr3_joint3" type="revolute">'


def joint3(old, new):
    """The FR3 with another element in its third joint."""
    start = URDF.index(JOINT)
    end = URDF.index("</joint>", start)
    assert re.search(old, URDF[start:end])
    return URDF[:start] + re.sub(old, new, URDF[start:end], count=1) + URDF[end:]


EXTRA = '<joint name="extra" type="{}"><parent link="{}"/><child link="{}"/>{}</joint></robot>'


def extra(kind="fixed", parent="fr3_link0", child="extra_link", inner="", before='<link name="extra_link"/>'):
    return URDF.replace("</robot>", before + EXTRA.format(kind, parent, child, inner))


LIMIT = '<limit lower="-1" upper="1" effort="1" velocity="1"/>'
ENTITIES = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10 if i else "ha"}">' for i in range(12))
URDFS = {
    "infinite limit": (joint3(r'upper="[^"]*"', 'upper="inf"'), r"robot\.urdf:\d+: limit: 'inf' in upper"),
    "overflowing limit": (joint3(r'upper="[^"]*"', 'upper="1e999"'), "'1e999' in upper"),
    "limit of nan": (joint3(r'lower="[^"]*"', 'lower="nan"'), "'nan' in lower"),
    "limit of 5,000 digits": (joint3(r'lower="[^"]*"', f'lower="{"9" * 5000}"'), "in lower"),
    "endless limit": (joint3(r'upper="[^"]*"', 'upper="1e16"'), "no range for `fr3_joint3`.*-1000 to 1000"),
    "limits exchanged": (joint3(r'upper="[^"]*"', 'upper="-9"'), "joint fr3_joint3: lower -.* is above upper -9"),
    "negative velocity": (joint3(r'velocity="[^"]*"', 'velocity="-1"'), "velocity limit -1 is negative"),
    "no velocity": (joint3(r'velocity="[^"]*"', 'velocity="0"'), "URDF has no velocity limit for `fr3_joint3`"),
    "endless velocity": (joint3(r'velocity="[^"]*"', 'velocity="1e6"'), r"1e\+06 of the URDF .* at most 100"),
    "no limit": (joint3(r"<limit[^>]*>", ""), "needs <limit>"),
    "no axis": (joint3(r"<axis[^>]*>", '<axis xyz="0 0 0"/>'), "joint fr3_joint3: the axis has no direction"),
    "axis of two": (joint3(r"<axis[^>]*>", '<axis xyz="0 1"/>'), "three numbers"),
    "origin of nan": (joint3(r"<origin[^>]*>", '<origin xyz="0 nan 0"/>'), "'0 nan 0' in <origin xyz=...>"),
    "origin far away": (joint3(r"<origin[^>]*>", '<origin xyz="0 1e308 0"/>'), "three numbers up to 1000 in size"),
    "unknown type": (joint3("^", "").replace(JOINT, JOINT.replace("revolute", "revolving")), "'revolving' is no type.*revolute"),
    "floating arm": (joint3("^", "").replace(JOINT, JOINT.replace("revolute", "floating")), "floating, which no single number"),
    "joint twice": (extra(before="").replace('"extra"', '"fr3_joint3"'), r"joint `fr3_joint3` is there twice \(first in line \d+"),
    "link twice": (extra(before='<link name="extra_link"/>' * 2), "link `extra_link` is there twice"),
    "no name": (extra().replace('"extra"', '""'), "'' is no name"),
    "no parent": (extra().replace('<parent link="fr3_link0"/><child link="extra', '<child link="extra'), "no <parent link=...>"),
    "unknown child": (extra(child="extra_lnik"), "no link 'extra_lnik' for <child>.*did you mean `extra_link`"),
    "two carriers": (extra(child="fr3_link3"), "link `fr3_link3` already hangs on joint `fr3_joint3`"),
    "several roots": (URDF.replace("</robot>", '<link name="more"/></robot>'), "2 links hang on no joint.*more"),
    "a cycle": (extra(parent="fr3_link7", child=read_urdf(ROOT / "urdf" / "fr3.urdf").links[0], before=""), "cycle"),
    "a cycle apart": (extra(parent="a", child="a", before='<link name="a"/>'), "joint `extra` is part of a cycle"),
    "mimic of nobody": (extra("revolute", inner=LIMIT + '<mimic joint="fr3_joint9"/>'), "mimics 'fr3_joint9', which is no movable"),
    "mimic of itself": (extra("revolute", inner=LIMIT + '<mimic joint="extra"/>'), "`extra` mimics itself"),
    "mimic of nothing": (extra("revolute", inner=LIMIT + "<mimic/>"), "`extra` mimics ''"),
    "mimic by nan": (extra("revolute", inner=LIMIT + '<mimic joint="fr3_joint1" multiplier="nan"/>'), "'nan' in multiplier"),
    "entities": (f"<!DOCTYPE robot [{ENTITIES}]><robot name='x'>&a11;</robot>", "no DOCTYPE"),
    "a file as an entity": ('<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><robot>&x;</robot>', "no DOCTYPE"),
    "a huge file": (" " * 10_000_000 + URDF, "too large for a robot description"),
    "deep": ("<a>" * 100_000, "nested in at most 50 levels"),
    "many links": (URDF.replace("</robot>", "".join(f'<link name="l{i}"/>' for i in range(3000)) + "</robot>"), "links. Allowed: up to 1000"),
    "not closed": (URDF[:3000], r"robot\.urdf:\d+: this is not XML"),
    "empty": ("", "this is not XML"),
    "not UTF-8": (URDF.encode("utf-16"), "not UTF-8"),
    "xacro macros": (URDF.replace("</robot>", '<xacro:arm prefix="x"/></robot>'), "this is a xacro file.*run `xacro robot.urdf > robot_expanded.urdf`"),
    "xacro values": (joint3(r'upper="[^"]*"', 'upper="${pi}"'), "this is a xacro file"),
    "sdf": ("<sdf version='1.7'><model/></sdf>", "root element is 'sdf'.*<robot>"),
    "what only pinocchio sees": (URDF.replace("<robot ", '<robot version="9.0" ', 1), r"robot\.yaml:\d+: urdf: .*pinocchio cannot read"),
}  # fmt: skip


def test_they_are_refused_in_the_time_and_memory_of_a_good_input(tmp_path):
    inputs = [(text, URDF) for text, _ in TEXTS.values()] + [(FR3, urdf) for urdf, _ in URDFS.values()]
    assert failures(lambda pair: load(tmp_path, *pair), inputs) == []


@pytest.mark.parametrize("name", URDFS)
def test_a_urdf_that_describes_no_arm(name, tmp_path):
    urdf, words = URDFS[name]
    message = refused(tmp_path, FR3, urdf)
    assert re.search(words, message), message


def test_urdf_that_is_odd_and_still_describes_an_arm(tmp_path):
    """Meshes that are not there, joints of others without limits, a xacro namespace, a limit that the contract narrows."""
    visual = '<link name="extra_link"><visual><geometry><mesh filename="package://nowhere/x.stl"/></geometry></visual></link>'
    urdf = extra("continuous", before=visual, inner='<axis xyz="0 0 2"/>').replace(
        "<robot ", '<robot xmlns:xacro="http://www.ros.org/wiki/xacro" ', 1
    )
    (tmp_path / "robot.urdf").write_text(urdf)
    (tmp_path / "robot.yaml").write_text(FR3.replace("urdf/fr3.urdf", "robot.urdf"))
    SignalCodec(load_contract(tmp_path / "robot.yaml"))
    endless = joint3(r'upper="[^"]*"', 'upper="1e16"').replace("2.62", "1e5")
    (tmp_path / "robot.urdf").write_text(endless)
    document = copy.deepcopy(yaml.safe_load(FR3.replace("urdf/fr3.urdf", "robot.urdf")))
    document["limits"] |= {
        "position": {"fr3_joint3": [-2.0, 2.0]},
        "velocity": {f"fr3_joint{i}": 1.0 for i in range(1, 5)},
    }
    (tmp_path / "robot.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    assert load_contract(tmp_path / "robot.yaml").limits.upper[2] == 2.0


def test_the_frames_of_a_pose(tmp_path):
    for key, value, words in (
        (
            "state.eef_position.base_frame",
            "fr3_link5",
            "state.eef_position.base_frame: `fr3_link5` moves with `fr3_joint",
        ),
        (
            "action.eef_position.eef_frame",
            "fr3_link3",
            r"action.eef_position.joints \(written in line \d+\): `fr3_joint4` does not move `fr3_link3`",
        ),
    ):
        assert re.search(words, refused(tmp_path, edited(key, value)))


@pytest.mark.parametrize(
    "name", ["", ".", "x" * 5000, "a\0b", "a/" + "x" * 400 + ".yaml", "\ud800.yaml", "/dev/null", "/"]
)
def test_no_path_is_too_odd_to_be_told(name):
    with pytest.raises(BeingHError, match="no (such )?robot contract"):
        load_contract(name)


def test_what_an_alias_brings_is_told_where_it_is_used_and_where_it_is_written(tmp_path):
    text = "a: &a\n  x: 1\n  y: {z: 2}\nb: *a\nc:\n  <<: *a\n  y: 3\nl:\n  - &i {q: 1}\n  - *i\n  - {r: *a}\n"
    (tmp_path / "a.yaml").write_text(text)
    _, lines = read_yaml_file(tmp_path / "a.yaml")
    places = {
        "a.y.z": "3: a.y.z",
        "b": "4: b (written in line 1)",
        "b.y.z": "4: b.y.z (written in line 3)",
        "c.x": "6: c.x (written in line 2)",
        "c.y": "7: c.y",
        "l.0.q": "9: l.0.q",
        "l.1.q": "10: l.1.q (written in line 9)",
        "l.2.r.x.w": "11: l.2.r.x.w (written in line 2)",
    }
    assert {keys: lines.place(tuple(keys.split("."))) for keys in places} == places


def test_an_error_in_what_an_alias_brings_names_both_lines(tmp_path):
    folder = Path(__file__).parent / "data" / "robots"
    (tmp_path / "inspire_hand.urdf").write_text((folder / "inspire_hand.urdf").read_text())
    text = (folder / "inspire_hand.yaml").read_text().replace("[0.5, 0.0]", "[1.5, 0.0]")
    (tmp_path / "hand.yaml").write_text(text)
    lines = text.splitlines()
    written = next(n for n, line in enumerate(lines, 1) if "[1.5, 0.0]" in line)
    used = next(n for n, line in enumerate(lines, 1) if line.startswith("driver:"))
    told = (
        rf"hand\.yaml:{used}: driver\.range\.L_thumb_proximal_pitch_joint \(written in line {written}\): \[1\.5, 0\.0\]"
    )
    with pytest.raises(BeingHError, match=told):
        load_contract(tmp_path / "hand.yaml")
