"""Tensors out of *.safetensors files, one at a time: each takes its own memory and no more."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from beingh_core.errors import BeingHError, shown
from beingh_core.files import COPY_AGAIN
from beingh_core.model.checkpoint import INTEGERS, TORCH_TYPES, Stored, named

_BLOCK = 16 << 20
"""Values that are read, and brought into another type, at once."""


class TensorReader:
    """Reads what `stored_tensors` has found. A tensor's file is never mapped: what has been read and used leaves nothing behind.

    Args:
        stored: The tensors, by name.
        device: Where they go.
        dtype: Their type; None keeps each one's own. Integers stay integers.

    Attributes:
        seen: Names of the tensors that were read.
    """

    def __init__(self, stored: Mapping[str, Stored], device: str | torch.device, dtype: torch.dtype | None) -> None:
        self._stored, self._device, self._dtype = stored, torch.device(device), dtype
        self._begins: dict[Path, dict[str, int]] = {}
        self.seen: set[str] = set()

    def read(self, name: str, *, as_stored: bool = False) -> Tensor:
        """One tensor, of the reader's type or `as_stored`.

        Raises:
            BeingHError: It holds NaN or infinity, or its file ends before it.
        """
        one = self._stored[name]
        own, integer = TORCH_TYPES[one.dtype], one.dtype in INTEGERS
        dtype = own if integer or as_stored or self._dtype is None else self._dtype
        tensor = torch.empty(one.shape, dtype=dtype, device=self._device)
        flat = tensor.view(-1)
        in_place = dtype == own and self._device.type == "cpu"
        block = flat if in_place else torch.empty(min(_BLOCK, flat.numel()), dtype=own)
        for first, values in self._blocks(name, block, flat.numel()):
            if not in_place:
                flat[first : first + values.numel()].copy_(values)
        self._check(name, flat)
        return tensor

    def look_at(self, name: str) -> None:
        """Checks a tensor that nobody needs, a block at a time; errors as of `read`."""
        one = self._stored[name]
        count = math.prod(one.shape)
        for _, values in self._blocks(name, torch.empty(min(_BLOCK, count), dtype=TORCH_TYPES[one.dtype]), count):
            self._check(name, values.to(self._dtype) if one.dtype not in INTEGERS and self._dtype else values)

    def _check(self, name: str, values: Tensor) -> None:
        if not values.dtype.is_floating_point or not values.numel():
            return
        # The smallest and the largest value show every NaN and infinity; no copy of the tensor is made.
        if not torch.stack(torch.aminmax(values)).isfinite().all():
            raise BeingHError(
                f"the tensor {named(name)} holds values that are not finite (NaN or infinity)",
                where=self._stored[name].path,
                remedy=f"{COPY_AGAIN}; if it stays so, training diverged: use an earlier checkpoint",
            )

    def _blocks(self, name: str, block: Tensor, total: int) -> Iterator[tuple[int, Tensor]]:
        """(number of its first value, values) of a tensor, piece by piece in the memory of `block`."""
        path = self._stored[name].path
        self.seen.add(name)
        if path not in self._begins:
            self._begins[path] = _begins(path)
        with open(path, "rb", buffering=0) as file:
            file.seek(self._begins[path][name])
            for first in range(0, total, max(1, block.numel())):
                values = block[: total - first]
                _read_exactly(file, values, path, name)
                yield first, values


def load_tensors(
    stored: Mapping[str, Stored], device: str | torch.device, dtype: torch.dtype | None
) -> dict[str, Tensor]:
    """All of some tensors; the arguments and errors of `TensorReader`."""
    reader = TensorReader(stored, device, dtype)
    return {name: reader.read(name) for name in stored}


def _read_exactly(file, values: Tensor, path: Path, name: str) -> None:
    room = memoryview(values.view(torch.uint8).numpy())
    while len(room):
        try:
            count = file.readinto(room)
        except OSError as error:
            raise BeingHError(f"cannot be read: {shown(str(error), 200)}", where=path, remedy=COPY_AGAIN) from None
        if not count:
            raise BeingHError(f"ends within the tensor {named(name)}", where=path, remedy=COPY_AGAIN)
        room = room[count:]


def _begins(path: Path) -> dict[str, int]:
    """Where each tensor of a file, whose list has been checked before, begins [bytes]."""
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        return {name: 8 + size + one["data_offsets"][0] for name, one in header.items() if name != "__metadata__"}
    except (OSError, ValueError) as error:
        raise BeingHError(f"cannot be read: {shown(str(error), 200)}", where=path, remedy=COPY_AGAIN) from None
