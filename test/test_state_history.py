"""A model that is shown a history of states: the same rows in training, in the live policy, on a server and on recordings."""

import copy
import json
import shutil

import numpy as np
import pytest
import torch
from hands_support import truth, write_hands
from remote_support import Served
from train_support import CONTRACT, SIZE, H, raw_config, task_of, write

from beingh_core.contract.codec import SignalCodec
from beingh_core.data.lerobot import Dataset
from beingh_core.errors import BeingHError
from beingh_core.inference.chunk_maker import ChunkMaker
from beingh_core.inference.policy_inputs import PolicyInputs
from beingh_core.model import BeingH, BeingHConfig
from beingh_core.openloop.dataset_run import DatasetRun, evaluate_dataset
from beingh_core.policy.loading import load_for_contract
from beingh_core.policy.remote.client import RemotePolicy
from beingh_core.policy.remote.compat import CompatDialect
from beingh_core.state_history import ONE_STATE, StateHistory
from beingh_core.train.modality import Modality
from beingh_core.train.plan import Pack
from beingh_core.train.run import Run
from beingh_core.train.settings import DatasetSection, RunConfig
from beingh_core.train.sources import open_source

pytestmark = pytest.mark.usefixtures("one_thread")

HISTORY = StateHistory(rows=3, every=2)
PERIOD_NS = round(1e9 / CONTRACT.rate_hz)
BEGIN_NS = 100 * 10**9
IMAGE = np.full((1, *SIZE, 3), 90, np.uint8)


def joints(row):
    """Measured positions at a row."""
    return dict(zip(CONTRACT.joint_names, np.array(CONTRACT.home) + 0.01 * np.sin(0.7 * row + np.arange(8))))


def recorded(_episode, row):
    """State and action of a row, the state as the codec makes it of the joints."""
    state = SignalCodec(CONTRACT).encode_state(joints(row))
    action = np.append(0.002 * np.sin(row + np.arange(3)), row % 2)
    return np.concatenate([state[signal.slot] for signal in CONTRACT.state]).astype(np.float32), action.astype(
        np.float32
    )


@pytest.fixture(scope="module")
def cubes(tmp_path_factory):
    return write(tmp_path_factory.mktemp("cubes") / "cubes", lengths=(9, 12), rows=recorded)


@pytest.fixture(scope="module")
def run(cubes, tmp_path_factory):
    """Two steps of a model from nothing that is shown a history."""
    out = tmp_path_factory.mktemp("run")
    raw = raw_config(cubes, out=out / "out", log={"every": 1, "tensorboard": False})
    raw["model"]["state_history"] = HISTORY.model_dump()
    raw["packing"] = {"expected_tokens": 300, "max_tokens": 400, "max_tokens_per_sample": 300, "buffer": 6}
    raw["training"] = {"steps": 2, "precision": "fp32"}
    raw["data"]["cache"] = str(out / "cache")
    found = Run(RunConfig.from_dict(copy.deepcopy(raw)))
    found.train()
    return found


@pytest.fixture(scope="module")
def policy(run):
    return load_for_contract(CONTRACT, run.out / "last")


def taught(run, row):
    """(R, 200) states that a row is taught with."""
    made = run.prepared.maker(plain=True).make(Pack(number=0, samples=((0, row),)))
    return made.batch["padded_state"]


def inputs_at(row, first=0, events=None):
    """The live streams of a robot whose episode began at a row, at a row; `events` changes the order of its messages."""
    live = PolicyInputs(CONTRACT, before_ns=ChunkMaker(CONTRACT, _Told()).before_ns)
    stamps = list(range(first, row + 1))
    for number in stamps if events is None else events(stamps):
        now_ns = BEGIN_NS + row * PERIOD_NS
        live.push_joints("joint_states", BEGIN_NS + number * PERIOD_NS, joints(number), now_ns)
    for camera in CONTRACT.cameras:
        live.push_image(f"video.{camera.name}", BEGIN_NS + row * PERIOD_NS, IMAGE[0])
    return live


class _Told:
    """A policy of which only the history is asked."""

    transform, state_history = None, HISTORY


def shown(policy, observation):
    """(R, 200) states that a live policy is shown of an observation."""
    begun = ChunkMaker(CONTRACT, policy).begin(observation, task_of(0))
    return policy.encode(begun.begun.observations[0])["padded_state"]


