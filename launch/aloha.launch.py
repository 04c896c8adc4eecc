"""Run an ALOHA, two ViperX 300: `ros2 launch beingh_ros aloha.launch.py checkpoint:=DIR instruction:="pick up the red cube"`."""

from beingh_ros.robots.launching import describe


def generate_launch_description():
    """Entry point of `ros2 launch`."""
    return describe(__file__)
