"""What the policy refuses before it costs anything: enormous, empty or odd instructions, pictures, states and prefixes."""

import itertools
import json
import re
import time

import numpy as np
import pytest

pytest.importorskip("torch")
from fuzz_support import damage, failures
from remote_support import FR3, make_checkpoint, observation

from beingh_core.contract.encodings import RAW
from beingh_core.errors import BeingHError
from beingh_core.model.config import BeingHConfig
from beingh_core.policy import DataConfig, KeySpec, PromptBuilder, PromptConfig
from beingh_core.policy.instruction import MAX_BYTES, check_instruction
from beingh_core.policy.loading import load_for_contract
from beingh_core.policy.observations import check_observation
from beingh_core.policy.pictures import MAX_ASPECT, MAX_SIDE, MIN_SIDE

WORDS = "language.instruction"


def numbered():
    """Names of cases whose values are no names."""
    return (f"case{index}" for index in itertools.count())


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def policy(checkpoint):
    return load_for_contract(FR3, checkpoint, threads=1, seed=0)


def refused_at_once(policy, change):
    """The error of an observation that must cost less than a good one."""
    began = time.process_time()
    with pytest.raises(BeingHError) as caught:
        policy.get_action(observation(policy) | change)
    assert time.process_time() - began < 0.5
    text = str(caught.value)
    assert text.isprintable() and len(text) < 600
    return text


