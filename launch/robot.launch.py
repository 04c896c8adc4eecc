"""Run a robot: `ros2 launch beingh_ros robot.launch.py robot:=fr3 checkpoint:=DIR instruction:="pick up the red cube"`.

The nodes are those of `beingh_ros.bringup`; this file adds what only a ROS installation has: the robot state
publisher and RViz. The robot's own drivers (joint states, cameras, trajectory controllers) run beside it.
When one of our nodes ends, all do (except the one that only shows the paths); Ctrl-C ends them, and the controller's last
command brings the robot to rest.
"""

import os
import sys
import tempfile
from pathlib import Path

ARGUMENTS = {
    "robot": ("fr3", "robot contract: name in config/robots or path of a YAML file"),
    "checkpoint": ("", "checkpoint directory for a policy on this computer; empty: see policy_url"),
    "policy_url": ("", "policy server as tcp://HOST:PORT, in place of a checkpoint; both empty start no policy"),
    "policy_token_file": ("", "file with the token that the policy server asks for"),
    "policy_jpeg_quality": ("0", "of pictures sent to the policy server: 1 to 100, or 0 for pixels"),
    "instruction": ("", "first instruction; empty waits for one on policy/instruction"),
    "simulate": ("false", "start the simulator in place of the robot's drivers"),
    "seed": ("0", "seed of the simulated scene and of the policy's noise"),
    "dry_run": ("false", "the controller sends no commands to the robot"),
    "torch_threads": ("0", "CPU threads of the policy, 0 for torch's default"),
    "namespace": ("", "ROS namespace of all nodes"),
    "use_sim_time": ("false", "all nodes follow /clock"),
    "robot_state_publisher": ("auto", "true, false, or auto: with the simulator only, since drivers bring theirs"),
    "record": ("false", "start a recorder, which waits for its pedals, services or topic; see docs/record.md"),
    "record_out": ("out/episodes", "folder of the recorder's bags"),
    "rviz": ("auto", "true, false, or auto: when RViz is installed and there is a display"),
}
# Two robots of one kind have the same frames: those in a namespace are kept there.
FRAMES = [("/tf", "tf"), ("/tf_static", "tf_static")]
RVIZ_CONFIG = Path(__file__).resolve().parent.parent / "config" / "rviz" / "beingh.rviz"


def options_from(text):
    """`BringupOptions` from launch arguments (name -> text)."""
    from beingh_ros.bringup import BringupOptions
    from beingh_ros.robots.launch_arguments import flag, namespace, number

    return BringupOptions(
        contract=text["robot"],
        checkpoint=text["checkpoint"],
        policy_url=text["policy_url"],
        policy_token_file=text["policy_token_file"],
        policy_jpeg_quality=number(text, "policy_jpeg_quality", 100),
        instruction=text["instruction"],
        simulate=flag(text, "simulate"),
        seed=number(text, "seed", 2**31 - 1),
        dry_run=flag(text, "dry_run"),
        torch_threads=number(text, "torch_threads", 256),
        namespace=namespace(text),
        use_sim_time=flag(text, "use_sim_time"),
        record=flag(text, "record"),
        record_out=text["record_out"],
    )


def extras_from(text, has_package, has_display):
    """Which of robot_state_publisher and rviz2 to start, as a set.

    Args:
        text: Launch arguments (name -> text).
        has_package: Whether a ROS package is installed (name -> bool).
        has_display: Whether a window can be opened.
    """
    from beingh_core.errors import BeingHError
    from beingh_ros.robots.launch_arguments import flag

    extras = set()
    for package, argument, sensible in (
        ("robot_state_publisher", "robot_state_publisher", flag(text, "simulate")),
        ("rviz2", "rviz", has_display),
    ):
        wanted = flag(text, argument, automatic=sensible and has_package(package))
        if wanted and not has_package(package):
            raise BeingHError(
                f"the ROS package {package} is not installed",
                where=f"argument {argument}",
                remedy=f"`sudo apt install ros-$ROS_DISTRO-{package.replace('_', '-')}`, or {argument}:=false",
            )
        extras |= {package} if wanted else set()
    return extras


