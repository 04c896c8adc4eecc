"""An engine out of a checkpoint's files, each weight in memory once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from beingh_core.model import checkpoint
from beingh_core.model.engine.engine import Engine
from beingh_core.model.network import BeingHNetwork
from beingh_core.model.tensor_reader import TensorReader
from beingh_core.model.weights import ReadWeights

logger = logging.getLogger(__name__)


def load_engine(
    directory: str | Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Engine:
    """The engine of a checkpoint; weights that no chunk needs are looked at and not kept.

    Args:
        directory, device, dtype, overrides: As for `BeingHNetwork.from_pretrained`; of a checkpoint in fewer bits, `dtype`
            is the type of everything else, activations too.

    Raises:
        BeingHError: As for `BeingHNetwork.from_pretrained`.
    """
    model, stored = BeingHNetwork.opened(directory, overrides)
    dtype = dtype or checkpoint.common_dtype(stored)
    reader = TensorReader(stored, device, dtype)
    weights = ReadWeights(model, reader, torch.device(device), dtype, model.config.quantised)
    engine = Engine(model, weights=weights)
    for name in sorted(stored.keys() - reader.seen):
        reader.look_at(name)
    if model.config.quantised is not None:
        logger.warning(f"{directory}: quantised weights, {engine.weights_text}")
    else:
        logger.info(f"{directory}: the weights take {engine.weights_text}")
    return engine
