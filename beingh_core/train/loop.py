"""Training on demonstrations of the simulator: a checkpoint in the released format out; goes on where it was interrupted."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from beingh_core.contract import load_contract
from beingh_core.data.demonstrations import COLOURS
from beingh_core.errors import BeingHError
from beingh_core.model import BeingH
from beingh_core.policy.from_contract import data_config_for
from beingh_core.policy.metadata import write_metadata
from beingh_core.policy.prompt import PromptBuilder, PromptConfig
from beingh_core.policy.transforms import UnifiedTransform
from beingh_core.train.batches import BatchMaker, Demonstrations, shuffled
from beingh_core.train.config import TrainConfig, model_config
from beingh_core.train.language import task_phrases
from beingh_core.train.ranks import Ranks
from beingh_core.train.step import PackInputs, Stepper
from beingh_core.train.tokenizer import build_tokenizer, save_tokenizer

VALIDATION_FRAMES = 64


class Trainer:
    """One training run.

    Args:
        config: what to train.
        data_dir: recorded demonstrations.
        out: directory of the checkpoint; `train_state.pt` in it lets a run go on.
        device: where to train.
    """

    def __init__(self, config: TrainConfig, data_dir: Path, out: Path, device: str = "cpu"):
        self.config, self.out, self.device = config, out, device
        self.contract = load_contract(config.robot)
        if self.contract.policy.chunk_length != config.model["action_chunk_length"]:
            raise BeingHError(
                f"the contract asks for chunks of {self.contract.policy.chunk_length} steps, the model makes "
                f"{config.model['action_chunk_length']}",
                where=str(self.contract.path),
                remedy="give policy.chunk_length and model.action_chunk_length one value",
            )
        self.data = Demonstrations(data_dir, config.data.frames)
        recorded, claimed = int(self.data.samples["delay"].max()), config.model["trained_delay"]
        if recorded != claimed:
            raise BeingHError(
                f"the demonstrations have committed prefixes of up to {recorded} steps, the model would claim {claimed}",
                where=str(data_dir),
                remedy="set model.trained_delay to what was recorded, or record again with that max_delay",
            )
        self.statistics = self.data.statistics()
        self.tokenizer = build_tokenizer(task_phrases(config.tasks, COLOURS, config.model["action_chunk_length"]))
        transform = UnifiedTransform(data_config_for(self.contract), self.statistics)
        raw = model_config(config.model, self.tokenizer.get_vocab_size())
        self.model = BeingH.from_config(raw, seed=config.training.seed).to(device).train()
        with torch.no_grad():
            # Slots of other robots carry noise only; without weight they do not drown the few that matter.
            self.model.action_encoder.W1.weight[:, ~torch.from_numpy(transform.action_mask)] = 0.0
        prompts = PromptBuilder(self.tokenizer, PromptConfig.from_model_config(self.model.config))
        self.batches = BatchMaker(
            self.data, prompts, transform, config.tasks, config.data.draws_per_instruction, config.data.ask_for_words
        )
        self.stepper = Stepper(
            self.model, config.optimiser, config.training, config.loss, Ranks(device=torch.device(device))
        )
        self.chunks_per_step = config.data.frames_per_batch * len(COLOURS) * config.data.draws_per_instruction
        self.seconds = 0.0

    @property
    def step(self) -> int:
        """Steps done."""
        return self.stepper.step_number

    def run(self, log_every: int = 100, save_every: int = 500) -> None:
        """Train to the last step; safe to interrupt and start again."""
        training, d = self.config.training, self.config.data
        self._resume()
        usable = self.config.data.frames - VALIDATION_FRAMES
        batches = shuffled(usable, d.frames_per_batch, training.seed, self.step)
        window: list[tuple[float, float]] = []
        started, first = time.monotonic(), self.step
        while self.step < training.steps:
            window.append(self._train_step(next(batches)))
            if self.step % log_every == 0:
                action, words = np.mean(window, axis=0)
                rate = (self.step - first) * self.chunks_per_step / (time.monotonic() - started)
                print(
                    f"step {self.step}/{training.steps}  action {action:.4f}  text {words:.4f}  {rate:.0f} samples/s",
                    flush=True,
                )
                window.clear()
            if self.step % save_every == 0 or self.step == training.steps:
                self.seconds += time.monotonic() - started
                started, first = time.monotonic(), self.step
                self.save()
                self._validate()

    def _train_step(self, frames: np.ndarray) -> tuple[float, float]:
        seed = self.config.training.seed
        batch, delays = self.batches.make(frames, np.random.default_rng([seed, self.step]))
        pack = PackInputs(batch=batch, draws={"delays": delays}, seed=seed * 1_000_003 + self.step)
        told = self.stepper.step([pack])
        return told.action_loss, told.und_loss

    @torch.no_grad()
    def _validate(self) -> None:
        """Error of the mean action on held-out frames, and the same with the colours exchanged: how much is grounded."""
        index = np.arange(self.config.data.frames - VALIDATION_FRAMES, self.config.data.frames)
        batch, delays = self.batches.make(index, np.random.default_rng(0))
        chunks = len(COLOURS) * self.config.data.draws_per_instruction
        count = len(index) * chunks
        shape = (count, self.contract.policy.chunk_length, batch["padded_action"].shape[-1])
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        swapped = dict(batch)
        swapped["padded_action"] = (
            batch["padded_action"]
            .view(len(index), chunks, *shape[1:])
            .roll(self.config.data.draws_per_instruction, 1)
            .reshape(-1, shape[-1])
        )
        draws = {"noise": noise, "time": torch.zeros(count), "delays": delays}
        with self.stepper.averaged_weights():
            told, other = self.model.loss(batch, **draws), self.model.loss(swapped, **draws)["action_loss"]
        print(
            f"held-out error {told['action_loss']:.4f}, with another instruction {other:.4f}, text {told['und_loss']:.3f}",
            flush=True,
        )

    def save(self) -> None:
        """Write the checkpoint (averaged weights) and the state to go on from."""
        self.out.mkdir(parents=True, exist_ok=True)
        with self.stepper.averaged_weights():
            self.model.save_pretrained(self.out)
        save_tokenizer(self.tokenizer, self.out)
        write_metadata(
            self.out,
            self.contract.policy.dataset_name,
            self.statistics,
            embodiment_tag=self.config.embodiment_tag,
            robot=self.contract.robot,
            contract_hash=self.contract.hash,
        )
        (self.out / "training.json").write_text(
            json.dumps(
                {
                    "steps": self.step,
                    "of": self.config.training.steps,
                    "samples": self.step * self.chunks_per_step,
                    "frames": self.config.data.frames,
                    "seconds": round(self.seconds),
                    "device": self.device,
                    "parameters": sum(p.numel() for p in self.model.parameters()),
                },
                indent=1,
            )
        )
        state = {"stepper": self.stepper.state(), "seconds": self.seconds}
        partial = self.out / "train_state.tmp"
        torch.save(state, partial)
        partial.rename(self.out / "train_state.pt")

    def _resume(self) -> None:
        path = self.out / "train_state.pt"
        if not path.exists():
            return
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location=self.device)
        self.stepper.go_on(state["stepper"])
        self.seconds = state["seconds"]
        print(f"going on from step {self.step}", flush=True)
