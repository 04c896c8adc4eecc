"""Robot contracts: the FR3's loads; every mistake is one error with file, key, values and remedy."""

import copy
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from beingh_core.contract import load_contract
from beingh_core.contract.keys import CONTRACT
from beingh_core.contract.limits import read_limits
from beingh_core.contract.reader import read_yaml
from beingh_core.contract.urdf import read_urdf
from beingh_core.errors import BeingHError

ROOT = Path(__file__).resolve().parents[1]
FR3 = ROOT / "config" / "robots" / "fr3.yaml"


@pytest.fixture
def document():
    """The FR3 contract as data, to be damaged by a test."""
    document = yaml.safe_load(FR3.read_text())
    del document["assumed"]  # names keys that a test may take out
    return document


@pytest.fixture
def load(tmp_path):
    def load_document(document):
        path = tmp_path / "robot.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return load_contract(path)

    return load_document


def test_fr3_by_name_and_by_path():
    contract = load_contract("fr3")
    arm = tuple(f"fr3_joint{i}" for i in range(1, 8))
    assert contract.joint_names == (*arm, "fr3_finger_joint1")
    assert [camera.name for camera in contract.cameras] == ["scene_view", "wrist_view"]
    assert contract.dt_s == 1.0 / contract.rate_hz
    assert (
        contract.uac.delay_steps
        == math.ceil(contract.uac.latency_budget_s * contract.rate_hz) + contract.uac.margin_steps
    )
    assert len(contract.home) == 8 and contract.urdf_path == ROOT / "urdf" / "fr3.urdf"
    assert load_contract(FR3).hash == contract.hash
    # franka_description, joint 4 and finger.
    assert contract.limits.lower[3] == -3.0421 and contract.limits.upper[3] == -0.1518
    assert contract.limits.upper[7] == 0.04


def test_contract_is_frozen():
    contract = load_contract("fr3")
    with pytest.raises(AttributeError):
        contract.rate_hz = 10.0
    with pytest.raises(TypeError):
        contract.policy.normalization["state.eef_position"] = "none"
    with pytest.raises(ValueError):
        contract.limits.velocity[0] = 100.0


def test_velocity_scale_narrows_the_urdf(document, load):
    document["limits"]["velocity_scale"] = 0.25
    np.testing.assert_allclose(load(document).limits.velocity[:7], 0.25 * np.array([2.62] * 4 + [5.26, 4.18, 5.26]))
    document["limits"]["velocity"] = {"fr3_joint1": 1.5}
    document["limits"]["position"] = {"fr3_joint2": [-1.0, 1.0]}
    limits = load(document).limits
    assert limits.velocity[0] == 1.5 and (limits.lower[1], limits.upper[1]) == (-1.0, 1.0)


def test_limits_of_a_base_are_velocities(tmp_path):
    """Joints first, then velocity columns, whose range is their largest speed both ways."""
    (tmp_path / "limits.yaml").write_text(
        "velocity: {base_x: 0.5}\nacceleration: {fr3_joint1: 5, base_x: 1}\njerk: {fr3_joint1: 50, base_x: 4}\n"
    )
    section = read_yaml(tmp_path / "limits.yaml", CONTRACT.below("limits"))
    limits = read_limits(section, read_urdf(ROOT / "urdf" / "fr3.urdf"), ("fr3_joint1",), ("base_x",))
    assert limits.is_velocity.tolist() == [False, True]
    assert (limits.lower[1], limits.upper[1]) == (-0.5, 0.5)
    assert (limits.acceleration.tolist(), limits.jerk.tolist()) == ([5, 1], [50, 4])
    with pytest.raises(BeingHError, match="base_y"):
        read_limits(
            read_yaml(tmp_path / "limits.yaml", CONTRACT.below("limits")),
            read_urdf(ROOT / "urdf" / "fr3.urdf"),
            ("fr3_joint1",),
            ("base_y", "base_x"),
        )


