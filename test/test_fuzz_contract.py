"""Damaged contracts and URDFs: one error each, in bounded time and memory; what loads works."""

import copy
import json
import sys
import xml.etree.ElementTree as ElementTree
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml
from fuzz_support import STRANGE, damage, failures

from beingh_core.contract import load_contract
from beingh_core.contract.codec import SignalCodec
from beingh_core.realtime.limits import brake, limit_forward

ROOT = Path(__file__).resolve().parents[1]
ROBOTS = ("fr3", "fr3_hand", "g1", "so101", "ur5e", "xarm7")
COUNT, SEED = 500, 8
WORDS = (
    "010", "0x1f", "1:30", "2024-02-30", "1_000", "1e400", "-1e400", ".nan", ".inf", "9" * 5000, "1e-308", "1e308", "-1",
    "0", "~", "yes", "&a [*a]", "*arm", "<<: *arm", "!!python/object:os.system x", "!!binary AA==", "? [a]", "\t", "'", "[",
    "{", "}", "]", "\x00", "\x1b[31m", "\ud7ff", "x" * 3000, "- " * 300, "[" * 3000,
)  # fmt: skip
XML_WORDS = (
    "nan", "inf", "1e999", "-1", "0", "0 0 0", "0 0", "1e17", "9" * 5000, "", " ", "x" * 3000, "${x}", "&lt;", "&#0;", "&x;",
    "fixed", "continuous", "floating", "<!DOCTYPE a>", "]]>", "<a>" * 300, "\x00", "\u00e9", '"',
)  # fmt: skip


