"""The least time that the matrix products of one chunk need on this machine.

Each part (vision, prefix, every Euler step) must read its weights once and do its products; it takes at least the
longer of the two, at the memory bandwidth and the matmul rate measured here. Norms, activations, sorting and kernel
launches count as free.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import nn

from beingh_core.model import BeingH, DecoderConfig
from beingh_core.model.mof import RoutedMLP


class Work(NamedTuple):
    """Multiplications and additions, and bytes of weights to read."""

    flops: float = 0.0
    weight_bytes: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.weight_bytes + other.weight_bytes)


class Rates(NamedTuple):
    """What the machine does in a second: floating-point operations in large matmuls, bytes read."""

    flops: float
    bytes: float

    def bound_ms(self, work: Work) -> float:
        """Least time of one part [ms]."""
        return 1e3 * max(work.flops / self.flops, work.weight_bytes / self.bytes)


class Parts(NamedTuple):
    """Work of the parts of a chunk; a refinement step is a step with MPG."""

    vision: Work
    prefix: Work
    step: Work
    refinement_step: Work


def count_parts(model: BeingH, text: int, views: int, states: int = 1) -> Parts:
    """Work of one chunk when everything before the action tokens runs once.

    Args:
        model: The model.
        text: Text tokens before the action tokens.
        views: Images.
        states: State tokens.
    """
    config, horizon = model.config, model.config.chunk_length
    before = text + views * config.tokens_per_view
    length = before + states
    layers = model.language_model.model.layers
    prefix = _linear(model.proprio_encoder_robot.modules(), states)
    for suffix, rows in (("", before), ("_mot_gen", states)):
        for layer in layers[:-1]:
            prefix += _side(layer, suffix, rows)
        # Nothing reads the last layer's outputs, only its keys and values.
        last = layers[-1].self_attn
        prefix += _linear([getattr(last, name + suffix) for name in ("k_proj", "v_proj")], rows)
    prefix += _scores(config.decoder, (len(layers) - 1) * length * (length + 1) / 2)
    step = _linear([*model.action_encoder.modules(), *model.action_decoder.modules()], horizon)
    for layer in layers:
        step += _side(layer, "_mot_gen", horizon)
    step += _scores(config.decoder, len(layers) * horizon * (length + (horizon + 1) / 2))
    gating = Work()
    if config.use_mpg:
        used = [model.action_to_vlm_proj, model.vlm_to_action_proj, model.mpg.obs_proj, model.mpg.enhancement_proj]
        gating = _linear(used, horizon)
    return Parts(_vision(model, views), prefix, step, step + gating)


def chunk_bound_ms(parts: Parts, rates: Rates, steps: int, refinements: int) -> float:
    """Sum of the parts' bounds over a chunk of `steps` Euler steps in 1 + `refinements` passes [ms]."""
    per_pass = [parts.step] + [parts.refinement_step] * refinements
    return sum(map(rates.bound_ms, (parts.vision, parts.prefix, *(work for work in per_pass for _ in range(steps)))))


SUSTAINED_S = 0.3
"""Duration of a sample of a rate."""


class RateMeter:
    """Matmul rate of large square matrices, and bandwidth of reading memory that no cache holds.

    Both are medians over samples that are to be taken between the chunks which they are compared with: a machine's
    clocks and its neighbours change within minutes.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        on_gpu = device.type == "cuda"
        self._side, self._bytes = (8192 if on_gpu else 1024), ((1 << 30) if on_gpu else (1 << 29))
        self._device = device
        self._a, self._b = (torch.randn(self._side, self._side, device=device).to(dtype) for _ in range(2))
        self._product = torch.empty_like(self._a)
        # A sum in float32 streams at the memory's speed; narrower types may be slowed by their conversion.
        self._memory = torch.randn(self._bytes // 4, device=device)
        self._matmul_s: list[float] = []
        self._read_s: list[float] = []

    def sample(self) -> None:
        """Takes one of each kind: what is kept up for a while, as in a chunk, and not what a rested processor can do."""
        for call, times in ((self._matmul, self._matmul_s), (self._memory.sum, self._read_s)):
            call()
            count = max(1, round(SUSTAINED_S / _timed_s(call, self._device)))
            times.append(_timed_s(call, self._device, count))

    def rates(self) -> Rates:
        """The medians so far."""
        return Rates(
            2 * self._side**3 / statistics.median(self._matmul_s), self._bytes / statistics.median(self._read_s)
        )

    def _matmul(self) -> torch.Tensor:
        return torch.mm(self._a, self._b, out=self._product)


def _timed_s(call: Callable[[], object], device: torch.device, count: int = 1) -> float:
    """Time of one call, over `count` calls in a row."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begin = time.perf_counter()
    for _ in range(count):
        call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - begin) / count


def _linear(modules: Iterable[nn.Module], rows: int) -> Work:
    """Linear layers among the modules, each applied to `rows` rows."""
    weights = [module.weight for module in modules if isinstance(module, nn.Linear)] if rows else []
    return Work(2.0 * rows * sum(w.numel() for w in weights), sum(w.numel() * w.element_size() for w in weights))


def _side(layer: nn.Module, suffix: str, rows: int) -> Work:
    """One decoder layer's projections and MLP on one side."""
    attention = [getattr(layer.self_attn, name + suffix) for name in ("q_proj", "k_proj", "v_proj", "o_proj")]
    return _linear(attention, rows) + _mlp(getattr(layer, "mlp" + suffix), rows)


def _mlp(mlp: nn.Module, rows: int) -> Work:
    """A layer's MLP; of routed experts as few are read as the rows can do with, and each row computes its own."""
    if not isinstance(mlp, RoutedMLP) or not rows:
        return _linear(mlp.modules(), rows)
    one = _linear(mlp.experts[0].modules(), 1)
    return _linear([mlp.router], rows) + Work(one.flops * rows * mlp.top_k, one.weight_bytes * mlp.top_k)


def _scores(config: DecoderConfig, pairs: float) -> Work:
    """Attention's two products over (query, key) pairs."""
    return Work(4.0 * pairs * config.num_heads * config.head_dim)


def _vision(model: BeingH, views: int) -> Work:
    """Patch embedding, encoder layers in use, and connector."""
    config = model.config.vision
    patches = (config.image_size // config.patch_size) ** 2
    tokens, depth = patches + 1, model.vit_model.depth
    if not views:
        return Work()
    kernel = model.vit_model.embeddings.patch_embedding.weight
    work = Work(2.0 * views * patches * kernel.numel(), kernel.numel() * kernel.element_size())
    for layer in model.vit_model.encoder.layers[:depth]:
        work += _linear(layer.modules(), views * tokens)
    work += Work(4.0 * depth * views * tokens**2 * config.hidden_size)
    return work + _linear(model.connector.modules(), views * model.config.tokens_per_view)
