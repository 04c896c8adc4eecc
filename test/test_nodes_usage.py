"""What every node answers to `--help` and to words that mean nothing to it."""

import importlib
import re
import subprocess
import sys

import pytest
from ros_support import ROOT

import beingh_ros
from beingh_core.errors import BeingHError
from beingh_ros.nodes.usage import answer_to, parameters_of, usage

NODES = {
    "nodes.sim_node": "SimNode", "nodes.controller_node": "ControllerNode", "nodes.policy_node": "PolicyNode",
    "nodes.expert_node": "ExpertNode", "nodes.markers_node": "MarkersNode", "nodes.unitree_joint_states": "UnitreeJointStates", "record.node": "RecordNode",
}  # fmt: skip


def node(name):
    return getattr(importlib.import_module(f"beingh_ros.{name}"), NODES[name])


@pytest.mark.parametrize("name", NODES)
def test_the_usage_of_a_node_describes_every_parameter_that_it_declares(name):
    module = importlib.import_module(f"beingh_ros.{name}")
    told, found = usage(node(name)), parameters_of(module)
    with open(module.__file__) as file:
        assert len(found) == len(re.findall(r"\bdeclare\(", file.read()))
    for parameter in found:
        assert re.search(rf"^  {parameter.name} ", told, re.M) and parameter.description.split()[0] in told
        assert re.search(rf"\b{parameter.name}\b", beingh_ros.__doc__), "the list of nodes lacks it"


def test_the_usage_tells_defaults_and_how_parameters_are_given():
    told = usage(node("record.node"))
    assert "(default: out/episodes)" in told and "[MB] (default: 256.0)" in told and "--ros-args [-p" in told
    assert "use_sim_time" in told and "(default: [0=toggle])" in told


def test_words_of_rclpy_are_let_through_and_others_refused():
    record = node("record.node")
    assert answer_to(["--ros-args", "-p", "out:=x", "-r", "__ns:=/left", "--log-level", "warn"], record) is None
    assert answer_to([], record) is None
    assert answer_to(["--ros-args", "--params-file", "/nowhere"], record) is None  # rclpy.init refuses it
    for words in (["keyboard"], ["--keyboard"], ["--ros-args", "-p", "out:=x", "--", "more"]):
        with pytest.raises(BeingHError, match="means nothing here"):
            answer_to(words, record)


def test_a_recorder_answers_and_ends():
    def of(*words):
        return subprocess.run(
            [sys.executable, "-m", "beingh_ros.record", *words], cwd=ROOT, capture_output=True, text=True, timeout=60
        )

    for words in (["--help"], ["-h"], ["--ros-args", "-p", "contract:=none", "--", "--help"]):
        done = of(*words)
        assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("usage: record "), words
    done = of("--outt", "x")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "`--outt`" in done.stderr.replace("'", "`")
