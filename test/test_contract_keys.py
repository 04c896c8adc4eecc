"""The declared keys are what the readers ask for; the reference and the editors' schema are written from them."""

import copy
import json
import math
import re
from pathlib import Path

import pytest
import yaml

from beingh_core.contract import load_contract
from beingh_core.contract.__main__ import generated
from beingh_core.contract.driver_options import DRIVER_KINDS
from beingh_core.contract.editor_schema import editor_schema
from beingh_core.contract.key import REQUIRED, TEXT, Key
from beingh_core.contract.keys import CONTRACT
from beingh_core.contract.reader import DECLARED, Section
from beingh_core.errors import BeingHError

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = sorted((ROOT / "config" / "robots").glob("*.yaml"))
FR3 = yaml.safe_load((ROOT / "config" / "robots" / "fr3.yaml").read_text())
ARM = [f"fr3_joint{i}" for i in range(1, 8)]
FINGER, BASE = ["fr3_finger_joint1"], ["base_x", "base_yaw"]
ON_ARM = {"topic": "arm", "joints": ARM}
ON_FINGER = {
    "action": "hand",
    "joints": FINGER,
    "min_change": 0.01,
    "max_rate_hz": 3.0,
    "closed_command": 0.0,
    "open_command": 0.08,
}
ARM_DRIVER = {"kind": "joint_trajectory", "velocities": True, **ON_ARM}
FINGER_DRIVER = {"kind": "joint_trajectory", "topic": "hand", "joints": FINGER}
# For each kind, a driver that names all its keys, and the one that commands the rest.
DRIVERS = {
    "joint_trajectory": [ARM_DRIVER, FINGER_DRIVER],
    "follow_joint_trajectory": [
        {"kind": "follow_joint_trajectory", "action": "arm", "joints": ARM, "velocities": True},
        FINGER_DRIVER,
    ],
    "forward_command": [{"kind": "forward_command", "rate_hz": 50, **ON_ARM}, FINGER_DRIVER],
    "joint_state_command": [
        {"kind": "joint_state_command", "rate_hz": 50, "velocities": True, **ON_ARM},
        FINGER_DRIVER,
    ],
    "twist_base": [
        ARM_DRIVER,
        FINGER_DRIVER,
        {"kind": "twist_base", "topic": "cmd_vel", "joints": BASE, "axes": ["linear.x", "angular.z"], "rate_hz": 20}
        | {"stamped": True, "frame_id": "base", "zero_s": 1.0},
    ],
    "gripper_command": [ARM_DRIVER, {"kind": "gripper_command", "max_effort": 5.0, **ON_FINGER}],
    "parallel_gripper": [ARM_DRIVER, {"kind": "parallel_gripper", "max_effort": 5.0, "max_velocity": 0.1, **ON_FINGER}],
    "franka_gripper": [
        ARM_DRIVER,
        {
            "kind": "franka_gripper",
            "speed": 0.1,
            "force": 20.0,
            "epsilon_inner": 0.01,
            "epsilon_outer": 0.01,
            "homing": True,
        }
        | ON_FINGER,
    ],
    "unitree_g1_arm_sdk": [
        {"kind": "unitree_g1_arm_sdk", **ON_ARM, "rate_hz": 100, "kp": {ARM[0]: 10.0}, "kd": 1.0, "hold": FINGER}
        | {"ramp_in_s": 1.0, "ramp_out_s": 1.0, "state_topic": "lowstate"},
        FINGER_DRIVER,
    ],
}
EXTRA = {
    "watchdog": {
        "joint_states_s": 0.4,
        "tracking_error": {ARM[0]: 0.1, FINGER[0]: math.inf},
        "tracking_delay_s": 0.3,
        "tracking_time_s": 0.2,
    },
    "start_tolerance": {ARM[0]: 0.02},
    "keep_out": {"wall": {"frame": "fr3_link0", "center": [0.0, 1.0, 0.5], "size": [2.0, 0.1, 1.0]}},
    "self_collision": {"check": True, "margin": 0.02, "allowed": {"fr3_link5": ["fr3_link7", "fr3_hand"]}},
    "sim": {
        "joints": {ARM[0]: dict.fromkeys(("stiffness", "damping", "friction", "armature", "effort"), 10.0)},
        "cameras": {
            "scene_view": {"link": "fr3_link0", "position": [1, 0, 1], "look": [-1, 0, -1], "up": [0, 0, 1]}
            | {"fovy_deg": 60.0, "size": [320, 240], "rate_hz": 15.0, "noise": 2.0}
        },
        "faults": {"camera_latency_s": 0.05, "camera_jitter_s": 0.01, "actuator_delay_s": 0.02}
        | {"joint_friction": 0.01, "joint_noise": 0.001},
        "objects": ["cylinder", "bowl"],
    },
    "assumed": {"uac.latency_budget_s": "time it with `beingh monitor`"},
}


