"""Reading and writing the released checkpoint format, strictly.

A checkpoint is a directory with config.json and either model.safetensors, or shards named by
model.safetensors.index.json, or any other *.safetensors files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from beingh_core.errors import BeingHError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object; BeingHError when the file is missing or not JSON."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BeingHError(
            f"cannot read the checkpoint's {path.name}",
            where=path,
            remedy="give the directory of a Being-H checkpoint (config.json, *.safetensors, tokenizer files)",
        ) from error
    except ValueError as error:
        raise BeingHError(f"not valid JSON: {error}", where=path, remedy="restore or copy the file again") from error
    if not isinstance(content, dict):
        raise BeingHError("not a JSON object", where=path, remedy="restore or copy the file again")
    return content


def tensor_files(directory: Path) -> dict[str, Path]:
    """Which file holds each tensor of the checkpoint.

    Raises:
        BeingHError: No tensor file, a missing or unreadable shard, or one name in two files.
    """
    if (directory / WEIGHTS).is_file():
        files = [directory / WEIGHTS]
    elif (directory / INDEX).is_file():
        weight_map = read_json(directory / INDEX).get("weight_map", {})
        files = [directory / name for name in sorted(set(weight_map.values()))]
    else:
        files = sorted(directory.glob("*.safetensors"))
    if not files:
        raise BeingHError(
            "no *.safetensors file in the checkpoint",
            where=directory,
            remedy=f"copy {WEIGHTS} (or the shards and {INDEX}) into it",
        )
    holder: dict[str, Path] = {}
    for path in files:
        for name in _open(path).keys():
            if name in holder:
                raise BeingHError(
                    f"tensor '{name}' is in two files, {holder[name].name} and {path.name}",
                    where=directory,
                    remedy="remove the file that does not belong to this checkpoint",
                )
            holder[name] = path
    return holder


def _open(path: Path):
    try:
        return safe_open(path, framework="pt", device="cpu")
    except (OSError, SafetensorError) as error:
        raise BeingHError(
            f"cannot read the tensor file: {error}", where=path, remedy="download or copy this file again"
        ) from error


def load_tensors(holder: Mapping[str, Path], expected: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Loads exactly the expected tensors.

    Args:
        holder: File of each tensor found.
        expected: Shape of each tensor that the configuration asks for.

    Raises:
        BeingHError: A tensor is missing, unexpected or has another shape; the message names the first
            of each, its expected and found shape and its file.
    """
    handles = {path: _open(path) for path in set(holder.values())}
    found = {name: tuple(handles[path].get_slice(name).get_shape()) for name, path in holder.items()}
    wanted = {name: tuple(shape) for name, shape in expected.items()}
    directory = next(iter(holder.values())).parent if holder else Path()
    missing = sorted(set(wanted) - set(found))
    unexpected = sorted(set(found) - set(wanted))
    misshapen = sorted(name for name in set(wanted) & set(found) if wanted[name] != found[name])
    complaints = [f"'{n}': expected shape {wanted[n]}, found none" for n in missing]
    complaints += [f"'{n}': expected no such tensor, found shape {found[n]} in {holder[n].name}" for n in unexpected]
    complaints += [
        f"'{n}': expected shape {wanted[n]}, found shape {found[n]} in {holder[n].name}" for n in misshapen
    ]
    if complaints:
        more = f"; and {len(complaints) - 6} more" if len(complaints) > 6 else ""
        kinds = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
        counts = ", ".join(f"{len(names)} {kind}" for kind, names in kinds.items() if names)
        raise BeingHError(
            f"the tensors do not fit {CONFIG} ({counts}): "
            + "; ".join(complaints[:6])
            + more,
            where=directory,
            remedy=f"use the {CONFIG} and the tensor files of the same checkpoint",
        )
    return {name: handles[holder[name]].get_tensor(name) for name in expected}


def save(directory: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Writes config.json and model.safetensors, each complete before it replaces an older one."""
    directory.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    partial = directory / (WEIGHTS + ".partial")
    save_file(weights, partial, metadata={"format": "pt"})
    partial.replace(directory / WEIGHTS)
    partial = directory / (CONFIG + ".partial")
    partial.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(directory / CONFIG)
