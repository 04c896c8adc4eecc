"""Frames of poses and names of joints, as the state has them and as commands have them."""

import pytest
from contract_support import ARM, changed, robot

from beingh_core.contract.called import differences
from beingh_core.contract.check import WARN, check_contract
from beingh_core.errors import BeingHError

changed = changed
POSE = ("eef_position", "eef_rotation")
AT_BASE = (
    '<link name="world"/><joint name="stand" type="fixed"><parent link="world"/><child link="base_link"/>{}</joint>'
)


def measured_in(frame):
    def change(document):
        for slot in POSE:
            document["state"][slot]["frame_id"] = frame

    return change


def with_frame(changed, tmp_path, origin, mode="absolute"):
    """The pose arm, whose poses are measured in a link below its base."""

    def change(document):
        text = (robot("pose_arm").urdf_path).read_text()
        (tmp_path / "arm.urdf").write_text(text.replace("</robot>", AT_BASE.format(origin) + "</robot>"))
        document["urdf"] = str(tmp_path / "arm.urdf")
        measured_in("world")(document)
        for slot in POSE:
            document["action"][slot]["mode"] = mode

    return changed("pose_arm", change)


def test_a_pose_is_not_measured_in_one_frame_and_commanded_in_another(changed):
    told = r"action\.eef_position: it is in `base_link`, but state\.eef_position is in `pan_link`, which moves against it: told to stay"
    with pytest.raises(BeingHError, match=told):
        changed("pose_arm", measured_in("pan_link"))

    def delta(document):
        measured_in("pan_link")(document)
        for slot in POSE:
            document["action"][slot]["mode"] = "delta"

    (note,) = changed("pose_arm", delta).notes
    assert "which moves against it: the policy sees one and moves the other" in note


def test_links_are_one_frame_where_they_stand_at_one_place(changed, tmp_path):
    pytest.importorskip("pinocchio", reason="without it nobody knows where links are")
    folder = tmp_path / "urdf"
    folder.mkdir()
    assert with_frame(changed, folder, "").notes == ()
    with pytest.raises(BeingHError, match=r"is in `world`, 0\.5 m and 90 deg away: told to stay"):
        with_frame(changed, folder, '<origin xyz="0 0 0.5" rpy="0 0 1.5707963267948966"/>')
    (note,) = with_frame(changed, folder, '<origin xyz="0 0 0.5"/>', mode="relative").notes
    assert "0.5 m and 0 deg away" in note


def test_a_frame_that_nobody_knows_is_told_and_no_error(changed):
    (note,) = changed("pose_arm", measured_in("servo_base")).notes
    assert (
        "robot.yaml: state.eef_position is measured in `servo_base`" in note and "the URDF has no `servo_base`" in note
    )
    (note,) = changed("pose_arm", measured_in("")).notes
    assert "taken for a pose in `base_link`, whatever its messages say: write `frame_id`" in note


@pytest.mark.parametrize(
    "name, change, told",
    [
        (
            "pose_arm",
            lambda document: document["state"]["eef_position"].update(frame_id="servo_base"),
            r"state\.eef_rotation\.frame_id: it is in `base_link`, but state\.eef_position is in `servo_base`, on one topic",
        ),
        (
            "mobile_base",
            lambda document: document["state"]["eef_position"].update(eef_frame="pitch_link"),
            r"state\.eef_rotation.*: it is the pose of `tool`, but .* the pose of `pitch_link`.*one pose has one frame",
        ),
        (
            "pose_arm",
            lambda document: document["driver"].update(frame_id="tool"),
            r"driver\.frame_id: the poses are in `base_link`, and `tool` is another link.*leave `frame_id` out",
        ),
    ],
)
def test_one_pose_has_one_frame(name, change, told, changed):
    with pytest.raises(BeingHError, match=told):
        changed(name, change)


def by_trajectory(document, **keys):
    document["driver"] = {"kind": "joint_trajectory", "topic": "/x", "joints": list(ARM), **keys}


def test_names_that_exchange_joints_are_refused(changed):
    exchanged = {"pan_joint": "lift_joint", "lift_joint": "pan_joint"}
    with pytest.raises(
        BeingHError, match=r"driver\.names: `lift_joint` is `pan_joint` on /x, but `lift_joint` in state\.arm"
    ):
        changed("pose_arm", lambda document: by_trajectory(document, names=exchanged))


def test_names_on_one_side_are_a_warning_of_check_until_the_other_side_says_its_own(changed):
    one_side = changed("pose_arm", lambda document: by_trajectory(document, strip_prefix="r_"))
    assert one_side.notes == (), "no node says it at every start"
    _, rows = check_contract(one_side.path)
    (row,) = (row for row in rows if row.subject == "names")
    assert (
        row.level == WARN and "`pan_joint` (and 5 more) is called `pan_joint` in state.arm_joint_position" in row.found
    )
    assert "names: {pan_joint: pan_joint}" in row.found

    def both(document):
        by_trajectory(document, strip_prefix="r_")
        document["state"]["arm_joint_position"]["names"] = {"pan_joint": "pan_joint"}

    assert differences(changed("pose_arm", both)) == []
    assert differences(robot("pose_arm")) == [], "a pose has no names"
