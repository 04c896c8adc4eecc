"""The smallest checkpoint that the FR3's contract takes, for tests of what its files may hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file

from beingh_core.contract import load_contract
from beingh_core.model import BeingH
from beingh_core.model.checkpoint import INDEX, WEIGHTS
from beingh_core.policy.metadata import compute_statistics, write_metadata
from beingh_core.train.config import model_config
from beingh_core.train.tokenizer import build_tokenizer, save_tokenizer

METADATA = "fr3_cubes_metadata.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
_SETTINGS = {
    "action_chunk_length": 16, "num_inference_timesteps": 4, "use_mpg": True, "mpg_lambda": 0.1, "mpg_refinement_iters": 1,
    "use_training_time_rtc": True, "trained_delay": 6,
}  # fmt: skip
_VISION = {"image": 56, "patch": 14, "hidden": 8, "layers": 1, "heads": 2, "mlp": 8}
_DECODER = {
    "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 4, "und_hidden": 8, "und_mlp": 8, "act_hidden": 8, "act_mlp": 8,
}  # fmt: skip


def write_small(directory: Path, sharded: bool = False) -> Path:
    """Write it, with random weights in one file or in two shards, and statistics of a task and of an embodiment."""
    contract = load_contract("fr3")
    tokenizer = build_tokenizer(["pick up the red cube"])
    raw = model_config(_SETTINGS | {"vision": _VISION, "decoder": _DECODER}, tokenizer.get_vocab_size())
    BeingH.from_config(raw).save_pretrained(directory)
    if sharded:
        shard(directory)
    save_tokenizer(tokenizer, directory)
    rows = compute_statistics(np.random.default_rng(0).uniform(-0.5, 0.5, (100, 3)))
    statistics = {kind: {"eef_position": rows} for kind in ("state", "action")}
    variants = {level: {"statistics": statistics, "stats_level": level} for level in ("task", "embodiment")}
    write_metadata(
        directory,
        contract.policy.dataset_name,
        statistics,
        embodiment_tag="fr3",
        robot=contract.robot,
        contract_hash=contract.hash,
        variants=variants,
    )
    return directory


def shard(directory: Path) -> None:
    """Replace model.safetensors by two shards and their index."""
    tensors, weight_map = load_file(directory / WEIGHTS), {}
    for part, file in enumerate(SHARDS):
        names = sorted(tensors)[part::2]
        save_file({name: tensors[name] for name in names}, directory / file)
        weight_map |= dict.fromkeys(names, file)
    (directory / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    (directory / WEIGHTS).unlink()
