"""Weights in fewer bits: which matrices, how a checkpoint says so, and the numbers themselves.

A matrix W (N, K) is stored as whole numbers Q and a scale for each of its N rows (`int8`, `w8a8`: Q from -127 to 127), or
for each row and group of `group_size` columns (`int4`: Q from -7 to 7, two in a byte, 8 added): W is about scale * Q.
`w8a8` also brings what is multiplied with them to 8 bits, row by row, when the model runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import model_validator
from torch import Tensor

from beingh_core.errors import BeingHError, shown
from beingh_core.validation import Schema, at_most, check, only, whole

SCHEMES = ("int8", "int4", "w8a8")
TOWERS = ("und", "act", "vision")
KEY = "quantization_config"
"""In config.json; the name by which loaders of transformers know that they must understand its `quant_method`."""
VALUES, SCALE = "weight_q", "weight_scale"
"""In place of a matrix's `weight`."""
GROUP = 64
_LARGEST = {"int8": 127, "w8a8": 127, "int4": 7}
_TOWERS = {
    "und": r"language_model\.model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)",
    "act": r"language_model\.model\.layers\.\d+\.(self_attn\.[qkvo]_proj_mot_gen|"
    r"mlp_mot_gen\.(experts\.\d+\.)?(gate|up|down)_proj)",
    "vision": r"vit_model\.encoder\.layers\.\d+\.(attn\.(qkv|proj)|mlp\.fc[12])|connector\.mlp1\.[13]",
}


