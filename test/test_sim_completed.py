"""Robots whose URDF lacks what a simulation needs: shapes, meshes, masses."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest

from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError
from beingh_core.sim import SimRobot
from beingh_core.sim.describe import left_open, robot_spec

ROOT = Path(__file__).resolve().parents[1]
WEIGHT = '<inertial><mass value="1"/><inertia ixx="0.01" iyy="0.01" izz="0.01" ixy="0" ixz="0" iyz="0"/></inertial>'
MESH = '<collision><geometry><mesh filename="{}"/></geometry></collision>'


@pytest.fixture
def walked(tmp_path):
    """The robot of the walk-through, of which nothing but the kinematics is known."""
    text = (ROOT / "docs" / "your_robot.md").read_text()
    for name, language in (("my_arm.urdf", "xml"), ("my_arm.yaml", "yaml")):
        body = re.search(rf"`{name}`:\n\n```{language}\n(.*?)```", text, re.DOTALL)[1]
        (tmp_path / name).write_text(body)
    return load_contract(tmp_path / "my_arm.yaml")


def written(folder, filename, weight=WEIGHT):
    """A robot of one joint, whose moving link has a mesh."""
    path = folder / "one.urdf"
    joint = '<parent link="a"/><child link="b"/><origin xyz="0 0 0.3"/><axis xyz="0 0 1"/>'
    limit = '<limit lower="-1" upper="1" velocity="1" effort="1"/>'
    link = f'<link name="b">{weight}{MESH.format(filename)}</link>'
    path.write_text(
        f'<robot name="one"><link name="a"/>{link}<joint name="j" type="revolute">{joint}{limit}</joint></robot>'
    )
    return path


def tetrahedron(path):
    """A binary STL."""
    corners = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0, 0, 0.1]], np.float32)
    faces = [corners[list(face)] for face in ((0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3))]
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [np.vstack([np.zeros(3), face]).astype("<f4").tobytes() + b"\0\0" for face in faces]
    path.write_bytes(b"\0" * 80 + struct.pack("<I", len(faces)) + b"".join(parts))


def test_a_robot_of_which_only_the_kinematics_is_known_moves_and_is_seen(walked):
    shapes, masses = left_open(walked.urdf_path)
    assert "no shapes" in shapes and "no mass of `upper`, `fore`, `hand`: 0.3 kg" in masses
    robot = SimRobot.of(walked)
    try:
        robot.step(1.0, {"shoulder": 0.4, "elbow": 0.3, "wrist": -0.2})
        assert robot.positions()["shoulder"] == pytest.approx(0.4, abs=0.02)
        assert not robot.contacts(), "lines touch nothing"
        drawn = [
            name
            for name in map(robot.model.body, robot.model.geom_bodyid)
            if name.name in ("base_link", "upper", "fore")
        ]
        assert len(drawn) == 3
    finally:
        robot.close()


@pytest.mark.parametrize("place", ["beside", "package", "workspace", "uri"])
def test_meshes_are_found_where_they_are(place, tmp_path, monkeypatch):
    folder = tmp_path / "my_arm" / "urdf"
    folder.mkdir(parents=True)
    names = {
        "beside": "../meshes/b.stl",
        "uri": f"file://{tmp_path}/my_arm/meshes/b.stl",
        "package": "package://my_arm/meshes/b.stl",
        "workspace": "package://its_description/meshes/b.stl",
    }
    share = tmp_path / "install" / "share" / "its_description"
    tetrahedron((share if place == "workspace" else tmp_path / "my_arm") / "meshes" / "b.stl")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "install"))
    path = written(folder, names[place], weight="")
    assert left_open(path) == ()
    model = robot_spec(path).compile()
    assert model.ngeom == 1 and 0.1 < model.body("b").mass[0] < 0.2, "of its shape"


@pytest.mark.parametrize("name", ["package://nowhere/b.stl", "b.stl", "b.dae"])
def test_a_mesh_that_is_not_there_is_left_out_and_told(name, tmp_path):
    (tmp_path / "b.dae").write_text("<COLLADA/>")
    (note, lines) = sorted(left_open(written(tmp_path, name)))
    assert "no shape of `b`: the mesh is not there" in note and "source its workspace" in note
    assert "no shapes" in lines


def test_a_mesh_that_is_none_is_one_error(tmp_path):
    (tmp_path / "b.stl").write_bytes(b"solid nothing")
    with pytest.raises(BeingHError, match=r"one\.urdf: MuJoCo cannot read this: .*b\.stl"):
        robot_spec(written(tmp_path, "b.stl"))
