"""One optimiser step: losses of some packs, gradients of all ranks, clipping, AdamW, schedule, averaged weights."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from beingh_core.errors import BeingHError
from beingh_core.model import BeingH, flow
from beingh_core.train.fill import counted, filled
from beingh_core.train.parts import decay_groups
from beingh_core.train.ranks import Ranks
from beingh_core.train.settings import LossSection, OptimiserSection, TrainingSection, UacSection
from beingh_core.train.shards import local, put, spread_like, whole, whole_of_local
from beingh_core.train.sources import Source
from beingh_core.train.weighing import GROUPS

Shares = tuple[float, float, float]  # of a pack's action, text and balance loss in the loss of a step
Watch = Callable[[Mapping[str, Tensor | None]], None]


@dataclass(kw_only=True)
class PackInputs:
    """A pack as `BeingH.loss` takes it.

    Attributes:
        batch: packed names, normalised pictures; None where no sample is left.
        draws: `noise`, `time`, `delays`, `projections`, `mpg_lambda`; what is not given is drawn.
        seed: of what is drawn.
        groups: (B * H,) place in `weighing.GROUPS` of each step; None where the loss is not shared out.
    """

    batch: Mapping[str, Any] | None
    draws: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    groups: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a step says of itself.

    Losses are means over all that they look at on all ranks, the norm is that before clipping; `by_group` is what the steps of
    each group (`weighing.GROUPS`) of this rank add to the action loss. `balance_loss` is a mean over packs, 0 without experts.
    """

    action_loss: float
    und_loss: float
    balance_loss: float = 0.0
    grad_norm: float
    learning_rate: float
    by_group: tuple[float, ...] = ()


