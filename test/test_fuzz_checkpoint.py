"""Random damage to config.json, metadata and the tensor index: one clear error, within 3 s and 500 MB, or a policy."""

import json
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from fuzz_support import damage, failures
from small_checkpoint import METADATA, write_small

from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError
from beingh_core.model.checkpoint import INDEX
from beingh_core.policy.loading import load_for_contract

CASES = 300
FR3 = load_contract("fr3")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_small(tmp_path_factory.mktemp("checkpoint"), sharded=True)


def load(directory):
    return load_for_contract(FR3, directory, threads=1, seed=0)


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


@pytest.mark.parametrize(
    ("name", "seed"), (("config.json", 1), (METADATA, 2), (INDEX, 3), ("tokenizer_config.json", 4))
)
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
