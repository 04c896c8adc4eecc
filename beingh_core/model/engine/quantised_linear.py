"""Linear layers with weights in fewer bits, by PyTorch's own kernels.

Dimension letters: M rows of activations, K inputs, N outputs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from beingh_core.model.quantised import QuantisedWeight

_PART = 1 << 22
"""Numbers of an int8 matrix that are brought back at once."""
_SMALLEST = 1e-30
_FEW = 1 << 16
"""Fewer numbers than this take new memory at no cost."""
_INT_MM_ROWS = 32
"""Least rows of a product of int8 on a GPU, which refuses 16 and fewer."""


class Scratch:
    """Memory for what is needed during one product, shared by layers that run one after the other.

    New memory for each of them would cost as much as the arithmetic on it: the system clears its pages first.
    """

    def __init__(self) -> None:
        self._held: dict[torch.dtype, Tensor] = {}

    def like(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """A tensor of the shape of x, its numbers anything."""
        held = self._held.get(dtype)
        if held is None or held.numel() < x.numel():
            with torch.inference_mode(False):  # what is made in that mode can be written in it alone
                held = self._held[dtype] = torch.empty(x.numel(), dtype=dtype, device=x.device)
        return held[: x.numel()].view(x.shape)


class QuantisedLinear(nn.Module):
    """y = x W^T + b with W in fewer bits.

    `w8a8` multiplies whole numbers: each row of x is divided by its own scale and rounded to -127 .. 127; oneDNN does it on
    a CPU with VNNI, `torch._int_mm` on a GPU. Everything else, and `w8a8` where the machine has neither, brings W back to
    the type of x in every call, except `int4` in bfloat16 on a CPU, which has a kernel.

    Args:
        weight: W.
        bias: (N,) or None.
        dtype: Of x and y.
        scratch: Shared with layers that never run at the same time; None makes one.
    """

    def __init__(
        self,
        weight: QuantisedWeight,
        bias: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
        scratch: Scratch | None = None,
    ) -> None:
        super().__init__()
        self.bias = bias
        if weight.scheme == "int4":
            self._run = _Int4Kernel(weight) if _Int4Kernel.takes(weight, dtype) else _Int4(weight)
        elif weight.scheme == "w8a8" and multiplies_integers(weight.values.device) and _IntMM.takes(weight):
            self._run = _OneDnn(weight, scratch or Scratch()) if weight.values.device.type == "cpu" else _IntMM(weight)
        else:
            self._run = _Int8(weight)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., K) to (..., N)."""
        return self._run(x.flatten(0, -2), self.bias).unflatten(0, x.shape[:-1])


def multiplies_integers(device: torch.device) -> bool:
    """Whether products of int8 are fast and exact there: a GPU from Turing on, or a CPU with AVX-512 VNNI or AMX.

    Without VNNI, oneDNN adds pairs of products in 16 bits, which large numbers overflow.
    """
    if device.type != "cpu":
        return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 5)
    known = getattr(torch.cpu, "_is_vnni_supported", lambda: False)
    return bool(torch.backends.mkldnn.is_available() and hasattr(torch.ops.onednn, "qlinear_pointwise") and known())


