"""The demo of any robot: which policy it runs, what it sees of what is sent, and the table of all."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("rclpy")
from PIL import Image
from ros_support import ROOT

from beingh_core.contract import load_contract
from beingh_core.contract.schema import DriverGroup
from beingh_core.contract.wire import Wire
from beingh_core.errors import BeingHError
from beingh_ros.bringup import BringupOptions, check_start, processes
from beingh_ros.demo.choice import POLICIES, policy_of
from beingh_ros.demo.gallery import SHEET, STILL, TABLE, write_table
from beingh_ros.demo.observer import in_contract, positioned
from beingh_ros.messages.conversions import Trajectory

pytestmark = pytest.mark.nodes


def test_a_robot_runs_its_checkpoint_or_the_expert(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    given = str(tmp_path)
    fr3, so101, vx300s = (load_contract(name) for name in ("fr3", "so101", "vx300s"))
    assert policy_of(fr3, "auto", "").name == "fr3_cubes" and policy_of(so101, "auto", "").name == "so101_cubes"
    assert policy_of(vx300s, "auto", "") is None
    assert policy_of(fr3, "auto", "", "put") is None and policy_of(fr3, "auto", given, "put") == tmp_path
    assert policy_of(fr3, "expert", "") is None and policy_of(so101, "auto", given) == tmp_path
    with pytest.raises(BeingHError, match="has no checkpoint of its own"):
        policy_of(vx300s, "checkpoint", "")
    with pytest.raises(BeingHError, match="the expert takes no checkpoint"):
        policy_of(fr3, "expert", given)
    assert set(POLICIES) == {"auto", "checkpoint", "expert"}


def test_the_expert_is_a_policy_of_the_simulator_only():
    options = BringupOptions(contract="vx300s", expert=True, simulate=True, instruction="the red cube")
    policy = next(spec for spec in processes(options) if spec.name == "policy")
    assert policy.executable == "expert_node" and "checkpoint" not in policy.parameters and check_start(options) == ""
    for refused, words in (
        (BringupOptions(contract="vx300s", expert=True), "simulation only: on a robot nobody tells"),
        (BringupOptions(contract="vx300s", expert=True, simulate=True, policy_url="tcp://a:1"), "both the expert and"),
    ):
        for function in (check_start, processes):
            with pytest.raises(BeingHError, match=words):
                function(refused)


def test_commands_are_read_in_the_names_and_units_of_the_contract():
    contract = load_contract("mobile_ur5e")
    assert positioned(contract) == tuple(n for n in contract.joint_names if not n.startswith("base_"))
    wire = Wire(joints=("a", "b"), names=("left", "right"), factors=(0.5, 2.0), shifts=(0.1, 0.0))
    read = Trajectory(
        joints=("right", "left"), positions=np.array([[1.0, 2.0]]), times_ns=np.array([1]), stamp_ns=0, frame_id=""
    )
    joints, positions = in_contract(DriverGroup(topic="t", joints=("a", "b"), wire=wire), read)
    assert dict(zip(joints, positions[0].tolist())) == {"a": 1.1, "b": 2.0}
    plain = DriverGroup(topic="t", joints=("right", "left"))
    assert in_contract(plain, read)[0] == ("right", "left")


def report(successes, told="pick up the red cube"):
    return {
        "successes": successes,
        "episodes": 5,
        "prefix_violations": 0,
        "limit_violations": 0,
        "seam_velocity_jump_rad_s": {"max": 0.1},
        "late_seam_velocity_jump_rad_s": {"max": None},
        "inside_velocity_jump_rad_s": {"max": 0.125},
        "tracking_error": {"lag_ms": 60, "p95": 0.01, "max": 0.02, "max_without_lag": 0.05},
        "instruction_counts": {told: {}},
    }


def test_the_table_and_the_picture_show_every_robot_that_has_a_report(tmp_path):
    for robot, values in (("so101", report(5)), ("ur5e", report(4, "follow the reference path"))):
        (tmp_path / robot).mkdir()
        (tmp_path / robot / "report.json").write_text(json.dumps(values))
        Image.new("RGB", (640, 480), "red").save(tmp_path / robot / STILL)
    write_table(tmp_path, ["g1", "so101", "ur5e"])
    lines = (tmp_path / TABLE).read_text().splitlines()
    assert (
        len(lines) == 4
        and "| `so101` | 5 of 5 picked | 0 | 0 | 0.100 / none / 0.125 | 0.010 / 0.020, 60 ms behind |" in lines
    )
    assert "`ur5e` | 4 of 5 followed" in lines[3]
    with Image.open(tmp_path / SHEET) as sheet:
        assert sheet.size[0] == 5 * 324 and sheet.getpixel((100, 100)) == (255, 0, 0)


@pytest.mark.slow
def test_a_robot_without_a_checkpoint_picks_the_told_cube_through_the_real_nodes(tmp_path):
    words = ["--robot", "vx300s", "--episodes", "2", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "beingh_ros.demo", *words], cwd=ROOT, capture_output=True, text=True, timeout=300,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    values = json.loads((tmp_path / "report.json").read_text())
    assert values["successes"] == 2 and values["prefix_violations"] == 0 and values["limit_violations"] == 0
    assert values["checkpoint"] == "expert" and (tmp_path / STILL).exists()
