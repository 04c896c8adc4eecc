"""Bags to one LeRobot dataset: each bag in a process of its own, each uncut piece one episode, committed in order.

`meta/beingh/bags.jsonl` is the journal: a line for each bag whose pieces are all committed. Running the same export
again goes on with the bags that are not in it. A bag that cannot be used is refused with its reason, the others go on.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from beingh_core.contract import RobotContract, load_contract
from beingh_core.data import contract_rows
from beingh_core.data.annotate import accepted
from beingh_core.data.bag_files import SUCCESS, TASK, ContractBag, of_other_contract
from beingh_core.data.lerobot import encoders, storage
from beingh_core.data.lerobot.encoders import threads_for
from beingh_core.data.lerobot.episode import Staged, stage
from beingh_core.data.lerobot.publish import is_whole
from beingh_core.data.lerobot.schema import DatasetSpec, VideoSettings
from beingh_core.data.lerobot.writer import DatasetWriter
from beingh_core.data.resample import Resampler, Resampling, command_topics, from_bag
from beingh_core.errors import BeingHError

JOURNAL = "meta/beingh/bags.jsonl"
Opener = Callable[[Path], AbstractContextManager[Any]]


@dataclass(frozen=True, kw_only=True)
class Export:
    """One export.

    Attributes:
        contract: name or path of the robot contract.
        out: folder of the dataset; an unfinished or older one is continued.
        task: instruction of bags that do not say theirs; None to refuse them.
        version, video: see `DatasetSpec`.
        resampling: see `Resampling`.
        subtasks: see `DatasetSpec`.
        labels: folder of the label files of `beingh annotate`; None for beside each bag.
        success: write the column `next.success`; bags of which nobody said it are refused.
        only_successes: refuse bags of which an accepted label, or without one the recorder, says that they failed.
        workers: processes; 0 for as many as processors.
        namespace: in which the robot's nodes were recorded.
    """

    contract: str
    out: Path
    task: str | None = None
    version: str = "v3.0"
    video: VideoSettings = field(default_factory=VideoSettings)
    resampling: Resampling = field(default_factory=Resampling)
    subtasks: str | None = None
    labels: Path | None = None
    success: bool = False
    only_successes: bool = False
    workers: int = 0
    namespace: str = ""


@dataclass(kw_only=True)
class Outcome:
    """What became of a bag.

    Attributes:
        bag: its path.
        state: "exported", "salvaged" (cut, or damaged and used as far as it goes), "refused" or "there already".
        episodes, frames: that it gave.
        findings: reasons, for people.
    """

    bag: Path
    state: str
    episodes: int = 0
    frames: int = 0
    findings: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class _Converted:
    """A bag's pieces, complete in their folders, and what was found."""

    staged: list[Staged]
    findings: list[str]


def export(
    bags: Sequence[Path], settings: Export, opener: Opener, progress: Callable[[Outcome, int, int], None] | None = None
) -> list[Outcome]:
    """Exports bags in their order; returns what became of each.

    Args:
        bags: Paths.
        settings: How.
        opener: Opens a bag (see `resample.BagReader`); can be pickled.
        progress: Is given each outcome, how many are done, and of how many.

    Raises:
        BeingHError: Something that concerns all bags: contract, settings, output folder, a full disk.
    """
    contract = load_contract(settings.contract)
    encoders.choose(settings.video)
    done = _journal(settings.out)
    todo = [bag for bag in bags if bag.name not in done]
    outcomes: dict[Path, Outcome] = {bag: Outcome(bag=bag, state="there already") for bag in bags if bag.name in done}
    spec, refused = _spec(contract, todo, settings, opener) if todo else (None, {})
    outcomes |= refused
    todo = [bag for bag in todo if bag not in refused]
    if spec is None and not (settings.out / "meta/info.json").exists():
        return [outcomes[bag] for bag in bags]
    with DatasetWriter(settings.out, spec) as writer:  # also without bags to do: it finishes what was cut off
        writer.describe(contract=contract, modality=contract_rows.modality(contract))
        for bag, converted in _converted(todo, settings, opener, writer):
            outcomes[bag] = _commit(writer, bag, converted)
            if progress:
                progress(outcomes[bag], len(outcomes), len(bags))
    return [outcomes[bag] for bag in bags]


