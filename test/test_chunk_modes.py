"""From an observation to a chunk for the action modes of version 2, and joints that turn without end."""

from types import SimpleNamespace

import numpy as np
import pytest
from contract_support import ARM, changed, robot, set_key
from driver_support import setpoints
from scipy.spatial.transform import Rotation

from beingh_core.contract.kinematics import Kinematics
from beingh_core.inference.chunk_maker import ChunkMaker, Observation
from beingh_core.policy.from_contract import data_config_for
from beingh_core.rotations import between, from_axis_angle, to_axis_angle
from beingh_ros.drivers.forward_command import ForwardCommandDriver

changed = changed
D, H = 3, 16


class Wanting:
    """A policy that wants the same in every step behind the prefix.

    Attributes:
        prefix: The newest prefix, by slot.
        state: The newest state, by key.
    """

    def __init__(self, contract, wanted):
        self.data_config, self.transform = data_config_for(contract), SimpleNamespace(statistics={})
        self.last_timing_ms = {"total": 1.0}
        self._wanted = wanted

    def encode_prefix(self, actions):
        self.prefix = actions
        return actions

    def get_action(self, inputs):
        self.state = {key: value[0] for key, value in inputs.items() if key.startswith("state.")}
        return {f"action.{slot}": np.tile(values, (1, H, 1)) for slot, values in self._wanted.items()}


def make(contract, wanted):
    policy = Wanting(contract, wanted)
    maker = ChunkMaker(contract, policy)
    maker.start_epoch(np.array(contract.home))
    return policy, maker


def chunk(maker, contract, joints, prefix, onward=None):
    images = {camera.name: np.zeros((30, 40, 3), np.uint8) for camera in contract.cameras}
    return maker.finish(
        maker.begin(Observation(stamp_ns=1, images=images, joints=joints), "go"), prefix, onward
    ).positions


def test_relative_actions_count_from_the_measured_state_and_not_from_the_commands():
    contract = robot("dex3_hand")
    home = np.array(contract.home)
    policy, maker = make(contract, {"left_dexhand_position": np.full(6, -0.1)})
    measured = home + 0.02
    prefix = np.tile(home + 0.01, (D + 1, 1))
    made = chunk(maker, contract, dict(zip(contract.joint_names, measured)), prefix)
    np.testing.assert_allclose(made[D:, :6], np.tile(measured[:6] - 0.1, (H - D, 1)), atol=1e-12)
    np.testing.assert_allclose(policy.prefix["left_dexhand_position"], np.full((D, 6), -0.01), atol=1e-12)
    np.testing.assert_array_equal(made[:D], prefix[1:])


def test_deltas_of_joints_go_on_from_the_commands():
    contract = robot("degrees_arm")
    home = np.array(contract.home)
    wanted = {
        "arm_joint_position": np.full(6, 0.01),
        "gripper_position": [1.0],
        "head_position": [0.2],
        "control_mode": [5.0],
    }
    policy, maker = make(contract, wanted)
    joints = dict(zip(contract.joint_names, home - 0.004))
    made = chunk(maker, contract, joints, np.tile(home, (D + 1, 1)))
    np.testing.assert_allclose(made[-1, :6], home[:6] + 0.01 * (H - D))
    np.testing.assert_allclose(made[-1, 6:], [0.05, 0.2])
    np.testing.assert_array_equal(policy.prefix["control_mode"], np.ones((D, 1)))


def test_the_policy_sees_a_joint_without_an_end_next_to_its_command():
    """The robot reports within half a turn; its commands have gone on over the seam, twice around at last."""
    contract = robot("degrees_arm")
    wanted = {
        "arm_joint_position": np.zeros(6),
        "gripper_position": [0.4],
        "head_position": [0.0],
        "control_mode": [1.0],
    }
    policy, maker = make(contract, wanted)
    roll = ARM.index("roll_joint")
    for commanded in np.arange(0.2, 14.0, 0.5):
        row = np.array(contract.home)
        row[roll] = commanded
        joints = dict(zip(contract.joint_names, row))
        joints["roll_joint"] = np.remainder(commanded - 0.02 + np.pi, 2 * np.pi) - np.pi
        chunk(maker, contract, joints, np.tile(row, (D + 1, 1)))
        seen = policy.state["state.arm_joint_position"]
        assert seen[roll] == pytest.approx(commanded - 0.02), commanded
        np.testing.assert_allclose(np.delete(seen, roll), np.delete(row[:6], roll))
    maker.start_epoch(np.array(contract.home))
    chunk(maker, contract, dict(zip(contract.joint_names, contract.home)), np.tile(contract.home, (D + 1, 1)))
    assert policy.state["state.arm_joint_position"][roll] == pytest.approx(contract.home[roll])


