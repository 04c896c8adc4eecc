"""The key `sim` of a contract: what is refused, and what the simulator makes of it."""

from dataclasses import replace

import numpy as np
import pytest

from beingh_core.contract import load_contract
from beingh_core.contract.paths import contract_files
from beingh_core.contract.simulated import SimFaults
from beingh_core.errors import BeingHError
from beingh_core.sim import SimRobot, build_model


def contract_with(tmp_path, sim: str, name: str = "vx300s"):
    """A shipped contract with another `sim`."""
    text = contract_files()[name].read_text()
    begin = text.index("\nsim:")
    path = tmp_path / "robot.yaml"
    path.write_text(f"{text[:begin]}\nsim: {sim}\n{text[text.index('estop_topic:') :]}")
    return load_contract(path)


@pytest.mark.parametrize(
    ("sim", "error"),
    [
        ("{joint: {}}", "sim.joint: unknown key `joint`.*did you mean `joints`"),
        ("{joints: {wast: {stiffness: 1}}}", "sim.joints.wast: unknown joint `wast`.*waist"),
        ("{joints: {right_finger: {stiffness: 1}}}", "unknown joint `right_finger`"),
        ("{joints: {waist: {stiffness: .nan}}}", "sim.joints.waist.stiffness"),
        ("{joints: {waist: {stiffness: -1}}}", "stiffness.*more than 0"),
        ("{joints: {waist: {damping: 1 N m}}}", "damping.*1 N m"),
        ("{cameras: {front_view: {}}}", "sim.cameras.front_view: unknown view `front_view`"),
        ("{cameras: {wrist_view: {link: hand, position: [0, 0, 0], look: [1, 0, 0]}}}", "wrist_view.link.*hand"),
        ("{cameras: {wrist_view: {link: wrist_link, look: [1, 0, 0]}}}", "`position` is missing"),
        ("{cameras: {wrist_view: {position: [0, 0, 0]}}}", "a place needs `link`"),
        (
            "{cameras: {wrist_view: {link: wrist_link, position: [0, 0, 0], look: [0, 0, 2]}}}",
            "look.*is no direction.*two directions that differ",
        ),
        ("{cameras: {wrist_view: {size: [640, 0]}}}", "no size of a picture.*16 to 2048"),
        ("{cameras: {wrist_view: {size: [64.5, 64]}}}", "no size of a picture"),
        ("{cameras: {wrist_view: {fovy_deg: 180}}}", "fovy_deg.*150"),
        ("{faults: {camera_latency_s: 60}}", "camera_latency_s.*at most 2"),
        ("{faults: {joint_noise: 5}}", "joint_noise.*at most 0.1"),
        ("{objects: [spoon]}", "has no `spoon`.*cylinder, bowl, drawer"),
    ],
)
def test_what_is_no_simulated_world_is_one_error(tmp_path, sim, error):
    with pytest.raises(BeingHError, match=error):
        contract_with(tmp_path, sim)


def test_joints_are_as_the_contract_says(tmp_path):
    said = "stiffness: 43, damping: 5.76, friction: 0.3, armature: 0.02, effort: 3.5"
    contract = contract_with(tmp_path, f"{{joints: {{waist: {{{said}}}}}}}")
    model = build_model(contract.urdf_path, world=contract.sim, layout=SimRobot.of(contract).layout)
    actuator, joint = model.actuator("waist"), model.joint("waist")
    assert actuator.gainprm[0] == 43 and actuator.biasprm[:3].tolist() == [0, -43, -5.76]
    assert actuator.forcerange.tolist() == [-3.5, 3.5]
    assert (joint.frictionloss[0], joint.armature[0]) == (0.3, 0.02)
    assert model.actuator("shoulder").gainprm[0] != 43


@pytest.fixture(scope="module")
def fr3():
    return load_contract("fr3")


def test_references_reach_the_actuators_later(fr3):
    goal = dict(zip(fr3.joint_names, fr3.home)) | {"fr3_joint1": 0.2}
    prompt, late = SimRobot.of(fr3), SimRobot.of(fr3, SimFaults(actuator_delay_s=0.05))
    moved = []
    for robot in (prompt, late):
        moved.append([])
        for _ in range(20):
            robot.step(0.01, goal)
            moved[-1].append(robot.positions()["fr3_joint1"])
    np.testing.assert_allclose(moved[1][:5], 0.0, atol=1e-9)
    np.testing.assert_allclose(moved[1][5:], moved[0][:15], atol=1e-6)
    late.reset(0)
    late.step(0.01, goal)
    assert late.positions()["fr3_joint1"] == pytest.approx(0.0, abs=1e-9)


def test_noise_is_that_of_the_seed_and_only_in_what_is_measured(fr3):
    robot = SimRobot.of(fr3, SimFaults(joint_noise=0.002))

    def measured(seed):
        robot.reset(seed)
        return np.array([robot.joint_state()[1] for _ in range(200)])

    first, again, other = measured(3), measured(3), measured(4)
    assert (first == again).all() and (first != other).any()
    true = np.array(list(robot.positions().values()))
    assert (first - true).std() == pytest.approx(0.002, rel=0.1) and abs((first - true).mean()) < 2e-4


def test_friction_is_a_share_of_the_effort(fr3):
    world = replace(fr3.sim, faults=SimFaults(joint_friction=0.05))
    model, plain = build_model(fr3.urdf_path, world=world), build_model(fr3.urdf_path)
    assert model.joint("fr3_joint1").frictionloss[0] == pytest.approx(0.05 * 87.0)
    assert model.joint("fr3_joint7").frictionloss[0] == pytest.approx(0.05 * 12.0)
    assert not plain.dof_frictionloss.any()