def test_a_history_has_a_state_token_for_each_row(run):
    prompts = run.prepared.prompts
    prompt = prompts.build("move", 2)
    first = prompt.state_positions[0]
    assert prompt.state_positions.tolist() == [first, first + 1, first + 2]
    around = dict(zip(prompt.text_positions.tolist(), prompt.text_ids.tolist()))
    assert around[first - 1] == prompts.special["state_start"] and around[first + 3] == prompts.special["state_end"]
    assert prompt.length == prompt.action_positions[-1] + 2


@pytest.mark.parametrize(
    "given, words",
    [({"rows": 0}, "rows"), ({"rows": 33}, "rows"), ({"rows": 9, "every": 40}, "320 steps"), ({"row": 2}, "row")],
)
def test_impossible_histories_are_refused(run, given, words):
    with pytest.raises(BeingHError, match=words):
        BeingHConfig.from_dict(run.prepared.raw_config | {"state_history": given})
    raw = raw_config("x")
    raw["model"]["state_history"] = given
    with pytest.raises(BeingHError, match=words):
        RunConfig.from_dict(raw)


def test_no_row_is_from_before_its_episode_or_its_instruction(run, tmp_path):
    table, history = run.sources[0].table, lambda row: table.history_of(row, HISTORY).tolist()
    assert [history(row) for row in (0, 1, 3, 8, 9, 12)] == [
        [0, 0, 0], [0, 0, 1], [0, 1, 3], [4, 6, 8], [9, 9, 9], [9, 10, 12],
    ]  # fmt: skip
    assert table.history_of(5, ONE_STATE).tolist() == [5]
    np.save(tmp_path / "task.npy", np.array([0] * 5 + [1] * 2 + [0] * 14, np.int32))
    said = type(table)(folder=tmp_path, episodes=(0, 1), starts=table.starts, tasks=("a", "b"), bad={})
    assert [said.history_of(row, HISTORY).tolist() for row in (4, 5, 6, 8)] == [
        [0, 2, 4], [5, 5, 5], [5, 5, 6], [7, 7, 8],
    ]  # fmt: skip


def test_what_is_taught_is_what_the_nodes_show(run, policy):
    for row in (0, 1, 3, 8):
        live = shown(policy, inputs_at(row).observe(since_ns=BEGIN_NS))
        assert live.shape == (3, 200)
        torch.testing.assert_close(live, taught(run, row), atol=1e-5, rtol=0)
    later = shown(policy, inputs_at(8).observe(since_ns=BEGIN_NS + 5 * PERIOD_NS))  # an instruction came at row 5
    torch.testing.assert_close(later[0], taught(run, 5)[-1], atol=1e-5, rtol=0)
    torch.testing.assert_close(later[1:], taught(run, 8)[1:], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "events",
    [lambda rows: rows[::-1], lambda rows: [*rows, *rows], lambda rows: [*rows[::2], *rows[1::2]]],
    ids=["backwards", "twice", "late"],
)
def test_messages_in_another_order_make_the_same_history(events):
    assert inputs_at(8, events=events).observe().earlier == inputs_at(8).observe().earlier == (joints(4), joints(6))


def test_no_history_reaches_across_a_gap_or_a_clock_that_was_set_back():
    gap = [number for number in range(20, 41) if not 24 < number < 37]  # longer than a state may be old
    assert inputs_at(40, first=20, events=lambda _: gap).observe().earlier == (joints(38),)
    live = inputs_at(8)
    live.clear()
    for camera in CONTRACT.cameras:
        live.push_image(f"video.{camera.name}", BEGIN_NS, IMAGE[0])
    live.push_joints("joint_states", BEGIN_NS, joints(3))
    assert live.observe().earlier == ()


def test_an_observation_without_its_history_is_one_clear_error(policy):
    good = ChunkMaker(CONTRACT, policy).begin(inputs_at(8).observe(), task_of(0)).inputs
    assert good["state.eef_position"].shape == (1, 3, 3)
    assert policy.get_action(good)["action.eef_position"].shape == (1, H, 3)
    for wrong in (good["state.eef_position"][:, -1], good["state.eef_position"][:, 1:], np.zeros((2, 3, 3))):
        with pytest.raises(BeingHError, match=r"state.eef_position.*shown 3 states") as found:
            policy.get_action(good | {"state.eef_position": wrong})
        assert "4, 2, 0 steps ago, the oldest first" in str(found.value)


