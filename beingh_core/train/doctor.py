"""`beingh train doctor`: what a run would learn from, shown before hours are spent: one batch, its loss, speed and memory."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from beingh_core.data.branches import ACTIONS
from beingh_core.data.contract_rows import ACTION
from beingh_core.data.lerobot import Dataset
from beingh_core.errors import BeingHError
from beingh_core.model import BeingH
from beingh_core.train import memory
from beingh_core.train.checks import Finding, findings, still
from beingh_core.train.prepare import found_run, prepare
from beingh_core.train.samples import Made, SampleMaker, normalised
from beingh_core.train.saving import read_state, told_of
from beingh_core.train.settings import RunConfig
from beingh_core.train.sources import AnySource, Source, open_sources, with_actions
from beingh_core.train.start import chunk_length, load_model
from beingh_core.train.step import PackInputs, Stepper
from beingh_core.train.text_source import TextSource

MOST_SHOWN = 8
_TIMED_PACKS = 3
_MODEL_SHARE = 0.5  # of the free memory that weights may take to be loaded for the loss


@dataclass(kw_only=True)
class Shown:
    """One sample of the batch, as it is taught and as it was recorded.

    Attributes:
        dataset, episode, row: where it comes from.
        task: its instruction.
        pictures: view -> uint8 (S, S, 3).
        slots: "state" or "action" -> key -> (first slot, behind the last one).
        mask: (H, 200) what the loss looks at.
        taught: action key -> (H, W), back in physical units, NaN where it is masked.
        recorded: action key -> (H, W) of the dataset itself, NaN behind the episode's end; without keys that count from the
            chunk's start, and of hands without any, since no column has their actions.
    """

    dataset: str
    episode: int
    row: int
    task: str
    pictures: dict[str, np.ndarray]
    slots: dict[str, dict[str, tuple[int, int]]]
    mask: np.ndarray
    taught: dict[str, np.ndarray]
    recorded: dict[str, np.ndarray]


@dataclass(kw_only=True)
class ShownWords:
    """One conversation of the batch.

    Attributes:
        dataset, line: where it comes from; lines are counted from 1.
        system: words of its system turn; "" for the template's.
        turns: questions, and the answers that are taught.
        pictures: uint8 (S, S, 3), in order.
    """

    dataset: str
    line: int
    system: str
    turns: tuple[tuple[str, str], ...]
    pictures: list[np.ndarray]


@dataclass(kw_only=True)
class Report:
    """What the doctor found.

    Attributes:
        config: Of the run.
        sources: Its datasets.
        findings: dataset -> contradictions.
        still: dataset -> values that never moved.
        account: the mixture after a few packs.
        samples, words: Some of the batch: of robots and hands, and conversations.
        batch: figures of the batch: samples, tokens, longest, left out; and the `StateHistory` of its states.
        difference: largest difference of taught and recorded actions, of all shown.
        loss: at the start, and of a model that predicts nothing; {} when no model was loaded.
        speed: samples a second that one process makes, and that one step takes on this machine.
        parameters: part -> number.
        memory: (GPUs, activation checkpointing) -> part -> GB.
        gpu_gb: memory of the GPU that is asked about.
        notes: what people should know.
    """

    config: RunConfig
    sources: Sequence[AnySource]
    findings: dict[str, list[Finding]]
    still: dict[str, list[str]]
    account: list[dict[str, Any]]
    samples: list[Shown]
    words: list[ShownWords]
    batch: dict[str, Any]
    difference: float
    loss: dict[str, float] = field(default_factory=dict)
    speed: dict[str, float] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    memory: dict[tuple[int, bool], dict[str, float]] = field(default_factory=dict)
    gpu_gb: float = 80.0
    notes: list[str] = field(default_factory=list)

    @property
    def refused(self) -> list[str]:
        """Contradictions that would end the run, a line each."""
        return [
            str(finding.error(source))
            for source in with_actions(self.sources) for finding in self.findings[source.title]
            if finding.kind not in source.section.accept
        ]  # fmt: skip


def examine(
    config: RunConfig,
    gpus: Sequence[int] = (1, 4, 8),
    gpu_gb: float = 80.0,
    say: Callable[[str], None] = print,
    without_weights: bool = False,
) -> Report:
    """Looks at everything that a run would begin with; reads one batch of pictures.

    Args:
        config: The run.
        gpus: For how many GPUs memory is told.
        gpu_gb: Memory of one [GB].
        say: Is told what is being done.
        without_weights: Loads no weights, so that no loss is told; a checkpoint needs none then.

    Raises:
        BeingHError: What would end the run at once.
    """
    length, found = chunk_length(config), found_run(config)
    known = told_of(found)["statistics"] if found is not None else None
    with tempfile.TemporaryDirectory() as scratch:
        say("reading the datasets' numbers")
        sources = open_sources(config.data, Path(config.data.cache or scratch), length, known)
        contradictions = {source.title: findings(source, length) for source in with_actions(sources)}
        prepared = prepare(config, sources, length)
        sources, raw = prepared.sources, prepared.raw_config
        acting = with_actions(sources)
        plan, maker = prepared.plan_of(None if found is None else read_state(found)), prepared.maker()
        say("decoding a batch")
        begin, packs = time.perf_counter(), []
        for _ in range(_TIMED_PACKS):
            packs.append(maker.make(plan.next()))
        made_per_s = sum(len(one.rows) for one in packs) / (time.perf_counter() - begin)
        made = next((one for one in packs if one.batch is not None), None)
        if made is None:
            why = "; ".join(f"{title}: {text}" for title, text in packs[0].left_out)
            raise BeingHError(f"no sample of the first packs can be made ({why})", where="data.datasets")
        samples, words = _shown(sources, maker, made), _words(sources, maker, packs)
        report = Report(
            config=config, sources=sources, findings=contradictions, still={s.title: still(s) for s in acting},
            account=plan.account(), samples=samples, words=words, batch=_batch(packs) | {"history": prepared.prompts.config.history},
            difference=_difference(samples, acting), speed={"made_per_s": made_per_s}, gpu_gb=gpu_gb,
            notes=[*(note for source in sources for note in source.notes), *_left_out(packs)],
        )  # fmt: skip
        _sizes(report, raw, _load(made), gpus)
        if without_weights:
            report.notes.append("a dry run: no weights were loaded and no loss was computed")
        elif _fits(report.parameters):
            say("loading the model, one step")
            slots, told = maker.used_slots.tolist(), report.notes.append
            _loss(report, load_model(config, prepared.tokenizer, prepared.longest, slots, told), made, config)
        else:
            report.notes.append("the model does not fit into this machine's memory: no loss was computed")
    return report


def making(workers: int) -> str:
    """Who makes samples in the run."""
    return f"{workers} of them work in the run" if workers else "in the run it is the training process itself"


def _shown(sources: Sequence[AnySource], maker: SampleMaker, made: Made) -> list[Shown]:
    """Some samples with actions of a batch, of as many datasets and episodes as possible."""
    acting = np.flatnonzero(made.acts).tolist()
    episodes = [(int(made.sources[p]), sources[made.sources[p]].table.episode_of(made.rows[p])[0]) for p in acting]
    order = sorted(range(len(episodes)), key=lambda place: (episodes[:place].count(episodes[place]), place))
    return [_one_shown(sources, maker, made, acting, at) for at in sorted(order[:MOST_SHOWN])]


def _one_shown(sources: Sequence[AnySource], maker: SampleMaker, made: Made, acting: Sequence[int], at: int) -> Shown:
    """The `at`-th sample with actions."""
    place, length = acting[at], len(made.batch["padded_action"]) // len(acting)
    which, row, branch = int(made.sources[place]), int(made.rows[place]), int(made.branches[place])
    source, transform = sources[which], maker.transform(which)
    config, table = source.modality.config, source.table
    pixels = _pixels(made, place).permute(0, 2, 3, 1).numpy()
    rows = slice(at * length, (at + 1) * length)
    slots = {
        kind: {spec.key: (spec.bounds(kind).start, spec.bounds(kind).stop) for spec in specs}
        for kind, specs in (("state", config.state), ("action", config.action))
    }
    mask = made.batch["padded_action_mask"][rows].numpy()
    taught = transform.action_from_unified(made.batch["padded_action"][rows].numpy())
    for spec in config.action:
        taught[spec.key][~mask[:, spec.bounds("action")].all(axis=1)] = np.nan
    first, _ = table.episode_of(row)
    number = table.episodes[int(np.searchsorted(table.starts, first))]
    return Shown(
        dataset=source.title, episode=number, row=row - first, task=maker.task(which, row, branch),
        pictures=dict(zip(config.views, pixels)), slots=slots, mask=mask, taught=taught,
        recorded={} if source.modality.hands else _recorded(source, number, row - first, length, branch),
    )  # fmt: skip


def _pixels(made: Made, place: int) -> torch.Tensor:
    """The pictures of a sample of a batch, (V, 3, S, S)."""
    lengths = made.batch["sample_lens"]
    starts = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
    places = made.batch["packed_vit_token_indexes"]
    shown = made.batch.get("packed_vit_view_index", torch.arange(len(made.batch["packed_vit_tokens"])))
    per_view = max(1, len(places) // max(1, len(shown)))
    owner = torch.searchsorted(starts, places[::per_view].contiguous(), right=True) - 1
    return made.batch["packed_vit_tokens"][shown[owner == place]]


def _words(sources: Sequence[AnySource], maker: SampleMaker, packs: Sequence[Made]) -> list[ShownWords]:
    """The first conversations of some packs."""
    found = []
    for made in packs:
        for place, (which, row) in enumerate(zip(made.sources, made.rows)):
            source = sources[which]
            if isinstance(source, TextSource) and len(found) < MOST_SHOWN:
                said = next(source.table.conversations(range(row, row + 1)))
                pictures = list(_pixels(made, place).permute(0, 2, 3, 1).numpy())
                found.append(ShownWords(
                    dataset=source.title, line=int(source.table.numbers[row]), system=said.system, turns=said.turns,
                    pictures=pictures,
                ))  # fmt: skip
    return found


def _left_out(packs: Sequence[Made]) -> list[str]:
    """Samples that could not be made, in words."""
    every = sum((one.left_out for one in packs), Counter())
    return [f"{title}: {count} samples are left out: {why}" for (title, why), count in every.items()]


def _recorded(source: Source, episode: int, row: int, length: int, branch: int) -> dict[str, np.ndarray]:
    """The actions of a dataset's own file, read anew: of a row, or of one of its branches."""
    dataset = Dataset(source.section.path, tolerant=True, skip_unknown=True)
    own = next(one for one in dataset.episodes if one.index == episode)
    if branch >= 0:
        form = source.table.branches.form
        rows = dataset.values(own, ACTIONS)[row].reshape(form.branches, form.steps, -1)[branch]
        rows = rows[:length, source.columns.action].astype(float)
    else:
        rows = dataset.values(own, ACTION)[:, source.columns.action].astype(float)[row : row + length]
    rows = np.vstack([rows, np.full((length - len(rows), rows.shape[1]), np.nan)])
    parts = source.modality.parts("action", rows)
    return {key: values for key, values in parts.items() if key not in source.modality.starts}


