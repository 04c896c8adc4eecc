"""`beingh bench training`: samples a second of training steps over packed sequences, against batches padded to one length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from beingh_core.bench.clocks import CLOCKS
from beingh_core.bench.shapes import SHAPES, TEXT_TOKENS, random_model, random_sample
from beingh_core.errors import BeingHError
from beingh_core.model import BeingH

# (share, views, least and most words beside the fixed ones): one arm with one, two and three cameras and short
# instructions, and conversations about a picture.
LENGTH_MIX = ((0.2, 1, 4, 30), (0.35, 2, 4, 30), (0.25, 3, 4, 40), (0.2, 1, 60, 400))


@dataclass(frozen=True, kw_only=True)
class TrainingBench:
    """What to measure; checked on construction.

    Attributes:
        shape: a name in `SHAPES`.
        device: where it runs.
        tokens: of a packed sequence, and of a padded batch with its padding.
        repeats: timed steps of each kind.
        seed: of weights, lengths and content.
        clock: a name in `CLOCKS`; processor time says nothing of a GPU.
    """

    shape: str = "tiny"
    device: str = "cpu"
    tokens: int = 4096
    repeats: int = 8
    seed: int = 0
    clock: str = "wall"

    def __post_init__(self) -> None:
        for name, allowed in (("shape", SHAPES), ("device", ("cpu", "cuda")), ("clock", CLOCKS)):
            if getattr(self, name) not in allowed:
                raise BeingHError(f"unknown {name} '{getattr(self, name)}'", allowed=allowed, where=f"--{name}")
        for name, least in (("tokens", 1024), ("repeats", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise BeingHError(f"{name} is {getattr(self, name)}", where=f"--{name}", allowed=f"{least} or more")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise BeingHError("this PyTorch sees no NVIDIA GPU", where="--device cuda", remedy="run with --device cpu")


def run(bench: TrainingBench, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Measures forward and backward passes, packed and padded in turn, and returns the report.

    Returns:
        `samples_per_s` and `tokens_per_s` (of real tokens) {packed, padded}, `ratio` of the samples, `padding` (share of
        the padded batches' tokens), `loss_difference`.
    """
    model = random_model(SHAPES[bench.shape], bench.device, torch.float32, bench.seed).requires_grad_(True).train()
    samples = _samples(model, bench)
    longest = max(sample["sequence_length"] for sample in samples)
    groups = {"packed": _fill(samples, bench.tokens), "padded": _cut(samples, max(1, bench.tokens // longest))}
    groups = {kind: found[: bench.repeats] for kind, found in groups.items()}
    spent, done, real = ({"packed": 0.0, "padded": 0.0} for _ in range(3))
    for index in range(-1, bench.repeats):  # the first one is not counted
        for kind, found in groups.items():
            if index >= len(found):
                continue
            group = found[max(index, 0)]
            batch = join(group if kind == "packed" else [padded(sample, longest) for sample in group])
            seconds = _timed(model, batch, bench)
            if index >= 0:
                spent[kind] += seconds
                done[kind] += len(group)
                real[kind] += sum(sample["sequence_length"] for sample in group)
    alone = _loss(model, join(groups["padded"][0]), bench)
    filled = _loss(model, join([padded(sample, longest) for sample in groups["padded"][0]]), bench)
    rates = {kind: done[kind] / spent[kind] for kind in groups}
    report = {
        "shape": bench.shape, "device": bench.device, "threads": torch.get_num_threads(), "longest": longest,
        "samples_per_s": rates, "tokens_per_s": {kind: real[kind] / spent[kind] for kind in groups},
        "ratio": rates["packed"] / rates["padded"],
        "padding": 1 - real["padded"] / (done["padded"] * longest),
        "loss_difference": abs(alone - filled),
    }  # fmt: skip
    say(
        f"{bench.shape}, {bench.device}: packed {rates['packed']:.1f} samples/s, padded to {longest} tokens "
        f"{rates['padded']:.1f}; {report['ratio']:.2f} times; {report['padding']:.0%} of the padded tokens are padding"
    )
    return report


def join(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One packed batch of several."""
    starts = np.cumsum([0, *(sample["sequence_length"] for sample in samples)]).tolist()
    joined: dict[str, Any] = {}
    for key in samples[0]:
        if key != "sequence_length":
            shift = starts if key.endswith("indexes") else [0] * len(samples)
            joined[key] = torch.cat([sample[key] + by if by else sample[key] for sample, by in zip(samples, shift)])
    return {**joined, "sequence_length": starts[-1]}


def padded(sample: dict[str, Any], length: int) -> dict[str, Any]:
    """A sample with text tokens behind its end, which nothing before them sees and no loss looks at."""
    more = length - sample["sequence_length"]
    places = torch.arange(sample["sequence_length"], length)
    filled = {
        "packed_text_ids": torch.zeros(more, dtype=torch.long), "packed_text_indexes": places,
        "packed_position_ids": places,
    }  # fmt: skip
    return {
        **sample, **{key: torch.cat((sample[key], value)) for key, value in filled.items()},
        "sample_lens": torch.tensor([length]), "sequence_length": length,
    }  # fmt: skip


def _samples(model: BeingH, bench: TrainingBench) -> list[dict[str, Any]]:
    """Enough samples for all packed steps, of mixed lengths."""
    rng, found, tokens = np.random.default_rng(bench.seed), [], 0
    while tokens < (bench.repeats + 1) * bench.tokens:
        _, views, low, high = LENGTH_MIX[rng.choice(len(LENGTH_MIX), p=[share for share, *_ in LENGTH_MIX])]
        text = (TEXT_TOKENS[0], TEXT_TOKENS[1], TEXT_TOKENS[2] + int(rng.integers(low, high + 1)), TEXT_TOKENS[3])
        sample = random_sample(model, views, int(rng.integers(1 << 30)), text)
        chunk = (model.config.chunk_length, 200)
        sample["padded_action"] = torch.from_numpy(rng.standard_normal(chunk, dtype=np.float32))
        sample["padded_action_mask"] = torch.from_numpy(np.tile(rng.random(200) < 0.05, (chunk[0], 1)))
        found.append(sample)
        tokens += sample["sequence_length"]
    return found


def _fill(samples: Sequence[dict[str, Any]], tokens: int) -> list[list[dict[str, Any]]]:
    """Groups of samples in order, each of at most so many tokens."""
    groups: list[list[dict[str, Any]]] = [[]]
    total = 0
    for sample in samples:
        if groups[-1] and total + sample["sequence_length"] > tokens:
            groups.append([])
            total = 0
        groups[-1].append(sample)
        total += sample["sequence_length"]
    return groups


def _cut(samples: Sequence[dict[str, Any]], count: int) -> list[list[dict[str, Any]]]:
    return [list(samples[first : first + count]) for first in range(0, len(samples), count)]


def _loss(model: BeingH, batch: dict[str, Any], bench: TrainingBench) -> float:
    with torch.no_grad():
        generator = torch.Generator().manual_seed(bench.seed)
        return float(model.loss(batch, mpg_lambda=0, generator=generator)["action_loss"])


def _timed(model: BeingH, batch: dict[str, Any], bench: TrainingBench) -> float:
    """Seconds of one forward and backward pass."""
    model.zero_grad(set_to_none=True)
    _settle(bench.device)
    clock = CLOCKS[bench.clock]
    begin = clock()
    with torch.autocast(bench.device, torch.bfloat16, enabled=bench.device == "cuda"):
        loss = model.loss(batch, mpg_lambda=0, generator=torch.Generator().manual_seed(bench.seed))["action_loss"]
    loss.backward()
    _settle(bench.device)
    return clock() - begin


def _settle(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