def test_a_history_changes_the_chunk(policy):
    inputs = ChunkMaker(CONTRACT, policy).begin(inputs_at(8).observe(), task_of(0)).inputs
    held = {key: np.repeat(value[:, -1:], 3, 1) if key.startswith("state.") else value for key, value in inputs.items()}
    noise = torch.randn(1, 1, H, 200, generator=torch.Generator().manual_seed(0))
    first, other = (policy.get_action(one, noise=noise)["action_unified"] for one in (inputs, held))
    assert np.abs(first - other).max() > 1e-5


def test_a_server_tells_its_clients_of_the_history(policy):
    inputs = ChunkMaker(CONTRACT, policy).begin(inputs_at(8).observe(), task_of(0)).inputs
    noise = torch.randn(1, 1, H, 200, generator=torch.Generator().manual_seed(0))
    with Served(policy, CONTRACT) as served:
        remote = RemotePolicy(served.url, CONTRACT, deadline_s=20)
        assert remote.state_history == HISTORY and remote.warm_up() > 0
        made = ChunkMaker(CONTRACT, remote).begin(inputs_at(8).observe(), task_of(0))
        np.testing.assert_allclose(
            remote.get_action(made.inputs, noise=noise)["action_unified"],
            policy.get_action(inputs, noise=noise)["action_unified"], atol=1e-5,
        )  # fmt: skip
        plain = {key: value[:, -1] if key.startswith("state.") else value for key, value in inputs.items()}
        with pytest.raises(BeingHError, match="shown 3 states"):
            remote.get_action(plain)
        without = {
            key: value[0] if value is not inputs["language.instruction"] else value for key, value in inputs.items()
        }
        assert remote.get_action(without)["action.eef_position"].shape == (H, 3)
        remote.close()
    told = CompatDialect(policy, token="")._modalities
    assert told["state"]["delta_indices"] == [-4, -2, 0] and told["video"]["delta_indices"] == [0]


def test_an_evaluation_shows_the_recorded_history(run, policy, cubes, monkeypatch):
    seen, get_action = [], policy.get_action
    monkeypatch.setattr(policy, "get_action", lambda inputs: seen.append(inputs) or get_action(inputs))
    settings = DatasetRun(delay=1, stride=3, episodes=(0,), allow_outside=True)
    evaluate_dataset(Dataset(cubes), CONTRACT, {"it": policy}, {}, settings)
    assert len(seen) == 3
    for row, inputs in zip((0, 3, 6), seen):
        states = policy.encode(policy.steps.check(inputs))["padded_state"]
        torch.testing.assert_close(states, taught(run, row), atol=1e-5, rtol=0)


def test_a_checkpoint_without_a_history_can_be_taught_one(run, cubes, tmp_path):
    plain = tmp_path / "plain"
    shutil.copytree(run.out / "last", plain)
    config = json.loads((plain / "config.json").read_text())
    assert config.pop("state_history") == HISTORY.model_dump()
    (plain / "config.json").write_text(json.dumps(config))
    assert BeingH.from_pretrained(plain).config.state_history == ONE_STATE
    again = BeingH.from_pretrained(plain, overrides={"state_history": {"rows": 2, "every": 5}})
    again.save_pretrained(tmp_path / "again")
    for file in plain.iterdir():
        if not (tmp_path / "again" / file.name).exists():
            shutil.copy(file, tmp_path / "again")
    assert load_for_contract(CONTRACT, tmp_path / "again").state_history == StateHistory(rows=2, every=5)


def test_wrists_of_earlier_rows_are_in_the_camera_of_the_row(tmp_path):
    root = write_hands(tmp_path / "hands")
    section = DatasetSection(path=str(root), data_config="human_hands_camera")
    source = open_source(section, tmp_path / "cache")
    assert isinstance(source.modality, Modality)
    numbers = source.modality.numbers(source.table, 6, H, HISTORY)
    camera = np.linalg.inv(truth(0, 6)[0])
    for place, row in enumerate((2, 4, 6)):
        wrist = camera @ truth(0, row)[1]["right"][0]
        np.testing.assert_allclose(numbers.state["eef_position"][place], wrist[:3, 3], atol=1e-5)
    assert numbers.absent["left_eef_position"].tolist() == [False, True, True]
    assert not numbers.absent["eef_position"].any()
    alone = source.modality.numbers(source.table, 6, H)
    np.testing.assert_allclose(alone.state["eef_position"], numbers.state["eef_position"][-1:], atol=1e-12)
    np.testing.assert_allclose(alone.action["eef_position"], numbers.action["eef_position"], atol=1e-12)
