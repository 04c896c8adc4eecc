"""Every shipped robot, simulated as it is shipped: what its nodes need is there, with its types, names and rates."""

import re

import pytest
from interface_builder import for_children, provide
from ros_support import ROOT, NodeProcess, ros_graph

pytest.importorskip("mujoco")
from beingh_core.contract import load_contract
from beingh_core.contract.simulation import check_simulation
from beingh_ros.cli import main

SHIPPED = sorted(path.stem for path in (ROOT / "config" / "robots").glob("*.yaml"))


def test_every_shipped_robot_is_played():
    for name in SHIPPED:
        check_simulation(load_contract(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_the_simulator_has_what_the_live_check_looks_for(name, tmp_path, monkeypatch, capsys):
    with ros_graph() as graph:
        for package in ("control_msgs", "franka_msgs", "nav_msgs", "unitree_hg"):
            provide(package)
            for_children(graph.environment, package)
        monkeypatch.setenv("ROS_DOMAIN_ID", graph.environment["ROS_DOMAIN_ID"])
        with NodeProcess(graph, "sim_node", {"contract": name}, tmp_path / "sim.log") as sim:
            # A simulator that is still making its pictures, or that the machine holds up, is found by a later look.
            for wait_s in ("4", "4", "8", "16"):
                status = main(["robots", "check", name, "--live", "--wait", wait_s])
                told = capsys.readouterr().out
                if not status:
                    break
            assert status == 0, f"{told}\n{sim.output}"
            live = re.findall(r"^(\w+) +live (\S+)", told, re.M)
            assert {level for level, _ in live} <= {"OK", "WARN"} and len(live) >= 4
            assert sim.process.poll() is None