@pytest.mark.parametrize(
    "text, said",
    [
        ("x " * 6000, "too long: 12000 characters.*Allowed: at most 1024 bytes"),
        ("x" * (MAX_BYTES + 1), "too long: 1025"),
        ("红" * (MAX_BYTES // 3 + 1), "too long: 342"),
        ("x" * 10**7, "too long: 10000000"),
        ("pick\x1b[31m up", r"U\+001B"),
        ("pick\nup", r"U\+000A"),
        ("pick up\x00", r"U\+0000"),
        ("pick \x9b up", r"U\+009B"),
        ("pick \u202e up", r"U\+202E"),
        ("pick \u2028 up", r"U\+2028"),
        ("pick \ud800 up", r"U\+D800"),
        ("pick \ufeffup", r"U\+FEFF"),
        ("", "not empty"),
        (" \t\n", "not empty"),
        ("\u3000", "not empty"),
        (None, "not empty"),
        (7, "not empty"),
        (b"pick up", "not empty"),
        (["pick", "up"], "not empty"),
        ([["pick"]], "not empty"),
        (np.array(["a", "b"]), "not empty"),
        ("pick up <|im_end|>", "control token"),
        ("pick up <|endoftext|>", "control token"),
    ],
    ids=numbered(),
)
def test_instructions_that_are_refused(policy, text, said):
    told = refused_at_once(policy, {WORDS: text})
    assert re.search(said, told) and "instruction" in told or "control token" in told


@pytest.mark.parametrize(
    "text",
    [
        "x" * MAX_BYTES,
        "x " * (MAX_BYTES // 2 - 1) + "x",
        "红" * (MAX_BYTES // 3),
        "拿起红色的\u3000方块",
        "می\u200cخواهم",
        "prends l'œuf à 5 € {k} %s \\n",
        "\U0001f469\u200d\U0001f373",
        np.array(["pick up the cube"]),
        ["pick up the cube"],
    ],
    ids=numbered(),
)
def test_instructions_that_are_taken(policy, text):
    began = time.process_time()
    assert policy.get_action(observation(policy) | {WORDS: text})["action_unified"].shape == (1, 16, 200)
    assert time.process_time() - began < 5


def test_a_refused_instruction_can_be_told_before_it_is_used(policy):
    policy.check_instruction("pick up the red cube")
    for text in ("x" * 2000, "a\x07", "", "<|im_end|>"):
        with pytest.raises(BeingHError, match="instruction|control token"):
            policy.check_instruction(text)
    assert check_instruction("a", "here") == "a"


@pytest.mark.parametrize(
    "shape",
    [
        (1, 60_000),
        (60_000, 1),
        (MIN_SIDE - 1, 32),
        (MIN_SIDE, MIN_SIDE * MAX_ASPECT + 1),
        (MAX_SIDE // 4, MAX_SIDE + 1),
        (6000, 6000),
    ],
)
@pytest.mark.parametrize("view", range(len(FR3.cameras)))
def test_pictures_that_are_refused_before_they_are_resized(policy, shape, view):
    name = f"video.{policy.views[view]}"
    picture = np.broadcast_to(np.uint8(0), (1, *shape, 3))
    told = refused_at_once(policy, {name: picture})
    assert f"`{name}` is a picture of {shape[1]}x{shape[0]} pixels" in told and "Allowed: 8 to 8192" in told


def test_pictures_of_every_camera_are_taken(policy):
    for shape in ((MIN_SIDE, MIN_SIDE * MAX_ASPECT), (48, 64), (1080, 1920), (64, 48)):
        policy.get_action(observation(policy) | {f"video.{policy.views[0]}": np.zeros((*shape, 3), np.uint8)})
    assert len(RAW) > 20  # whatever they send


@pytest.mark.parametrize(
    "value",
    [
        np.full((1, 3), 1e308),
        np.full((1, 3), -1e7),
        np.full((1, 3), np.inf, np.float32),
        [[10**400, 0, 0]],
        [["1", "2", "3"]],
        [[1j, 0, 0]],
        [[None, 0, 0]],
        [[0, 0], [0]],
        np.zeros((10**6, 3)),
    ],
    ids=numbered(),
)
def test_states_that_are_refused(policy, value):
    assert "state.eef_position" in refused_at_once(policy, {"state.eef_position": value})


@pytest.mark.parametrize(
    "value",
    [np.full((1, 16, 200), 1e30), np.full((1, 16, 200), 1e300), [[10**400]], [[1], [1, 2]]],
    ids=numbered(),
)
def test_prefixes_that_are_refused(policy, value):
    assert "prev_chunk" in refused_at_once(policy, {"prev_chunk": value, "inference_delay": 4})


@pytest.mark.parametrize("value", [10**5000, [[1], [1, 2]], "4", np.zeros(10**6), np.nan], ids=numbered())
def test_delays_that_are_refused(policy, value):
    assert "inference_delay" in refused_at_once(policy, {"inference_delay": value})


def test_no_more_tokens_than_the_decoder_takes(checkpoint):
    sizes = {"chunk_length": 16, "tokens_per_view": 64, "image_size": 224}
    length = PromptBuilder(checkpoint, PromptConfig(**sizes)).build("pick up", 2).length
    builder = PromptBuilder(checkpoint, PromptConfig(**sizes, max_length=length))
    assert builder.build("pick up", 2).length == length
    with pytest.raises(BeingHError, match=f"Allowed: at most {length}, of which 128 are pictures and 16 actions"):
        builder.build("pick up the cube", 2)
    with pytest.raises(BeingHError, match="3 views"):
        builder.build("pick up", 3)
    config = json.loads((checkpoint / "config.json").read_text())
    config["llm_config"]["max_position_embeddings"] = 512
    assert PromptConfig.from_model_config(BeingHConfig.from_dict(config)).max_length == 512


def test_the_number_of_views_is_bounded():
    state = action = (KeySpec(key="eef_position"),)
    DataConfig(name="wide", views=tuple(f"v{i}" for i in range(16)), state=state, action=action)
    with pytest.raises(BeingHError, match="17 views.*at most 16"):
        DataConfig(name="wide", views=tuple(f"v{i}" for i in range(17)), state=state, action=action)


def test_damaged_observations_end_in_words(policy):
    rng = np.random.default_rng(3)
    good = {
        WORDS: "pick up the red cube",
        "state.eef_position": [[0.3, 0.0, 0.4]],
        "state.gripper_position": [[1.0]],
        "video.scene_view": [[[0, 0, 0]] * 9] * 9,
        "video.wrist_view": [[[0, 0, 0]] * 9] * 9,
        "prev_chunk": [[[0.0] * 3] * 2],
        "inference_delay": 4,
    }

    def read(change):
        if not isinstance(change, dict):
            return
        checked = check_observation(change, policy.data_config, policy.chunk_length)
        policy.transform.state_to_unified(checked.state)
        policy.check_instruction(checked.instruction)

    small = good | {name: np.zeros((9, 9, 3), np.uint8) for name in good if name.startswith("video.")}
    read(small | {"prev_chunk": np.zeros((16, 200))})
    changed = [damage(rng, {name: good[name] for name in good if "video" not in name}) for _ in range(300)]
    assert failures(read, [small | one if isinstance(one, dict) else one for one in changed]) == []
    assert failures(read, [damage(rng, good) for _ in range(20)]) == []
