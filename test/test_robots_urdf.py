"""`beingh robots new` and `check`: what a readable URDF says that is hardly meant is a warning with the names; a missing speed is told."""

import math

import pytest
import yaml
from test_robots_new import joint, robot

from beingh_core.contract.check import ERROR, WARN, check_contract
from beingh_core.contract.draft.command import write_draft
from beingh_ros.cli import main

DEGREES = 'lower="-160" upper="160" velocity="2" effort="5"'


def warned(tmp_path, text):
    """The warnings about a draft from a URDF; nothing else may be wrong."""
    (tmp_path / "r.urdf").write_text(text)
    contract, rows = check_contract(write_draft(tmp_path / "r.urdf", None, tmp_path / "r.yaml"))
    assert contract is not None and not [row for row in rows if row.level == ERROR], rows
    assert {row.subject for row in rows if row.level == WARN} <= {"urdf"}
    return [row.found for row in rows if row.level == WARN]


def body(inertial):
    """A robot of one joint `a`, with this in the link that it moves."""
    return robot(joint("a")).replace(
        '<link name="a_link"/>', f'<link name="a_link"><inertial>{inertial}</inertial></link>'
    )


def inertia(ixx, iyy, izz, ixy=0.0, ixz=0.0, iyz=0.0):
    return f'<mass value="1"/><inertia ixx="{ixx}" iyy="{iyy}" izz="{izz}" ixy="{ixy}" ixz="{ixz}" iyz="{iyz}"/>'


def test_limits_in_degrees_are_told_by_new_and_check_until_the_contract_narrows_them(tmp_path, capsys):
    (tmp_path / "r.urdf").write_text(robot(joint("a", limit=DEGREES), joint("b", parent="a_link")))
    out = tmp_path / "r.yaml"
    told = "a (-160 to 160 rad). To fix: write radians, not degrees: [-2.7925, 2.7925] for a"
    assert main(["robots", "new", "--urdf", str(tmp_path / "r.urdf"), "--out", str(out)]) == 0
    assert told in capsys.readouterr().out
    main(["robots", "check", str(out)])
    captured = capsys.readouterr().out
    assert told in captured and "b (" not in captured and "warnings: 1" in captured
    document = yaml.safe_load(out.read_text())
    document["limits"]["position"] = {"a": [-2.7, 2.7]}
    out.write_text(yaml.safe_dump(document))
    assert not [row for row in check_contract(out)[1] if row.level in (WARN, ERROR)]


@pytest.mark.parametrize(
    ("kind", "end", "is_told"),
    [
        ("revolute", 4 * math.pi + 0.01, True),
        ("revolute", 4 * math.pi, False),
        ("revolute", 2e3, False),
        ("prismatic", 20.0, False),
        ("continuous", 160.0, False),
    ],
)
def test_only_revolute_joints_that_turn_farther_than_two_turns_are_told(kind, end, is_told, tmp_path):
    limit = f'lower="-1" upper="{end}" velocity="2" effort="5"'
    assert bool(warned(tmp_path, robot(joint("a", kind, limit=limit)))) is is_told


def test_of_many_joints_in_degrees_one_line_tells_some(tmp_path):
    joints = [joint(f"a{i}", parent=f"a{i - 1}_link" if i else "base", limit=DEGREES) for i in range(7)]
    (line,) = warned(tmp_path, robot(*joints))
    assert "a4 (" in line and "a5 (" not in line and "and 2 more" in line


@pytest.mark.parametrize(
    ("mass", "told"),
    [
        ('<mass value="0"/>', "a_link (0)"),
        ('<mass value="-0.5"/>', "a_link (-0.5)"),
        ('<mass value="1e-9"/>', None),
    ],
)
def test_a_mass_that_is_not_above_zero_is_told(mass, told, tmp_path):
    found = warned(tmp_path, body(mass + '<inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/>'))
    assert [told in line and "r.urdf:1: masses" in line for line in found] == ([True] if told else [])


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ((2e-4, 2e-4, 0.9), "a_link (0.0002, 0.0002, 0.9 kg m^2)"),
        ((1e-3, 1e-3, -1e-3), "a_link (-0.001, 0.001, 0.001 kg m^2)"),
        ((1.0, 1.0, 1.0, 0.9), "a_link (0.1, 1, 1.9 kg m^2)"),  # only the principal moments break it
        ((1.0, 1.0, 2.0), None),  # a thin plate
        ((1.0, 1.0, 2.015), None),  # rounded
        ((0.0, 0.0, 0.0), None),
    ],
)
def test_principal_moments_that_no_body_has_are_told(values, told, tmp_path):
    found = warned(tmp_path, body(inertia(*values)))
    assert [told in line for line in found] == ([True] if told else []), found


def test_a_joint_without_a_speed_is_told_in_what_to_fill_in_and_by_check(tmp_path, capsys):
    still = 'lower="-1" upper="1" velocity="0" effort="5"'
    (tmp_path / "r.urdf").write_text(robot(joint("a", limit=still), joint("b", parent="a_link")))
    out = write_draft(tmp_path / "r.urdf", None, tmp_path / "r.yaml")
    told = "the URDF has no speed (velocity 0) for a"
    assert f"{told}: theirs is a guess" in yaml.safe_load(out.read_text())["assumed"]["limits.velocity"]
    main(["robots", "check", str(out)])
    assert f"{told}: only `limits.velocity` bounds it" in capsys.readouterr().out
