"""Builds the ROS package `beingh_ros` together with its ROS-free core `beingh_core`."""

import sys
from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

NAME = "beingh_ros"
SHARE = f"share/{NAME}"
NODES = ("policy_node", "expert_node", "controller_node", "sim_node", "markers_node", "unitree_joint_states")
# Scripts go to lib/, where `ros2 run` looks for them (setup.cfg), and one to bin/, which is on a workspace's PATH. A wheel has
# all of them in bin/ already.
IN_WHEEL = not {"bdist_wheel", "editable_wheel", "dist_info"}.isdisjoint(sys.argv)


def shared(*patterns):
    """(destination, files) of everything that matches, in the folders in which it stands here."""
    folders = {}
    for pattern in patterns:
        for file in sorted(path for path in glob(pattern, recursive=True) if Path(path).is_file()):
            folders.setdefault(f"{SHARE}/{Path(file).parent.as_posix()}", []).append(file)
    return sorted(folders.items())


setup(
    name=NAME,
    version="0.1.0",
    description="Being-H vision-language-action policies on real robots through ROS 2",
    license="Apache-2.0",
    maintainer="Being-H ROS maintainers",
    maintainer_email="maintainers@example.com",
    packages=find_packages(include=["beingh_core", "beingh_core.*", "beingh_ros", "beingh_ros.*"]),
    package_data={"beingh_core.data.annotate": ["page.html"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (SHARE, ["package.xml"]),
        *([] if IN_WHEEL else [("bin", ["resource/beingh"])]),
        *shared(
            "launch/*.launch.py",
            "config/**/*.yaml",
            "config/**/*.rviz",
            "config/*.json",
            "urdf/*",
            "checkpoints/*/*.json",
            "checkpoints/*/*.safetensors",
        ),
    ],
    python_requires=">=3.10",
    install_requires=[
        "setuptools",
        "numpy",
        "scipy",
        "PyYAML",
        "pydantic>=2.10",
        "pillow",
        "pin",
        "msgpack",
        "tokenizers",
        "safetensors",
        "torch",
    ],
    extras_require={
        "demo": ["mujoco", "av", "matplotlib", "rich", "opencv-python-headless"],
        "bags": ["mcap", "rosbags"],
        "datasets": ["pyarrow", "av", "opencv-python-headless"],
        "cluster": ["ray"],
        "monitor": ["rich"],
        "viewer": ["rerun-sdk"],
        "test": ["pytest", "pytest-timeout", "hypothesis", "ruckig", "pyzmq", "mcap-ros2-support"],
    },
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "beingh = beingh_ros.cli:main",
            *(f"{node} = {NAME}.nodes.{node}:main" for node in NODES),
            f"demo = {NAME}.demo.command:main",
            f"record = {NAME}.record.node:main",
            "export_dataset = beingh_core.cli:export_dataset",
            f"replay_eval = {NAME}.replay.command:main",
        ]
    },
)