def with_drivers(kind):
    """The FR3's contract with drivers of a kind and every optional key, as data."""
    document = copy.deepcopy(FR3) | copy.deepcopy(EXTRA)
    del document["driver"]  # and `assumed` is that of EXTRA
    document["drivers"] = copy.deepcopy(DRIVERS[kind])
    document["limits"] |= {"velocity": {ARM[0]: 1.0}, "position": {ARM[0]: [-1.0, 1.0]}}
    for side in ("state", "action"):
        document[side]["eef_position"] |= {"base_frame": "fr3_link0", "eef_frame": "fr3_hand_tcp"}
    views = document["cameras"]
    views["scene_view"] |= {
        "undistort": "scene_camera/camera_info",
        "rotate": 90,
        "crop": [0, 0, 200, 200],
        "optional": True,
    }
    views["wrist_view"] |= {"encoding": "16UC1", "depth": {"scale": 0.001, "near": 0.1, "far": 2.0}}
    if kind == "twist_base":
        document["action"]["base_motion"] = {"mode": "absolute", "joints": BASE}
        document["limits"]["velocity"] |= dict.fromkeys(BASE, 0.5)
        document["limits"]["acceleration"] |= dict.fromkeys(BASE, 1.0)
        document["limits"]["jerk"] |= dict.fromkeys(BASE, 20.0)
        document["policy"]["normalization"]["action.base_motion"] = "none"
    return document


OTHERS = sorted((ROOT / "test" / "data" / "robots").glob("*.yaml"))


def document_of(path):
    """A contract as data, wherever it is written to."""
    return yaml.safe_load(path.read_text()) | {"urdf": str(load_contract(path).urdf_path)}


DOCUMENTS = {path.stem: document_of(path) for path in [*SHIPPED, *OTHERS]} | {
    kind: with_drivers(kind) for kind in DRIVERS
}
DOCUMENTS["degrees_arm"]["state"]["head_position"]["fields"] = ["data[0]"]


def keys_below(path, key):
    """(dotted path, key) of every declared key."""
    entries = [*key.keys.items(), *((name, k) for kind in key.by_kind.values() for name, k in kind.items())]
    entries += [("<name>", key.each)] if key.each else []
    for name, below in entries:
        yield f"{path}.{name}", below
        yield from keys_below(f"{path}.{name}", below)


@pytest.fixture
def asked(monkeypatch):
    """What readers ask for: (place, declared key or None, method, arguments), in order."""
    found = []

    def recorded(method):
        original = getattr(Section, method)

        def call(section, key, *args, **named):
            found.append((section.where(key), section._below(key), method, args, named))
            return original(section, key, *args, **named)

        monkeypatch.setattr(Section, method, call)

    for method in ("get", "number", "choice", "flag", "topic", "strings", "section", "sections", "is_mapping"):
        recorded(method)
    return found


def test_every_key_that_is_read_is_declared_and_every_declared_key_is_read(asked, tmp_path):
    for name, document in DOCUMENTS.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
        load_contract(tmp_path / f"{name}.yaml")
    assert [where for where, key, *_ in asked if key is None] == []
    read = {id(key) for _, key, *_ in asked}
    assert [path for path, key in keys_below("", CONTRACT) if id(key) not in read] == []


METHODS = {
    "number": {"number", "integer", "number or {joint: number}"},
    "flag": {"flag"},
    "choice": {"text"},
    "topic": {"topic"},
    "strings": {"list of names"},
    "section": {"mapping", "number or {joint: number}"},
    "sections": {"list of mappings"},
}


