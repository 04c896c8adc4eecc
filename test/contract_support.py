"""Contracts of test/data/robots, as they are and with something changed."""

import copy
from pathlib import Path

import numpy as np
import pytest
import yaml

from beingh_core.contract import load_contract

ROBOTS = Path(__file__).parent / "data" / "robots"
NAMES = sorted(path.stem for path in ROBOTS.glob("*.yaml"))
ARM = ("pan_joint", "lift_joint", "elbow_joint", "roll_joint", "pitch_joint", "spin_joint")
COUNT = 10_000


def robot(name):
    return load_contract(ROBOTS / f"{name}.yaml")


@pytest.fixture
def changed(tmp_path):
    """Loads a robot's contract after a change of its document."""

    def load(name, change):
        document = copy.deepcopy(yaml.safe_load((ROBOTS / f"{name}.yaml").read_text()))
        change(document)
        for urdf in ROBOTS.glob("*.urdf"):
            (tmp_path / urdf.name).write_text(urdf.read_text())
        path = tmp_path / "robot.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return load_contract(path)

    return load


def random_positions(contract, joints, rng, count=COUNT):
    from beingh_core.contract.urdf import read_urdf

    facts = read_urdf(contract.urdf_path).joints
    low, high = (np.clip([getattr(facts[joint], end) for joint in joints], -20, 20) for end in ("lower", "upper"))
    return rng.uniform(low, high, (count, len(joints)))


def set_key(path, value):
    def change(document):
        *parents, key = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in parents:
            document = document[part]
        if value is None:
            del document[key]
        else:
            document[key] = value

    return change


def two_arms(document, commands="/{side}/trajectory"):
    """Makes of an arm's document two of three joints each, whose joints are called the same in messages."""
    first, second = list(ARM[:3]), list(ARM[3:])
    same = ("waist", "shoulder", "elbow")
    document["state"] = {
        slot: {"topic": f"/{side}/joint_states", "source": "position", "joints": joints, "max_age_s": 0.5,
               "names": dict(zip(same, joints))}
        for slot, side, joints in (("arm_joint_position", "right", first), ("left_arm_joint_position", "left", second))
    }  # fmt: skip
    document["action"] = {
        "arm_joint_position": {"mode": "absolute", "joints": first},
        "left_arm_joint_position": {"mode": "absolute", "joints": second},
    }
    groups = [
        {"topic": commands.format(side=side), "joints": joints, "names": dict(zip(same, joints))}
        for side, joints in (("right", first), ("left", second))
    ]
    document["driver"] = {"kind": "joint_trajectory", "groups": groups}
    keys = [f"{kind}.{slot}" for kind in ("state", "action") for slot in document["action"]]
    document["policy"]["normalization"] = dict.fromkeys(keys, "none")