class Stepper:
    """The optimiser of a run. One thread on each rank; all ranks step together.

    Args:
        model: In training mode, on its device; frozen weights do not require gradients.
        optimiser, training, loss: Settings.
        ranks: Who works together.
        sharded: whether FSDP2 holds the weights, and averages gradients itself.

    Attributes:
        step_number: steps done.
        average: averaged weights by name, for a rank's shards; {} when none are kept.
        routing: of each of the newest step's packs, (layers, B, E) as `mof.routing` says; None for one without experts or actions of its own.
    """

    def __init__(
        self,
        model: BeingH,
        optimiser: OptimiserSection,
        training: TrainingSection,
        loss: LossSection,
        ranks: Ranks | None = None,
        sharded: bool = False,
    ) -> None:
        self.model, self._settings, self._training, self._loss = model, optimiser, training, loss
        self._ranks, self._sharded = ranks or Ranks(), sharded
        self.trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.optimiser = torch.optim.AdamW(
            decay_groups(model, optimiser.weight_decay), lr=optimiser.learning_rate, betas=tuple(optimiser.betas),
            eps=optimiser.eps,
        )  # fmt: skip
        self.average = {n: local(p).detach().clone() for n, p in self.trained.items()} if training.ema_decay else {}
        self.step_number = 0
        self.routing: list[Tensor | None] = []

    def step(self, packs: Sequence[PackInputs], watch: Watch | None = None) -> Told:
        """One step over this rank's packs.

        Args:
            packs: as many on every rank.
            watch: is shown the gradients by name before they are clipped.

        Raises:
            BeingHError: The loss is not finite; nothing has changed then.
        """
        rate = learning_rate(self.step_number, self._settings, self._training.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        sums, self._by_group = [0.0, 0.0, 0.0], torch.zeros(len(GROUPS), dtype=torch.float64)
        self.routing = []
        for pack, shares in self.prepared(packs):
            losses = self._backward(pack, shares)
            sums = [total + found * share for total, found, share in zip(sums, losses, shares)]
        if not self._sharded:
            self._ranks.average_gradients(self.trained.values())
        action, und, balance = self._ranks.sums(sums)
        if watch is not None:
            watch({name: p.grad for name, p in self.trained.items()})
        norm = torch.nn.utils.clip_grad_norm_(self.trained.values(), self._settings.clip)
        norm = float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
        if not math.isfinite(action + und + balance + norm):
            raise BeingHError(
                f"step {self.step_number}: action loss {action:g}, text loss {und:g}, gradient norm {norm:g}",
                allowed="finite numbers",
                remedy="lower optimiser.learning_rate, lengthen the warm-up, or go on from an earlier checkpoint",
            )
        self.optimiser.step()
        self._follow()
        self.step_number += 1
        return Told(
            action_loss=action, und_loss=und, balance_loss=balance, grad_norm=norm, learning_rate=rate,
            by_group=tuple(self._by_group.tolist()),
        )  # fmt: skip

    def prepared(self, packs: Sequence[PackInputs]) -> list[tuple[PackInputs, Shares]]:
        """Packs as they are computed, and what share each one's action, text and balance loss has in that of the step.

        A loss is the mean over everything that it looks at in the packs of all ranks, so that it does not matter who has
        which sample. The balance loss is that of a pack, and its mean over packs counts; a pack without actions has none.
        Where weights are sharded, every rank's pack has at least one of what any rank's has (see `fill`).

        Args:
            packs: as many on every rank; all ranks ask together.
        """
        config = self.model.config
        found = [counted(pack.batch, pack.draws.get("delays"), config.chunk_length) for pack in packs]
        kinds = [bool(has) for one in found for has in (one.views, one.chunks, one.labels)]
        values, labels, *anywhere = self._ranks.sums(
            [sum(one.values for one in found), sum(one.labels for one in found), *kinds]
        )
        ready = []
        for place, (pack, one) in enumerate(zip(packs, found)):
            views, chunks, text = (bool(has) for has in anywhere[3 * place : 3 * place + 3])
            lacks = {
                "views": views and not one.views,
                "chunks": chunks and not one.chunks,
                "labels": text and not one.labels,
            }
            if self._sharded and any(lacks.values()):
                draws = {**pack.draws, "delays": None} if lacks["chunks"] else pack.draws
                pack = replace(pack, batch=filled(pack.batch, config, **lacks), draws=draws)
            balance = bool(one.chunks) / (len(packs) * self._ranks.count)
            ready.append((pack, (one.values / max(1.0, values), one.labels / max(1.0, labels), balance)))
        return ready

    def losses(self, pack: PackInputs) -> dict[str, Tensor]:
        """What `BeingH.loss` says of a pack, as it is trained on."""
        generator = torch.Generator().manual_seed(pack.seed)
        device = self._ranks.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self._training.precision == "bf16"):
            return self.model.loss(
                pack.batch, generator=generator, text_depths=tuple(self._loss.text_depths), **pack.draws
            )

    def summed(self, pack: PackInputs) -> tuple[float, float, float, float, list[float]]:
        """Summed action and text errors of a pack, over how many values and labels, and each chunk's own action loss.

        All ranks ask together.
        """
        [(ready, _)] = self.prepared([pack])
        if ready.batch is None:
            return 0.0, 0.0, 0.0, 0.0, []
        one, losses = counted(pack.batch, pack.draws.get("delays"), self.model.config.chunk_length), self.losses(ready)
        return (
            float(losses["action_loss"]) * one.values, float(losses["und_loss"]) * one.labels, one.values, float(one.labels),
            losses["chunk_losses"][: one.chunks].tolist(),
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """What a run needs to go on, whole tensors in the memory of rank 0's host; all ranks ask together."""
        keep = self._ranks.is_first
        moments = {
            name: {key: whole(value, keep) for key, value in self.optimiser.state[p].items()}
            for name, p in self.trained.items() if self.optimiser.state.get(p)
        }  # fmt: skip
        average = {name: whole_of_local(part, self.trained[name], keep) for name, part in self.average.items()}
        weights = {name: whole(p, keep) for name, p in self.trained.items()}
        return {"step": self.step_number, "weights": weights, "moments": moments, "average": average}

    def go_on(self, state: Mapping[str, Any]) -> None:
        """Continue where another stepper stood, on any number of ranks.

        Raises:
            BeingHError: It trained other weights, or kept no average where this one does.
        """
        check_state(state, self.trained.keys(), bool(self.average))
        self.step_number = state["step"]
        self.optimiser.state.clear()
        for name, parameter in self.trained.items():
            put(parameter, state["weights"][name])
            if name in state["moments"]:
                moments = state["moments"][name]
                self.optimiser.state[parameter] = {
                    key: spread_like(value, parameter) if value.shape == parameter.shape else value.clone()
                    for key, value in moments.items()
                }
        for name, part in self.average.items():
            part.copy_(local(spread_like(state["average"][name], self.trained[name])))

    @contextlib.contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Inside, the model has its averaged weights, if any are kept."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, part in self.average.items():
            weights = local(self.trained[name])
            kept = weights.clone()
            weights.copy_(part)
            part.copy_(kept)

    def _backward(self, pack: PackInputs, shares: Shares) -> tuple[float, ...]:
        """Adds a pack's gradients, each loss by its share; its losses."""
        if pack.batch is None:
            self.routing.append(None)
            return 0.0, 0.0, 0.0
        losses = self.losses(pack)
        parts = losses["action_loss"], losses["und_loss"], losses.get("balance_loss", torch.zeros(()))
        weights = 1.0, self._loss.text_weight, self._loss.balance_weight
        ranks = self._ranks.count  # whose gradients are averaged
        sum(loss * (share * ranks * weight) for loss, share, weight in zip(parts, shares, weights)).backward()
        if pack.groups is not None:
            told = losses["action_parts"].double().cpu() * shares[0]
            self._by_group += torch.bincount(pack.groups, weights=told, minlength=len(GROUPS))
        self.routing.append(losses.get("routing") if shares[2] else None)
        return tuple(float(loss.detach()) for loss in parts)

    @torch.no_grad()
    def _follow(self) -> None:
        """Moves the averaged weights; early on the average is shorter, so that it forgets the start."""
        if self.average:
            decay = min(self._training.ema_decay, (1 + self.step_number) / (10 + self.step_number))
            now = [local(p) for p in self.trained.values()]
            torch._foreach_lerp_(list(self.average.values()), now, 1 - decay)


def check_state(state: Mapping[str, Any], trained: Collection[str], keeps_average: bool) -> None:
    """Refuses the state of a stepper of another kind.

    Raises:
        BeingHError: It trained other weights, or kept no average where this one does.
    """
    if set(state["weights"]) != set(trained) or bool(state["average"]) != keeps_average:
        raise BeingHError(
            "the run that is to go on trained other weights, or kept an average where this one does not",
            remedy="put `model`, training.freeze, training.lora and training.ema_decay back, or start another run: another `out`",
        )


def learning_rate(step: int, settings: OptimiserSection, steps: int) -> float:
    """Of a step, counted from 0: linear warm-up, then a cosine to the minimum at the last step, or a constant."""
    warmup = settings.warmup_steps or math.ceil(settings.warmup_ratio * steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    if settings.schedule == "constant":
        return settings.learning_rate
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    return settings.min_learning_rate + (settings.learning_rate - settings.min_learning_rate) * 0.5 * (
        1 + math.cos(math.pi * done)
    )


def longest_delay(name: str, contract_delay: int, uac: UacSection) -> int:
    """Longest locked prefix that an embodiment is trained with [steps]."""
    if not uac.enabled:
        return 0
    if isinstance(uac.longest, int):
        return uac.longest
    return uac.longest.get(name, contract_delay)


def longest_prefix(source: Source, uac: UacSection) -> int:
    """Longest locked prefix that a dataset is trained with: of its branches, as recorded [steps].

    Raises:
        BeingHError: Its branches have prefixes, and prefixes are switched off.
    """
    drawn = longest_delay(source.modality.name, source.modality.delay_steps, uac) if source.teaches_own else 0
    recorded = 0 if source.table.branches is None else source.table.branches.longest
    if recorded and not uac.enabled:
        raise BeingHError(
            f"the branches of `{source.title}` begin with up to {recorded} committed steps", where="uac.enabled: false",
            remedy="leave uac.enabled out, or take `branches: {teach: false}` of this dataset",
        )  # fmt: skip
    return max(drawn, recorded)


def draw_delays(longest: Sequence[int], uac: UacSection, generator: torch.Generator) -> Tensor:
    """Locked prefixes (B,) of samples [steps], each drawn from its own embodiment's distribution.

    Args:
        longest: of each sample's embodiment.
        uac: Settings.
        generator: Draws one number a sample, so that one sample's distribution changes no other's draw.
    """
    drawn = []
    for most in longest:
        drawn.append(flow.sample_delays(1, most, uac.distribution == "exponential", generator))
    return torch.cat(drawn) if drawn else torch.zeros(0, dtype=torch.long)
