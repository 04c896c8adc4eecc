"""Bags to one LeRobot dataset: each bag in a process of its own, each uncut piece one episode, committed in order.

`meta/beingh/bags.jsonl` is the journal: a line for each bag whose pieces are all committed. Running the same export
again goes on with the bags that are not in it. A bag that cannot be used is refused with its reason, the others go on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from beingh_core.contract import RobotContract, load_contract
from beingh_core.contract.views import black
from beingh_core.data import contract_rows
from beingh_core.data.convert import Converted, Export, Opener, sizes_of
from beingh_core.data.lerobot import encoders, storage
from beingh_core.data.lerobot.publish import is_whole
from beingh_core.data.lerobot.reader import Dataset
from beingh_core.data.lerobot.schema import DatasetSpec
from beingh_core.data.lerobot.writer import DatasetWriter
from beingh_core.data.workers import converted
from beingh_core.errors import BeingHError

JOURNAL = "meta/beingh/bags.jsonl"
# "salvaged" is cut, or damaged and used as far as it goes; "left out" has no row of the wanted ones.
EXPORTED, SALVAGED, REFUSED, THERE, LEFT_OUT = "exported", "salvaged", "refused", "there already", "left out"
GOOD = (EXPORTED, THERE, LEFT_OUT)


@dataclass(kw_only=True)
class Outcome:
    """What became of a bag.

    Attributes:
        bag: its path.
        state: one of `STATES`.
        episodes, frames: that it gave.
        findings: reasons, for people.
        notes: what else there is to know.
    """

    bag: Path
    state: str
    episodes: int = 0
    frames: int = 0
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


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
    _check_version(settings)
    done = _journal(settings.out)
    todo = [bag for bag in bags if bag.name not in done]
    outcomes: dict[Path, Outcome] = {bag: Outcome(bag=bag, state=THERE) for bag in bags if bag.name in done}
    spec, refused = _spec(contract, todo, settings, opener) if todo else (None, {})
    outcomes |= refused
    todo = [bag for bag in todo if bag not in refused]
    if spec is None and not (settings.out / "meta/info.json").exists():
        return [outcomes[bag] for bag in bags]
    with DatasetWriter(settings.out, spec) as writer:  # also without bags to do: it finishes what was cut off
        writer.describe(contract=contract, modality=contract_rows.modality(contract))
        for bag, result in converted(todo, settings, writer.spec, opener, writer.staging()):
            outcomes[bag] = _commit(writer, bag, result)
            if progress:
                progress(outcomes[bag], len(outcomes), len(bags))
    return [outcomes[bag] for bag in bags]


def _check_version(settings: Export) -> None:
    """Refuses another version than the dataset's also where every bag is in it already."""
    there = settings.out / "meta/info.json"
    if there.exists() and (version := Dataset(settings.out).spec.version) != settings.version:
        raise BeingHError(
            f"the dataset that is there is {version}, and {settings.version} is asked for",
            where=settings.out,
            remedy=f"ask for --version {version}, or take another folder",
        )


def _commit(writer: DatasetWriter, bag: Path, result: Converted | BeingHError) -> Outcome:
    if isinstance(result, BeingHError):
        return Outcome(bag=bag, state=REFUSED, findings=[str(result)])
    frames = sum(staged.record.frames for staged in result.staged)
    for staged in result.staged:
        if staged.record.source in writer.sources:  # committed before a kill
            storage.remove(staged.folder)
        else:
            writer.commit(staged)
    line = {"bag": bag.name, "episodes": len(result.staged), "frames": frames, "findings": result.findings}
    path = writer.root / JOURNAL
    with storage.told_when_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab") as file:
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        storage.sync(path)
    state = SALVAGED if result.findings else EXPORTED if result.staged else LEFT_OUT
    return Outcome(
        bag=bag, state=state, episodes=len(result.staged), frames=frames, findings=result.findings, notes=result.notes
    )


def _spec(
    contract: RobotContract, bags: Sequence[Path], settings: Export, opener: Opener
) -> tuple[DatasetSpec | None, dict[Path, Outcome]]:
    """The dataset's spec from the pictures of the first bag that can be opened; the bags that cannot.

    Optional cameras are looked for in further bags.
    """
    refused, sizes, usable = {}, {}, False
    there = Dataset(settings.out).spec if (settings.out / "meta/info.json").exists() else None
    for bag in bags:
        try:
            sizes = sizes_of(bag, contract, settings, opener) | sizes
        except BeingHError as error:
            refused[bag] = Outcome(bag=bag, state=REFUSED, findings=[str(error)])
            continue
        usable = True
        if len(sizes) == len(contract.cameras):
            break
    if not usable:
        return None, refused
    known = {camera.key: (camera.height, camera.width) for camera in there.cameras} if there else {}
    for camera in contract.cameras:
        sizes.setdefault(camera.name, known.get(contract_rows.IMAGES + camera.name, black(camera).shape[:2]))
    depth = any(camera.depth for camera in there.cameras) if there else settings.depth
    in_charge = there is None or contract_rows.IN_CHARGE in there.columns
    spec = contract_rows.dataset_spec(
        contract,
        sizes,
        settings.video,
        settings.version,
        settings.subtasks,
        depth=depth,
        in_charge=in_charge,
        success=settings.success,
    )
    return spec, refused


def _journal(out: Path) -> set[str]:
    """Names of the bags that are done."""
    path = out / JOURNAL
    with storage.told_when_full(out):
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    if lines and not is_whole(lines[-1]):
        storage.write(path, b"".join(lines[:-1]))
    return {json.loads(line)["bag"] for line in lines if is_whole(line)}
