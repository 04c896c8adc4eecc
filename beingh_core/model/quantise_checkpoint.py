"""From a checkpoint to one with its matrices in fewer bits."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from beingh_core.checkpoint_directory import CONFIG, checkpoint_directory
from beingh_core.errors import BeingHError
from beingh_core.files import read_json
from beingh_core.model import checkpoint
from beingh_core.model.network import BeingHNetwork
from beingh_core.model.quantised import KEY, SCALE, VALUES, QuantisedConfig, quantised
from beingh_core.model.tensor_reader import TensorReader

_COPIED = (".json", ".txt", ".model", ".jinja", ".md", ".yaml")
"""What else of a checkpoint's directory goes with it: tokenizer, statistics, how it was trained."""


def check_source(source: str | Path, out: Path, config: QuantisedConfig) -> Path:
    """The directory of a checkpoint that can be quantised, from the headers of its files.

    Raises:
        BeingHError: No checkpoint, one that is quantised or has low-rank changes apart, groups that do not divide its
            matrices, or something stands at `out` already.
    """
    source = checkpoint_directory(source)
    if out.exists() or out.is_symlink():
        raise BeingHError("something is there already", where=out, remedy="give the name of a new folder: --out DIR")
    names = checkpoint.stored_tensors(source)
    apart = next((name for name in names if "lora_" in name.lower()), None)
    if apart or (source / "adapter_config.json").exists():
        raise BeingHError(
            f"holds low-rank changes (LoRA) beside the weights: {apart or 'adapter_config.json'}",
            where=source,
            remedy="merge them into the weights first; `beingh train` saves them merged",
        )
    model, _ = BeingHNetwork.opened(source)
    if model.config.quantised is not None:
        raise BeingHError(
            f"is quantised already ({model.config.quantised.text})",
            where=source,
            remedy="give the checkpoint that it was made from",
        )
    config.stored({name: parameter.shape for name, parameter in model.named_parameters()})
    return source


def write_quantised(source: Path, out: Path, config: QuantisedConfig, importance: Mapping[str, Tensor]) -> None:
    """Writes the checkpoint, complete or not at all.

    Args:
        source: What `check_source` returned.
        out: The new directory.
        config: Scheme and towers.
        importance: Name of a linear layer -> (K,) how much an error in a column of its matrix counts; for int4, and may lack
            some or all.

    Raises:
        BeingHError: A tensor holds NaN or infinity or cannot be read, or the directory cannot be written.
    """
    model, stored = BeingHNetwork.opened(source)
    reader, tensors = TensorReader(stored, "cpu", None), {}
    for name in stored:
        module, _, kind = name.rpartition(".")
        tensor = reader.read(name)
        if kind == "weight" and config.covers(module):
            groups = config.groups(module, tensor.shape[-1])
            small = quantised(tensor, config.scheme, groups, importance.get(module))
            tensors |= {f"{module}.{VALUES}": small.values, f"{module}.{SCALE}": small.scale}
        else:
            tensors[name] = tensor
    raw = read_json(source / CONFIG) | {KEY: config.model_dump(exclude_none=True)}
    partial, ended = out.with_name(f"{out.name}.{os.getpid()}.partial"), False
    try:
        checkpoint.save(partial, raw, tensors)
        for path in sorted(source.iterdir()):
            if path.is_file() and path.suffix in _COPIED and path.name not in (CONFIG, checkpoint.INDEX):
                shutil.copyfile(path, partial / path.name)
        partial.rename(out)
        ended = True
    except (OSError, SafetensorError) as error:
        raise BeingHError(f"cannot be written: {error}", where=out, remedy="give another --out, or make room") from None
    finally:
        if not ended:
            shutil.rmtree(partial, ignore_errors=True)
