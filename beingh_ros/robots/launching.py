"""What the launch files do: from arguments to launch_ros nodes.

The nodes are those of `bringup.py`; here is added what only a ROS installation has, the robot state publisher and RViz. The
robot's own drivers (joint states, cameras, trajectory controllers) run beside it. When one of our nodes ends, all do (except
those that only look on); Ctrl-C ends them, and the controller's last command brings the robot to rest.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from beingh_core.contract import RobotContract, load_contract
from beingh_core.errors import BeingHError
from beingh_ros.bringup import PACKAGE, BringupOptions, ProcessSpec, check_start, processes
from beingh_ros.messages.topics import JOINTS_TOPIC
from beingh_ros.robots import launch_arguments as given

# Two robots of one kind have the same frames: those in a namespace are kept there.
FRAMES = [("/tf", "tf"), ("/tf_static", "tf_static")]
FRAMES_HZ = 30.0
# Statuses of a node that was told to end. asyncio reports 255 for one that was gone when it was sent the signal.
AS_TOLD = (0, -signal.SIGINT, -signal.SIGTERM, 255)


def describe(file: str):
    """The launch description of a launch file that starts one robot.

    Args:
        file: The launch file: `robot.launch.py`, or one that is named after the contracts it is for.
    """
    path = Path(file).resolve()

    def read(text: Mapping[str, str]) -> list[Mapping[str, str]]:
        given.check_family(text["robot"], path)
        return [text]

    return _description(path, given.arguments_of(path), read)


def describe_cell(file: str):
    """The launch description of a launch file that starts several robots at once, each in its namespace."""
    from beingh_ros.robots.cells import CELL_ARGUMENTS, read_cell

    def read(text: Mapping[str, str]) -> list[Mapping[str, str]]:
        return read_cell(text["cell"], {name: value for name, value in text.items() if name != "cell"})

    return _description(Path(file).resolve(), CELL_ARGUMENTS, read)


def options_from(text: Mapping[str, str]) -> BringupOptions:
    """`BringupOptions` from launch arguments (name -> text)."""
    return BringupOptions(
        contract=os.path.expanduser(text["robot"]),
        expert=text["checkpoint"] == given.EXPERT,
        dataset_name=text["dataset_name"],
        device=text["device"],
        policy_url=text["policy_url"],
        policy_token_file=os.path.expanduser(text["policy_token_file"]),
        policy_jpeg_quality=given.number(text, "policy_jpeg_quality", 100),
        instruction=text["instruction"],
        simulate=given.flag(text, "simulate"),
        seed=given.number(text, "seed", 2**31 - 1),
        dry_run=given.flag(text, "dry_run"),
        autostart=given.choice(text, "lifecycle", ("auto", "manual")) == "auto",
        estop_topic=given.topic(text, "estop"),
        torch_threads=given.number(text, "torch_threads", 256),
        namespace=given.namespace(text),
        use_sim_time=given.flag(text, "use_sim_time"),
        record=given.flag(text, "record"),
        record_out=os.path.expanduser(text["record_out"]),
        checkpoint=given.source_of_chunks(text),  # last: a slip in another argument is told first
    )


def extras_from(text: Mapping[str, str], has_package: Callable[[str], bool], has_display: bool) -> set[str]:
    """Which of robot_state_publisher and rviz2 to start.

    Args:
        text: Launch arguments (name -> text).
        has_package: Whether a ROS package is installed.
        has_display: Whether a window can be opened.
    """
    extras = set()
    for package, argument, sensible in (
        ("robot_state_publisher", "robot_state_publisher", given.flag(text, "simulate")),
        ("rviz2", "rviz", has_display),
    ):
        wanted = given.flag(text, argument, automatic=sensible and has_package(package))
        if wanted and not has_package(package):
            raise BeingHError(
                f"the ROS package {package} is not installed",
                where=f"argument {argument}",
                remedy=f"`sudo apt install ros-$ROS_DISTRO-{package.replace('_', '-')}`, or {argument}:=false",
            )
        extras |= {package} if wanted else set()
    return extras


def speaks_urdf(contract: RobotContract) -> bool:
    """Whether a robot state publisher can hear the joint states as they are: one topic, in the URDF's names and units."""
    topics = contract.joint_state_topics
    return len(topics) == 1 and contract.wire_of(topics[0]).is_plain


def _description(path: Path, arguments: Mapping[str, tuple[str, str]], read: Callable):
    """Names are checked before the defaults are set: what is set then was typed, or comes from a file that includes this one."""
    from launch.actions import DeclareLaunchArgument, OpaqueFunction
    from launch.substitutions import LaunchConfiguration

    from launch import LaunchDescription

    def check(context) -> None:
        given.check_names(sys.argv, context.launch_configurations.keys(), arguments, PACKAGE, path)

    def start(context) -> list:
        return _start(read({name: LaunchConfiguration(name).perform(context) for name in arguments}), context)

    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in arguments.items()
    ]
    return LaunchDescription([OpaqueFunction(function=check), *declared, OpaqueFunction(function=start)])