class _Int8:
    """int8 weights as the type of x; the scale comes after the product, which is exact before it."""

    def __init__(self, weight: QuantisedWeight) -> None:
        self._scale = weight.scale.squeeze(-1)
        # What is brought back at once should stay in memory that the process has already, and in the caches.
        self._parts = weight.values.split(max(1, _PART // weight.values.shape[-1]))

    def __call__(self, x_MK: Tensor, bias: Tensor | None) -> Tensor:
        products = [F.linear(x_MK, part.to(x_MK.dtype)) for part in self._parts]
        y = products[0] if len(products) == 1 else torch.cat(products, dim=-1)
        return _scaled(y, self._scale.to(x_MK.dtype), bias)


class _Int4:
    """int4 weights in groups, brought back in every call."""

    def __init__(self, weight: QuantisedWeight) -> None:
        self._parts = weight.parts(_PART)

    def __call__(self, x_MK: Tensor, bias: Tensor | None) -> Tensor:
        products = [F.linear(x_MK, part.plain(x_MK.dtype)) for part in self._parts]
        y = products[0] if len(products) == 1 else torch.cat(products, dim=-1)
        return y if bias is None else y + bias


class _Int4Kernel:
    """int4 weights in groups, in the layout of PyTorch's kernel for bfloat16 on a CPU."""

    def __init__(self, weight: QuantisedWeight) -> None:
        scale = weight.scale.t().bfloat16()
        self._size = 2 * weight.values.shape[-1] // len(scale)
        self._scales = torch.stack((scale, torch.zeros_like(scale)), dim=-1).contiguous()
        # Some rows at a time, since the operator takes four bytes for what becomes half of one.
        pack = torch.ops.aten._convert_weight_to_int4pack_for_cpu
        parts = [pack(part.numbers().to(torch.int32).add_(8), 1) for part in weight.parts(_PART // 4)]
        self._packed = parts[0] if len(parts) == 1 else torch.cat(parts)

    @staticmethod
    def takes(weight: QuantisedWeight, dtype: torch.dtype) -> bool:
        """Whether the kernel is there and computes this matrix."""
        rows, groups = weight.scale.shape
        fits = rows % 16 == 0 and 2 * weight.values.shape[-1] // groups in (32, 64, 128, 256)
        on_cpu = weight.values.device.type == "cpu" and dtype == torch.bfloat16
        return on_cpu and fits and hasattr(torch.ops.aten, "_weight_int4pack_mm_for_cpu")

    def __call__(self, x_MK: Tensor, bias: Tensor | None) -> Tensor:
        y = torch.ops.aten._weight_int4pack_mm_for_cpu(x_MK.contiguous(), self._packed, self._size, self._scales)
        return y if bias is None else y + bias


class _OneDnn:
    """Products of int8 by oneDNN, its weights in blocks that fit its kernels."""

    def __init__(self, weight: QuantisedWeight, scratch: Scratch) -> None:
        self._packed = torch.ops.onednn.qlinear_prepack(weight.values, None)
        self._scale = weight.scale.squeeze(-1) / 127
        self._zero = torch.zeros(len(self._scale), dtype=torch.int32)
        self._scratch = scratch

    def __call__(self, x_MK: Tensor, bias: Tensor | None) -> Tensor:
        x, largest = _few_bytes(x_MK) if x_MK.numel() < _FEW else _many_bytes(x_MK, self._scratch)
        y = torch.ops.onednn.qlinear_pointwise(
            x, 1.0, 128, self._packed, self._scale, self._zero, None, 1.0, 0, x_MK.dtype, "none", [], ""
        )
        return _scaled(y, largest, bias)


class _IntMM:
    """Products of int8 by `torch._int_mm`."""

    @staticmethod
    def takes(weight: QuantisedWeight) -> bool:
        """Whether a GPU's kernel computes this matrix; a CPU's takes every one."""
        return weight.values.device.type == "cpu" or all(size % 8 == 0 for size in weight.values.shape)

    def __init__(self, weight: QuantisedWeight) -> None:
        self._values, self._scale = weight.values.t(), weight.scale.squeeze(-1) / 127

    def __call__(self, x_MK: Tensor, bias: Tensor | None) -> Tensor:
        largest = x_MK.abs().amax(-1, keepdim=True)
        x = x_MK.to(torch.float32, copy=True).mul_(_stretch(largest)).round_().to(torch.int8)
        if len(x) < _INT_MM_ROWS:
            x = F.pad(x, (0, 0, 0, _INT_MM_ROWS - len(x)))
        y = torch._int_mm(x, self._values)[: len(x_MK)]
        return _scaled((y * self._scale).to(x_MK.dtype), largest, bias)


def _few_bytes(x_MK: Tensor) -> tuple[Tensor, Tensor]:
    """Each row stretched to 1 .. 255 around 128 (M, K) uint8, and what was its largest magnitude (M, 1), of the type of x.

    Unsigned, since oneDNN has no fast kernel for signed numbers without AMX. The conversion cuts off, and takes half the
    time by way of 16 bits.
    """
    largest = x_MK.abs().amax(-1, keepdim=True)
    numbers = x_MK.to(torch.float32, copy=True).mul_(_stretch(largest)).add_(128.5)
    return numbers.to(torch.int16).to(torch.uint8), largest


def _many_bytes(x_MK: Tensor, scratch: Scratch) -> tuple[Tensor, Tensor]:
    """The same, for so many numbers that memory counts, and calls do not."""
    shorts = scratch.like(x_MK, torch.int16)
    if x_MK.dtype == torch.bfloat16:
        # Without their sign, they have the order of the whole numbers that their bits are: three times as fast.
        bits = torch.bitwise_and(x_MK.view(torch.int16), 0x7FFF, out=shorts)
        largest = bits.amax(-1, keepdim=True).view(torch.bfloat16)
    else:
        largest = x_MK.abs().amax(-1, keepdim=True)
    numbers = scratch.like(x_MK, torch.float32).copy_(x_MK).mul_(_stretch(largest)).add_(128.5)
    return scratch.like(x_MK, torch.uint8).copy_(shorts.copy_(numbers)), largest


def _stretch(largest: Tensor) -> Tensor:
    return 127 / largest.float().clamp_min_(_SMALLEST)


def _scaled(y_MN: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """y times scale, in place, or with the bias in one pass."""
    return y_MN.mul_(scale) if bias is None else torch.addcmul(bias, y_MN, scale)