def test_readers_and_declarations_agree_on_types_bounds_choices_and_defaults(asked, tmp_path):
    for name, document in DOCUMENTS.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
        load_contract(tmp_path / f"{name}.yaml")
    checked = set()
    for where, key, method, args, named in asked:
        if method in METHODS:
            assert key.type in METHODS[method], where
        if method == "number":
            bounds = {name: named[name] for name in ("above", "at_least", "at_most") if named.get(name) is not None}
            assert bounds in ({}, {name: bound for name, bound in key.bounds.items() if bound is not None}), where
            assert (named.get("kind", float) is int) == (key.type == "integer"), where
            default = args[0] if args else named.get("default", DECLARED)
            assert key.absent or default in (DECLARED, key.default), where
        if method == "choice" and key.choices:
            assert set(args[0]) <= set(key.choices), where
        checked.add(method)
    assert checked >= METHODS.keys()


def test_every_declared_key_has_one_line_and_numbers_have_bounds():
    for path, key in keys_below("", CONTRACT):
        assert key.help and "\n" not in key.help and len(key.help) <= 120, path
        if key.type in ("number", "integer"):
            assert key.at_most is not None and (key.above is None) != (key.at_least is None), path
            assert (
                key.unit
                or key.type == "integer"
                or any(word in path for word in ("scale", "_command", "multiplier", "value", "undistort"))
            ), path
        assert key.default is not REQUIRED or key.required or key.absent, path


def test_what_is_generated_is_up_to_date():
    for path, content in generated().items():
        assert (ROOT / path).read_text() == content, f"{path} is stale: run `python -m beingh_core.contract`"


def test_the_reference_names_every_key():
    text = generated()["docs/contract.md"]
    for path, key in keys_below("", CONTRACT):
        name = path.rsplit(".", 1)[1]
        assert name == "<name>" or re.search(rf"^\| `{name}` \| .* \| .* \| .*{re.escape(key.help)} \|$", text, re.M), (
            path
        )
    assert all(f"## `kind: {kind}`" in text for kind in DRIVER_KINDS)


def test_the_reference_shows_a_new_key_wherever_it_is_declared():
    from beingh_core.contract import reference

    below = Key(type="mapping", help="a crop", keys={"width": Key(type=TEXT, help="how wide")})
    titles = dict(reference._mappings("", Key(type="mapping", help="all", keys={"camera": below})))
    assert titles == {"`camera`": below} and "how wide" in reference._table(below.keys.items())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_contracts_name_the_schema_for_editors(path):
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", path.read_text())
    assert (path.parent / named[1]).resolve() == ROOT / "config" / "robot.schema.json"


def complaints(value, schema, path="$"):
    """What an editor would underline: draft 7 of JSON schema, as far as our schema uses it; other keywords are refused."""
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}
    for keyword, wanted in schema.items():
        if keyword in ("$schema", "title", "description", "default", "then", "additionalProperties"):
            continue
        elif keyword == "type":
            if not isinstance(value, kinds[wanted]) or (isinstance(value, bool) and wanted != "boolean"):
                yield f"{path}: no {wanted}"
                return
        elif keyword in ("enum", "const"):
            if value not in (wanted if keyword == "enum" else [wanted]):
                yield f"{path}: not allowed"
        elif keyword == "pattern":
            if not re.search(wanted, value):
                yield f"{path}: pattern"
        elif keyword in ("minimum", "exclusiveMinimum", "maximum"):
            below = {"minimum": value < wanted, "exclusiveMinimum": value <= wanted, "maximum": value > wanted}
            if below[keyword]:
                yield f"{path}: range"
        elif keyword in ("minItems", "maxItems"):
            if len(value) < wanted if keyword == "minItems" else len(value) > wanted:
                yield f"{path}: length"
        elif keyword == "uniqueItems":
            if len(set(value)) < len(value):
                yield f"{path}: twice"
        elif keyword == "items":
            for index, item in enumerate(value):
                yield from complaints(item, wanted, f"{path}.{index}")
        elif keyword == "required":
            yield from (f"{path}: {name} is missing" for name in wanted if name not in value)
        elif keyword == "properties":
            for name in wanted.keys() & value.keys():
                yield from complaints(value[name], wanted[name], f"{path}.{name}")
            others = schema.get("additionalProperties", True)
            if others is False:
                yield from (f"{path}.{name}: unknown" for name in value.keys() - wanted.keys())
        elif keyword == "propertyNames":
            for name in value:
                yield from complaints(name, wanted, f"{path}.{name}")
        elif keyword == "allOf":
            for part in wanted:
                yield from complaints(value, part, path)
        elif keyword == "oneOf":
            if sum(not list(complaints(value, part, path)) for part in wanted) != 1:
                yield f"{path}: not exactly one of"
        elif keyword == "not":
            if not list(complaints(value, wanted, path)):
                yield f"{path}: not"
        elif keyword == "if":
            if not list(complaints(value, wanted, path)):
                yield from complaints(value, schema["then"], path)
        else:
            raise AssertionError(f"{keyword} is not checked here")
    if "properties" not in schema and isinstance(schema.get("additionalProperties"), dict):
        for name, item in value.items():
            yield from complaints(item, schema["additionalProperties"], f"{path}.{name}")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_editors_schema_takes_every_contract(name):
    assert list(complaints(DOCUMENTS[name], json.loads((ROOT / "config" / "robot.schema.json").read_text()))) == []


