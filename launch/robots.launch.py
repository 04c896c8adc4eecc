"""Run several robots at once, each in its namespace: `ros2 launch beingh_ros robots.launch.py cell:=two_fr3`."""

from beingh_ros.robots.launching import describe_cell


def generate_launch_description():
    """Entry point of `ros2 launch`."""
    return describe_cell(__file__)
