"""A training run: datasets and model in, steps on all ranks, checkpoints in the released format out."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from beingh_core.errors import BeingHError
from beingh_core.model import BeingHConfig, checkpoint
from beingh_core.model.flex import uses_flex
from beingh_core.policy.prompt import PromptBuilder
from beingh_core.train import checks, going_on, metadata
from beingh_core.train.grounding import exchanged
from beingh_core.train.loader import load_packs
from beingh_core.train.lora import add_lora, merged
from beingh_core.train.lost import Lost, of_dataset
from beingh_core.train.parts import freeze, recompute
from beingh_core.train.plan import HELD_OUT
from beingh_core.train.prepare import found_run, prepare
from beingh_core.train.progress import Progress
from beingh_core.train.ranks import Ranks
from beingh_core.train.routing import Routing
from beingh_core.train.samples import Made, normalised
from beingh_core.train.saving import STATE, Checkpoints, read_state, told_of
from beingh_core.train.settings import RunConfig
from beingh_core.train.shards import shard, whole
from beingh_core.train.sources import AnySource, open_sources, with_actions
from beingh_core.train.start import chunk_length, load_model
from beingh_core.train.step import PackInputs, Stepper, draw_delays
from beingh_core.train.tokenizer import save_tokenizer
from beingh_core.train.trackers import Trackers
from beingh_core.train.watching import Watcher, loss_shares
from beingh_core.train.weighing import GROUPS

_TOLD = {
    "action_loss": "action loss",
    "und_loss": "text loss",
    "other_action_loss": "with another instruction",
    "share_lost": "share that cannot be made",
}
_EVALUATION = 1 << 40  # seeds of held-out packs are none of training's


class Run:
    """One training run, ready to step; a run that is found in `config.out` goes on.

    Args:
        config: Everything.
        ranks: Who works together.

    Raises:
        BeingHError: Data, checkpoint or settings are unusable or do not fit each other.
    """

    def __init__(self, config: RunConfig, ranks: Ranks | None = None) -> None:
        self.config, self.ranks, self.out = config, ranks or Ranks(), Path(config.out)
        found = self.ranks.from_first(found_run(config) if self.ranks.is_first else None)
        curves = Trackers(config.log, self.out, config.model_dump()) if self.ranks.is_first else None
        self.progress = Progress(self.out, config.training.steps, curves, not self.ranks.is_first)
        self.checkpoints = Checkpoints(self.out, config.save.keep)
        self._steps_per_chunk = chunk_length(config)
        before = told_of(found) if found is not None and self.ranks.is_first else {}
        if before:
            self.progress.say(f"going on from {found}")
            self.progress.say(going_on.check(found, before["config"], config.model_dump(mode="json")))
        lost = (before["left_out"], before["made"]) if "made" in before else ()
        self.lost, self._lost_held = (Lost(config.data.most_bad, self.progress.say, *one) for one in (lost, ()))
        known = before.get("statistics")
        self.prepared = prepare(config, self._opened(known), self._steps_per_chunk, self._measured)
        self.sources = self.prepared.sources
        state = None if found is None else read_state(found)
        self.plan = self.prepared.plan_of(state)
        self._build_model(fresh=found is None)
        self.best, self._saved = float("inf"), -1
        self._stopping = False
        if state is not None:
            self.stepper.go_on(state["stepper"])
            self.best, self._saved = state["best"], self.stepper.step_number
            self.progress.record("going_on", self._saved, {})

    def train(self) -> bool:
        """Steps to the last one, or to a SIGTERM, after which it saves; safe to interrupt and start again.

        Returns:
            Whether it came to its last step.
        """
        config, progress = self.config, self.progress
        before = signal.getsignal(signal.SIGTERM)
        if _in_main_thread():
            signal.signal(signal.SIGTERM, self._stop)
        try:
            self._introduce()
            packs = self._packs()
            progress.start(self.stepper.step_number)
            gathered = _Gathered()
            while self.stepper.step_number < config.training.steps and not self.ranks.any(self._stopping):
                self._one_step(packs, gathered)
                self._after_step(gathered)
            if self.stepper.step_number < config.training.steps:
                progress.say(f"stopping at step {self.stepper.step_number} after SIGTERM")
            if self.stepper.step_number != self._saved:
                self.save()
            lost, _ = self.lost.check_all(self.ranks, at_end=False)
            account = [one | {"lost": of_dataset(lost, one["dataset"])} for one in self.plan.account()]
            for one in account:
                progress.say("drawn: " + ", ".join(f"{key} {value}" for key, value in one.items()))
            progress.record("account", self.stepper.step_number, {"datasets": account})
            return self.stepper.step_number >= config.training.steps
        finally:
            if _in_main_thread():
                signal.signal(signal.SIGTERM, before)
            progress.close()

    def _introduce(self) -> None:
        """What is taught and what is trained, before the first step."""
        config, say, trained = self.config, self.progress.say, self.prepared.trained
        for note in dict.fromkeys(note for source in self.sources for note in source.notes):
            say(f"note: {note}")
        weights = dict(self.stepper.model.named_parameters())
        count = sum(weight.numel() for name, weight in weights.items() if name in trained)
        say(
            f"{count / 1e6:.4g} million of {sum(weight.numel() for weight in weights.values()) / 1e6:.4g} million weights are trained"
        )
        if len(trained) < len(weights) and not (config.checkpoint or config.start):
            say("note: some are frozen, and have learnt nothing before: the run has neither `checkpoint` nor `start`")
        for stock in self.plan.stocks:
            held = stock.source.is_held_out(config.data.held_out)
            say(
                f"`{stock.source.title}`: {stock.samples} samples; {held.sum()} of {len(held)} episodes or lines held out"
            )
        if self.stepper.step_number >= config.training.steps:
            say(f"all {config.training.steps} steps are done: a larger training.steps goes on")

    def inputs(self, made: Made) -> PackInputs:
        """A made pack as the step takes it; what is drawn depends on the seed and the pack's number alone."""
        seed = self.config.training.seed * 1_000_003 + made.number
        generator = torch.Generator().manual_seed(seed + (1 << 50))
        if made.batch is None:
            return PackInputs(batch=None, seed=seed)
        longest = [self.prepared.delays[which] for which in made.sources[made.acts]]
        delays, recorded = draw_delays(longest, self.config.uac, generator), torch.from_numpy(made.prefixes[made.acts])
        delays = torch.where(recorded >= 0, recorded, delays)
        groups = None if made.charge is None else torch.from_numpy(made.charge.reshape(-1).astype(np.int64))
        batch = normalised(made.batch, self.ranks.device)
        return PackInputs(batch=batch, draws={"delays": delays}, seed=seed, groups=groups)

    def evaluate(self) -> dict[str, float]:
        """Losses on held-out episodes with the weights that are saved, always over the same packs and draws.

        Returns:
            {} where no held-out sample could be made. `action_loss`, `und_loss`; `share_lost` where some could not; of several
            embodiments also `action_loss/<embodiment>`, a mean over chunks; of datasets with branches also `other_action_loss`,
            where each sample has the actions of another instruction.
        """
        maker = self.prepared.maker(plain=True)
        sums, samples, was_training = np.zeros(6), 0, self.stepper.model.training
        lost = Counter()
        chunks = np.zeros((2, len(self.sources)))  # sum of losses, number
        self.stepper.model.eval()
        with torch.no_grad(), self.stepper.averaged_weights():
            count = -(-self.config.evaluate.packs // self.ranks.count) * self.ranks.count
            for made in load_packs(
                lambda: self.prepared.plan(HELD_OUT),
                lambda: maker,
                rank=self.ranks.rank,
                ranks=self.ranks.count,
                most=count,
            ):
                made.number += _EVALUATION
                lost += made.left_out
                samples += len(made.rows)
                *found, losses = self.stepper.summed(self.inputs(made))
                sums[:4] += found
                np.add.at(chunks, (slice(None), self._acting(made)), [losses, [1.0] * len(losses)])
                # All ranks compute one together, also where a rank's pack has no other instruction.
                if self._branching:
                    other = exchanged(made)
                    found = self.stepper.summed(self.inputs(other or made))
                    sums[4:] += np.array([found[0], found[2]]) * (other is not None)
        self.stepper.model.train(was_training)
        action, und, values, labels, other, others = self.ranks.sums(sums.tolist())
        lost, [samples] = self.ranks.together(lost), self.ranks.sums([samples])
        self._lost_held.tell(lost)
        if not values + labels:
            return {}
        told = {"action_loss": action / max(1.0, values), "und_loss": und / max(1.0, labels)}
        told |= {"share_lost": lost.total() / (lost.total() + samples)} if lost else {}
        told |= self._of_embodiments(np.reshape(self.ranks.sums(chunks.ravel().tolist()), chunks.shape))
        return told | ({"other_action_loss": other / others} if others else {})

    @property
    def _branching(self) -> bool:
        return any(source.table.branches is not None for source in with_actions(self.sources))

    def _acting(self, made: Made) -> np.ndarray:
        """Dataset of each chunk of a pack: conversations and replies have none."""
        return made.sources[made.acts] if made.batch is not None else np.empty(0, int)

    def _of_embodiments(self, chunks: np.ndarray) -> dict[str, float]:
        """Mean loss of each embodiment's chunks, from (2, sources) sums and numbers; {} where there is one embodiment."""
        sums = {
            name: chunks[:, [own == name for own in self._embodiments]].sum(1)
            for name in sorted(set(self._embodiments) - {""})
        }
        return {f"action_loss/{name}": total / n for name, (total, n) in sums.items() if n and len(sums) > 1}

    def save(self, best: bool = False) -> None:
        """Writes a checkpoint; all ranks call it together."""
        stepper, ranks = self.stepper, self.ranks
        with stepper.averaged_weights():
            weights = merged(stepper.model, lambda tensor: whole(tensor, ranks.is_first))
        state = None if self.config.save.model_only else self._state()
        (left_out, made), failed = self.lost.check_all(ranks, stepper.step_number >= self.config.training.steps), ""
        if ranks.is_first:
            try:
                self.checkpoints.save(
                    stepper.step_number,
                    lambda folder: self._write(folder, weights, state),
                    self._told(left_out, made),
                    best,
                )
                self.progress.say(f"saved {self.checkpoints.path(stepper.step_number)}")
            except BeingHError as error:
                failed = str(error)
        if failed := ranks.from_first(failed):
            raise BeingHError(failed)
        self._saved = stepper.step_number

    def _one_step(self, packs: Iterator[Made], gathered: _Gathered) -> None:
        made = [next(packs) for _ in range(self.config.training.accumulate)]
        for _ in range(self.config.training.accumulate * self.ranks.count):
            self.plan.next()
        is_told = (self.stepper.step_number + 1) % self.config.log.every == 0
        told = self.stepper.step([self.inputs(one) for one in made], self.watcher.look if is_told else None)
        gathered.add(told, made)
        for one, chosen in zip(made, self.stepper.routing):
            self.routing.add(chosen, self._acting(one))
            self.lost.add(one.left_out, len(one.rows))
        self.lost.check()

    def _after_step(self, gathered: _Gathered) -> None:
        config, step = self.config, self.stepper.step_number
        if step % config.log.every == 0 or step == config.training.steps:
            samples, tokens = self.ranks.sums([gathered.samples, gathered.tokens])
            least, experts = self.routing.take()
            shares = loss_shares(self.ranks.sums(gathered.by_group))
            self.progress.tell(step, gathered.means() | least, samples, tokens, {**self.watcher.take(), **shares})
            if experts:
                self.progress.record("routing", step, experts)
            gathered.clear()
        best = False
        if config.evaluate.every and (step % config.evaluate.every == 0 or step == config.training.steps):
            best = self._measure_held_out()
            self.progress.start(step)
        due = step >= config.save.start and step % config.save.every == 0
        if due or step == config.training.steps or (best and config.save.best):
            self.save(best and config.save.best)
            self.progress.start(step)

    def _measure_held_out(self) -> bool:
        """Tells the held-out loss; whether it is the lowest so far."""
        losses, step = self.evaluate(), self.stepper.step_number
        if not losses:
            self.progress.say("held out: not one of the samples can be made, so there is no loss")
            return False
        total = losses["action_loss"] + self.config.loss.text_weight * losses["und_loss"]
        best, self.best = total < self.best, min(total, self.best)
        told = ", ".join(f"{_TOLD.get(name, name.partition('/')[2])} {value:.4g}" for name, value in losses.items())
        self.progress.say(f"held out: {told}")
        self.progress.record("held_out", step, losses)
        return best

    def _opened(self, known: dict | None) -> tuple[AnySource, ...]:
        """Rank 0 reads the datasets first; the others find what it has read."""
        cache, data, sources = Path(self.config.data.cache or self.out / "cache"), self.config.data, None
        if self.ranks.is_first:
            sources = open_sources(data, cache, self._steps_per_chunk, known)
            checks.refuse(with_actions(sources), self._steps_per_chunk)
            known = {source.title: source.statistics for source in with_actions(sources)}
        known = self.ranks.from_first(known)
        return sources or open_sources(data, cache, self._steps_per_chunk, known)

    def _measured(self, sources: Sequence[AnySource], prompts: PromptBuilder) -> tuple[AnySource, ...]:
        """Lengths of all samples; rank 0 counts those of conversations first, and the others find them."""
        found = tuple(sources)
        for is_mine in (self.ranks.is_first, not self.ranks.is_first):
            if is_mine:
                found = tuple(source.measured(prompts) for source in sources)
            self.ranks.wait()
        return found

    def _build_model(self, fresh: bool) -> None:
        config, training, prepared = self.config, self.config.training, self.prepared
        say = self.progress.say if fresh else lambda _: None
        head_dim = BeingHConfig.from_dict(prepared.raw_config).decoder.head_dim
        flex = uses_flex(training.attention, self.ranks.device, head_dim)
        slots = prepared.maker().used_slots.tolist()
        model = load_model(config, prepared.tokenizer, prepared.longest, slots, say)
        freeze(model, training.freeze, training.freeze_act_layers)
        add_lora(model, training.lora, training.seed)
        model.to(self.ranks.device)
        model.flex = flex
        self.watcher = Watcher(model, self.ranks)
        self._embodiments = [source.modality.name if source.has_actions else "" for source in self.sources]
        self.routing = Routing(model.config.mof, model.config.decoder.num_layers, self._embodiments, self.ranks)
        if training.activation_checkpointing:
            recompute(model)
        if training.shard:
            if self.ranks.count == 1 and not torch.distributed.is_initialized():
                raise BeingHError(
                    "training.shard spreads weights over ranks, and there is one",
                    remedy="start with `torchrun --nproc-per-node N -m beingh_core.train`, or leave training.shard out",
                )
            shard(model, self.ranks)
        self.stepper = Stepper(model, config.optimiser, training, config.loss, self.ranks, training.shard)

    def _packs(self) -> Iterator[Made]:
        config = self.config
        return load_packs(
            self.prepared.plan, self.prepared.maker, state=self.plan.state(), rank=self.ranks.rank, ranks=self.ranks.count,
            workers=config.data.workers, prefetch=config.data.prefetch,
        )  # fmt: skip

    def _state(self) -> dict[str, Any]:
        return {"stepper": self.stepper.state(), "plan": self.plan.state(), "best": self.best}

    def _told(self, left_out: Counter, made: int) -> dict[str, Any]:
        return {
            "step": self.stepper.step_number, "of": self.config.training.steps, "ranks": self.ranks.count,
            "config": self.config.model_dump(), "account": self.plan.account(), "left_out": [[*key, count] for key, count in left_out.items()], "made": made,
            "statistics": {source.title: source.statistics for source in with_actions(self.sources)},
        }  # fmt: skip

    def _write(self, folder: Path, weights: dict[str, torch.Tensor], state: dict | None) -> None:
        model = self.stepper.model
        if self.config.save.dtype == "bf16":
            weights = {name: tensor.to(torch.bfloat16) for name, tensor in weights.items()}
        checkpoint.save(folder, model.raw_config, weights)
        save_tokenizer(self.prepared.tokenizer, folder)
        metadata.write(self.prepared.files, folder)
        if state is not None:
            torch.save(state, folder / STATE)

    def _stop(self, _signal, _frame) -> None:
        self._stopping = True


class _Gathered:
    """Figures since the last line."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """From here on."""
        self._steps, self.samples, self.tokens = 0, 0, 0
        self.by_group = [0.0] * len(GROUPS)
        self._sums: dict[str, float] = {}

    def add(self, told, made: list[Made]) -> None:
        """A step."""
        self._steps += 1
        self.by_group = [total + one for total, one in zip(self.by_group, told.by_group)]
        values = {
            "action_loss": told.action_loss,
            "text_loss": told.und_loss,
            "balance_loss": told.balance_loss,
            "norm": told.grad_norm,
            "lr": told.learning_rate,
        }
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        count = sum(len(one.rows) for one in made)
        self.samples += count
        self.tokens += sum(one.tokens for one in made)

    def means(self) -> dict[str, float]:
        """Name -> mean; a loss of text or balance that is always 0 is left out."""
        means = {name: total / max(1, self._steps) for name, total in self._sums.items()}
        return {name: value for name, value in means.items() if name not in ("text_loss", "balance_loss") or value}


def _in_main_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()
