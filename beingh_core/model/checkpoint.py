"""Reading and writing the released checkpoint format, strictly.

A checkpoint is a directory with config.json and either model.safetensors, or shards named by
model.safetensors.index.json, or any other *.safetensors files.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from beingh_core.checkpoint_directory import CONFIG
from beingh_core.errors import BeingHError, shown
from beingh_core.files import COPY_AGAIN, check_file, read_json
from beingh_core.model.quantised import SCALE
from beingh_core.validation import Schema, at_most, check

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_FLOATS = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
INTEGERS = {"I8": torch.int8, "U8": torch.uint8}
TORCH_TYPES = _FLOATS | INTEGERS
DTYPES = tuple(_FLOATS)
_HEADER_BYTES = 8 << 20
"""Largest list of tensors in front of a file; that of a model with 2 billion weights has 0.2 MB."""
_OTHER_FORMATS = (".bin", ".pt", ".pth", ".ckpt", ".gguf")
_TO_CONVERT = (
    "import torch; from safetensors.torch import save_file; save_file({name: tensor.contiguous().clone() for name, "
    "tensor in torch.load('FILE', map_location='cpu', weights_only=True).items()}, 'model.safetensors')"
)
_NAME_LENGTH = 120


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A tensor as the header of its file describes it."""

    path: Path
    shape: tuple[int, ...]
    dtype: str


class _Index(Schema):
    """model.safetensors.index.json: the file of each tensor."""

    weight_map: Annotated[dict[str, str], at_most(100_000)]


def stored_tensors(directory: Path) -> dict[str, Stored]:
    """What the tensor files of a checkpoint hold, from their headers alone.

    Raises:
        BeingHError: No tensor file, one that is missing, damaged or not in the directory, one name in two files, an
            index that does not fit its files, or tensors that are no floating-point numbers.
    """
    promised = _read_index(directory)
    stored: dict[str, Stored] = {}
    for path in _tensor_files(directory, promised):
        file = _open(path, COPY_AGAIN if promised is None else f"{COPY_AGAIN}; {INDEX} names it")
        names = set(file.keys())
        if promised is not None:
            _check_promised(path, names, {name for name, holder in promised.items() if holder == path.name})
        for name in sorted(names):
            if name in stored:
                raise BeingHError(
                    f"the tensor {named(name)} is in two files, {stored[name].path.name} and {path.name}",
                    where=directory,
                    remedy="remove the file that does not belong to this checkpoint",
                )
            part = file.get_slice(name)
            stored[name] = Stored(path=path, shape=tuple(part.get_shape()), dtype=part.get_dtype())
    return stored


def _read_index(directory: Path) -> dict[str, str] | None:
    """The file name of each tensor, None without an index."""
    path = directory / INDEX
    if not os.path.lexists(path):
        return None
    remedy = "download or copy the index again"
    promised = check(_Index, read_json(path, remedy=remedy), where=path, remedy=remedy).weight_map
    for name in sorted(set(promised.values())):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise BeingHError(
                f"{shown(name)} is not the name of a tensor file beside it",
                where=f"{path}: weight_map",
                allowed="names like model-00001-of-00002.safetensors, without a folder",
                remedy=remedy,
            )
    return promised


def _tensor_files(directory: Path, promised: Mapping[str, str] | None) -> list[Path]:
    whole = os.path.lexists(directory / WEIGHTS)
    if promised is not None:
        names = sorted(set(promised.values()))
        if whole and WEIGHTS not in names:
            raise BeingHError(
                f"both {WEIGHTS} and {INDEX}, which names other files, are there",
                where=directory,
                remedy="remove the one that does not belong to this checkpoint",
            )
        files = [directory / name for name in names]
    else:
        files = [directory / WEIGHTS] if whole else sorted(directory.glob("*.safetensors"))
    if files:
        return files
    others = sorted(path.name for path in directory.iterdir() if path.suffix in _OTHER_FORMATS)
    if others:
        raise BeingHError(
            f"no *.safetensors file in the checkpoint, only {others[0]}",
            where=directory,
            remedy=f'convert it there: python -c "{_TO_CONVERT.replace("FILE", others[0])}"',
        )
    raise BeingHError(
        "no *.safetensors file in the checkpoint",
        where=directory,
        remedy=f"copy {WEIGHTS} (or the shards and {INDEX}) into it",
    )


def _check_promised(path: Path, names: set[str], promised: set[str]) -> None:
    for wrong, text in (
        (promised - names, f"lacks {{}}, which {INDEX} promises in it"),
        (names - promised, f"holds {{}}, which {INDEX} does not name in it"),
    ):
        if wrong:
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            raise BeingHError(
                text.format(named(min(wrong)) + more),
                where=path,
                remedy=f"download or copy this file and {INDEX} again, from one checkpoint",
            )