def _check_names(context):
    """Before the defaults are set: what is set then was typed, or comes from a launch file that includes this one."""
    from beingh_ros.bringup import PACKAGE
    from beingh_ros.robots.launch_arguments import check_names

    check_names(sys.argv, context.launch_configurations.keys(), ARGUMENTS, PACKAGE, Path(__file__).resolve())


def _setup(context):
    from launch.logging import get_logger
    from launch.substitutions import LaunchConfiguration

    from beingh_core.contract import load_contract
    from beingh_ros.bringup import check_start, processes

    text = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    options = options_from(text)
    display = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    extras = extras_from(text, _has_package, display)
    warning = check_start(options)
    if warning:
        get_logger("beingh").warning(warning)
    actions = [_node(spec) for spec in processes(options)]
    contract = load_contract(text["robot"])
    if "robot_state_publisher" in extras:
        actions.append(_robot_state_publisher(contract, text))
    if "rviz2" in extras:
        actions.append(_rviz(contract, text, own_frames="robot_state_publisher" in extras))
    return actions


def _has_package(name):
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix

    try:
        return bool(get_package_prefix(name))
    except PackageNotFoundError:
        return False


def _end_all(spec):
    """What to do when a node ends that the robot cannot do without: tell the first one, which is the cause."""
    from launch.actions import Shutdown
    from launch.logging import get_logger

    def react(event, context):
        if context.is_shutdown:
            return None
        if event.returncode:
            get_logger("beingh").error(
                f"the {spec.name} ended by itself with status {event.returncode}: the others end too. "
                f"The last lines of [{event.process_name}] say why"
            )
        return [Shutdown(reason=f"{spec.name} ended")]

    return react


def _node(spec):
    from launch_ros.actions import Node

    from beingh_ros.bringup import PACKAGE

    return Node(
        package=PACKAGE,
        executable=spec.executable,
        name=spec.name,
        namespace=spec.namespace,
        parameters=[_parameters(spec.parameters)],
        remappings=list(spec.remappings),
        output="screen",
        on_exit=_end_all(spec) if spec.essential else None,
    )


def _parameters(values):
    """Without a declared type, launch reads a text as YAML: the instruction "1" would become a number."""
    from launch_ros.parameter_descriptions import ParameterValue

    return {
        name: ParameterValue(value, value_type=str) if isinstance(value, str) else value
        for name, value in values.items()
    }


def _robot_state_publisher(contract, text):
    from launch_ros.actions import Node

    from beingh_ros.robots.launch_arguments import flag

    description = Path(contract.urdf_path).read_text(encoding="utf-8")
    return Node(
        package="robot_state_publisher",
        executable="robot_state_publisher",
        namespace=text["namespace"],
        parameters=[_parameters({"robot_description": description, "use_sim_time": flag(text, "use_sim_time")})],
        remappings=[("joint_states", contract.joint_state_topics[0]), *FRAMES],
    )


def _rviz(contract, text, own_frames):
    """RViz; with `own_frames` the frames are those of our robot state publisher, in the namespace."""
    from launch_ros.actions import Node

    from beingh_ros.monitor.display import rviz_config
    from beingh_ros.robots.launch_arguments import flag

    with tempfile.NamedTemporaryFile("w", prefix="beingh_", suffix=".rviz", delete=False, encoding="utf-8") as file:
        file.write(rviz_config(contract, RVIZ_CONFIG, text["namespace"]))
    return Node(
        package="rviz2",
        executable="rviz2",
        namespace=text["namespace"],
        remappings=FRAMES if own_frames else [],
        arguments=["-d", file.name],
        parameters=[{"use_sim_time": flag(text, "use_sim_time")}],
    )


def generate_launch_description():
    """Entry point of `ros2 launch`."""
    from launch.actions import DeclareLaunchArgument, OpaqueFunction

    from launch import LaunchDescription

    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([OpaqueFunction(function=_check_names), *declared, OpaqueFunction(function=_setup)])
