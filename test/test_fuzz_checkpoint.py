"""Random damage to config.json, metadata and the tensor index: one clear error, within 3 s and 500 MB, or a policy."""

import json
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from fuzz_support import damage, failures
from safetensors.torch import save_file

from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError
from beingh_core.model import BeingH
from beingh_core.model.checkpoint import INDEX
from beingh_core.policy.from_contract import data_config_for
from beingh_core.policy.loading import load_for_data_config
from beingh_core.policy.metadata import compute_statistics, write_metadata
from beingh_core.train.config import TrainConfig, model_config
from beingh_core.train.tokenizer import build_tokenizer, save_tokenizer

CASES = 300
FR3 = load_contract("fr3")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The smallest checkpoint of the FR3, in two shards, with statistics of a task and of an embodiment."""
    directory = tmp_path_factory.mktemp("checkpoint")
    tokenizer = build_tokenizer(["pick up the red cube"])
    model = dict(TrainConfig.from_file("config/train/fr3_cubes.yaml").model)
    model["vision"] = {"image": 56, "patch": 14, "hidden": 8, "layers": 1, "heads": 2, "mlp": 8}
    model["decoder"] = {
        "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 4, "und_hidden": 8, "und_mlp": 8, "act_hidden": 8, "act_mlp": 8,
    }  # fmt: skip
    built = BeingH.from_config(model_config(model, tokenizer.get_vocab_size()))
    tensors = built.state_dict()
    weight_map = {}
    for part in range(2):
        file = f"model-0000{part + 1}-of-00002.safetensors"
        names = sorted(tensors)[part::2]
        save_file({name: tensors[name] for name in names}, directory / file)
        weight_map |= dict.fromkeys(names, file)
    (directory / "config.json").write_text(json.dumps(built.raw_config))
    (directory / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    save_tokenizer(tokenizer, directory)
    rows = compute_statistics(np.random.default_rng(0).uniform(-0.5, 0.5, (100, 3)))
    statistics = {kind: {"eef_position": rows} for kind in ("state", "action")}
    variants = {level: {"statistics": statistics, "stats_level": level} for level in ("task", "embodiment")}
    write_metadata(
        directory, "fr3_cubes", statistics, embodiment_tag="fr3", robot="fr3", contract_hash="0" * 64, variants=variants
    )
    return directory


def load(directory):
    return load_for_data_config(
        data_config_for(FR3), directory, dataset_name="fr3_cubes", embodiment_tag="fr3", threads=1, seed=0
    )


@contextmanager
def deep_recursion():
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    yield
    sys.setrecursionlimit(before)


def damaged_texts(good, seed):
    """JSON texts: most with damaged entries, some with damaged bytes."""
    rng = np.random.default_rng(seed)
    for index in range(CASES):
        if index % 10:
            with deep_recursion():
                yield json.dumps(damage(rng, good)).encode()
        else:
            text = bytearray(json.dumps(good).encode())
            text[rng.integers(len(text))] = rng.integers(256)
            yield bytes(text[: rng.integers(len(text))] if index % 20 else text)


def test_the_undamaged_checkpoint_loads(checkpoint):
    load(checkpoint)


@pytest.mark.parametrize(("name", "seed"), (("config.json", 1), ("fr3_cubes_metadata.json", 2), (INDEX, 3)))
def test_random_damage_to_a_file(checkpoint, name, seed):
    good = (checkpoint / name).read_bytes()
    outcomes = checkpoint / f"{seed}.outcomes"

    def run(text):
        (checkpoint / name).write_bytes(text)
        try:
            load(checkpoint)
        except BeingHError as error:
            assert len(str(error)) < 2000 and str(error).isprintable() and name in str(error), str(error)[:2000]
            outcomes.open("a").write("refused\n")
            raise
        outcomes.open("a").write("loaded\n")

    try:
        found = failures(run, list(damaged_texts(json.loads(good), seed)))
    finally:
        (checkpoint / name).write_bytes(good)
    assert not found, f"{len(found)} of {CASES}:\n" + "\n".join(found[:5])
    told = outcomes.read_text().split()
    assert len(told) == CASES and told.count("refused") > CASES / 3, "the damage must be felt"