def _thresholded(sources: Sequence[Source]) -> set[tuple[str, str]]:
    """(dataset, key) of the actions that are taught as 0 or 1, whatever was recorded."""
    return {
        (source.title, spec.key)
        for source in sources for spec in source.modality.config.action if spec.normalization == "binary"
    }  # fmt: skip


def _difference(samples: Sequence[Shown], sources: Sequence[Source]) -> float:
    """Largest difference where something was recorded, of keys that come back as they went in."""
    worst, thresholded = 0.0, _thresholded(sources)
    for sample in samples:
        for key, recorded in sample.recorded.items():
            known = np.isfinite(recorded) & np.isfinite(sample.taught[key])
            if known.any() and (sample.dataset, key) not in thresholded:
                worst = max(worst, float(np.abs(sample.taught[key] - recorded)[known].max()))
    return worst


def _batch(packs: Sequence[Made]) -> dict[str, Any]:
    lengths = [int(n) for one in packs if one.batch for n in one.batch["sample_lens"]]
    left_out = sum(one.left_out.total() for one in packs)
    return {
        "packs": len(packs), "samples": len(lengths), "tokens": sum(lengths) / len(packs),
        "shortest": min(lengths), "longest": max(lengths), "left_out": left_out,
    }  # fmt: skip


def _load(made: Made) -> memory.Load:
    batch = made.batch
    act = batch["packed_action_indexes"].numel() + batch["packed_state_indexes"].numel()
    labels = batch["ce_loss_indexes"].numel() if "ce_loss_indexes" in batch else 0
    return memory.Load(und=made.tokens - act, act=act, views=len(batch["packed_vit_tokens"]), labels=labels)


