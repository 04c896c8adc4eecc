"""From a pack of the plan to the tensors of the model: pictures decoded and changed, numbers in slots, words in tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from beingh_core.errors import BeingHError
from beingh_core.policy.image import MEAN, STD
from beingh_core.policy.pictures import resize_crop
from beingh_core.policy.prompt import PromptBuilder
from beingh_core.policy.transforms import UnifiedTransform
from beingh_core.train.augment import cropped, jittered
from beingh_core.train.frames import Decoders
from beingh_core.train.plan import Pack
from beingh_core.train.settings import DataSection
from beingh_core.train.sources import Source


@dataclass(kw_only=True)
class Made:
    """A packed batch and what is known of it.

    Attributes:
        number: of the pack.
        batch: as `BeingH.loss` takes it, with uint8 pictures (see `normalised`); None when no sample is left.
        sources: (B,) place of each sample's dataset.
        rows: (B,) its row.
        tokens: length of the sequence.
        left_out: (dataset, why) -> samples that could not be made.
    """

    number: int
    batch: dict[str, Any] | None
    sources: np.ndarray
    rows: np.ndarray
    tokens: int = 0
    left_out: Counter = field(default_factory=Counter)


class SampleMaker:
    """Makes packs. One process.

    Args:
        sources: Measured, with statistics.
        prompts: Words and layout.
        data: Pictures and dropout.
        seed: of all that is drawn.
        plain: without changes of pictures and dropout, as at inference.
    """

    def __init__(
        self, sources: Sequence[Source], prompts: PromptBuilder, data: DataSection, seed: int, plain: bool = False
    ) -> None:
        self._sources, self._prompts, self._data = sources, prompts, data
        self._seed, self._plain = seed, plain
        self._transforms = [UnifiedTransform(s.modality.config, s.statistics, s.section.path) for s in sources]
        self._decoders = Decoders(data.decoders)
        self._bad: dict[tuple[int, int], str] = {}  # source and episode -> why its pictures cannot be read

    def make(self, pack: Pack) -> Made:
        """The batch of a pack; samples whose pictures cannot be read are left out."""
        pictures = self._pictures(pack)
        made = Made(number=pack.number, batch=None, sources=np.zeros(0, int), rows=np.zeros(0, int))
        prompts, views, states, actions, masks, kept = [], [], [], [], [], []
        for place, (which, row) in enumerate(pack.samples):
            source = self._sources[which]
            if isinstance(pictures[place], str):
                made.left_out[source.title, pictures[place]] += 1
                continue
            rng = np.random.default_rng([self._seed, pack.number, place])
            try:
                state, action = self._numbers(which, row)
            except BeingHError as error:
                made.left_out[source.title, error.what] += 1
                continue
            kept.append((which, row))
            prompts.append(self._prompts.build(self.task(which, row), len(source.modality.config.views)))
            views.append(self._changed(pictures[place], rng))
            states.append(np.zeros_like(state) if self._dropped(rng) else state)
            actions.append(action)
            masks.append(np.broadcast_to(self._transforms[which].action_mask, action.shape))
        if not kept:
            return made
        batch = self._prompts.pack(prompts)
        batch["packed_vit_tokens"] = torch.cat(views)
        batch["padded_state"] = torch.from_numpy(np.stack(states))
        batch["padded_action"] = torch.from_numpy(np.concatenate(actions))
        batch["padded_action_mask"] = torch.from_numpy(np.concatenate(masks))
        made.batch, made.tokens = batch, int(batch["sequence_length"])
        made.sources, made.rows = (np.array(column) for column in zip(*kept))
        return made

    def task(self, which: int, row: int) -> str:
        """The instruction of a row."""
        table = self._sources[which].table
        return table.tasks[int(table.task[row])]

    def transform(self, which: int) -> UnifiedTransform:
        """Of a dataset."""
        return self._transforms[which]

    def _numbers(self, which: int, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Normalised state (200,) and actions (H, 200) of a row."""
        source, transform, length = self._sources[which], self._transforms[which], self._prompts.config.chunk_length
        table, modality = source.table, source.modality
        episode = int(np.searchsorted(table.starts, row, side="right")) - 1
        first, end = int(table.starts[episode]), int(table.starts[episode + 1])
        state = np.asarray(table.state[row], dtype=np.float64)
        before = np.asarray(table.action[row - 1], dtype=np.float64) if row > first else None
        rows = np.asarray(table.action[row : min(end, row + length)], dtype=np.float64)
        chunk = modality.chunk(state, before, rows, length)
        return transform.state_to_unified(modality.parts("state", state)), transform.action_to_unified(chunk)

    def _pictures(self, pack: Pack) -> list[list[np.ndarray] | str]:
        """The pictures of each sample's views, or why there are none; rows of an episode are decoded together."""
        groups: dict[tuple[int, int], list[int]] = {}
        for place, (which, row) in enumerate(pack.samples):
            starts = self._sources[which].table.starts
            groups.setdefault((which, int(np.searchsorted(starts, row, side="right")) - 1), []).append(place)
        found: list[list[np.ndarray] | str] = [""] * len(pack.samples)
        for (which, episode), places in groups.items():
            table = self._sources[which].table
            rows = [pack.samples[place][1] - int(table.starts[episode]) for place in places]
            shown = self._of_episode(which, table.episodes[episode], rows)
            for at, place in enumerate(places):
                found[place] = shown if isinstance(shown, str) else [images[at] for images in shown]
        return found

    def _of_episode(self, which: int, number: int, rows: list[int]) -> list[list[np.ndarray]] | str:
        """view -> picture of each row, or why an episode has none."""
        source, key = self._sources[which], (which, number)
        if key not in self._bad:
            segments = source.videos[number]
            try:
                return [self._decoders.pictures(segments[v], rows, source.fps) for v in source.modality.config.views]
            except BeingHError as error:
                self._bad[key] = f"episode {number}: {error.what}"
        return self._bad[key]

    def _changed(self, images: list[np.ndarray], rng: np.random.Generator) -> torch.Tensor:
        """(V, 3, S, S) uint8."""
        size, settings = self._prompts.config.image_size, self._data.pictures
        if self._plain:
            return _stacked([resize_crop(image, size) for image in images])
        pixels = jittered(_stacked([cropped(i, size, settings.crop_share, rng) for i in images]), settings, rng)
        if self._data.view_dropout:
            hidden = rng.random(len(images)) < self._data.view_dropout
            hidden[rng.integers(len(images))] &= not hidden.all()  # one of them is always seen
            pixels[torch.from_numpy(hidden)] = 0
        return pixels

    def _dropped(self, rng: np.random.Generator) -> bool:
        """Whether a sample does without its state."""
        return not self._plain and bool(self._data.state_dropout) and rng.random() < self._data.state_dropout


def normalised(batch: Mapping[str, Any], device: torch.device | str) -> dict[str, Any]:
    """The batch with its pictures on a device, as float32 without ImageNet mean and deviation."""
    pixels = batch["packed_vit_tokens"].to(device, non_blocking=True).float()
    scale = torch.from_numpy(1.0 / (255.0 * STD)).to(pixels).view(1, 3, 1, 1)
    shift = torch.from_numpy(MEAN / STD).to(pixels).view(1, 3, 1, 1)
    return {**batch, "packed_vit_tokens": pixels.mul_(scale).sub_(shift)}


def _stacked(images: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy())
