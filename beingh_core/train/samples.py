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
from beingh_core.policy.prompt import Prompt, PromptBuilder
from beingh_core.policy.transforms import UnifiedTransform
from beingh_core.slots import WIDTH
from beingh_core.train.augment import cropped, jittered
from beingh_core.train.frames import Decoders
from beingh_core.train.hands import mentions_a_side
from beingh_core.train.plan import Pack
from beingh_core.train.settings import DataSection
from beingh_core.train.sources import AnySource, Source
from beingh_core.train.text_source import TextSource
from beingh_core.train.weights import chunk_charge


@dataclass(kw_only=True)
class Made:
    """A packed batch and what is known of it.

    Attributes:
        number: of the pack.
        batch: as `BeingH.loss` takes it, with uint8 pictures (see `normalised`); None when no sample is left.
        sources: (B,) place of each sample's dataset.
        rows: (B,) its row.
        branches: (B,) its branch of that row, -1 for the row itself.
        prefixes: (B,) its recorded prefix [steps], -1 where one is to be drawn.
        acts: (B,) whether it has actions.
        tokens: length of the sequence.
        charge: (samples with actions, H) who was in charge of the steps of each chunk, places in `weighing.GROUPS`; None where no dataset says it.
        left_out: (dataset, why) -> samples that could not be made.
    """

    number: int
    batch: dict[str, Any] | None
    sources: np.ndarray
    rows: np.ndarray
    branches: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    prefixes: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    acts: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    tokens: int = 0
    charge: np.ndarray | None = None
    left_out: Counter = field(default_factory=Counter)


