"""One bag as complete episodes of a dataset, in a process of its own if need be; `export` puts them in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from beingh_core.contract import RobotContract, load_contract
from beingh_core.data import contract_rows
from beingh_core.data.annotate import accepted
from beingh_core.data.bag_files import SUCCESS, ContractBag, of_other_contract
from beingh_core.data.camera_reader import CameraReader, lens_of
from beingh_core.data.command_messages import command_topics
from beingh_core.data.in_charge import CHARGE
from beingh_core.data.lerobot import storage
from beingh_core.data.lerobot.episode import Staged, stage
from beingh_core.data.lerobot.schema import DatasetSpec, VideoSettings
from beingh_core.data.pieces import Piece
from beingh_core.data.recorded import Findings, Recorded
from beingh_core.data.resample import Resampler, Resampling, from_bag
from beingh_core.data.said_tasks import listed, said_in
from beingh_core.errors import BeingHError

OPERATOR = "beingh_operator"
_TOLD_EVENTS = ("mark", "in_charge", "success", "task", "operator")
Opener = Callable[[Path], AbstractContextManager[Any]]


@dataclass(frozen=True, kw_only=True)
class Export:
    """One export.

    Attributes:
        contract: name or path of the robot contract.
        out: folder of the dataset; an unfinished or older one is continued.
        task: instruction of bags that do not say theirs, or say several; None to refuse them.
        version, video: see `DatasetSpec`.
        resampling: see `Resampling`.
        subtasks: see `DatasetSpec`.
        labels: folder of the label files of `beingh annotate`; None for beside each bag.
        success: write the column `next.success`; bags of which nobody said it are refused.
        only_successes: refuse bags of which an accepted label, or without one the recorder, says that they failed.
        workers: processes; 0 for as many as processors.
        ray: address of a Ray cluster whose processes do the work in place of this machine's; "" for none.
        namespace: in which the robot's nodes were recorded.
        depth: whether depth cameras have a column of depth beside their picture.
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
    ray: str = ""
    namespace: str = ""
    depth: bool = True


@dataclass(kw_only=True)
class Converted:
    """A bag's pieces, complete in their folders, and what was found.

    Attributes:
        staged: The pieces.
        findings: What was cut, lost or damaged, for people.
        notes: What else there is to know.
    """

    staged: list[Staged]
    findings: list[str]
    notes: list[str] = field(default_factory=list)


def convert(bag: Path, settings: Export, spec: DatasetSpec, opener: Opener, staging: Path, threads: int) -> Converted:
    """One bag's pieces as complete episodes in folders under `staging`; the same again replaces what is there.

    Raises:
        BeingHError: The bag cannot be used.
    """
    contract = load_contract(settings.contract)
    staged: list[Staged] = []
    try:
        with opener(bag) as opened:
            custom = dict(getattr(opened, "custom", None) or {})
            person = accepted.of_bag(bag, opened, settings.labels, custom.get(SUCCESS))
            if settings.success:
                accepted.check_success(person, bag)
            if settings.only_successes and person.success is False:
                raise BeingHError(
                    "its label or recorder says that it failed", where=bag, remedy="leave --only-successes out"
                )
            subtasks = partial(accepted.subtasks_of, person.labels, fps=spec.fps) if settings.subtasks else ()
            reader = ContractBag(opened, contract, settings.namespace)
            task, told = _task(reader, custom, settings.task)
            resampler = _resampler(reader, contract, settings, spec, task)
            for number, piece in enumerate(resampler.pieces()):
                folder = staging / f"{bag.name}.{number}"
                storage.remove(folder)
                frames = accepted.without_success(piece) if settings.success else piece
                staged.append(stage(
                    spec, folder, frames, source=f"{bag.name}#{number}", threads=threads, subtasks=subtasks,
                    extra=lambda piece=piece, number=number: _told(bag, number, custom, piece, person.success),
                ))  # fmt: skip
            if settings.success and person.success and staged:
                accepted.succeed(staged[-1])
            findings = [*getattr(opened, "findings", ()), *of_other_contract(custom, contract)]
    except BaseException:
        for one in staged:
            storage.remove(one.folder)
        raise
    findings += _words(resampler.findings, settings.resampling)
    others, only = resampler.findings.others, settings.resampling.only
    held = [f"a late tick of the controller: its last command held for {one}" for one in resampler.findings.held]
    notes = [*told, *held, *[f"{others} rows of others left out (--only {only})"] * bool(others)]
    if not staged and not others:
        raise BeingHError("; ".join(findings) or "it holds no row", where=bag)
    return Converted(staged=staged, findings=findings, notes=notes)