def _start(robots: list[Mapping[str, str]], context) -> list:
    """The actions of every robot; whatever can be refused is refused before the first of them."""
    from launch.logging import get_logger

    from beingh_ros.robots.namesakes import refuse_second

    display = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    found, actions = {}, []
    for text in robots:
        options = options_from(text)
        extras, warning = extras_from(text, _has_package, display), check_start(options)
        contract = load_contract(options.contract)
        if "robot_state_publisher" in extras and not speaks_urdf(contract):
            options = replace(options, joint_states_hz=FRAMES_HZ)
        specs, space = processes(options), _full_namespace(context, options.namespace)
        if warning:
            get_logger(PACKAGE).warning(warning)
        found[space] = [spec.name for spec in specs]
        actions += [_node(spec, space) for spec in specs]
        if "robot_state_publisher" in extras:
            actions.append(_robot_state_publisher(contract, options, space))
        if "rviz2" in extras:
            actions.append(_rviz(contract, options, space, own_frames="robot_state_publisher" in extras))
    refuse_second(found)
    return actions


def _full_namespace(context, namespace: str) -> str:
    """The namespace in which a node comes to be, also below a PushRosNamespace of a launch file that includes ours."""
    from launch_ros.utilities import make_namespace_absolute, prefix_namespace

    return make_namespace_absolute(prefix_namespace(context.launch_configurations.get("ros_namespace"), namespace))


def _has_package(name: str) -> bool:
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix

    try:
        return bool(get_package_prefix(name))
    except PackageNotFoundError:
        return False


def _end_all(name: str) -> Callable:
    """What to do when a node ends that the robot cannot do without.

    The first one is the cause and is told. An error, in place of a Shutdown, also gives the launch a status that is not 0.
    """
    from launch.actions import Shutdown

    def react(event, context):
        if context.is_shutdown and event.returncode in AS_TOLD:
            return None
        if event.returncode == 0:
            return [Shutdown(reason=f"{name} ended")]
        raise BeingHError(
            f"{name} ended by itself with status {event.returncode}"
            + ("" if context.is_shutdown else ": the others end too"),
            remedy=f"the last lines of [{event.process_name}] say why",
        )

    return react


def _node(spec: ProcessSpec, space: str):
    """Parameters go onto the command line: launch_ros would leave a file for them."""
    from launch_ros.actions import Node

    return Node(
        package=PACKAGE,
        executable=spec.executable,
        name=spec.name,
        namespace=spec.namespace,
        ros_arguments=spec.parameter_words(),
        remappings=list(spec.remappings),
        output="screen",
        on_exit=_end_all(f"the node {space.rstrip('/')}/{spec.name}") if spec.essential else None,
    )


@functools.cache
def _scratch() -> Path:
    """A folder for what nodes read from files, removed when the launch ends."""
    folder = tempfile.mkdtemp(prefix="beingh_launch_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _written(space: str, name: str, text: str) -> str:
    path = _scratch() / f"{space.strip('/').replace('/', '.')}{name}"
    path.write_text(text, encoding="utf-8")
    return str(path)


def _robot_state_publisher(contract: RobotContract, options: BringupOptions, space: str):
    from launch_ros.actions import Node

    description = Path(contract.urdf_path).read_text(encoding="utf-8")
    parameters = {"robot_description": description, "use_sim_time": options.use_sim_time}
    # JSON is YAML that keeps every text a text.
    file = _written(space, ".params.yaml", json.dumps({"/**": {"ros__parameters": parameters}}))
    return Node(
        package="robot_state_publisher",
        executable="robot_state_publisher",
        namespace=options.namespace,
        ros_arguments=["--params-file", file],
        remappings=[
            ("joint_states", JOINTS_TOPIC if options.joint_states_hz else contract.joint_state_topics[0]),
            *FRAMES,
        ],
    )


def _rviz(contract: RobotContract, options: BringupOptions, space: str, own_frames: bool):
    """RViz; with `own_frames` the frames are those of our robot state publisher, in the namespace."""
    from launch_ros.actions import Node

    from beingh_core.contract.paths import find_in_package
    from beingh_ros.monitor.display import rviz_config

    template = find_in_package(Path("config", "rviz", "beingh.rviz"))
    return Node(
        package="rviz2",
        executable="rviz2",
        namespace=options.namespace,
        remappings=FRAMES if own_frames else [],
        arguments=["-d", _written(space, ".rviz", rviz_config(contract, template, space))],
        ros_arguments=["-p", f"use_sim_time:={json.dumps(options.use_sim_time)}"],
    )
