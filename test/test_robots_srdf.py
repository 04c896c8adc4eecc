"""`beingh robots new --srdf`: posture and pairs stand in the contract, names that do not fit are told, another file is refused."""

import numpy as np
import pytest
from ros_support import ROOT
from test_robots_new import drafted, joint, robot

from beingh_core.contract import load_contract
from beingh_core.contract.draft.command import write_draft
from beingh_core.contract.self_collision import collisions_of
from beingh_core.errors import BeingHError
from beingh_ros.cli import main


def test_the_posture_of_an_srdf_is_home(tmp_path):
    srdf = tmp_path / "r.srdf"
    states = {"up": 0.9, "ready": 0.5, "home": 0.4}
    text = "".join(
        f'<group_state name="{n}" group="arm"><joint name="a" value="{v}"/></group_state>' for n, v in states.items()
    )
    srdf.write_text(
        f'<robot name="r">{text}<group_state name="ready" group="g"><joint name="b" value="9"/></group_state></robot>'
    )
    contract, document = drafted(tmp_path, robot(joint("a"), joint("b", parent="a_link")), srdf=srdf)
    assert contract.home == (0.4, 1.0) and "home" not in document["assumed"], "as far as the limits go"
    srdf.write_text(f'<robot name="r">{text.replace("0.4", "nan")}</robot>')
    with pytest.raises(BeingHError, match="no position"):
        write_draft(tmp_path / "r.urdf", srdf, tmp_path / "s.yaml")
    srdf.write_text("<sdf/>")
    with pytest.raises(BeingHError, match="SRDF"):
        write_draft(tmp_path / "r.urdf", srdf, tmp_path / "s.yaml")


def drafted_ur5e(folder, pairs):
    """The UR5e's draft with an SRDF of these pairs, or without one."""
    folder.mkdir()
    (folder / "r.srdf").write_text(f'<robot name="ur5e">{pairs}</robot>')
    srdf = folder / "r.srdf" if pairs else None
    return load_contract(write_draft(ROOT / "urdf" / "ur5e.urdf", srdf, folder / "r.yaml"))


def test_pairs_that_an_srdf_lets_touch_are_no_collision(tmp_path):
    checks = {}
    pair = '<disable_collisions link1="{}" link2="{}" reason="{}"/>'
    plain = collisions_of(drafted_ur5e(tmp_path / "plain", ""))
    rng, limits = np.random.default_rng(0), load_contract("ur5e").limits
    postures = rng.uniform(np.maximum(limits.lower, -3.0), np.minimum(limits.upper, 3.0), (300, len(limits.lower)))
    hits = [hit for row in postures if (hit := plain.first_hit(row[None]))]
    first, second = hits[0].first, hits[0].second
    others = {(hit.first, hit.second) for hit in hits} - {(first, second)}
    assert others, "another pair that still must not touch"
    for number, (one, two, reason) in enumerate(
        ((second, first, "Default"), (first, second, "Never"), (first, "of_another_robot", "User"))
    ):
        checks[reason] = collisions_of(drafted_ur5e(tmp_path / str(number), pair.format(one, two, reason)))
    assert (first, second) not in checks["Default"].pairs and others <= set(checks["Default"].pairs)
    assert checks["Never"].pairs == checks["User"].pairs == plain.pairs
    all_of_it = f'<disable_default_collisions link="{first}"/><enable_collisions link1="{first}" link2="{second}"/>'
    check = collisions_of(drafted_ur5e(tmp_path / "all", all_of_it))
    assert [one for one in check.pairs if first in one] == [(first, second)]


@pytest.mark.parametrize(
    ("pairs", "what"),
    [('<disable_collisions link1="a"/>', "link2"), ('<disable_collisions link1="a" link2="a"/>', "twice")],
)
def test_pairs_of_an_srdf_that_are_none(pairs, what, tmp_path):
    with pytest.raises(BeingHError, match=what) as told:
        drafted_ur5e(tmp_path / "r", pairs)
    assert "r.srdf:1" in str(told.value)