@dataclass(kw_only=True)
class _Part:
    """One sample: its words, pictures (V, 3, S, S) uint8, of robots and hands the states (R, 200), and actions and mask (H, 200).

    Samples of one row share one tensor of pictures. `branch` and `prefix`: see `Made`.
    """

    prompt: Prompt
    pixels: torch.Tensor
    state: np.ndarray | None = None
    action: np.ndarray | None = None
    mask: np.ndarray | None = None
    branch: int = -1
    prefix: int = -1


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
        self, sources: Sequence[AnySource], prompts: PromptBuilder, data: DataSection, seed: int, plain: bool = False
    ) -> None:
        self._sources, self._prompts, self._data = sources, prompts, data
        self._seed, self._plain = seed, plain
        self._transforms = {
            which: UnifiedTransform(source.modality.config, source.statistics, source.section.path)
            for which, source in enumerate(sources) if isinstance(source, Source)
        }  # fmt: skip
        self._decoders = Decoders(data.decoders)
        acting = [source for source in sources if isinstance(source, Source)]
        self._weighs = any(source.weights is not None for source in acting)
        self._told = any(source.table.charge is not None for source in acting)
        self._bad: dict[tuple[int, int], str] = {}  # source and episode -> why its pictures cannot be read

    def make(self, pack: Pack) -> Made:
        """The batch of a pack; samples whose pictures cannot be read are left out."""
        pictures = self._pictures(pack)
        made = Made(number=pack.number, batch=None, sources=np.zeros(0, int), rows=np.zeros(0, int))
        parts: list[_Part] = []
        kept = []
        for place, (which, row) in enumerate(pack.samples):
            source, rng = self._sources[which], np.random.default_rng([self._seed, pack.number, place])
            try:
                if isinstance(source, TextSource):
                    found = [self._said(source, row)]
                elif isinstance(pictures[place], str):
                    raise BeingHError(pictures[place])
                else:
                    found = self._shown(which, row, pictures[place], rng)
            except BeingHError as error:
                made.left_out[source.title, error.what] += 1
                continue
            parts += found
            kept += [(which, row, part.branch, part.prefix, part.action is not None) for part in found]
        if not parts:
            return made
        made.batch = self._packed(parts)
        acting = [(which, row) for which, row, *_, acts in kept if acts]
        if self._weighs and acting:
            weights = np.concatenate([self._weights(*one) for one in acting])
            made.batch["padded_action_weight"] = torch.from_numpy(weights)
        if self._told and acting:
            made.charge = np.stack([self._charge(*one) for one in acting])
        made.tokens = int(made.batch["sequence_length"])
        made.sources, made.rows, made.branches, made.prefixes, made.acts = (np.array(column) for column in zip(*kept))
        return made

    def _packed(self, parts: list[_Part]) -> dict[str, Any]:
        length = self._prompts.config.chunk_length
        batch = self._prompts.pack([part.prompt for part in parts])
        batch |= _pixels(parts)
        nothing = np.zeros((0, WIDTH), np.float32)
        acting = [part for part in parts if part.action is not None]
        states = [part.state for part in parts if part.state is not None]
        batch["padded_state"] = torch.from_numpy(np.concatenate([nothing, *states]))
        batch["padded_action"] = torch.from_numpy(np.concatenate([nothing, *(part.action for part in acting)]))
        masks = [np.broadcast_to(part.mask, (length, WIDTH)) for part in acting]
        batch["padded_action_mask"] = torch.from_numpy(np.concatenate([nothing.astype(bool), *masks]))
        return batch

    def _said(self, source: TextSource, row: int) -> _Part:
        """A conversation. Its pictures are shown whole and unchanged: its words may be about their edges and colours."""
        size = self._prompts.config.image_size
        try:
            said, images = source.sample(row, size)
        except BeingHError as error:
            raise BeingHError(f"line {source.table.numbers[row]}: {error.what}") from None
        prompt = self._prompts.conversation(said.turns, len(images), said.system)
        return _Part(
            prompt=prompt, pixels=_stacked(images) if images else torch.zeros(0, 3, size, size, dtype=torch.uint8)
        )

    def _shown(self, which: int, row: int, images: list[np.ndarray], rng: np.random.Generator) -> list[_Part]:
        """What is taught of a row of a robot or of hands."""
        source = self._sources[which]
        if source.table.branches is None:
            return [self._acted(which, row, images, rng)]
        pixels = self._changed(images, rng)
        config = self._prompts.config
        numbers = source.modality.numbers(source.table, row, config.chunk_length, config.history)
        state = self._transforms[which].state_to_unified(numbers.state)
        state = np.zeros_like(state) if self._dropped(rng) else state
        found, mask = self._branches(which, row, pixels, state), self._transforms[which].action_mask
        if source.teaches_own and source.tokens[source.table.task[row]]:
            prompt = self._prompts.build(self.task(which, row), len(images))
            action = self._transforms[which].action_to_unified(numbers.action)
            found.insert(0, _Part(prompt=prompt, pixels=pixels, state=state, action=action, mask=mask))
        return found

    def _branches(self, which: int, row: int, pixels: torch.Tensor, state: np.ndarray) -> list[_Part]:
        """The samples of a row's branches, and their replies."""
        source, length = self._sources[which], self._prompts.config.chunk_length
        branches, section, transform = source.table.branches, source.section.branches, self._transforms[which]
        numbers = np.asarray(branches.task[row])
        there = [int(k) for k in np.flatnonzero(numbers >= 0) if source.branch_tokens.instruction[numbers[k]]]
        if not there:
            return []
        recorded = np.asarray(branches.action[row], dtype=np.float64)
        chunks = [source.modality.branch_chunk(source.table, row, recorded[k], length) for k in there]
        together = {key: np.concatenate([chunk[key] for chunk in chunks]) for key in chunks[0]}
        actions, found = transform.action_to_unified(together).reshape(len(there), length, WIDTH), []
        for k, action in zip(there, actions):
            task, prefix = self.task(which, row, k), int(branches.prefix[row, k])
            prompt = self._prompts.build(task, len(pixels))
            found += section.draws * [
                _Part(prompt=prompt, pixels=pixels, state=state, action=action, mask=transform.action_mask, branch=k, prefix=prefix)
            ]  # fmt: skip
            for number in branches.reply[row, k] if section.words else ():
                if number >= 0:
                    prompt = self._prompts.build_reply(task, branches.form.texts[number], len(pixels))
                    found.append(_Part(prompt=prompt, pixels=pixels, state=state, branch=k))
        return found

    def _acted(self, which: int, row: int, images: list[np.ndarray], rng: np.random.Generator) -> _Part:
        """A row of a robot or of hands."""
        source, task, transform = self._sources[which], self.task(which, row), self._transforms[which]
        mirror = source.section.mirror
        mirrored = bool(mirror) and not self._plain and rng.random() < mirror and not mentions_a_side(task)
        config = self._prompts.config
        numbers = source.modality.numbers(source.table, row, config.chunk_length, config.history, mirrored)
        state, action = transform.state_to_unified(numbers.state), transform.action_to_unified(numbers.action)
        mask = np.array(np.broadcast_to(transform.action_mask, action.shape))
        for spec in source.modality.config.action:
            if spec.key in numbers.known:
                mask[:, spec.bounds("action")] &= numbers.known[spec.key][:, None]
        for spec in source.modality.config.state:
            if spec.key in numbers.absent:
                state[numbers.absent[spec.key], spec.bounds("state")] = 0.0
        action[~mask] = 0.0
        prompt = self._prompts.build(task, len(source.modality.config.views))
        pixels = self._changed([image[:, ::-1] for image in images] if mirrored else images, rng)
        state = np.zeros_like(state) if self._dropped(rng) else state
        return _Part(prompt=prompt, pixels=pixels, state=state, action=action, mask=mask)

    def task(self, which: int, row: int, branch: int = -1) -> str:
        """The instruction of a row, or of one of its branches."""
        table = self._sources[which].table
        if branch >= 0:
            return table.branches.form.texts[int(table.branches.task[row, branch])]
        return table.tasks[int(table.task[row])]

    def transform(self, which: int) -> UnifiedTransform:
        """Of a dataset with actions."""
        return self._transforms[which]

    @property
    def used_slots(self) -> np.ndarray:
        """(200,) which action slots any dataset has."""
        masks = [transform.action_mask for transform in self._transforms.values()]
        return np.any([np.zeros(WIDTH, bool), *masks], axis=0)

    def _weights(self, which: int, row: int) -> np.ndarray:
        """(H,) float32 of the steps of a row's chunk."""
        source = self._sources[which]
        if source.weights is None:
            return np.ones(self._prompts.config.chunk_length, np.float32)
        return source.weights.chunk(source.table, row, source.table.episode_of(row)[1])

    def _charge(self, which: int, row: int) -> np.ndarray:
        table = self._sources[which].table
        return chunk_charge(table, row, table.episode_of(row)[1], self._prompts.config.chunk_length)

    def _pictures(self, pack: Pack) -> list[list[np.ndarray] | str]:
        """The pictures of each sample's views, or why there are none; rows of an episode are decoded together."""
        groups: dict[tuple[int, int], list[int]] = {}
        for place, (which, row) in enumerate(pack.samples):
            if not self._sources[which].has_actions:
                continue
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


def _pixels(parts: Sequence[_Part]) -> dict[str, torch.Tensor]:
    """The pictures of a batch; those that samples share go through the vision encoder once."""
    shown, index, known, count = [], [], {}, 0
    for part in parts:
        if id(part.pixels) not in known:
            known[id(part.pixels)] = count
            shown.append(part.pixels)
            count += len(part.pixels)
        index += range(known[id(part.pixels)], known[id(part.pixels)] + len(part.pixels))
    batch = {"packed_vit_tokens": torch.cat(shown)}
    return batch if len(index) == count else batch | {"packed_vit_view_index": torch.tensor(index)}
