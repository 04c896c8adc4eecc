"""The check of a path: how densely it looks, which pairs it knows, and what it says where it cannot look."""

import re
from dataclasses import replace

import numpy as np
import pytest
from path_check_support import wall
from ros_support import ROOT

from beingh_core.contract import load_contract
from beingh_core.contract.collision_settings import SelfCollision
from beingh_core.contract.self_collision import collisions_of
from beingh_core.control.path_check import path_check
from beingh_core.errors import BeingHError

FR3 = load_contract("fr3")


def test_a_wall_that_is_thinner_than_a_step_is_not_stepped_over():
    """The hand swings through a sheet within one step: it is on the one side before and on the other after."""
    sheet = wall(size=(0.001, 0.3, 1.0), center=(0.0, 0.55, 0.5))
    check = collisions_of(replace(FR3, keep_out=(sheet,)))
    before, after = np.array(FR3.home), np.array(FR3.home)
    before[0], after[0] = 1.2, 1.95
    assert check.first_hit(np.array([before, after])) is None
    assert check.first_on_path(before, after[None]).second == "keep_out.wall"
    assert collisions_of(FR3).first_on_path(before, after[None]) is None


def test_robots_that_cannot_be_checked_say_so_unless_they_have_boxes():
    shapeless = load_contract(ROOT / "test" / "data" / "robots" / "degrees_arm.yaml")
    check, why = path_check(shapeless)
    assert check is None and "no collision shapes" in why
    assert path_check(replace(FR3, self_collision=SelfCollision(check=False)))[1].endswith("is false")
    with pytest.raises(BeingHError, match="no collision shapes"):
        path_check(replace(shapeless, keep_out=(wall(),)))


def test_meshes_are_not_looked_at_and_said(tmp_path):
    """As in makers' descriptions: no file is needed, links that have other shapes too are checked by these."""
    text, urdf = FR3.urdf_path.read_text(), tmp_path / "fr3.urdf"
    mesh = '<collision><geometry><mesh filename="package://nowhere/LINK.stl"/></geometry></collision>'
    for link in ("fr3_link3", "fr3_hand"):
        start = text.index(f'<link name="{link}">')
        text = text[:start] + text[start:].replace("<inertial>", f"{mesh}<inertial>", 1)
    urdf.write_text(text)
    assert path_check(replace(FR3, urdf_path=urdf))[1] == "" and "mesh" in text
    start = text.index('<link name="fr3_link3">')
    end = text.index("</link>", start)
    urdf.write_text(text[:start] + '<link name="fr3_link3">' + mesh + text[end:])
    check, note = path_check(replace(FR3, urdf_path=urdf))
    assert check is not None and note.endswith("with 1 links, whose shapes are meshes (fr3_link3)")
    only = re.sub(r"<(box|cylinder|sphere) [^>]*/>", '<mesh filename="package://nowhere/LINK.stl"/>', text)
    urdf.write_text(only)
    assert "no collision shapes but meshes" in path_check(replace(FR3, urdf_path=urdf))[1]


def test_links_that_the_contract_allows_may_touch():
    pairs = set(collisions_of(FR3).pairs)
    allowed = replace(FR3, self_collision=SelfCollision(allowed={"fr3_hand": ("fr3_link0", "fr3_link2")}))
    left = set(collisions_of(allowed).pairs)
    assert {frozenset(pair) for pair in pairs - left} == {
        frozenset(("fr3_hand", "fr3_link0")),
        frozenset(("fr3_hand", "fr3_link2")),
    }


@pytest.mark.parametrize("name", ["fr3", "so101"])
@pytest.mark.parametrize("margin", [0.01, 0.05])
def test_no_motion_between_looks_is_longer_than_it_is_taken_to_be(name, margin):
    """The bound on motion against distances by coal: no pair comes nearer by more, when one joint moves and when all do."""
    import pinocchio as pin

    contract = load_contract(name)
    check, rng = collisions_of(contract, margin), np.random.default_rng(5)
    lower, upper = contract.limits.lower, contract.limits.upper
    width = len(lower)
    for moved in [np.ones(width), *np.eye(width)] * 4:
        one = rng.uniform(lower, upper)
        other = np.clip(one + moved * rng.uniform(-0.2, 0.2, width), lower, upper)
        gaps = []
        for posture in (one, other):
            contacts = pin.GeometryData(check._shapes)
            pin.computeDistances(check._model, check._data, check._shapes, contacts, check._vector(posture))
            gaps.append([result.min_distance for result in contacts.distanceResults])
        most = np.abs(np.diff(gaps, axis=0)).max()
        assert most <= check._motion.bound((other - one)[None])[0] + 1e-6


def test_fingers_of_two_hands_may_be_near_each_other_and_their_palms_may_not():
    check = collisions_of(load_contract("aloha"), margin=0.05)
    margins = {}
    for pair, request in zip(check._shapes.collisionPairs, check._contacts.collisionRequests):
        margins[check._name(pair.first), check._name(pair.second)] = request.security_margin
    assert margins["left_left_finger_link", "right_left_finger_link"] == pytest.approx(0.015)
    assert margins["left_gripper_link", "right_gripper_link"] == 0.05