STATE = '<group_state name="{}" group="g">{}</group_state>'
AT = '<joint name="{}" value="0.5"/>'
TWO = robot(joint("a"), joint("lift", parent="a_link"), joint("fix", "fixed", "lift_link", limit=None))


def assumed_with(tmp_path, inner):
    """What the draft of `TWO` with an SRDF lists to fill in."""
    (tmp_path / "r.srdf").write_text(f'<robot name="r">{inner}</robot>')
    contract, document = drafted(tmp_path, TWO, srdf=tmp_path / "r.srdf")
    return contract, document["assumed"]


def test_joints_of_a_posture_that_the_urdf_does_not_have_are_told(tmp_path):
    known = AT.format("a") + AT.format("lift") + AT.format("fix") + AT.format("world")
    more = '<virtual_joint name="world" type="fixed" parent_frame="world" child_link="base"/>'
    contract, assumed = assumed_with(tmp_path, more + STATE.format("home", known + AT.format("lifd")))
    assert contract.home == (0.5, 0.5) and "does not have: lifd (did you mean `lift`?)" in assumed["home"]
    assert not any(name in assumed["home"] for name in ("fix", "world")), "a fixed and the virtual one are no mistake"


def test_joints_that_the_posture_leaves_out_are_told(tmp_path):
    contract, assumed = assumed_with(tmp_path, STATE.format("home", AT.format("a")))
    assert (
        contract.home == (0.5, 0.0)
        and "does not say: 0, or the middle of the range, is taken for lift;" in assumed["home"]
    )


def test_a_posture_of_another_name_is_told(tmp_path):
    _, assumed = assumed_with(tmp_path, STATE.format("up", AT.format("a") + AT.format("lift")))
    assert "has no posture called home, ready" in assumed["home"] and "taken for a, lift;" in assumed["home"]


@pytest.mark.parametrize("pair", ["disable_collisions", "enable_collisions"])
def test_links_of_a_pair_that_the_urdf_does_not_have_are_told(pair, tmp_path, capsys):
    posture = STATE.format("home", AT.format("a") + AT.format("lift"))
    _, assumed = assumed_with(tmp_path, f'{posture}<{pair} link1="a_link" link2="lif_link"/>')
    assert "does not have: lif_link (did you mean `lift_link`" in assumed["urdf"] and "home" not in assumed
    (tmp_path / "r.yaml").unlink()
    options = [
        "--urdf",
        str(tmp_path / "r.urdf"),
        "--srdf",
        str(tmp_path / "r.srdf"),
        "--out",
        str(tmp_path / "r.yaml"),
    ]
    assert main(["robots", "new", *options]) == 0 and "lif_link" in capsys.readouterr().out


def test_of_many_unknown_names_some_are_told(tmp_path):
    _, assumed = assumed_with(
        tmp_path, STATE.format("home", "".join(AT.format(f'q"{i}'.replace('"', "&quot;")) for i in range(99)))
    )
    assert 'q"9' in assumed["home"] and "89 more" in assumed["home"] and len(assumed["home"]) < 1000


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (TWO, "this file is no SRDF"),
        ('<robot name="r"/>', "nothing for a contract.*group_state.*leave `--srdf` out"),
        ('<robot name="r"><group name="g"/></robot>', "nothing for a contract"),
        ('<robot xmlns:xacro="http://ros.org/wiki/xacro"><xacro:include filename="x"/></robot>', "xacro file, no SRDF"),
    ],
)
def test_a_file_that_is_no_srdf_is_one_error_and_leaves_nothing(text, told, tmp_path):
    (tmp_path / "r.urdf").write_text(TWO)
    (tmp_path / "r.srdf").write_text(text)
    with pytest.raises(BeingHError, match=told) as error:
        write_draft(tmp_path / "r.urdf", tmp_path / "r.srdf", tmp_path / "r.yaml")
    assert "r.srdf" in str(error.value) and not (tmp_path / "r.yaml").exists()
