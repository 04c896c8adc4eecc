"""Everything of a run that is known before its weights are loaded; what a run refuses, the doctor refuses here too."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from beingh_core.errors import BeingHError
from beingh_core.policy.prompt import PromptBuilder
from beingh_core.train import metadata
from beingh_core.train.memory import light_model
from beingh_core.train.plan import HELD_OUT, TRAIN, Plan
from beingh_core.train.samples import SampleMaker
from beingh_core.train.saving import Checkpoints
from beingh_core.train.settings import RunConfig
from beingh_core.train.sources import AnySource, Source, with_actions
from beingh_core.train.start import config_of, prompts_for, tokenizer_for
from beingh_core.train.step import check_state, longest_prefix
from beingh_core.train.trackers import check_installed


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run without weights.

    Attributes:
        config: Of the run.
        sources: Measured.
        delays: of each source, its longest locked prefix [steps].
        tokenizer, prompts: words and layout of samples.
        files: statistics that a checkpoint carries.
        raw_config: config.json of the model.
        trained: names of the weights that are trained.
    """

    config: RunConfig
    sources: tuple[AnySource, ...]
    delays: list[int]
    tokenizer: Tokenizer
    prompts: PromptBuilder
    files: metadata.Files
    raw_config: dict[str, Any]
    trained: frozenset[str]

    @property
    def longest(self) -> int:
        """Longest locked prefix of all [steps]."""
        return max(self.delays)

    def plan(self, part: str = TRAIN) -> Plan:
        """A plan at its beginning."""
        return Plan(self.sources, self.config.data, self.config.packing, self.config.training.seed, part)

    def maker(self, plain: bool = False) -> SampleMaker:
        """What makes samples; `plain` without changes of pictures and states."""
        return SampleMaker(self.sources, self.prompts, self.config.data, self.config.training.seed, plain=plain)

    def plan_of(self, state: Mapping[str, Any] | None) -> Plan:
        """The plan where a saved state stands, or at its beginning.

        Raises:
            BeingHError: It is the state of another run.
        """
        plan = self.plan()
        if state is not None:
            plan.go_on(state["plan"])
            check_state(state["stepper"], self.trained, bool(self.config.training.ema_decay))
        return plan


def _measured(sources: Sequence[AnySource], prompts: PromptBuilder) -> tuple[AnySource, ...]:
    return tuple(source.measured(prompts) for source in sources)


def prepare(
    config: RunConfig,
    sources: Sequence[AnySource],
    chunk_length: int,
    measure: Callable[[Sequence[AnySource], PromptBuilder], tuple[AnySource, ...]] = _measured,
) -> Prepared:
    """Everything but weights.

    Args:
        config: The run.
        sources: Opened.
        chunk_length: H.
        measure: finds the lengths of their samples; ranks do it in turn.

    Raises:
        BeingHError: Something is unusable or does not fit.
    """
    delays = [_longest(config, source, chunk_length) if source.has_actions else 0 for source in sources]
    tokenizer = tokenizer_for(config, sources)
    prompts = prompts_for(config, tokenizer, max(delays))
    raw = config_of(config, tokenizer, max(delays))
    model = light_model(raw, config.training)
    prepared = Prepared(
        config=config, sources=measure(sources, prompts), delays=delays, tokenizer=tokenizer, prompts=prompts,
        files=metadata.describe(with_actions(sources), config.name, chunk_length), raw_config=raw,
        trained=frozenset(name for name, weight in model.named_parameters() if weight.requires_grad),
    )  # fmt: skip
    if config.evaluate.every:
        prepared.plan(HELD_OUT)
    return prepared


def found_run(config: RunConfig) -> Path | None:
    """The checkpoint to go on from; None where a run begins anew.

    Raises:
        BeingHError: A tracker is not installed, `out` cannot be written, or holds a run that may not, or cannot, go on.
    """
    check_installed(config.log)
    out = Path(config.out)
    _check_writable(out)
    found = Checkpoints(out, config.save.keep).resumable()
    if found is not None and not config.resume:
        raise BeingHError(
            f"there is a run in this folder, up to {found.name}", where=out,
            remedy="give another `out`, or resume=true to go on with it",
        )  # fmt: skip
    return found


def _check_writable(out: Path) -> None:
    """Refuses a folder that cannot be made or written; makes none."""
    there = next(path for path in (out, *out.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        raise BeingHError(
            f"the folder of the run cannot be written: {there} is a file", where=out, remedy="give another `out`"
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise BeingHError(
            f"the folder of the run cannot be written: this user may not write in {there}", where=out,
            remedy="give another `out`, or change the permissions",
        )  # fmt: skip


def _longest(config: RunConfig, source: Source, chunk_length: int) -> int:
    longest = longest_prefix(source, config.uac)
    if longest >= chunk_length:
        raise BeingHError(
            f"a prefix of {longest} steps leaves nothing of a chunk of {chunk_length} to `{source.title}`",
            where="uac.longest", allowed=f"0 to {chunk_length - 1}",
        )  # fmt: skip
    return longest