@pytest.mark.parametrize(
    ("wrap", "expected"), [(True, [-np.degrees(2 * np.pi - 4.0), 30.0]), (False, [np.degrees(4.0), 30.0])]
)
def test_commands_of_a_joint_without_an_end_are_wrapped_where_the_contract_says_so(wrap, expected, changed):
    contract = changed("degrees_arm", set_key("drivers.0.wrap", wrap))
    sent = []
    node = SimpleNamespace(
        create_publisher=lambda *_: SimpleNamespace(
            publish=sent.append, topic_name="", wait_for_all_acked=lambda _: None
        )
    )
    driver = ForwardCommandDriver(node, contract, contract.drivers[0])
    row = np.array(contract.home)
    row[ARM.index("roll_joint")], row[ARM.index("pitch_joint")] = 4.0, np.radians(30.0)
    driver.send(setpoints([row]))
    assert list(sent[0].data)[3:5] == pytest.approx(expected)


def test_an_arm_goes_over_from_one_orientation_to_another_on_the_shortest_way():
    contract = robot("pose_arm")
    home, arm = np.array(contract.home), Kinematics(robot("pose_arm").urdf_path, ARM, "tool", "base_link")
    place, turn = arm.fk(home)
    target = Rotation.from_matrix(turn) * Rotation.from_rotvec([0.0, 0.0, 0.3])
    # The other sign of the same rotation: a mean of the numbers would be none.
    wanted = {"eef_position": place, "eef_rotation": -target.as_quat()}
    _, maker = make(contract, wanted)
    poses = {name: 0.1 for signal in contract.state for name in signal.values}
    made = chunk(maker, contract, poses | dict(zip(ARM, home)), np.tile(home, (D + 1, 1)), np.tile(home, (2, 1)))
    for step, share in enumerate((1 / 3, 2 / 3, 1.0)):
        reached = Rotation.from_matrix(arm.fk(made[D + step])[1])
        assert (Rotation.from_matrix(turn).inv() * reached).magnitude() == pytest.approx(0.3 * share, abs=1e-4)


def test_offsets_from_the_start_of_the_chunk_blend_from_there(changed):
    """The prefix has left the start by a step; the policy wants back to it, and the chunk before wanted to stay."""

    def change(document):
        for action in document["action"].values():
            action.update(mode="delta", frame="chunk_start")

    contract = changed("pose_arm", change)
    home, arm = np.array(contract.home), Kinematics(contract.urdf_path, ARM, "tool", "base_link")
    away = home + 0.02
    _, maker = make(contract, {"eef_position": np.zeros(3), "eef_rotation": [0.0, 0.0, 0.0, 1.0]})
    prefix = np.vstack([home, np.tile(away, (D, 1))])
    poses = {name: 0.1 for signal in contract.state for name in signal.values} | dict(zip(ARM, home))
    made = chunk(maker, contract, poses, prefix, np.tile(away, (1, 1)))
    (start, _), (gone, _) = arm.fk(home), arm.fk(away)
    np.testing.assert_allclose(arm.fk(made[D])[0], (start + gone) / 2, atol=1e-5)
    np.testing.assert_allclose(arm.fk(made[D + 1])[0], start, atol=1e-5)


@pytest.mark.parametrize("representation", ["axis_angle", "quaternion_wxyz", "rotation_6d", "matrix"])
def test_the_middle_of_two_rotations(representation):
    rng = np.random.default_rng(0)
    start = rng.normal(0, 1, (50, 3))
    small = rng.normal(0, 0.5, (50, 3))
    end = (Rotation.from_rotvec(start) * Rotation.from_rotvec(small)).as_rotvec()
    one, other = (from_axis_angle(values, representation) for values in (start, end))
    middle = to_axis_angle(between(one, other, np.full((50, 1), 0.5), representation), representation)
    gone = (Rotation.from_rotvec(start).inv() * Rotation.from_rotvec(middle)).as_rotvec()
    np.testing.assert_allclose(gone, small / 2, atol=1e-6)