def edit(document, dotted, value):
    """Sets (or deletes, with `...`) a value by its dotted key."""
    *parents, last = dotted.split(".")
    for key in parents:
        document = document[int(key)] if isinstance(document, list) else document[key]
    if value is ...:
        del document[last]
    else:
        document[int(last) if isinstance(document, list) else last] = value


ARM = [f"fr3_joint{i}" for i in range(1, 8)]
MISTAKES = {
    "unknown key": ("rate_hx", 20, ["rate_hx", "did you mean `rate_hz`"]),
    "unknown nested key": ("uac.latency_budget", 0.2, ["uac.latency_budget", "latency_budget_s"]),
    "missing key": ("uac.commit_margin", ..., ["uac", "`commit_margin` is missing"]),
    "unknown slot": ("state.eef_pose", {}, ["state.eef_pose", "eef_position"]),
    "action slot in state": ("state.base_motion", {}, ["an action slot"]),
    "joint not in the URDF": ("action.gripper_position.joints", ["fr3_finger"], ["action.gripper_position.joints", "`fr3_finger`", "fr3.urdf", "did you mean", "`fr3_finger_joint1`"]),
    "state joint not in the URDF": ("state.eef_position.joints", [*ARM[:6], "fr3_joint9"], ["`fr3_joint9`", "state.eef_position.joints"]),
    "mimic joint": ("driver.groups.1.joints", ["fr3_finger_joint2"], ["mimics `fr3_finger_joint1`"]),
    "wrong width": ("action.gripper_position.joints", ARM[:2], ["`gripper_position` was given 2 values", "1 values"]),
    "joint in two groups": ("driver.groups.1.joints", ["fr3_joint7"], ["already commanded on fr3_arm_controller/joint_trajectory"]),
    "joint in two actions": ("action.arm_joint_position", {"mode": "absolute", "joints": ARM}, ["`fr3_joint1` is already commanded by `eef_position`"]),
    "action joint without group": ("driver.groups.0.joints", ARM[:6], ["no group sends `fr3_joint7`"]),
    "group joint without action": ("action.gripper_position", ..., ["`fr3_finger_joint1` is sent, but no action commands it"]),
    "missing home": ("home.fr3_joint4", ..., ["no home position of `fr3_joint4`"]),
    "home outside the limits": ("home.fr3_joint4", 1.0, ["home.fr3_joint4", "-3.0421 to -0.1518"]),
    "home of an unknown joint": ("home.fr3_joint8", 0.0, ["unknown joint `fr3_joint8`"]),
    "zero rate": ("rate_hz", 0, ["rate_hz", "more than 0"]),
    "rate as text": ("rate_hz", "fast", ["`fast` is not a number"]),
    "rate as boolean": ("rate_hz", True, ["is not a number"]),
    "d over H/2": ("uac.latency_budget_s", 0.5, ["uac", "d = 11", "H = 16", "H / 2 = 8", "latency_budget_s", "rate_hz", "chunk"]),
    "s under d": ("uac.execution_steps", 3, ["s = 3", "5 to 11", "raise execution_steps"]),
    "s over H - d": ("uac.execution_steps", 12, ["s = 12", "lower execution_steps"]),
    "fractional steps": ("uac.margin_steps", 1.5, ["uac.margin_steps", "not an integer"]),
    "negative steps": ("uac.margin_steps", -1, ["uac.margin_steps", "out of range"]),
    "wrong encoding": ("cameras.wrist_view.encoding", "rgb", ["cameras.wrist_view.encoding", "rgb8", "bgr8"]),
    "wrong image type": ("cameras.wrist_view.type", "Image", ["sensor_msgs/msg/Image"]),
    "not a topic": ("cameras.wrist_view.topic", "/wrist camera", ["is not a topic name"]),
    "unknown frame": ("eef_frame", "fr3_tcp", ["eef_frame", "did you mean `fr3_hand_tcp`"]),
    "no such URDF": ("urdf", "urdf/fr4.urdf", ["urdf/fr4.urdf", "relative to"]),
    "no acceleration": ("limits.acceleration.fr3_joint3", ..., ["`fr3_joint3` has no acceleration limit"]),
    "negative acceleration": ("limits.acceleration.fr3_joint3", -1, ["limits.acceleration.fr3_joint3"]),
    "a joint without jerk": ("limits.jerk", {"fr3_joint3": 9.0}, ["`fr3_joint1` has no jerk limit"]),
    "jerk of a stranger": ("limits.jerk", {"fr3_joint9": 9.0}, ["unknown joint `fr3_joint9`"]),
    "wider than the URDF": ("limits.velocity", {"fr3_joint1": 9.0}, ["limits.velocity.fr3_joint1", "at most 2.62"]),
    "position wider than the URDF": ("limits.position", {"fr3_joint1": [-9, 9]}, ["limits.position.fr3_joint1"]),
    "scale over 1": ("limits.velocity_scale", 1.5, ["limits.velocity_scale"]),
    "gripper outside its limits": ("state.gripper_position.open", 0.08, ["state.gripper_position.open", "0 to 0.04"]),
    "gripper without range": ("action.gripper_position.closed", ..., ["`closed` is missing"]),
    "range of no gripper": ("action.eef_position.closed", 0.0, ["unknown key `closed`"]),
    "wrong mode": ("action.eef_position.mode", "rate", ["action.eef_position.mode", "absolute, relative, delta"]),
    "frame of a pose": ("action.eef_position.mode", "absolute", ["action.eef_position.frame", "no axes of its own"]),
    "wrong frame": ("action.eef_position.frame", "tool", ["world, eef, chunk_start"]),
    "wrong source": ("state.gripper_position.source", "fk", ["state.gripper_position.source"]),
    "unknown normalisation": ("policy.normalization.state.eef_position", None, ["policy.normalization"]),
    "unknown driver": ("driver.kind", "forward", ["driver.kind", "joint_trajectory"]),
    "groups are no list": ("driver.groups", {}, ["driver.groups", "not a list"]),
    "camera is no mapping": ("cameras.wrist_view", "/topic", ["cameras.wrist_view", "not a mapping"]),
    "no cameras": ("cameras", {}, ["no camera"]),
    "joint twice": ("driver.groups.1.joints", ["fr3_finger_joint1"] * 2, ["listed twice"]),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(name, document, load):
    dotted, value, wanted = MISTAKES[name]
    if name == "unknown normalisation":  # a key with a dot in it
        document["policy"]["normalization"]["state.eef_position"] = "q98"
        wanted = [*wanted, "unknown value `q98`", "q99"]
    else:
        edit(document, dotted, value)
    with pytest.raises(BeingHError) as caught:
        load(document)
    text = str(caught.value)
    assert "robot.yaml:" in text, text
    for part in wanted:
        assert part in text, f"{part!r} not in: {text}"


def test_overlapping_slots(document, load):
    document["state"] = {
        name: {"topic": "/joint_states", "source": "position", "joints": ARM[:2], "max_age_s": 0.2}
        for name in ("gripper_qpos", "libero_gripper_position")
    }
    with pytest.raises(BeingHError, match="`gripper_qpos` .44:46. and `libero_gripper_position` .44:46. overlap"):
        load(document)


def test_error_names_the_line(tmp_path):
    text = FR3.read_text().replace("rate_hz: 20 ", "rate_hz: -20 ")
    line = next(i for i, row in enumerate(text.splitlines(), 1) if row.startswith("rate_hz"))
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(BeingHError, match=rf"bad\.yaml:{line}: rate_hz"):
        load_contract(path)


@pytest.mark.parametrize(
    "text, message",
    [
        ("robot: a\nrobot: b\n", "`robot` is written twice .first in line 1."),
        ("uac: {a: 1, a: 2}\n", "`a` is written twice"),
        ("- a\n", "not a mapping"),
        ("a: [1\n", "not YAML"),
    ],
)
def test_file_that_is_no_contract(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(BeingHError, match=message):
        load_contract(path)


def test_unknown_robot_lists_the_known():
    with pytest.raises(BeingHError, match="`fr4`.*fr3"):
        load_contract("fr4")
    with pytest.raises(BeingHError, match="no such robot contract"):
        load_contract("nowhere/robot.yaml")


def test_hash_covers_what_the_model_depends_on(document, load):
    original = load(document).hash

    def changed(dotted, value):
        edited = copy.deepcopy(document)
        edit(edited, dotted, value)
        return load(edited).hash != original

    assert len(original) == 64
    assert changed("rate_hz", 10)
    assert changed("policy.chunk_length", 20)
    assert changed("state.eef_position.joints", ARM[::-1])
    assert changed("action.eef_position.frame", "eef")
    assert changed("action.gripper_position.closed", 0.001)
    assert changed("cameras", dict(reversed(document["cameras"].items())))
    normalization = {**document["policy"]["normalization"], "state.eef_position": "mean_std"}
    assert changed("policy.normalization", normalization)
    assert not changed("cameras.wrist_view.topic", "/other")
    assert not changed("driver.groups.0.topic", "/other")
    assert not changed("limits.velocity_scale", 0.1)
    assert not changed("uac.margin_steps", 0)
    assert not changed("home.fr3_joint1", 0.1)


def test_joint_space_contract(document, load):
    document["state"]["arm_joint_position"] = {
        "topic": "joint_states", "source": "position", "joints": ARM, "max_age_s": 0.2,
    }  # fmt: skip
    del document["action"]["eef_position"]
    document["action"]["arm_joint_position"] = {"mode": "absolute", "joints": ARM}
    keys = [
        "state.eef_position",
        "state.gripper_position",
        "state.arm_joint_position",
        "action.gripper_position",
        "action.arm_joint_position",
    ]
    document["policy"]["normalization"] = dict.fromkeys(keys, "q99")
    contract = load(document)
    assert [signal.slot for signal in contract.action] == ["gripper_position", "arm_joint_position"]


def test_drivers_as_a_list(document, load):
    one = load(document)
    arm, hand = document["driver"]["groups"]
    del document["driver"]
    document["drivers"] = [
        {"kind": "joint_trajectory", "groups": [hand]},
        {"kind": "joint_trajectory", "groups": [arm]},
    ]
    several = load(document)
    assert several.joint_names == ("fr3_finger_joint1", *ARM) and several.hash == one.hash
    assert [driver.joints for driver in several.drivers] == [("fr3_finger_joint1",), tuple(ARM)]
    assert [group.topic for group in several.command_groups] == [hand["topic"], arm["topic"]]
    with pytest.raises(BeingHError, match="one driver"):
        several.driver  # noqa: B018
    document["drivers"][0]["groups"][0]["joints"] = ["fr3_joint7"]
    with pytest.raises(BeingHError, match="already commanded on fr3_hand_controller"):
        load(document)
    document["drivers"].pop(0)
    with pytest.raises(BeingHError, match="no group sends `fr3_finger_joint1`"):
        load(document)
    document["driver"] = {}
    with pytest.raises(BeingHError, match="both `driver` and `drivers`"):
        load(document)


def test_the_hash_of_the_shipped_robot_stays():
    """The released checkpoint carries it; a change means that no trained model fits any more."""
    metadata = json.loads((ROOT / "checkpoints" / "fr3_cubes" / "fr3_cubes_metadata.json").read_text())
    assert metadata["fr3_cubes"]["contract_hash"] == load_contract("fr3").hash


@pytest.mark.parametrize(
    "old, new, told",
    [
        (
            "estop_topic: estop",
            "estop_topic: /joint_states",
            "`joint_states` is the topic of `estop_topic` and of `state`",
        ),
        (
            "topic: wrist_camera/color/image_raw",
            "topic: /scene_camera/color/image_raw",
            "`cameras.scene_view` and of `cameras.wrist_view`",
        ),
        ("scene_camera/color/image_raw", "joint_states", "`state` and of `cameras.scene_view`"),
        ("fr3_arm_controller/joint_trajectory", "/joint_states", "`state` and of `driver`"),
    ],
)
def test_a_topic_carries_one_thing(tmp_path, old, new, told):
    fr3 = load_contract("fr3")
    text = fr3.path.read_text().replace("urdf/fr3.urdf", str(fr3.urdf_path))
    assert old in text
    path = tmp_path / "fr3.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(BeingHError, match=re.escape(told)):
        load_contract(path)


SLIPS = {
    "a comma": ("latency_budget_s: 0.2 ", "latency_budget_s: 0,2 ", "`0,2` is not a number.*write a point, not a comma: 0.2"),
    "a unit": ("latency_budget_s: 0.2 ", "latency_budget_s: 200 ms ", "without `ms`"),
    "a share": ("velocity_scale: 0.5", "velocity_scale: 50%", "Allowed: more than 0, at most 1.*without `%`"),
    "a quoted count": ("chunk_length: 16", 'chunk_length: "16"', '`"16"` is a text, not an integer.*without quotes: 16'),
    "a whole float": ("chunk_length: 16", "chunk_length: 16.0", "`16.0` is not an integer.*write 16"),
    "a number for a name": ("robot: fr3", "robot: 3", '`3` is not a text.*write it in quotes: "3"'),
    "one joint, no list": ("joints: &hand [fr3_finger_joint1]", "joints: &hand fr3_finger_joint1", r"write a list.*`\[fr3_finger_joint1\]`"),
    "nothing": ("estop_topic: estop", "estop_topic:", "estop_topic: nothing is written behind the colon"),
    "no space": ("estop_topic: estop", "estop_topic:estop", "a space behind each `:`"),
    "half a key": ("rate_hz: 20", "rate: 20", "`rate_hz` is missing.*rename `rate`"),
    "degrees": ("fr3_joint4: -2.3377", "fr3_joint4: -134", "home.fr3_joint4.*write radians, not degrees: -2.3387"),
    "capitals": ("encoding: rgb8", "encoding: RGB8", "did you mean `rgb8`"),
    "a misspelled alias": ("joints: *hand, closed", "joints: *hands, closed", "write `&NAME` before the value"),
    "a ROS package": ("urdf/fr3.urdf", "package://franka/robots/fr3.urdf", "`package://franka/robots/fr3.urdf` names a ROS package.*Allowed: a path.*prefix --share franka`.*`/robots/fr3.urdf`"),
    "a launch file's way": ("urdf/fr3.urdf", "$(find franka)/fr3.urdf", "names a ROS package.*prefix --share franka`.*`/fr3.urdf`"),
    "a URL of a file": ("urdf/fr3.urdf", "file:///opt/fr3.urdf", "is a URL, not a path.*write `/opt/fr3.urdf`"),
    "a URL": ("urdf/fr3.urdf", "https://example.org/fr3.urdf", "is a URL, not a path.*download the file"),
    "home": ("urdf/fr3.urdf", "~/fr3.urdf", "neither `~` nor"),
    "another case": ("urdf/fr3.urdf", "urdf/FR3.urdf", "there is no file `urdf/FR3.urdf`.*did you mean `urdf/fr3.urdf`"),
}  # fmt: skip


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_of_the_pen_is_told_with_what_to_write(name, tmp_path):
    old, new, told = SLIPS[name]
    text = load_contract("fr3").path.read_text()
    assert old in text
    (tmp_path / "fr3.yaml").write_text(text.replace(old, new))
    with pytest.raises(BeingHError, match="fr3.yaml:.*" + told):
        load_contract(tmp_path / "fr3.yaml")


def test_a_contract_without_its_ending_is_found_by_name(tmp_path):
    (tmp_path / "mine.yaml").write_text("")
    with pytest.raises(BeingHError, match="did you mean `.*mine.yaml`"):
        load_contract(tmp_path / "mine")
    with pytest.raises(BeingHError, match="did you mean `fr3`"):
        load_contract("FR3")