def _sizes(report: Report, raw: Mapping[str, Any], load: memory.Load, gpus: Sequence[int]) -> None:
    """Weights by part, and memory with and without activation checkpointing."""
    training = report.config.training
    if training.shard:
        report.notes.append("training.shard needs several ranks: torchrun --nproc-per-node N -m beingh_core.train")
    report.parameters = memory.parameters(raw)
    for count in gpus:
        for again in (False, True):
            changed = training.model_copy(update={"activation_checkpointing": again, "shard": count > 1})
            report.memory[count, again] = memory.estimate(raw, changed, load, count)


def _loss(report: Report, model: BeingH, made: Made, config: RunConfig) -> None:
    """Loss at the start and the time of a forward and backward pass on this machine."""
    training = config.training.model_copy(update={"precision": "fp32"})
    stepper = Stepper(model, config.optimiser, training.model_copy(update={"ema_decay": 0.0}), config.loss)
    chunks = int(made.acts.sum())
    pack = PackInputs(batch=normalised(made.batch, "cpu"), draws={"delays": torch.zeros(chunks)}, seed=0)
    begin = time.perf_counter()
    losses = stepper.losses(pack)
    total = losses["action_loss"] + config.loss.text_weight * losses["und_loss"]
    total.backward()
    report.speed["taken_per_s"] = len(made.rows) / (time.perf_counter() - begin)
    actions, mask = made.batch["padded_action"].double(), made.batch["padded_action_mask"]
    # The velocity is action minus noise of variance 1, drawn apart.
    nothing = float(1.0 + actions[mask].square().mean()) if mask.any() else 0.0
    report.loss = {
        "action": losses["action_loss"].item(), "text": losses["und_loss"].item(), "of nothing": nothing,
    }  # fmt: skip


def _fits(parameters: dict[str, int]) -> bool:
    """Whether weights and gradients may be held in this machine's memory."""
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return False
    return 2 * memory.FULL * sum(parameters.values()) <= _MODEL_SHARE * free
