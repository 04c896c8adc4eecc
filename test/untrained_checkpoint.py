"""An untrained checkpoint, for tests and for comparison: `python test/untrained_checkpoint.py DIR`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from beingh_core.contract import load_contract
from beingh_core.model import BeingH
from beingh_core.policy.metadata import compute_statistics, write_metadata
from beingh_core.sim import CUBE_COLOURS
from beingh_core.train.settings import RunConfig
from beingh_core.train.start import raw_config
from beingh_core.train.tokenizer import build_tokenizer, prompt_phrases, save_tokenizer


def write_untrained(directory: Path, seed: int = 0) -> Path:
    """Write random weights with plausible statistics in the shape of config/train/fr3_cubes.yaml."""
    config = RunConfig.from_file(ROOT / "config" / "train" / "fr3_cubes.yaml")
    [section] = config.data.datasets
    contract = load_contract(section.robot)
    words = ("pick up the ", " cube", *CUBE_COLOURS)
    tokenizer = build_tokenizer([*prompt_phrases(config.model.action_chunk_length), *words])
    directory.mkdir(parents=True, exist_ok=True)
    raw = raw_config(config, tokenizer, contract.uac.delay_steps + 1)
    BeingH.from_config(raw, seed=seed).save_pretrained(directory)
    save_tokenizer(tokenizer, directory)
    rng = np.random.default_rng(seed)
    statistics = {
        "state": {"eef_position": compute_statistics(rng.uniform([0.35, -0.2, 0.0], [0.65, 0.2, 0.5], (1000, 3)))},
        "action": {"eef_position": compute_statistics(rng.uniform(-0.0125, 0.0125, (1000, 3)))},
    }
    write_metadata(
        directory,
        contract.policy.dataset_name,
        statistics,
        embodiment_tag=section.embodiment_tag,
        robot=contract.robot,
        contract_hash=contract.hash,
    )
    return directory


if __name__ == "__main__":
    print(write_untrained(Path(sys.argv[1])))