def sizes_of(bag: Path, contract: RobotContract, settings: Export, opener: Opener) -> dict[str, tuple[int, int]]:
    """View -> (height, width) of a bag's pictures as the policy sees them; optional cameras may be missing.

    Raises:
        BeingHError: The bag cannot be opened, or has no picture of a camera that is needed.
    """
    with opener(bag) as opened:
        reader, sizes = ContractBag(opened, contract, settings.namespace), {}
        _check_types(contract, reader, bag)
        for camera in contract.cameras:
            if not camera.optional:
                _check_topics({camera.topic, camera.undistort or camera.topic}, reader.topics, bag)
            size = _size(reader, camera)
            if size is not None:
                sizes[camera.name] = size
            elif not camera.optional:
                raise BeingHError(f"{camera.topic} has no message that can be shown", where=bag)
    return sizes


def _size(reader: ContractBag, camera) -> tuple[int, int] | None:
    made = CameraReader(camera)
    calibrated = not camera.undistort
    for message in reader.messages([camera.topic, camera.undistort or camera.topic]):
        if message.topic == camera.undistort:
            made.calibrate(lens_of(reader.deserialise(message)))
            calibrated = True
        elif calibrated:
            return made.pixels(reader.deserialise(message)).shape[:2]
    return None


def _resampler(
    reader: ContractBag, contract: RobotContract, settings: Export, spec: DatasetSpec, task: str
) -> Resampler:
    """What makes rows of a bag, once everything that it needs has been found in it."""
    where = reader.path
    if settings.resampling.only and CHARGE not in reader.topics:
        raise BeingHError(
            "the bag does not say who was in charge", where=where, remedy="leave --only out, or record with `record`"
        )
    commands = command_topics(contract, reader.topics, settings.resampling.commands)
    wanted = Recorded.topics(contract, commands)
    _check_topics(wanted, reader.topics, where)
    _check_types(contract, reader, where)
    keys = {camera.key: camera for camera in spec.cameras}
    sizes = {c.name: keys[contract_rows.IMAGES + c.name] for c in contract.cameras}
    return Resampler(
        contract,
        from_bag(reader, wanted | Recorded.more_topics(contract) & set(reader.topics)),
        commands,
        task,
        settings.resampling,
        sizes={name: (camera.height, camera.width) for name, camera in sizes.items()},
        depth={v: column for v, column in contract_rows.depth_columns(contract).items() if column.key in keys},
        in_charge=contract_rows.IN_CHARGE in spec.columns,
        begin_ns=reader.start_ns,
    )


def _task(reader: ContractBag, custom: Mapping[str, str], given: str | None) -> tuple[str, list[str]]:
    """The instruction of all of a bag's rows, and what to tell of where it comes from."""
    said = said_in(reader, custom)
    if len(said.different) > 1:
        if given:
            return given, [f"task `{given}` as --task says; it holds several: {listed(said.different)}"]
        raise BeingHError(
            f"holds several instructions: {listed(said.different)}",
            where=reader.path,
            remedy="give the one that holds for all of it with --task, or record one bag for each",
        )
    task = said.task or given or ""
    if not task:
        raise BeingHError("the bag does not say its task", where=reader.path, remedy="give it with --task")
    return task, [f"task `{task}` taken from {said.stand_in}: its metadata has none"] if said.stand_in else []


def _told(bag: Path, number: int, custom: Mapping[str, str], piece: Piece, success: bool | None) -> dict[str, Any]:
    """What is kept of a piece beside its rows: where it came from, and what people said."""
    events = [event for event in piece.events() if event["event"] in _TOLD_EVENTS]
    return {
        "bag": bag.name,
        "piece": number,
        "success": success,
        "operator": custom.get(OPERATOR, ""),
        "events": events,
        "recorder": dict(custom),
    }


def _words(found: Findings, settings: Resampling) -> list[str]:
    """What happened to a recording, for people."""
    told = [f"cut: {gap}" for gap in found.gaps]
    told += [f"{found.short} pieces of less than {settings.min_frames} frames left out"] * bool(found.short)
    told += [f"{found.dropped} ticks without new messages left out"] * bool(found.dropped)
    told += [f"{found.without_stamp} messages without stamp: log time taken"] * bool(found.without_stamp)
    told += [f"{found.not_finite} messages with positions that are no numbers left out"] * bool(found.not_finite)
    told += [f"{found.uncalibrated} pictures or calibrations without a usable CameraInfo"] * bool(found.uncalibrated)
    told += [f"{found.blank} black pictures where an optional camera is silent"] * bool(found.blank)
    return told


def _check_topics(wanted: Iterable[str], there: Iterable[str], bag: Path) -> None:
    missing = sorted(set(wanted) - set(there))
    if missing:
        raise BeingHError(
            f"lacks {', '.join(missing)}",
            where=bag,
            remedy="record these topics, correct the contract, or give --namespace",
        )


def _check_types(contract: RobotContract, reader: ContractBag, bag: Path) -> None:
    """Refuses other messages under a topic's name."""
    wanted = {part.topic: part.type for part in (*contract.cameras, *contract.state)}
    for topic, kind in wanted.items():
        found = reader.type_of(topic)
        if found and found != kind:
            raise BeingHError(
                f"{topic} is {found}, and {kind} in the contract",
                where=bag,
                remedy="correct the contract's type, or export with the contract of the robot that was recorded",
            )