WRONG = {
    "rate_hx": (("rate_hx",), 20, "$.rate_hx: unknown"),
    "rate as text": (("rate_hz",), "fast", "$.rate_hz: no number"),
    "rate too high": (("rate_hz",), 5000, "$.rate_hz: range"),
    "fraction of a step": (("uac", "margin_steps"), 0.5, "$.uac.margin_steps: no integer"),
    "unknown slot": (("state", "eef_pose"), {}, "$.state.eef_pose: not allowed"),
    "both drivers": (("driver",), {"kind": "joint_trajectory", **ON_ARM}, "$: not exactly one of"),
    "key of another kind": (("drivers", 0, "min_change"), 0.1, "$.drivers.0.min_change: unknown"),
    "encoding": (("cameras", "scene_view", "encoding"), "rgb", "$.cameras.scene_view.encoding: not allowed"),
    "topic": (("estop_topic",), "e stop", "$.estop_topic: pattern"),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_editors_schema_underlines_what_the_loader_refuses(name, tmp_path):
    keys, value, expected = WRONG[name]
    document = with_drivers("joint_trajectory")
    place = document
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    assert expected in list(complaints(document, editor_schema()))
    (tmp_path / "robot.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    with pytest.raises(BeingHError):
        load_contract(tmp_path / "robot.yaml")


def test_assumptions_have_the_line_of_their_key(tmp_path):
    text = (ROOT / "config" / "robots" / "fr3.yaml").read_text() + "\nassumed_by_test: 0\n"
    text = re.sub(r"^assumed:.*\n(  .*\n)+", "", text, flags=re.M).replace(
        "assumed_by_test: 0",
        "assumed:\n  limits.acceleration: a step, with the arm's tool\n  driver.groups.1: the hand\n",
    )
    path = tmp_path / "robot.yaml"
    path.write_text(text)
    lines = text.splitlines()
    found = {assumption.key: assumption for assumption in load_contract(path).assumed}
    assert lines[found["limits.acceleration"].line - 1].strip().startswith("acceleration:")
    assert "fr3_hand_controller" in lines[found["driver.groups.1"].line - 1]
    assert found["limits.acceleration"].measure == "a step, with the arm's tool"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("limits.acceleration: ''", "nothing is said.*say what to measure"),
        ("limits.acceleration: 3", "is not a text"),
    ],
)
def test_an_assumption_says_what_to_measure(tmp_path, entry, message):
    text = re.sub(r"^assumed:.*\n(  .*\n)+", "", (ROOT / "config" / "robots" / "fr3.yaml").read_text(), flags=re.M)
    (tmp_path / "robot.yaml").write_text(f"{text}\nassumed:\n  {entry}\n")
    with pytest.raises(BeingHError, match=message):
        load_contract(tmp_path / "robot.yaml")


def test_an_assumption_about_a_key_that_is_not_there_is_noted(tmp_path):
    """Who copies a contract and takes another driver must not be stopped by what is left behind."""
    text = re.sub(r"^assumed:.*\n(  .*\n)+", "", (ROOT / "config" / "robots" / "fr3.yaml").read_text(), flags=re.M)
    entries = "  limits.acceleratoin: a step\n  assumed: itself\n  limits.acceleration: a step\n"
    (tmp_path / "robot.yaml").write_text(f"{text}\nassumed:\n{entries}")
    contract = load_contract(tmp_path / "robot.yaml")
    assert [assumption.key for assumption in contract.assumed] == ["limits.acceleration"]
    first, second = contract.notes
    assert re.search(
        r"robot\.yaml:\d+: assumed.limits.acceleratoin.*no key `limits.acceleratoin`.*did you mean `limits.acceleration`",
        first,
    )
    assert "no key `assumed`" in second
