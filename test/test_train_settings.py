"""The configuration of a training run: every mistake is one clear error, command lines change what a file says."""

import copy

import pytest
import yaml

from beingh_core.cli import main
from beingh_core.errors import BeingHError
from beingh_core.train.settings import RunConfig

SIZES = {
    "vision": {"image": 32, "patch": 8, "hidden": 16, "layers": 1, "heads": 2, "mlp": 32},
    "decoder": {
        "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 8,
        "und_hidden": 24, "und_mlp": 32, "act_hidden": 16, "act_mlp": 32,
    },
}  # fmt: skip
LEAST = {"out": "out/x", "model": SIZES, "data": {"datasets": [{"path": "d/cubes", "robot": "fr3"}]}}


def config(*changes, raw=LEAST, tmp_path=None):
    if tmp_path is None:
        return RunConfig.from_dict(copy.deepcopy(raw))
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(raw))
    return RunConfig.from_file(path, changes)


def test_the_defaults_are_the_released_settings():
    found = config()
    assert (found.packing.expected_tokens, found.packing.max_tokens) == (8192, 8704)
    assert (found.optimiser.learning_rate, found.optimiser.weight_decay, found.training.steps) == (1e-4, 1e-5, 60_000)
    pictures = found.data.pictures
    assert (pictures.crop_share, pictures.brightness, pictures.contrast, pictures.saturation, pictures.hue) == (
        0.95, 0.3, 0.4, 0.5, 0.08,
    )  # fmt: skip


def test_the_command_line_changes_what_the_file_says(tmp_path):
    found = config(
        "optimiser.learning_rate=3e-4", "data.datasets.0.path=/other", "training.freeze=[vision, und]",
        "training.steps=7", "data.datasets.0.episodes=3", "model.decoder.layers=3", "uac.longest={fr3: 4}", "optimiser.betas=[0.8, 0.9]",
        tmp_path=tmp_path,
    )  # fmt: skip
    assert found.optimiser.learning_rate == 3e-4 and found.optimiser.betas == (0.8, 0.9)
    assert found.data.datasets[0].path == "/other" and found.training.freeze == ["vision", "und"]
    assert (
        found.data.datasets[0].episodes == "3"
        and found.training.steps == 7
        and found.model.decoder.layers == 3
        and found.uac.longest == {"fr3": 4}
    )


@pytest.mark.parametrize(
    ("change", "said"),
    (
        ("optimiser.learning_rat=1", "did you mean `learning_rate`"),
        ("optimizer.learning_rate=1", "did you mean `optimiser`"),
        ("data.datasets.0.robots=fr3", "did you mean `robot`"),
        ("data.datasets.1.path=x", "'1' is no place in a list of 1"),
        ("data.datasets.1.path=x", "Allowed: 0. To fix: an entry is added in the file"),
        ("data.datasets.0.episodes=[0, 3]", "Allowed: episodes by number, such as 3 or 0-9+12"),
        ("data.datasets.0.episodes=-1", "Allowed: episodes by number"),
        ("training.freeze=vision", "Allowed: a list of vision, connector, und, embeddings, act, such as [vision]"),
        ("training.lora.modules=fc1", "Allowed: a list, written [one, another]"),
        ("training.lora.parts=[]", "at least 1 item"),
        ("optimiser.betas=[0.9]", "[0.9] is not allowed here. Allowed: two numbers, such as [0.9, 0.95]"),
        ("training.steps=1e3", "1000.0 is not allowed here. Allowed: a whole number from 1 to 1000000000; write 1000"),
        ("data.datasets.first.path=x", "'first' is no place in a list of 1"),
        ("training.steps", "is no change of a configuration"),
        ("training.steps=many", "training.steps: 'many' is not allowed here"),
        ("training.steps=1.5", "a whole number from 1"),
        ("optimiser.learning_rate=.nan", "optimiser.learning_rate: nan"),
        ("optimiser.eps=[", "is no value in YAML"),
        ("out.name=x", "has no keys"),
        ("training.resume=yes", "the key 'resume' is unknown"),
    ),
)
def test_a_wrong_change_is_told(tmp_path, change, said):
    with pytest.raises(BeingHError) as caught:
        config(change, tmp_path=tmp_path)
    assert said in str(caught.value)


def test_a_mistake_is_told_where_it_was_made(tmp_path):
    raw = copy.deepcopy(LEAST) | {"training": {"seed": -1}}

    def told(*changes, raw=LEAST):
        with pytest.raises(BeingHError) as caught:
            config(*changes, raw=raw, tmp_path=tmp_path)
        return caught.value.where

    path = tmp_path / "run.yaml"
    assert told("training.steps=0") == "command line: training.steps"
    assert told("training={steps: 0}") == "command line: training.steps"
    assert told("out=x", "training.steps=5", raw=raw) == f"{path}: training.seed"
    assert told("optimiser.min_learning_rate=1") == f"{path} with the command line: optimiser"
    assert told("evaluate.every=1") == f"{path} with the command line"
    assert told(raw=raw) == f"{path}: training.seed"


@pytest.mark.parametrize("words", [["--training.steps=20"], ["--training.steps", "20"]])
def test_a_key_with_dashes_is_told(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["train", "--config", "run.yaml", *words])
    assert caught.value.code == 2 and "keys have no dashes, as in training.steps=20" in capsys.readouterr().err


def test_a_change_given_twice_is_told(tmp_path):
    with pytest.raises(BeingHError, match="`training.steps` is given twice"):
        config("training.steps=3", "training.steps=4", tmp_path=tmp_path)


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    (
        (("learning_rate",), 1, "the key 'learning_rate' is unknown"),
        (("data", "datasets"), [], "data.datasets"),
        (("data", "datasets", 0, "data_config"), "libero_nonorm", "either `robot` (a contract) or `data_config`"),
        (("data", "measure"), "frames", "'samples', 'hours' or 'tokens'"),
        (("data", "group_weights"), {"other": 1.0}, "no dataset is in that group"),
        (("data", "datasets"), 2 * LEAST["data"]["datasets"], "two datasets are called cubes"),
        (("packing",), {"expected_tokens": 9000}, "must not be more than max_tokens"),
        (("training",), {"freeze": ["vit"]}, "'vision', 'connector', 'und', 'embeddings' or 'act'"),
        (("training",), {"shard": 1}, "training.shard: 1"),
        (("optimiser",), {"warmup_steps": 5, "warmup_ratio": 0.1}, "either warmup_steps or warmup_ratio"),
        (("optimiser",), {"min_learning_rate": 1.0}, "min_learning_rate is more than learning_rate"),
        (("optimiser",), {"betas": [0.9, 1.5]}, "optimiser.betas.1: 1.5"),
        (("evaluate",), {"every": 10}, "evaluate.every needs held-out episodes"),
        (("checkpoint",), "some/where", "sizes of a model from nothing"),
        (("model",), {}, "model.vision and model.decoder must give the sizes"),
        (("uac",), {"longest": {"fr3": -1}}, "uac.longest"),
    ),
)
def test_wrong_values_are_told_with_their_place(keys, value, said):
    raw = copy.deepcopy(LEAST)
    section = raw
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    with pytest.raises(BeingHError) as caught:
        config(raw=raw)
    assert said in str(caught.value) and "configuration" in str(caught.value)
