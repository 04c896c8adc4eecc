"""Message packages are built from their fields where no ROS installation has them, and what lacks is told before a start."""

import os
import subprocess
import sys

import pytest
from interface_builder import INTERFACES, builder, provide

pytest.importorskip("rclpy")

from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError
from beingh_ros.bringup import BringupOptions, processes
from beingh_ros.drivers import DRIVERS
from beingh_ros.drivers.interfaces import NEEDED, check_interfaces


def test_without_a_compiler_nothing_is_built_and_the_environment_is_made_all_the_same(tmp_path):
    command = [sys.executable, "-S", INTERFACES / "build.py", "--into", tmp_path]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "no C compiler" in done.stdout and "control_msgs, franka_msgs, nav_msgs" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_built_package_is_built_again_when_its_fields_change(tmp_path, monkeypatch):
    (tmp_path / "tf2_msgs").mkdir()
    (tmp_path / "tf2_msgs" / builder.MARK).write_text(builder.digest("tf2_msgs"))
    assert builder._is_installed("tf2_msgs", tmp_path)
    monkeypatch.setattr(builder, "digest", lambda package: "another")
    assert not builder._is_installed("tf2_msgs", tmp_path)


def test_what_a_driver_needs_is_there_where_it_is_built():
    assert set(NEEDED) < set(DRIVERS)
    for package in ("control_msgs", "franka_msgs", "nav_msgs", "unitree_hg"):
        provide(package)
    for name in ("so101", "xarm7", "fr3_hand", "g1", "mobile_ur5e"):
        check_interfaces(load_contract(name))


def test_messages_that_are_not_installed_start_nothing(monkeypatch):
    for module in ("control_msgs", "control_msgs.action"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    with pytest.raises(BeingHError, match="parallel_gripper needs control_msgs.*`make environment` builds it"):
        processes(BringupOptions(contract="so101", simulate=True))
