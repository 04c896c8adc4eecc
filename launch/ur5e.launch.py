"""Run a UR5e, with or without gripper: `ros2 launch beingh_ros ur5e.launch.py checkpoint:=DIR instruction:="pick up the red cube"`."""

from beingh_ros.robots.launching import describe


def generate_launch_description():
    """Entry point of `ros2 launch`."""
    return describe(__file__)
