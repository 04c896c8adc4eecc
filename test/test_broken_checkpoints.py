"""Checkpoints as people have them: each fault is one sentence that names the file and the remedy."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fuzz_support import failures
from safetensors.torch import load_file, save_file
from small_checkpoint import METADATA, SHARDS, shard, write_small
from test_files import POINTER

from beingh_core.bench.shapes import SHAPES
from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError
from beingh_core.model import BeingH, BeingHConfig
from beingh_core.model.checkpoint import INDEX, WEIGHTS
from beingh_core.model.initialise import without_weights
from beingh_core.policy.checkpoint_check import check_checkpoint
from beingh_core.policy.data_configs import DataConfig, KeySpec
from beingh_core.policy.loading import load_for_contract
from beingh_core.policy.motion import still_values
from beingh_core.policy.tokenizer import load_tokenizer

FR3 = load_contract("fr3")
TENSOR = "language_model.model.layers.0.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_small(tmp_path_factory.mktemp("original"))


@pytest.fixture
def checkpoint(original, tmp_path):
    return Path(shutil.copytree(original, tmp_path / "checkpoint"))


def refused(directory, *said):
    with pytest.raises(BeingHError) as caught:
        load_for_contract(FR3, directory, threads=1)
    message = str(caught.value)
    assert "To fix: " in message and len(message) < 1200, message
    for words in said:
        assert words in message, message


def edit_json(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def edit_tensors(directory, edit):
    tensors = load_file(directory / WEIGHTS)
    edit(tensors)
    save_file(tensors, directory / WEIGHTS)


@pytest.mark.parametrize("name", (WEIGHTS, "config.json", "tokenizer.json", METADATA, INDEX))
def test_files_that_are_not_there_in_full(checkpoint, name):
    if name == INDEX:
        shard(checkpoint)
    path = checkpoint / name
    content = path.read_bytes()
    path.write_bytes(POINTER)
    refused(checkpoint, str(path), "git lfs pull")
    path.write_bytes(b"")
    refused(checkpoint, str(path), "empty")
    for part in (1, 8, len(content) // 2, len(content) - 2):
        path.write_bytes(content[:part])
        refused(checkpoint, str(path), "copy")
    path.unlink()
    path.mkdir()
    refused(checkpoint, str(path), "directory")
    path.rmdir()
    path.symlink_to("nowhere")
    refused(checkpoint, str(path), "No such file")


def test_whole_shards_load_and_a_missing_one_is_named(checkpoint):
    shard(checkpoint)
    load_for_contract(FR3, checkpoint, threads=1)
    (checkpoint / SHARDS[1]).unlink()
    refused(checkpoint, SHARDS[1], INDEX)


@pytest.mark.parametrize(
    ("path", "said"),
    (
        ("SomeLab/robot-model-2B", "hf download SomeLab/robot-model-2B "),
        ("https://huggingface.co/SomeLab/robot-model-2B/tree/main", "hf download SomeLab/robot-model-2B "),
        ("{parent}/chekpoint", "did you mean `checkpoint`?"),
        ("{parent}", "one is {parent}/checkpoint"),
        ("{parent}/checkpoint/model.safetensors", "{parent}/checkpoint"),
        ("{parent}/checkpoint/optimizer", "a training state (`optimizer.pt`). To fix: give the directory"),
        ("a\x00b", "no such directory"),
        ("{parent}/loop", "this is a file"),
    ),
)
def test_paths_that_are_no_checkpoint(checkpoint, path, said):
    (checkpoint / "optimizer").mkdir()
    (checkpoint / "optimizer" / "optimizer.pt").write_bytes(b"x")
    (checkpoint.parent / "loop").symlink_to(checkpoint.parent / "loop")
    refused(path.format(parent=checkpoint.parent), said.format(parent=checkpoint.parent), "config.json")


def test_home_is_found(checkpoint, monkeypatch):
    monkeypatch.setenv("HOME", str(checkpoint.parent))
    load_for_contract(FR3, "~/checkpoint", threads=1)


def test_weights_of_another_format_come_with_the_command_that_converts_them(checkpoint):
    tensors = load_file(checkpoint / WEIGHTS)
    tensors[TENSOR] = tensors[TENSOR].T.contiguous().T
    torch.save(tensors, checkpoint / "pytorch_model.bin")
    (checkpoint / WEIGHTS).unlink()
    with pytest.raises(BeingHError, match="only pytorch_model.bin") as caught:
        load_for_contract(FR3, checkpoint)
    code = caught.value.remedy.split('python -c "')[1].rstrip('"')
    subprocess.run([sys.executable, "-c", code], cwd=checkpoint, check=True)
    load_for_contract(FR3, checkpoint, threads=1)


def test_one_file_beside_an_index_of_others(checkpoint):
    whole = (checkpoint / WEIGHTS).read_bytes()
    shard(checkpoint)
    (checkpoint / WEIGHTS).write_bytes(whole)
    refused(checkpoint, WEIGHTS, INDEX, "remove the one")
    edit_json(checkpoint / INDEX, lambda index: index.update(weight_map=dict.fromkeys(index["weight_map"], WEIGHTS)))
    load_for_contract(FR3, checkpoint, threads=1)


@pytest.mark.parametrize(
    "name",
    ("../outside.safetensors", "/etc/passwd", "./" + SHARDS[0], "sub/" + SHARDS[0], "config.json", "", "..", "\x00"),
)
def test_an_index_names_files_beside_it_only(checkpoint, name):
    shutil.copy(checkpoint / WEIGHTS, checkpoint.parent / "outside.safetensors")
    shard(checkpoint)
    edit_json(checkpoint / INDEX, lambda index: index["weight_map"].update({TENSOR: name}))
    refused(checkpoint, INDEX, "is not the name of a tensor file beside it")


def test_an_index_that_does_not_fit_its_shards(checkpoint):
    shard(checkpoint)
    good = json.loads((checkpoint / INDEX).read_text())["weight_map"]
    other = SHARDS[good[TENSOR] == SHARDS[0]]
    edit_json(checkpoint / INDEX, lambda index: index["weight_map"].update({TENSOR: other}))
    refused(checkpoint, SHARDS[0], TENSOR, INDEX)
    edit_json(checkpoint / INDEX, lambda index: index["weight_map"].pop(TENSOR))
    refused(checkpoint, good[TENSOR], f"holds '{TENSOR}'", INDEX)
    edit_json(checkpoint / INDEX, lambda index: index["weight_map"].update({TENSOR: good[TENSOR], "stranger": other}))
    refused(checkpoint, other, "lacks 'stranger'", INDEX)
    for value in ([], {}, None, 3, {TENSOR: 3}, {TENSOR: None}):
        edit_json(checkpoint / INDEX, lambda index: index.update(weight_map=value))
        refused(checkpoint)


def test_one_tensor_in_two_files(checkpoint):
    shard(checkpoint)
    (checkpoint / INDEX).unlink()
    shutil.copy(checkpoint / SHARDS[0], checkpoint / "model-copy.safetensors")
    refused(checkpoint, SHARDS[0], "model-copy.safetensors", "in two files")


@pytest.mark.parametrize("dtype", ("int8", "uint8", "int64", "bool", "float8_e4m3fn", "complex64"))
def test_weights_that_are_no_floating_point_numbers(checkpoint, dtype):
    edit_tensors(checkpoint, lambda tensors: tensors.update({TENSOR: tensors[TENSOR].to(getattr(torch, dtype))}))
    refused(checkpoint, WEIGHTS, TENSOR, "Allowed: F16, BF16, F32, F64", "quantised")


@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16, torch.float64))
@pytest.mark.parametrize("value", (0.5, float("nan"), float("inf"), float("-inf")))
def test_weights_of_any_precision_load_unless_one_is_no_number(checkpoint, dtype, value):
    def edit(tensors):
        tensors.update({name: tensor.to(dtype) for name, tensor in tensors.items()})
        tensors[TENSOR][-1, -1] = value

    edit_tensors(checkpoint, edit)
    if value == 0.5:
        assert load_for_contract(FR3, checkpoint, threads=1).engine.dtype == torch.float32
    else:
        refused(checkpoint, WEIGHTS, TENSOR, "not finite", "copy")


def test_a_number_that_does_not_fit_the_wanted_precision(checkpoint):
    def edit(tensors):
        tensors.update({name: tensor.double() for name, tensor in tensors.items()})
        tensors[TENSOR][0, 0] = 1e300

    edit_tensors(checkpoint, edit)
    refused(checkpoint, TENSOR, "not finite")


def test_a_header_that_lies_about_its_size(checkpoint):
    (checkpoint / WEIGHTS).write_bytes((1 << 40).to_bytes(8, "little") + b"{}" * 100)
    refused(checkpoint, WEIGHTS, "list of tensors has 1099511627776 bytes")


def test_sizes_are_compared_with_the_file_before_memory_is_taken(checkpoint):
    """Each within its bounds: 10 GB of weights, 4 GB of words, 256 layers."""
    changes = (
        {"hidden_size": 16384, "intermediate_size": 16384, "num_hidden_layers": 8},
        {"vocab_size": 1 << 20, "hidden_size": 1024},
        {"num_hidden_layers": 256},
    )
    good = json.loads((checkpoint / "config.json").read_text())

    def run(change):
        llm = good["llm_config"] | change
        for key in llm["expert_config"].keys() & change.keys() - {"hidden_size", "intermediate_size"}:
            llm = llm | {"expert_config": llm["expert_config"] | {key: change[key]}}
        (checkpoint / "config.json").write_text(json.dumps(good | {"llm_config": llm}))
        try:
            BeingH.from_pretrained(checkpoint)
        except BeingHError as error:
            assert "do not fit config.json" in str(error)
            raise
        raise AssertionError("loaded")

    assert failures(run, changes) == []


def test_the_estimate_of_the_number_of_weights():
    for shape in SHAPES.values():
        with without_weights():
            model = BeingH(shape)
        count = sum(parameter.numel() for parameter in model.parameters())
        assert model.config.parameters <= count
    assert model.config.parameters > 0.98 * count  # of the largest
    with pytest.raises(BeingHError, match="parameters, more than"):
        BeingHConfig.from_dict(SHAPES["2b"] | {"llm_config": SHAPES["2b"]["llm_config"] | {"hidden_size": 32768}})


def test_a_tokenizer_that_does_not_fit(checkpoint):
    path = checkpoint / "tokenizer.json"
    good = path.read_text()
    size = json.loads((checkpoint / "config.json").read_text())["llm_config"]["vocab_size"]

    def add(content):
        content["added_tokens"].append(content["added_tokens"][-1] | {"content": "one too many", "id": size})

    edit_json(path, add)
    refused(checkpoint, str(path), f"token number {size}", f"embedding of {size} words")
    for name in TOKENIZER_FILES:
        (checkpoint / name).unlink()
    path.write_text(good.replace("<|state_start|>", "<|other|>"))
    refused(checkpoint, str(path), "no token `<|state_start|>`")
    for wrong in ("{}", "[]", "3", '{"model": ' + "[" * 100_000, good.replace('"BPE"', '"Other"')):
        path.write_text(wrong)
        refused(checkpoint, str(path), "cannot be read as a tokenizer")
    os.truncate(path, 1 << 30)
    refused(checkpoint, str(path), "1073741824 bytes")


TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    (
        ("tokenizer_config.json", {"added_tokens_decoder": {"3": {"content": "<img>"}}}, "added_tokens_decoder.3: the token '<img>' has the number 3 here"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"266": {"content": "pick up the blue"}}}, "has no token 'pick up the blue'"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"x": {"content": "<img>"}}}, "added_tokens_decoder"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"259": {"content": 3}}}, "added_tokens_decoder.259.content: 3"),
        ("tokenizer_config.json", {"added_tokens_decoder": ["<img>"]}, "added_tokens_decoder: ['<img>']"),
        ("tokenizer_config.json", {"add_prefix_space": True}, "add_prefix_space is true here and false"),
        ("tokenizer_config.json", {"add_prefix_space": "no"}, "add_prefix_space: 'no'"),
        ("tokenizer_config.json", {"eos_token": "<other>"}, "eos_token: tokenizer.json has no token '<other>'"),
        ("special_tokens_map.json", {"pad_token": {"content": "<other>"}}, "pad_token: tokenizer.json has no token '<other>'"),
        ("special_tokens_map.json", {"pad_token": 7}, "pad_token"),
        ("special_tokens_map.json", {"additional_special_tokens": ["<img>", "<new>"]}, "no token '<new>'"),
        ("added_tokens.json", {"<img>": 4}, "the token '<img>' has the number 4 here"),
        ("added_tokens.json", {"<img>": "259"}, "<img>: '259'"),
        ("tokenizer_config.json", [], "is not a JSON object"),
    ),
)  # fmt: skip
def test_files_that_contradict_the_tokenizer(checkpoint, name, content, said):
    (checkpoint / name).write_text(json.dumps(content))
    refused(checkpoint, str(checkpoint / name), said)


@pytest.mark.parametrize(
    "content",
    (
        None,
        {},
        {"model_max_length": "many", "chat_template": 3, "added_tokens_decoder": None, "bos_token": None},
        {"added_tokens_decoder": {"259": {"content": "<img>", "lstrip": "?"}}, "add_prefix_space": False},
        {"eos_token": {"content": "<|im_end|>"}, "additional_special_tokens": ["<img>", {"content": "</img>"}]},
    ),
)
def test_files_that_change_no_token_are_not_needed(checkpoint, content):
    for name in TOKENIZER_FILES:
        if content is None:
            (checkpoint / name).unlink()
        else:
            (checkpoint / name).write_text(json.dumps(content))
    load_tokenizer(checkpoint)


STILL = ("min", "max", "mean", "std", "q01", "q99")


@pytest.mark.parametrize("kind", ("state", "action"))
@pytest.mark.parametrize("value", (0.0, 0.4))
def test_statistics_of_a_robot_that_never_moved(checkpoint, kind, value):
    def edit(content):
        for entry in (content["fr3_cubes"], *content["fr3_cubes_variants"].values()):
            rows = {name: [0.0 if name == "std" else value] * 3 for name in STILL}
            entry["statistics"][kind] = {"eef_position": rows, "gripper_position": {n: [0.0] for n in STILL}}

    edit_json(checkpoint / METADATA, edit)
    refused(checkpoint, str(checkpoint / METADATA), "nothing ever moved", f"{kind}.eef_position")
    with pytest.raises(BeingHError, match="nothing ever moved"):
        check_checkpoint(FR3, checkpoint)


def test_one_value_that_never_moved_is_a_warning(checkpoint, caplog):
    def edit(content):
        for entry in (content["fr3_cubes"], *content["fr3_cubes_variants"].values()):
            for row in entry["statistics"]["state"]["eef_position"].values():
                row[2] = 0.0

    edit_json(checkpoint / METADATA, edit)
    load_for_contract(FR3, checkpoint, threads=1)
    assert "state.eef_position[2] never moved" in caplog.text


@pytest.mark.parametrize(
    ("modes", "rows", "still"),
    (
        (("q99", "q99"), ((0.0, 1.0), (0.5, 0.5)), ["state.gripper_position[0]"]),
        (("none", "q99"), ((0.0, 1.0), (0.5, 0.5)), ["state.gripper_position[0]"]),
        (("none", "q99"), ((0.3, 0.3), (0.5, 0.5)), ["state.gripper_position[0]"]),
        (("mean_std", "none"), ((0.3, 0.1), None), []),
        (("q99", "none"), (None, None), []),
        (("q99", "none"), ("odd", None), []),
    ),
)
def test_a_locked_gripper_and_what_is_not_normalised_are_no_reason_to_refuse(modes, rows, still):
    keys = ("arm_joint_position", "gripper_position")
    state = tuple(KeySpec(key=key, normalization=mode, width=1) for key, mode in zip(keys, modes))
    names = [("mean", "std") if mode == "mean_std" else ("q01", "q99") for mode in modes]
    statistics = {
        key: row if row in (None, "odd") else dict(zip(pair, ([value] for value in row)))
        for key, pair, row in zip(keys, names, rows)
    }
    config = DataConfig(name="x", views=("a",), state=state, action=(KeySpec(key="arm_joint_position"),))
    assert still_values(config, {"state": statistics}) == still


@pytest.mark.parametrize(
    ("edit", "said"),
    (
        (lambda s: s["q99"].__setitem__(0, float("inf")), "q99.0: inf"),
        (lambda s: s["std"].__setitem__(0, float("nan")), "std.0: nan"),
        (lambda s: s["mean"].__setitem__(0, "0"), "mean.0: '0'"),
        (lambda s: s["mean"].__setitem__(0, True), "mean.0: True"),
        (lambda s: s["min"].__setitem__(0, 10**300), "min.0"),
        (lambda s: s.update(q01=0.5), "q01: 0.5"),
        (lambda s: s.update(q01=[[0.0], [0.0], [0.0]]), "q01.0"),
        (lambda s: s.update(q01=[0.0] * 100_000), "q01: has 100000 entries"),
        (lambda s: [s.pop(key) for key in ("q01", "q99")], "needs the statistic `q01`"),
        (lambda s: s.update(q01=None), "needs the statistic `q01`"),
        (lambda s: [row.append(0.0) for row in s.values()], "must hold 3 finite values"),
        (lambda s: s["q01"].append(0.0), "`q01` must hold 3 finite values"),
        (lambda s: s.update(q01=s["q99"], q99=s["q01"]), "wrong order"),
        (lambda s: s.update(min=s["max"], max=s["min"]), "wrong order"),
        (lambda s: s["std"].__setitem__(0, -1.0), "std"),
    ),
)
def test_statistics_that_cannot_be(checkpoint, edit, said):
    def edit_all(content):
        for entry in (content["fr3_cubes"], *content["fr3_cubes_variants"].values()):
            edit(entry["statistics"]["action"]["eef_position"])

    edit_json(checkpoint / METADATA, edit_all)
    refused(checkpoint, str(checkpoint / METADATA), "action", "eef_position", said)


def test_statistics_of_a_variant_are_checked_too(checkpoint):
    def edit(content):
        content["fr3_cubes_variants"]["task"]["statistics"]["state"]["eef_position"]["min"][1] = float("inf")

    edit_json(checkpoint / METADATA, edit)
    refused(checkpoint, "fr3_cubes_variants.task.statistics.state.eef_position.min.1: inf")
