"""A robot started with a misspelled `dry_run`, in every way this computer has of starting one: each must be refused."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from beingh_ros.bringup import ProcessSpec

WRONG, MEANT = "dryrun", "dry_run"
REFUSED_WITHIN_S = 40.0
LAUNCH_FILE = Path(__file__).resolve().parents[2] / "launch" / "robot.launch.py"
# Includes a launch file with arguments, as `ros2 launch` does; to be run with `python -c`.
LAUNCHER = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import AnyLaunchDescriptionSource
words = [tuple(word.split(":=", 1)) for word in sys.argv[2:]]
service = LaunchService(noninteractive=True)
included = IncludeLaunchDescription(AnyLaunchDescriptionSource(sys.argv[1]), launch_arguments=words)
service.include_launch_description(LaunchDescription([included]))
sys.exit(service.run())
"""


def starts_anyway(controller: ProcessSpec) -> str:
    """What of the misspelled starts is not refused, in words; "" when all are.

    Args:
        controller: A controller that would start if it were spelled rightly.
    """
    for how, command in _commands(controller):
        try:
            run = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=REFUSED_WITHIN_S)
        except subprocess.TimeoutExpired:
            return f"{how} with {WRONG} was not refused within {REFUSED_WITHIN_S:g} s"
        if run.returncode == 0 or MEANT not in run.stdout + run.stderr:
            return f"{how} with {WRONG} ended with status {run.returncode} and did not name {MEANT}"
    return ""


def _commands(controller: ProcessSpec) -> Iterator[tuple[str, list[str]]]:
    yield "a node", replace(controller, parameters={**controller.parameters, WRONG: True}).command()
    if LAUNCH_FILE.exists() and os.environ.get("AMENT_PREFIX_PATH") and importlib.util.find_spec("launch_ros"):
        words = [f"robot:={controller.parameters['contract']}", f"{WRONG}:=true"]
        yield "the launch file", [sys.executable, "-c", LAUNCHER, str(LAUNCH_FILE), *words]
