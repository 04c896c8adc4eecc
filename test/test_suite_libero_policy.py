"""What a policy is told of LIBERO and what becomes of its answer, against the facts in `conventions`, with the released data config."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from remote_support import SET_A, Served
from scipy.spatial.transform import Rotation
from stub_policy import StubPolicy

from beingh_core.errors import BeingHError
from beingh_core.policy.data_configs import get_data_config
from beingh_core.policy.loading import load_for_data_config
from beingh_core.suite.libero import conventions, policies
from beingh_core.suite.libero.policies import PolicySource, Task

TASK = Task(suite="libero_goal", number=3, language="put the wine bottle on the rack", wanted=(), shapes={})
QUATERNION = np.array([0.6, -0.1, 0.2, -0.3]) / np.sqrt(0.5)


def seen_in_environment(rng):
    return {
        "robot0_eef_pos": np.array([-0.2, 0.01, 1.1]),
        "robot0_eef_quat": QUATERNION,
        "robot0_gripper_qpos": np.array([0.021, -0.019]),
        "agentview_image": rng.integers(0, 256, (3, 96, 96, 3), dtype=np.uint8),
        "robot0_eye_in_hand_image": rng.integers(0, 256, (3, 96, 96, 3), dtype=np.uint8),
    }


class Listening:
    """A policy that remembers what it was asked and answered."""

    def __init__(self, policy):
        self.policy, self.asked, self.answered = policy, [], []
        self.chunk_length, self.data_config = policy.chunk_length, policy.data_config
        self.state_history = policy.state_history

    def get_action(self, observations):
        self.asked.append(observations)
        self.answered.append(self.policy.get_action(observations))
        return self.answered[-1]


@pytest.fixture(scope="module")
def released():
    return load_for_data_config(
        "libero_nonorm", SET_A, dataset_name="uni_posttrain", embodiment_tag="libero", threads=1
    )


def test_the_released_data_config_is_told_what_the_released_client_tells(released):
    policy, seen = Listening(released), seen_in_environment(np.random.default_rng(0))
    actions = PolicySource(policy, 8, 5).episode(TASK, 0).actions(seen)
    asked, config = policy.asked[0], get_data_config("libero_nonorm")
    views, states = [f"video.{v}" for v in config.views], [f"state.{spec.key}" for spec in config.state]
    assert sorted(asked) == sorted([*views, *states, "language.instruction"])
    for view, camera in (("top_view", "agentview"), ("wrist_view", "robot0_eye_in_hand")):
        np.testing.assert_array_equal(asked[f"video.{view}"][0], np.rot90(seen[f"{camera}_image"][-1], 2))
    np.testing.assert_array_equal(asked["state.eef_position"], [[-0.2, 0.01, 1.1]])
    np.testing.assert_array_equal(asked["state.libero_gripper_position"], [[0.021, -0.019]])
    assert asked["language.instruction"] == TASK.language
    # The unified slots are the actions: nothing is normalised, and only the gripper is put into the environment's sign.
    unified = policy.answered[0]["action_unified"][0, :8]
    np.testing.assert_array_equal(actions[:, :6], unified[:, :6])
    np.testing.assert_allclose(actions[:, 6], 1.0 - 2.0 * unified[:, 18], atol=1e-12)


def test_rotations_are_those_of_the_client():
    """Its formula, 2 acos(w) about the vector part; w below 0 gives more than half a turn."""
    for w in (0.8, -0.8):
        quaternion = np.array([0.6, 0.0, 0.0, w])
        vector = conventions.rotation_vector(quaternion)
        np.testing.assert_allclose(
            Rotation.from_rotvec(vector).as_matrix(), Rotation.from_quat(quaternion).as_matrix(), atol=1e-12
        )
        assert (np.linalg.norm(vector) > np.pi) == (w < 0)
    np.testing.assert_array_equal(conventions.rotation_vector(np.array([0.0, 0.0, 0.0, 1.0])), np.zeros(3))
    np.testing.assert_array_equal(conventions.rotation_vector(np.array([0.0, 0.0, 0.0, -1.0 - 1e-15])), np.zeros(3))


def test_a_row_of_a_dataset_leads_back_to_the_same_action():
    for gripper in (-1.0, 1.0):
        action = np.array([0.1, -0.2, 0.3, 0.0, 0.5, -1.0, gripper])
        row = conventions.policy_action(action)
        assert row[6] == (1.0 if gripper < 0 else 0.0)  # 1 is open
        chunk = {"action.eef_position": row[None, None, :3], "action.eef_rotation": row[None, None, 3:6]}
        back = conventions.environment_actions(chunk | {"action.gripper_position": row[None, None, 6:]})
        np.testing.assert_array_equal(back, action[None])


def test_the_noise_of_an_episode_depends_on_nothing_that_ran_before(released):
    seen = seen_in_environment(np.random.default_rng(1))
    source = PolicySource(released, 16, 7)
    first = source.episode(TASK, 4)
    once = [first.actions(seen), first.actions(seen)]
    source.episode(TASK, 5).actions(seen)
    again = source.episode(TASK, 4)
    np.testing.assert_array_equal(again.actions(seen), once[0])
    np.testing.assert_array_equal(again.actions(seen), once[1])
    assert not np.array_equal(once[0], once[1])
    assert not np.array_equal(source.episode(TASK, 5).actions(seen), once[0])


def test_a_server_answers_as_a_checkpoint_does():
    with Served(StubPolicy()) as served:
        source = policies.load(served.url, dataset_name="", executed=8, seed=0, device="cpu", token_file="")
        actions = source.episode(TASK, 0).actions(seen_in_environment(np.random.default_rng(2)))
        np.testing.assert_array_equal(actions, np.tile([0, 0, 0, 0, 0, 0, 1.0], (8, 1)))  # slots of zeros: closed
        source._policy.close()


def test_policies_that_do_not_fit_are_refused(released):
    with pytest.raises(BeingHError, match="--executed: 17 actions.*1 to 16"):
        PolicySource(released, 17, 0)
    other = Listening(released)
    other.data_config = get_data_config("robocasa_human")
    with pytest.raises(BeingHError, match="robocasa_human"):
        PolicySource(other, 8, 0)
    with pytest.raises(BeingHError, match="no `action.gripper_position` of width 1"):
        conventions.environment_actions(
            {"action.eef_position": np.zeros((8, 3)), "action.eef_rotation": np.zeros((8, 3))}
        )
    with pytest.raises(BeingHError, match="--dataset-name"):
        policies.only_dataset(SET_A)