def _open(path: Path, remedy: str = COPY_AGAIN):
    check_file(path, remedy=remedy)
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > _HEADER_BYTES:
        raise BeingHError(
            f"is no tensor file, or a damaged one: it says that its list of tensors has {size} bytes",
            where=path,
            allowed=f"at most {_HEADER_BYTES} bytes",
            remedy=COPY_AGAIN,
        )
    try:
        return safe_open(path, framework="pt", device="cpu")
    except (OSError, SafetensorError) as error:
        raise BeingHError(
            f"cannot be read as a tensor file: {shown(str(error), 200)}", where=path, remedy=COPY_AGAIN
        ) from None


def check_tensors(
    directory: Path,
    stored: Mapping[str, Stored],
    expected: Mapping[str, torch.Size],
    integers: Mapping[str, str] | None = None,
) -> None:
    """Refuses other tensors than those expected.

    Args:
        directory: Where they are, for the error.
        stored: Tensors found.
        expected: Shape of each tensor that the configuration asks for.
        integers: Of which type those are that hold no floating-point numbers.

    Raises:
        BeingHError: A tensor is missing, unexpected, of another shape or of another kind of numbers; the message
            names the first of each, its expected and found shape and its file.
    """
    wanted = {name: tuple(shape) for name, shape in expected.items()}
    integers = integers or {}
    missing = sorted(set(wanted) - set(stored))
    unexpected = sorted(set(stored) - set(wanted))
    misshapen = sorted(name for name in set(wanted) & set(stored) if wanted[name] != stored[name].shape)
    found = {n: f"found shape {shown(stored[n].shape)} in {stored[n].path.name}" for n in (*unexpected, *misshapen)}
    complaints = [f"{named(n)}: expected shape {wanted[n]}, found none" for n in missing[:6]]
    complaints += [f"{named(n)}: expected no such tensor, {found[n]}" for n in unexpected[:6]]
    complaints += [f"{named(n)}: expected shape {wanted[n]}, {found[n]}" for n in misshapen[:6]]
    kinds = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    count = sum(map(len, kinds.values()))
    if count:
        more = f"; and {count - 6} more" if count > 6 else ""
        counts = ", ".join(f"{len(names)} {kind}" for kind, names in kinds.items() if names)
        raise BeingHError(
            f"the tensors do not fit {CONFIG} ({counts}): " + "; ".join(complaints[:6]) + more,
            where=directory,
            remedy=f"use the {CONFIG} and the tensor files of the same checkpoint",
        )
    for name in wanted:
        allowed = (integers[name],) if name in integers else DTYPES
        if stored[name].dtype not in allowed:
            raise BeingHError(
                f"the tensor {named(name)} has values of type {stored[name].dtype}",
                where=stored[name].path,
                allowed=allowed,
                remedy=f"use the checkpoint as it was trained, or a quantised one with its own {CONFIG}",
            )


def drop_tied(
    directory: Path, stored: dict[str, Stored], copy: str, original: str, read: Callable[[str], Tensor]
) -> None:
    """Leaves out a second copy of a tied tensor, once it is known to be one; `read` gives a tensor.

    Raises:
        BeingHError: Both are there and differ.
    """
    if copy not in stored:
        return
    both = {name: stored[name] for name in (copy, original) if name in stored and stored[name].dtype in DTYPES}
    if len(both) == 2 and len({one.shape for one in both.values()}) == 1:
        if not torch.equal(read(copy), read(original)):
            raise BeingHError(
                f"{named(copy)} and {named(original)} differ, but llm_config.tie_word_embeddings is true",
                where=directory,
                remedy="set tie_word_embeddings to false if the two were trained apart",
            )
    del stored[copy]


def common_dtype(stored: Mapping[str, Stored]) -> torch.dtype:
    """The widest type of the floating-point tensors of a mixed-precision checkpoint."""
    plain = [one.dtype for name, one in stored.items() if one.dtype in _FLOATS and not name.endswith(f".{SCALE}")]
    return functools.reduce(torch.promote_types, (_FLOATS[dtype] for dtype in plain))


def named(name: str) -> str:
    return shown(name, _NAME_LENGTH)


def save(directory: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Writes config.json and model.safetensors, each complete before it replaces an older one."""
    directory.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    told, partial = directory / (CONFIG + ".partial"), directory / (WEIGHTS + ".partial")
    told.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    save_file(weights, partial, metadata={"format": "pt"})
    shutil.copymode(told, partial)  # safetensors writes a temporary file, which only its owner may read
    partial.replace(directory / WEIGHTS)
    told.replace(directory / CONFIG)