def written(value):
    """A value as YAML in flow style, however deep it is."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {written(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, float) and not np.isfinite(value):
        return {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}[str(value)]
    return json.dumps(value)


def damaged_text(rng, text, words):
    """Text with one to three lines or places cut, doubled, exchanged or overwritten."""
    for _ in range(rng.integers(1, 4)):
        kind, lines = rng.integers(6), text.split("\n")
        i, j = rng.integers(len(lines), size=2)
        at, word = int(rng.integers(len(text) + 1)), words[rng.integers(len(words))]
        if kind == 0:
            del lines[i]
        elif kind == 1:
            lines[i], lines[j] = lines[j], lines[i]
        elif kind == 2:
            lines[i] = "\n".join([lines[i]] * int(rng.choice([2, 1000])))
        elif kind == 3:
            lines = [text[:at] + word + text[at:]]
        elif kind == 4:
            lines = [text[:at]]
        else:
            begin = max(text.rfind(mark, 0, at) for mark in (" ", '"', ":"))
            end = min((found for mark in (" ", '"', ",", "\n") if (found := text.find(mark, at)) >= 0), default=at)
            lines = [text[: begin + 1] + word + text[end:]]
        text = "\n".join(lines)
    return text


def damaged_elements(rng, text):
    """A URDF with one to three elements or attributes removed, doubled, moved or overwritten."""
    root = ElementTree.fromstring(text)
    for _ in range(rng.integers(1, 4)):
        elements = [element for element in root.iter() if len(element)] or [root]
        parent = elements[rng.integers(len(elements))]
        child = parent[rng.integers(len(parent))] if len(parent) else parent
        kind = rng.integers(5)
        if kind == 0 and child is not parent:
            parent.remove(child)
        elif kind == 1:
            parent.extend([copy.deepcopy(child)] * int(rng.choice([1, 2000])))
        elif kind == 2 and child is not parent:
            elements[rng.integers(len(elements))].append(copy.deepcopy(child))
        elif child.attrib:
            key = list(child.attrib)[rng.integers(len(child.attrib))]
            if kind == 3:
                del child.attrib[key]
            else:
                others = [e.attrib[key] for e in root.iter(child.tag) if key in e.attrib]
                words = [w for w in XML_WORDS if "\x00" not in w] + others
                child.attrib[key] = str(words[rng.integers(len(words))])
    return ElementTree.tostring(root, encoding="unicode")


@cache
def shipped(robot):
    """YAML text, its data and the URDF text of a robot."""
    text = (ROOT / "config" / "robots" / f"{robot}.yaml").read_text()
    urdf = yaml.safe_load(text)["urdf"]
    text = text.replace(urdf, "robot.urdf")
    return text, yaml.safe_load(text), (ROOT / urdf).read_text()


def damaged_inputs():
    """(YAML, URDF) texts of shipped robots, one of the two damaged."""
    rng = np.random.default_rng(SEED)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        for index in range(COUNT):
            text, data, urdf = shipped(ROBOTS[index % len(ROBOTS)])
            kind = index % 4
            if kind == 0:
                text = written(damage(rng, data))
            elif kind == 1:
                text = damaged_text(rng, text, WORDS)
            elif kind == 2:
                urdf = damaged_elements(rng, urdf)
            else:
                urdf = damaged_text(rng, urdf, XML_WORDS)
            yield text, urdf
    finally:
        sys.setrecursionlimit(limit)


def use(contract):
    """What the nodes compute from a contract."""
    assert len(contract.hash) == 64
    codec, home = SignalCodec(contract), np.array(contract.home)
    measured = dict(zip(contract.joint_names, contract.home))
    measured |= {joint: 0.0 for signal in contract.state for joint in signal.joints if joint not in measured}
    assert all(np.isfinite(values).all() for values in codec.encode_state(measured).values())
    actions = codec.encode_commands(np.tile(home, (3, 1)))
    decoded = codec.decode_actions(actions, home)
    assert decoded.shape == (2, len(home)) and np.isfinite(decoded).all()
    limits, past = contract.limits, np.tile(home, (3, 1))
    away = np.tile(np.where(np.isfinite(limits.upper), limits.upper, home + 1.0), (contract.policy.chunk_length, 1))
    rows, _ = limit_forward(away, past, limits, contract.dt_s)
    assert np.isfinite(rows).all()
    assert np.isfinite(brake(np.concatenate([past, rows])[-3:], limits, contract.dt_s)).all()


def test_no_damaged_contract_or_urdf_does_more_than_raise_one_error(tmp_path):
    loaded = tmp_path / "loaded"

    def load(texts):
        for name, text in zip(("robot.yaml", "robot.urdf"), texts):
            (tmp_path / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        contract = load_contract(tmp_path / "robot.yaml")
        use(contract)
        with open(loaded, "a") as file:
            file.write(".")

    assert failures(load, damaged_inputs()) == []
    assert len(loaded.read_text()) > COUNT / 10, "some damage is harmless, and then everything works"


BOUNDED = ("rate_hz", "uac.latency_budget_s", "uac.execution_steps", "policy.chunk_length", "home.fr3_joint1",
           "cameras.wrist_view.max_age_s", "limits.acceleration.fr3_joint3", "state.gripper_position.closed")  # fmt: skip


@pytest.mark.parametrize("dotted", BOUNDED)
def test_every_number_has_two_ends(dotted, tmp_path):
    """Of the strange values none is accepted where a number of some size is meant, and the error says which are."""
    document = yaml.safe_load((ROOT / "config" / "robots" / "fr3.yaml").read_text())
    holder, (*parents, last) = document, dotted.split(".")
    for key in parents:
        holder = holder[key]

    def load(value):
        holder[last] = value
        (tmp_path / "robot.yaml").write_text(written(document))
        try:
            load_contract(tmp_path / "robot.yaml")
        except Exception as error:
            assert "robot.yaml:1: " in str(error) and ("To fix" in str(error) or "Allowed" in str(error)), error
            raise
        assert isinstance(value, (int, float)) and abs(value) < 100

    numbers = [value for value in STRANGE if not isinstance(value, (list, dict))]
    assert failures(load, numbers) == []