class QuantisedConfig(Schema):
    """`quantization_config` of config.json: what `beingh quantize` did."""

    quant_method: only("beingh")
    version: only(1) = 1
    scheme: Literal["int8", "int4", "w8a8"]
    towers: Annotated[list[Literal["und", "act", "vision"]], at_most(3)]
    group_size: whole(1, 4096) | None = None

    @model_validator(mode="after")
    def _fits(self) -> QuantisedConfig:
        if not self.towers or len(set(self.towers)) < len(self.towers):
            raise ValueError(f"towers {self.towers} names none, or one twice")
        if (self.scheme == "int4") != (self.group_size is not None):
            raise ValueError("group_size belongs to int4, which needs it, and to no other scheme")
        if self.group_size is not None and self.group_size % 2:
            raise ValueError(f"group_size {self.group_size} is odd; two numbers of int4 share a byte")
        return self

    @property
    def text(self) -> str:
        """In words."""
        group = f", groups of {self.group_size}" if self.group_size else ""
        return f"{self.scheme}{group} in {', '.join(self.towers)}"

    def covers(self, module: str) -> bool:
        """Whether the matrix of the module of this name is in fewer bits."""
        return tower_of(module) in self.towers

    def stored(self, shapes: dict[str, torch.Size]) -> tuple[dict[str, torch.Size], dict[str, str]]:
        """Shapes of the tensors of a checkpoint, by name, and the types of those of whole numbers.

        Args:
            shapes: Of the model's parameters.

        Raises:
            BeingHError: The groups do not divide a matrix.
        """
        found, integers = {}, {}
        for name, shape in shapes.items():
            module, _, kind = name.rpartition(".")
            if kind != "weight" or not self.covers(module):
                found[name] = shape
                continue
            rows, columns = shape
            groups = self.groups(module, columns)
            found[f"{module}.{VALUES}"] = torch.Size((rows, columns // 2 if self.group_size else columns))
            found[f"{module}.{SCALE}"] = torch.Size((rows, groups))
            integers[f"{module}.{VALUES}"] = "U8" if self.group_size else "I8"
        return found, integers

    def groups(self, module: str, columns: int) -> int:
        """Number of scales of a row.

        Raises:
            BeingHError: The groups do not divide the row.
        """
        size = self.group_size or columns
        if columns % size:
            raise BeingHError(
                f"a row of {module} has {columns} numbers, which groups of {size} do not divide",
                allowed=[g for g in (16, 32, 64, 128, 256) if columns % g == 0] or "another scheme",
                remedy="give another --group-size, leave this tower out of --towers, or take int8",
            )
        return columns // size


@dataclass(frozen=True)
class QuantisedWeight:
    """Q (N, K) int8, or (N, K / 2) uint8 with column 2 i in the low half of byte i, and scales (N, groups) float32."""

    scheme: str
    values: Tensor
    scale: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return self.values.nbytes + self.scale.nbytes

    def numbers(self) -> Tensor:
        """Q (N, K) int8."""
        if self.scheme != "int4":
            return self.values
        low, high = self.values & 15, self.values >> 4
        return torch.stack((low, high), dim=-1).flatten(-2).to(torch.int8) - 8

    def plain(self, dtype: torch.dtype) -> Tensor:
        """W (N, K)."""
        numbers = self.numbers().to(dtype).unflatten(-1, (self.scale.shape[-1], -1))
        return (numbers * self.scale.to(dtype).unsqueeze(-1)).flatten(-2)

    def parts(self, most: int) -> list[QuantisedWeight]:
        """The same in blocks of rows of at most `most` numbers, in multiples of 64 rows but for the last."""
        columns = self.values.shape[-1] * (2 if self.scheme == "int4" else 1)
        rows = max(64, most // columns // 64 * 64)
        pairs = zip(self.values.split(rows), self.scale.split(rows))
        return [QuantisedWeight(self.scheme, values, scale) for values, scale in pairs]

    @staticmethod
    def joined(parts: Iterable[QuantisedWeight]) -> QuantisedWeight:
        """Several matrices of as many columns, one below the other."""
        parts = list(parts)
        if len(parts) == 1:
            return parts[0]
        values, scale = (torch.cat([getattr(part, name) for part in parts]) for name in ("values", "scale"))
        return QuantisedWeight(parts[0].scheme, values, scale)


def quantised_config(scheme: str, towers: str = ",".join(TOWERS), group_size: int = GROUP) -> QuantisedConfig:
    """What options of a command ask for.

    Args:
        scheme: One of `SCHEMES`.
        towers: Names of `TOWERS` with commas between.
        group_size: Numbers of a row that share a scale; counts for int4 alone.

    Raises:
        BeingHError: No such scheme, tower or group.
    """
    if scheme not in SCHEMES:
        raise BeingHError(f"unknown scheme {shown(scheme)}", where="--scheme", allowed=SCHEMES)
    names = towers.split(",")
    if not set(names) <= set(TOWERS) or len(set(names)) < len(names):
        raise BeingHError(
            f"towers {shown(towers)}",
            where="--towers",
            allowed=f"some of {', '.join(TOWERS)}, each once, a comma between",
        )
    raw = {"quant_method": "beingh", "version": 1, "scheme": scheme, "towers": names}
    raw |= {"group_size": group_size} if scheme == "int4" else {}
    return check(QuantisedConfig, raw, where="--group-size", remedy="give an even number, such as 32 or 64")


def quantised(weight_NK: Tensor, scheme: str, groups: int = 1, importance_K: Tensor | None = None) -> QuantisedWeight:
    """A matrix in fewer bits.

    Each scale is that of the largest number of its row or group; for int4 the one of a few smaller ones with the least
    squared error, since one outlier would else make a group coarse.

    Args:
        weight_NK: W.
        scheme: One of `SCHEMES`.
        groups: Scales of a row.
        importance_K: How much an error in a column counts; None counts all the same.
    """
    most = _LARGEST[scheme]
    parts = weight_NK.float().unflatten(-1, (groups, -1))
    largest = parts.abs().amax(-1).clamp_min(torch.finfo(torch.float32).tiny * 1e3)
    scale = largest / most
    if scheme == "int4":
        weights = None if importance_K is None else importance_K.float().unflatten(-1, (groups, -1))
        scale = _least_error(parts, scale, most, weights)
    numbers = _rounded(parts, scale, most).flatten(-2).to(torch.int8)
    if scheme == "int4":
        low, high = (numbers + 8).to(torch.uint8).unflatten(-1, (-1, 2)).unbind(-1)
        numbers = low | (high << 4)
    return QuantisedWeight(scheme, numbers, scale)


def _least_error(parts_NGS: Tensor, scale_NG: Tensor, most: int, weights_GS: Tensor | None) -> Tensor:
    best, least = scale_NG, None
    for share in (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65):
        tried = scale_NG * share
        error = (_rounded(parts_NGS, tried, most) * tried.unsqueeze(-1) - parts_NGS).square_()
        error = (error if weights_GS is None else error * weights_GS).sum(-1)
        better = error < least if least is not None else torch.ones_like(error, dtype=torch.bool)
        best = torch.where(better, tried, best)
        least = error if least is None else torch.minimum(error, least)
    return best


def _rounded(parts: Tensor, scale: Tensor, most: int) -> Tensor:
    return (parts / scale.unsqueeze(-1)).round_().clamp_(-most, most)


def tower_of(module: str) -> str | None:
    """The tower to which a module's matrix belongs; None for those that stay as they are."""
    return next((tower for tower, pattern in _TOWERS.items() if re.fullmatch(pattern, module)), None)
