"""The datasets of a run, opened: what they hold, who may be taught on it, how long its samples are.

There are those of robots and hands (`Source`) and conversations (`TextSource`); plan and samples ask both the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from beingh_core.data.branches import ACTIONS, BranchForm
from beingh_core.data.commands import parse_numbers
from beingh_core.data.dataset_columns import Columns
from beingh_core.data.lerobot import Dataset
from beingh_core.data.lerobot.video import Segment
from beingh_core.errors import BeingHError
from beingh_core.policy.motion import still_values
from beingh_core.policy.prompt import PromptBuilder
from beingh_core.train.branch_rows import BranchTokens
from beingh_core.train.modality import Modality
from beingh_core.train.rows import RowTable, held_out, scan
from beingh_core.train.settings import DataSection, DatasetSection
from beingh_core.train.statistics import read_statistics, statistics_of
from beingh_core.train.text_source import TextSource, open_text
from beingh_core.train.weighing import Weighing
from beingh_core.train.weights import RowWeights, describe


@dataclass(frozen=True, kw_only=True)
class Source:
    """One dataset, ready to be taught.

    Attributes:
        title: its name.
        section: what the configuration says of it.
        modality: its embodiment.
        columns: where its numbers and pictures are.
        table: its numbers.
        fps: rows per second.
        videos: episode -> view -> pictures.
        statistics: what its values are normalised with.
        tokens: (tasks,) length of a sample of each instruction; () until `measured`.
        branch_tokens: lengths of the samples of its branches; None where there are none, and until `measured`.
        teachable: (N,) which rows have a chunk with an action that is known and has a weight; None for all.
        weights: how its rows are weighed; None where all count the same.
        notes: what people should know of it.
    """

    title: str
    section: DatasetSection
    modality: Modality
    columns: Columns
    table: RowTable
    fps: int
    videos: Mapping[int, Mapping[str, Segment]]
    statistics: Mapping = field(default_factory=dict)
    tokens: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    branch_tokens: BranchTokens | None = None
    teachable: np.ndarray | None = None
    weights: RowWeights | None = None
    notes: tuple[str, ...] = ()

    has_actions = True

    @property
    def counts(self) -> tuple[int, int]:
        """How many episodes are usable and how many are not."""
        return len(self.table.episodes), len(self.table.bad)

    @property
    def first_bad(self) -> str:
        """An episode that is left out, and why."""
        number, why = next(iter(self.table.bad.items()))
        return f"episode {number}: {why}"

    def measured(self, prompts: PromptBuilder) -> Source:
        """The same with the lengths of its samples; an instruction that no prompt takes has length 0."""
        lengths, notes = [], list(self.notes)
        for text in self.table.tasks:
            try:
                lengths.append(prompts.build(text, len(self.modality.config.views)).length)
            except BeingHError as error:
                lengths.append(0)
                notes.append(f"{self.title}: the task {text[:60]!r} is left out: {error.what}")
        teachable = self.modality.teachable(self.table, prompts.config.chunk_length)
        if teachable is not None and not teachable.all():
            notes.append(f"{self.title}: {int((~teachable).sum())} rows are left out: no hand is seen in their chunk")
        if self.weights is not None:
            taught = self.weights.taught(self.table)
            teachable = taught if teachable is None else teachable & taught
        branch_tokens = None
        if self.table.branches is not None:
            branch_tokens, more = BranchTokens.of(self.table.branches, prompts, len(self.modality.config.views))
            notes += [f"{self.title}: {text}" for text in more]
        return replace(
            self, tokens=np.array(lengths, np.int64), teachable=teachable, branch_tokens=branch_tokens,
            notes=tuple(dict.fromkeys(notes)),
        )  # fmt: skip

    @property
    def teaches_own(self) -> bool:
        """Whether a row's own task and actions are taught."""
        return self.table.branches is None or self.section.branches.own

    @property
    def sample_tokens(self) -> np.ndarray:
        """Lengths of single samples, of each instruction that is taught."""
        own = self.tokens if self.teaches_own else self.tokens[:0]
        found = np.concatenate([own, own[:0] if self.branch_tokens is None else self.branch_tokens.instruction])
        return found[found > 0]

    def is_held_out(self, share: float) -> np.ndarray:
        """(E,) which of its usable episodes are never taught."""
        return held_out(len(self.table.episodes), share)

    def runs(self, chosen: np.ndarray, run_length: int) -> tuple[np.ndarray, np.ndarray]:
        """First row and number of rows of the runs of neighbouring rows of chosen episodes."""
        starts, step, firsts, counts = (
            self.table.starts,
            self.section.every,
            [np.zeros(0, np.int64)],
            [np.zeros(0, np.int64)],
        )
        for episode in np.flatnonzero(chosen):
            rows = -(-int(starts[episode + 1] - starts[episode]) // step)
            begin = np.arange(0, rows, run_length)
            firsts.append(starts[episode] + begin * step)
            counts.append(np.minimum(run_length, rows - begin))
        return np.concatenate(firsts), np.concatenate(counts)

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """(n,) tokens of rows, all samples of a row together; 0 where there is nothing to teach."""
        found = self.tokens[np.asarray(self.table.task[rows])] if self.teaches_own else np.zeros(len(rows), np.int64)
        found = found if self.teachable is None else np.where(self.teachable[rows], found, 0)
        if self.table.branches is None:
            return found
        return found + self.branch_tokens.of_rows(self.table.branches, rows, self.section.branches)

    def wanted(self, rows: np.ndarray) -> np.ndarray:
        """(n,) of which rows (n,) something is to be taught: without branches nothing is where these are taught alone."""
        if self.teaches_own:
            return np.ones(len(rows), dtype=bool)
        return (np.asarray(self.table.branches.task[rows]) >= 0).any(axis=1)

    def hours(self, samples: int) -> float:
        """Time that so many samples stand for."""
        return samples * self.section.every / self.fps / 3600.0

    def identity(self) -> list[Any]:
        """What the order of its samples depends on: enough to know it again, wherever and whenever it was copied."""
        table = self.table
        places = np.concatenate([table.starts[:-1], table.starts[1:] - 1])
        ends = [np.ascontiguousarray(rows[places]) for rows in (table.state, table.action, table.task)]
        rows = [hashlib.sha256(part).hexdigest() for part in ends]
        if self.weights is not None:
            rows.append(hashlib.sha256(self.weights.taught(table).tobytes()).hexdigest())
        told = [self.title, table.starts.tolist(), table.tasks, rows, self.section.every, self.tokens.tolist()]
        if table.branches is not None:
            told.append([self.section.branches.model_dump(), table.branches.form.texts, table.branches.longest])
        return told

    def texts(self) -> Sequence[str]:
        """What is said, for a vocabulary."""
        return self.table.tasks

    def phrases(self) -> Sequence[str]:
        """What a vocabulary is to have whole."""
        return () if self.table.branches is None else self.table.branches.form.phrases


AnySource = Source | TextSource


def open_source(section: DatasetSection, cache: Path) -> Source:
    """Reads what a dataset holds, but no picture.

    Raises:
        BeingHError: No such dataset or robot, columns that do not fit, or nothing in it that can be taught.
    """
    modality = Modality.of(section)
    dataset = Dataset(section.path, tolerant=True, skip_unknown=True)
    columns = modality.columns(dataset, section.views)
    for key in columns.views.values():
        if key in dataset.images:
            raise BeingHError(
                f"`{key}` stands in the rows as pictures, which training does not read yet",
                where=dataset.root,
                remedy="write the dataset with videos (in LeRobot `use_videos=True`)",
            )
        camera = dataset.camera(key)
        if min(camera.height, camera.width) < 16:
            raise BeingHError(f"`{key}` has pictures of {camera.width}x{camera.height}", where=dataset.root)
    episodes = tuple(parse_numbers(section.episodes)) if section.episodes else ()
    form = BranchForm.read(dataset.root, dataset.spec) if section.branches.teach else None
    if form is not None and (section.weight_column or section.intervention is not None):
        raise BeingHError(
            "its rows are to be weighed, and its branches have no weights", where=dataset.root,
            remedy="leave `weight_column` and `intervention` of this dataset out, or take `branches: {teach: false}`",
        )  # fmt: skip
    table = scan(dataset, columns, cache, section.task, episodes, Weighing.of(section, dataset), form)
    if table.branches is not None and not section.branches.own and (np.asarray(table.branches.task) < 0).all():
        raise BeingHError(
            "no row of it has a branch", where=dataset.root,
            remedy="teach the rows themselves: `branches: {teach: false}` of this dataset",
        )  # fmt: skip
    usable = set(table.episodes)
    videos = {
        episode.index: {view: episode.videos[key] for view, key in columns.views.items()}
        for episode in dataset.episodes if episode.index in usable
    }  # fmt: skip
    notes = [f"{section.title}: {text}" for text in (*columns.notes, *dataset.skipped, *dataset.damaged)]
    if section.branches.teach and form is None and any(v.key == ACTIONS for v in dataset.spec.vectors):
        notes.append(f"{section.title}: its branches are not taught, since meta/branches.json is not there")
    notes += [f"{section.title}: episode {number} is left out: {why}" for number, why in sorted(table.bad.items())]
    return Source(
        title=section.title, section=section, modality=modality.of_dataset(columns), columns=columns, table=table, fps=dataset.spec.fps,
        videos=videos, notes=tuple(notes),
    )  # fmt: skip


def open_sources(
    settings: DataSection, cache: Path, chunk_length: int, known: Mapping[str, Mapping] | None = None
) -> tuple[AnySource, ...]:
    """All datasets of a run, with the statistics that each is normalised with.

    Args:
        settings: Which.
        cache: Folder for what is read of them.
        chunk_length: H.
        known: title -> statistics, where they are not to be computed anew.

    Raises:
        BeingHError: See `open_source`; two datasets of one embodiment that disagree; too much is bad; nothing moves.
    """
    opened = [
        open_text(one, cache) if one.is_text else _weighed(open_source(one, cache), chunk_length)
        for one in settings.datasets
    ]
    sources = with_actions(opened)
    check_agreement(sources)
    check_share(opened, settings.most_bad)
    check_chunk_length(sources, chunk_length)
    together: dict[str, dict] = {}

    def statistics(source: Source) -> Mapping:
        name = source.modality.name
        if known is not None and source.title not in known:
            raise BeingHError(
                f"the run that is to go on knew no dataset `{source.title}`", allowed=known,
                remedy="give one that moved its old name (data.datasets.0.name), put its datasets back, or start another run: "
                "another `out`",
            )  # fmt: skip
        if known is not None:
            return known[source.title]
        if source.section.statistics:
            return read_statistics(source.section.statistics)
        if settings.statistics == "dataset":
            return statistics_of([(source.modality, source.table)], chunk_length)
        if name not in together:
            mine = [one for one in sources if one.modality.name == name and not one.section.statistics]
            together[name] = statistics_of([(one.modality, one.table) for one in mine], chunk_length)
        return together[name]

    found: list[AnySource] = []
    for source in opened:
        if isinstance(source, Source):
            source = replace(source, statistics=statistics(source))
            still_values(source.modality.config, source.statistics, source.section.path)
        found.append(source)
    return tuple(found)


def with_actions(sources: Sequence[AnySource]) -> list[Source]:
    """Those of robots and hands."""
    return [source for source in sources if isinstance(source, Source)]


def _weighed(source: Source, chunk_length: int) -> Source:
    """The same with the use of its weights.

    Raises:
        BeingHError: All of them are 0.
    """
    weights = RowWeights.of(source.table, chunk_length, source.section.path)
    told = describe(source.table, weights)
    notes = (*source.notes, f"{source.title}: {told}") if told else source.notes
    return replace(source, weights=weights, notes=notes)


def check_agreement(sources: list[Source]) -> None:
    """Refuses one name for two embodiments.

    Raises:
        BeingHError: Their views, slots or normalisation differ, or what a row means.
    """
    first: dict[str, Source] = {}
    for source in sources:
        other = first.setdefault(source.modality.name, source)
        mine, its = source.modality, other.modality
        for what, a, b in (
            ("views", mine.config.views, its.config.views), ("state", mine.config.state, its.config.state),
            ("action", mine.config.action, its.config.action), ("rate_hz", mine.rate_hz, its.rate_hz),
            ("what chunks count from", mine.starts, its.starts),
        ):  # fmt: skip
            if a != b:
                raise BeingHError(
                    f"`{source.title}` and `{other.title}` are both of the embodiment `{mine.name}`, and their {what} differ",
                    where=source.section.path,
                    remedy="give one of them another `embodiment_tag`, or both the same robot or data config",
                )  # fmt: skip


def check_share(sources: Sequence[AnySource], most_bad: float) -> None:
    """Refuses a dataset that is mostly unusable.

    Raises:
        BeingHError: More of its episodes or lines are bad than allowed.
    """
    for source in sources:
        good, bad = source.counts
        if bad > most_bad * (bad + good):
            what, remedy = "lines", "mend or remove them"
            if source.has_actions:
                what = "episodes"
                remedy = (
                    "look at it with `beingh doctor`, mend it with `beingh dataset repair`, or name the good `episodes`"
                )
            raise BeingHError(
                f"{bad} of {bad + good} {what} cannot be taught, such as {source.first_bad}", where=source.section.path,
                allowed=f"a share of {most_bad:g} (data.most_bad)", remedy=remedy,
            )  # fmt: skip


def check_chunk_length(sources: list[Source], chunk_length: int) -> None:
    """Refuses robots that ask for other chunks than the model makes.

    Raises:
        BeingHError: A contract says another number of steps.
    """
    for contract in filter(None, (source.modality.contract for source in sources)):
        if contract.policy.chunk_length != chunk_length:
            raise BeingHError(
                f"the contract asks for chunks of {contract.policy.chunk_length} steps, the model makes {chunk_length}",
                where=contract.path,
                remedy="give policy.chunk_length of the contract and model.action_chunk_length one value",
            )
    for source in sources:
        branches = source.table.branches
        if branches is not None and (branches.form.steps < chunk_length or branches.longest >= chunk_length):
            raise BeingHError(
                f"its branches have {branches.form.steps} steps and prefixes of up to {branches.longest}, the model makes "
                f"chunks of {chunk_length}",
                where=source.section.path,
                remedy="record it anew with a contract of that policy.chunk_length, or lower model.action_chunk_length",
            )