def convert(bag: Path, settings: Export, spec: DatasetSpec, opener: Opener, staging: Path, threads: int) -> _Converted:
    """One bag's pieces as complete episodes in folders under `staging`; runs in a process of its own.

    Raises:
        BeingHError: The bag cannot be used.
    """
    contract = load_contract(settings.contract)
    staged: list[Staged] = []
    try:
        with opener(bag) as opened:
            custom = dict(getattr(opened, "custom", None) or {})
            reader = ContractBag(opened, contract, settings.namespace)
            task = custom.get(TASK) or settings.task
            person = accepted.of_bag(bag, opened, settings.labels, custom.get(SUCCESS))
            if settings.success:
                accepted.check_success(person, bag)
            if settings.only_successes and person.success is False:
                raise BeingHError(
                    "its label or recorder says that it failed", where=bag, remedy="leave --only-successes out"
                )
            if not task:
                raise BeingHError("the bag does not say its task", where=bag, remedy="give it with --task")
            commands = command_topics(contract, reader.topics, settings.resampling.commands)
            wanted = {c.topic for c in contract.cameras} | {s.topic for s in contract.state} | set(commands)
            wanted |= set() if commands else set(contract.joint_state_topics)
            _check_topics(wanted, reader.topics, bag)
            resampler = Resampler(contract, from_bag(reader, wanted), commands, task, settings.resampling)
            subtasks = partial(accepted.subtasks_of, person.labels, fps=spec.fps) if settings.subtasks else ()
            for number, frames in enumerate(resampler.pieces()):
                folder = staging / f"{bag.name}.{number}"
                storage.remove(folder)
                frames = accepted.without_success(frames) if settings.success else frames
                staged.append(stage(
                    spec, folder, frames, source=f"{bag.name}#{number}", threads=threads,
                    subtasks=subtasks,
                    extra={"bag": bag.name, "piece": number, "recorder": custom, "success": person.success},
                ))  # fmt: skip
            if settings.success and person.success and staged:
                accepted.succeed(staged[-1])
            told = [*getattr(opened, "findings", ()), *of_other_contract(custom, contract)]
    except BaseException:
        for one in staged:
            storage.remove(one.folder)
        raise
    found = resampler.findings
    told += [f"cut: {gap}" for gap in found.gaps]
    told += [f"{found.short} pieces of less than {settings.resampling.min_frames} frames left out"] * bool(found.short)
    told += [f"{found.dropped} ticks without new messages left out"] * bool(found.dropped)
    told += [f"{found.without_stamp} messages without stamp: log time taken"] * bool(found.without_stamp)
    if not staged:
        raise BeingHError("; ".join(told) or "it holds no row", where=bag)
    return _Converted(staged=staged, findings=told)


def _commit(writer: DatasetWriter, bag: Path, converted: _Converted | BeingHError) -> Outcome:
    if isinstance(converted, BeingHError):
        return Outcome(bag=bag, state="refused", findings=[str(converted)])
    frames = sum(staged.record.frames for staged in converted.staged)
    for staged in converted.staged:
        if staged.record.source in writer.sources:  # committed before a kill
            storage.remove(staged.folder)
        else:
            writer.commit(staged)
    line = {"bag": bag.name, "episodes": len(converted.staged), "frames": frames, "findings": converted.findings}
    path = writer.root / JOURNAL
    with storage.told_when_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab") as file:
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        storage.sync(path)
    state = "salvaged" if converted.findings else "exported"
    return Outcome(bag=bag, state=state, episodes=len(converted.staged), frames=frames, findings=converted.findings)


def _converted(
    bags: Sequence[Path], settings: Export, opener: Opener, writer: DatasetWriter
) -> Iterator[tuple[Path, _Converted | BeingHError]]:
    """Each bag with its pieces or why it is refused, in order; as many at a time as there are workers."""
    processors = threads_for(())
    workers = min(settings.workers or processors, max(1, len(bags)))
    staging = writer.staging().parent
    threads = threads_for(writer.spec.cameras, max(1, processors // workers))
    rest = (settings, writer.spec, opener, staging, threads)
    if workers == 1:
        for bag in bags:
            yield bag, _result(lambda bag=bag: convert(bag, *rest))
        return
    # `spawn`: encoder threads must not be forked.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        running: list[tuple[Path, Future]] = []
        for bag in bags:
            running.append((bag, pool.submit(convert, bag, *rest)))
            if len(running) > workers:  # bounds what is complete and not committed
                first, future = running.pop(0)
                yield first, _result(future.result)
        for bag, future in running:
            yield bag, _result(future.result)


def _result(get: Callable[[], _Converted]) -> _Converted | BeingHError:
    try:
        return get()
    except BeingHError as error:
        if "disk is full" in error.what:
            raise
        return error


def _spec(
    contract: RobotContract, bags: Sequence[Path], settings: Export, opener: Opener
) -> tuple[DatasetSpec | None, dict[Path, Outcome]]:
    """The dataset's spec from the pictures of the first bag that can be opened; the bags that cannot."""
    refused = {}
    for bag in bags:
        try:
            with opener(bag) as opened:
                sizes, reader = {}, ContractBag(opened, contract, settings.namespace)
                for camera in contract.cameras:
                    _check_topics({camera.topic}, reader.topics, bag)
                    for message in reader.messages([camera.topic]):
                        pixels = contract_rows.picture(reader.deserialise(message), camera)
                        sizes[camera.name] = pixels.shape[:2]
                        break
                    else:
                        raise BeingHError(f"{camera.topic} has no message", where=bag)
        except BeingHError as error:
            refused[bag] = Outcome(bag=bag, state="refused", findings=[str(error)])
            continue
        made = contract_rows.dataset_spec(
            contract, sizes, settings.video, settings.version, settings.subtasks, settings.success
        )
        return made, refused
    return None, refused


def _check_topics(wanted: set[str], there: Any, bag: Path) -> None:
    missing = sorted(wanted - set(there))
    if missing:
        raise BeingHError(
            f"lacks {', '.join(missing)}",
            where=bag,
            remedy="record these topics, correct the contract, or give --namespace",
        )


def _journal(out: Path) -> set[str]:
    """Names of the bags that are done."""
    path = out / JOURNAL
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    if lines and not is_whole(lines[-1]):
        storage.write(path, b"".join(lines[:-1]))
    return {json.loads(line)["bag"] for line in lines if is_whole(line)}
