"""Batches of recorded demonstrations: robot samples, and questions about the same scenes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from beingh_core.data.demonstrations import COLOURS
from beingh_core.errors import BeingHError
from beingh_core.policy.metadata import compute_statistics
from beingh_core.policy.prompt import PromptBuilder
from beingh_core.policy.transforms import UnifiedTransform
from beingh_core.train.language import replies

# Pixel statistics of ImageNet (red, green, blue), as in the checkpoint's image transform.
_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
_STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


class Demonstrations:
    """All recorded frames; images stay on disk.

    Args:
        directory: written by `beingh_core.data.record`.
        frames: how many to use, from the first on; more must not be asked for than were recorded.

    Raises:
        BeingHError: too few frames in `directory`.
    """

    def __init__(self, directory: str | Path, frames: int):
        shards = sorted(Path(directory).glob("samples-[0-9]*[0-9].npz"))
        samples = [dict(np.load(s)) for s in shards]
        self._lengths = [len(s["state"]) for s in samples]
        if sum(self._lengths) < frames:
            raise BeingHError(
                f"{sum(self._lengths)} demonstration frames are there, {frames} are wanted",
                where=str(directory),
                remedy="record more with python -m beingh_core.data.record, or lower data.frames",
            )
        self.samples = {k: np.concatenate([s[k] for s in samples])[:frames] for k in samples[0]}
        self._images = [
            np.load(s.parent / s.name.replace("samples", "images").replace(".npz", ".npy"), mmap_mode="r")
            for s in shards
        ]
        self._starts = np.cumsum([0, *self._lengths])
        self.frames = frames

    def images(self, index: np.ndarray) -> torch.Tensor:
        """(len(index) * views, 3, H, W) float32 normalised pixels."""
        rows = []
        for i in index:
            shard = np.searchsorted(self._starts, i, side="right") - 1
            rows.append(self._images[shard][i - self._starts[shard]])
        pixels = torch.from_numpy(np.concatenate(rows)).permute(0, 3, 1, 2).float().div_(255.0)
        return pixels.sub_(_MEAN).div_(_STD)

    def statistics(self) -> dict[str, Any]:
        """Statistics of every state and action key, in the metadata's layout."""
        s = self.samples
        return {
            "state": {
                "eef_position": compute_statistics(s["state"][:, :3]),
                "gripper_position": compute_statistics(s["state"][:, 3:]),
            },
            "action": {
                "eef_position": compute_statistics(s["steps"].reshape(-1, 3)),
                "gripper_position": compute_statistics(s["openings"].reshape(-1, 1)),
            },
        }


class BatchMaker:
    """Turns frame numbers into packed batches.

    Args:
        data: the frames.
        prompts: prompt layout of the checkpoint.
        transform: normalisation and slots.
        tasks: instruction sentences with `{colour}`.
        draws: how often each instruction of a frame stands in a batch, each time with noise and flow time of its own.
            The samples differ in their action tokens only, and what comes before is computed once.
        ask: also ask for replies in words; they ground the instruction (the paper's vision-language samples).
    """

    def __init__(
        self,
        data: Demonstrations,
        prompts: PromptBuilder,
        transform: UnifiedTransform,
        tasks: tuple[str, ...],
        draws: int = 1,
        ask: bool = True,
    ):
        self.draws, self.ask = draws, ask
        self.data, self.prompts, self.transform, self.tasks = data, prompts, transform, tasks
        self._mask = torch.from_numpy(transform.action_mask)

    def make(self, index: np.ndarray, rng: np.random.Generator) -> tuple[dict[str, Any], torch.Tensor]:
        """Every frame with the instruction of every colour, and the reply in words where its cube is.

        Returns:
            the packed batch, and the committed delays (robot samples,) [steps].
        """
        s, repeats = self.data.samples, len(COLOURS) * self.draws
        images = self.data.images(index)
        views = len(images) // len(index)
        tasks = [
            [self.tasks[t].format(colour=c) for t, c in zip(rng.integers(len(self.tasks), size=len(COLOURS)), COLOURS)]
            for _ in index
        ]
        told = [self.prompts.build(task, views) for row in tasks for task in row for _ in range(self.draws)]
        worded = [
            (i, self.prompts.build_reply(tasks[i][k], reply, views))
            for i, frame in enumerate(index if self.ask else ())
            for k, colour in enumerate(COLOURS)
            for reply in replies(colour, s["cubes"][frame, k], s["state"][frame, :3])
        ]
        batch = self.prompts.pack([*told, *(prompt for _, prompt in worded)])
        frame_of = np.concatenate([np.repeat(np.arange(len(index)), repeats), [i for i, _ in worded]]).astype(int)
        state = s["state"][index][frame_of]
        batch["padded_state"] = torch.from_numpy(
            self.transform.state_to_unified({"eef_position": state[:, :3], "gripper_position": state[:, 3:]})
        )
        action = torch.from_numpy(
            self.transform.action_to_unified(
                {
                    "eef_position": self._drawn(s["steps"][index]).reshape(-1, 3),
                    "gripper_position": self._drawn(s["openings"][index]).reshape(-1, 1),
                }
            )
        )
        batch["padded_action"] = action
        batch["padded_action_mask"] = self._mask.expand(action.shape)
        # Each picture goes through the vision encoder once and is shown to all samples of its frame.
        batch["packed_vit_tokens"] = images
        batch["packed_vit_view_index"] = torch.from_numpy(frame_of[:, None] * views + np.arange(views)).reshape(-1)
        return batch, torch.from_numpy(self._drawn(s["delay"][index]).reshape(-1).astype(np.int64))

    def _drawn(self, values: np.ndarray) -> np.ndarray:
        """(frames, colours, ...) to (frames, colours * draws, ...), each colour `draws` times in a row."""
        return np.repeat(values, self.draws, axis=1)


def shuffled(count: int, size: int, seed: int, skip: int) -> Iterator[np.ndarray]:
    """Endless batches of `size` frame numbers below `count`, shuffled anew each epoch; starts after `skip` batches."""
    per_epoch = count // size
    epoch, first = divmod(skip, per_epoch)
    while True:
        order = np.random.default_rng([seed, epoch]).permutation(count)
        for k in range(first, per_epoch):
            yield order[k * size : (k + 1) * size]
        epoch, first = epoch + 1, 0
