"""A policy for a robot's contract with random weights of a named shape: it takes the time of a trained one."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import torch

from beingh_core.bench.shapes import SHAPES, random_engine
from beingh_core.contract import RobotContract
from beingh_core.contract.codec import SignalCodec
from beingh_core.errors import BeingHError
from beingh_core.model.config import BeingHConfig
from beingh_core.policy import BeingHPolicy
from beingh_core.policy.data_configs import DataConfig
from beingh_core.policy.from_contract import data_config_for
from beingh_core.policy.metadata import compute_statistics
from beingh_core.policy.prompt import PromptBuilder, PromptConfig
from beingh_core.policy.transforms import UnifiedTransform
from beingh_core.train.tokenizer import build_tokenizer, prompt_phrases

# How far states and actions go to either side of those at home, in the slots' units: small motions that an arm can make.
STATE_SPREAD, ACTION_SPREAD = 0.1, 0.005


class UntrainedPolicy(BeingHPolicy):
    """Random weights; the contract's views, signals and chunk length, and statistics of small motions about its home.

    Args:
        contract: Robot.
        shape: A name in `SHAPES`.
        device: Where the model runs.
        dtype: In what precision.
        instruction: What it will be told: every word is a token, as most are to a trained tokenizer.
        seed: Of weights and statistics.

    Raises:
        BeingHError: No such shape.
    """

    def __init__(
        self,
        contract: RobotContract,
        shape: str,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        instruction: str = "",
        seed: int = 0,
    ) -> None:
        if shape not in SHAPES:
            raise BeingHError(f"unknown shape '{shape}'", allowed=SHAPES, where="--shape")
        length = contract.policy.chunk_length
        # It locks as long a prefix as the contract asks for: nobody knows what the real one will have learnt.
        raw = SHAPES[shape] | {"action_chunk_length": length, "trained_delay": contract.uac.delay_steps}
        layout = PromptConfig.from_model_config(BeingHConfig.from_dict(raw, f"shape {shape}"))
        words = re.findall(r" ?[A-Za-z]+", "\n".join([*prompt_phrases(length), instruction]))
        prompts = PromptBuilder(build_tokenizer(words), layout)
        self._assemble(_transform(contract, seed), prompts, random_engine(raw, device, dtype, seed))

    def check_contract(self, contract: RobotContract) -> None:
        """It was made for one contract, whose it is."""


def _transform(contract: RobotContract, seed: int) -> UnifiedTransform:
    """Normalisation by statistics of motions about the home posture."""
    config = data_config_for(contract)
    plain = UnifiedTransform(_not_normalised(config))
    codec, home = SignalCodec(contract), np.asarray(contract.home, dtype=float)
    at_home = {
        "state": plain.state_to_unified(codec.encode_state(contract.state_at_home)),
        "action": plain.action_to_unified(
            codec.encode_commands(np.stack([home, home]), q_chunk_start=home, first_state=home)
        )[0],
    }
    rng, spreads = np.random.default_rng(seed), {"state": STATE_SPREAD, "action": ACTION_SPREAD}
    statistics = {
        kind: {
            spec.key: compute_statistics(
                middle[spec.bounds(kind)] + spreads[kind] * rng.uniform(-1, 1, (100, len(middle[spec.bounds(kind)])))
            )
            for spec in getattr(config, kind)
        }
        for kind, middle in at_home.items()
    }
    return UnifiedTransform(config, statistics)


def _not_normalised(config: DataConfig) -> DataConfig:
    """The same keys, their values as they are."""
    keys = {
        kind: tuple(replace(spec, normalization="none") for spec in getattr(config, kind))
        for kind in ("state", "action")
    }
    return replace(config, **keys)
