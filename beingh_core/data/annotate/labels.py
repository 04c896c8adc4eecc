"""The labels of one episode: a YAML file that people can read and edit, its schema, and who may replace it.

A proposal that nobody has touched says so in its first line, with the digest of all that follows. Only such a file is
replaced by a new proposal; any change of it, by the page or in an editor, makes it a person's.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field

from beingh_core.contract.yaml_text import read_yaml_file
from beingh_core.data.annotate.proposal import Proposal
from beingh_core.data.annotate.recording import Recording
from beingh_core.data.lerobot import storage
from beingh_core.errors import BeingHError, shown
from beingh_core.validation import Schema, at_most, check, only, real, text

VERSION = 1
SUFFIX = ".labels.yaml"
ACCEPTED, PROPOSED, REJECTED = "accepted", "proposed", "rejected"
MOST_SEGMENTS, MOST_REASONS = 300, 4
LONGEST_TEXT = 300
_LONGEST_S = 1e6
_UNTOUCHED = re.compile(rb"# untouched proposal [0-9a-f]{64}\n")
_REMEDY = "correct the line, or move the file away and run `beingh annotate` again"


class _Strict(Schema):
    model_config = ConfigDict(extra="forbid")


class SegmentLabel(_Strict):
    """A stretch that begins at `start_s` and ends where the next one begins.

    Attributes:
        start_s: seconds after the episode's origin.
        text: the subtask.
        state: what a person says of it.
        by: who wrote the text: signals, a labeller or a person.
        because: why it begins there, in words.
    """

    start_s: real(0, _LONGEST_S)
    text: text(LONGEST_TEXT)
    state: Literal["proposed", "accepted", "rejected"] = PROPOSED
    by: Literal["signals", "labeller", "person"] = "person"
    because: Annotated[tuple[text(200), ...], at_most(MOST_REASONS)] = Field(default=(), strict=False)


class SuccessLabel(_Strict):
    """Whether the episode succeeded; None: not known."""

    value: bool | None = None
    state: Literal["proposed", "accepted"] = PROPOSED
    because: text(200) = ""


class Labels(_Strict):
    """All labels of one episode.

    Attributes:
        version: of this layout.
        bag: the bag's name.
        fingerprint: of the bag, see `recording.fingerprint`.
        robot: of the contract.
        origin_ns: stamp from which times count [ns].
        duration_s: where the last segment ends [s].
        task: the instruction.
        success: see `SuccessLabel`.
        segments: in order; the first begins at 0.
    """

    version: only(VERSION)
    bag: text(255)
    fingerprint: text(64)
    robot: text(100)
    origin_ns: int
    duration_s: real(0, _LONGEST_S)
    task: text(2000) = ""
    success: SuccessLabel = SuccessLabel()
    segments: Annotated[tuple[SegmentLabel, ...], at_most(MOST_SEGMENTS)] = Field(strict=False)

    def spans(self) -> list[tuple[float, float, SegmentLabel]]:
        """(begin [s], end [s], segment) of each."""
        ends = [segment.start_s for segment in self.segments[1:]] + [self.duration_s]
        return [(segment.start_s, end_s, segment) for segment, end_s in zip(self.segments, ends)]

    def counted_from(self, origin_ns: int) -> Labels:
        """The same stretches in seconds after another stamp; the first segment begins there.

        Raises:
            BeingHError: A segment would end before it.
        """
        later_s = (self.origin_ns - origin_ns) / 1e9
        moved = [s.model_copy(update={"start_s": round(s.start_s + later_s, 3)}) for s in self.segments[1:]]
        if moved and moved[0].start_s <= 0:
            raise BeingHError(
                f"origin_ns {self.origin_ns}", allowed=f"at least {origin_ns}, where the bag begins", remedy=_REMEDY
            )
        return self.model_copy(
            update={
                "origin_ns": origin_ns,
                "duration_s": round(self.duration_s + later_s, 3),
                "segments": (*self.segments[:1], *moved),
            }
        )

    def count(self, state: str) -> int:
        """Segments of a state."""
        return sum(segment.state == state for segment in self.segments)


def labels_of(recording: Recording, proposal: Proposal) -> Labels:
    """A proposal as labels that nobody has looked at.

    Raises:
        BeingHError: More segments than a file holds.
    """
    if len(proposal.segments) > MOST_SEGMENTS:
        raise BeingHError(
            f"{len(proposal.segments)} segments", where=recording.path, allowed=f"at most {MOST_SEGMENTS}",
            remedy="record shorter episodes",
        )  # fmt: skip
    return Labels(
        version=VERSION, bag=recording.path.name, fingerprint=recording.fingerprint, robot=recording.robot,
        origin_ns=recording.origin_ns, duration_s=round(recording.signals.duration_s, 3),
        task=recording.signals.task,
        success=SuccessLabel(value=proposal.success, because=proposal.because),
        segments=tuple(
            SegmentLabel(start_s=round(one.start_s, 3), text=one.text, by="signals", because=one.because[:MOST_REASONS])
            for one in proposal.segments
        ),
    )  # fmt: skip


def path_for(bag: Path, out: Path | None = None) -> Path:
    """Where a bag's labels are: beside it, or in the folder `out`."""
    return (out or bag.parent) / f"{bag.name}{SUFFIX}"


def parse(data: object, where: object = None) -> Labels:
    """Labels from parsed YAML or JSON.

    Raises:
        BeingHError: Another version, an entry that does not fit, or segments that are not in order.
    """
    if isinstance(data, dict) and data.get("version") != VERSION:
        raise BeingHError(
            f"labels of version {shown(data.get('version'))}", where=where, allowed=[VERSION],
            remedy="use the release that wrote them",
        )  # fmt: skip
    labels = check(Labels, data, where=where, remedy=_REMEDY)
    starts = [segment.start_s for segment in labels.segments]
    if not starts or starts[0] != 0 or any(a >= b for a, b in zip(starts, [*starts[1:], labels.duration_s])):
        raise BeingHError(
            f"segments begin at {', '.join(f'{start:g}' for start in starts[:20])} s",
            where=where,
            allowed=f"0, then later and later, all before {labels.duration_s:g} s",
            remedy=_REMEDY,
        )
    for number, segment in enumerate(labels.segments):
        if not segment.text.strip() and segment.state != REJECTED:
            raise BeingHError(f"segment {number + 1} has no text", where=where, remedy="write one, or reject it")
    return labels


def load(path: Path) -> Labels:
    """Labels of a file.

    Raises:
        BeingHError: None, no YAML, or see `parse`.
    """
    if not path.exists():
        raise BeingHError("there are no labels", where=path, remedy="run `beingh annotate BAG` first")
    data, _ = read_yaml_file(path)
    return parse(data, path)


def check_bag(labels: Labels, name: str, found: str, where: object) -> None:
    """Refuses labels of another bag.

    Args:
        labels: As loaded.
        name, found: The bag's name and fingerprint.
        where: For the error.

    Raises:
        BeingHError: They differ.
    """
    if labels.fingerprint != found:
        raise BeingHError(
            f"these labels are of another recording ({labels.bag}, fingerprint {labels.fingerprint}), "
            f"not of {name} ({found})",
            where=where,
            remedy="put the bag back with which they were made, or move the file away and annotate again",
        )


def is_untouched(content: bytes) -> bool:
    """Whether this is a proposal as it was written."""
    first, rest = content[: content.find(b"\n") + 1], content[content.find(b"\n") + 1 :]
    return bool(_UNTOUCHED.fullmatch(first)) and first == _first_line(rest)


def to_bytes(labels: Labels, *, untouched: bool = False) -> bytes:
    """The content of a file; `untouched` for a proposal that a newer one may replace."""
    data: dict[str, Any] = labels.model_dump(mode="json")
    content = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110).encode()
    return (_first_line(content) if untouched else b"") + content


def write(path: Path, labels: Labels, *, untouched: bool = False) -> bytes:
    """Writes a file in one step; returns its content.

    Raises:
        BeingHError: The disk is full, or this user may not write there.
    """
    content = to_bytes(labels, untouched=untouched)
    _put(path, content)
    return content


def write_proposal(path: Path, make: Callable[[], Labels]) -> bool:
    """Writes a proposal unless a person has touched the file; False when it was left alone.

    Args:
        path: File.
        make: Gives the proposal; asked only when it is needed.

    Raises:
        BeingHError: The file cannot be read or written.
    """
    before = _content(path)
    if before is not None and not is_untouched(before):
        return False
    labels = make()
    with only_writer(path):
        if before != _content(path):  # edited while the proposal was made
            return False
        write(path, labels, untouched=True)
    return True


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Between looking at a file and writing it, no other process of ours on this machine writes.

    Raises:
        BeingHError: The folder cannot be made or opened.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise _not_written(path, error) from None
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def set_aside(path: Path) -> Path:
    """Copies a file that is about to be replaced; the name of the copy."""
    content = path.read_bytes()
    for number in range(1, 10_000):
        target = path.with_name(f"{path.name.removesuffix('.yaml')}.replaced-{number}.yaml")
        if not target.exists():
            _put(target, content)
            return target
    raise BeingHError("there are too many files that were set aside", where=path, remedy="remove some")


def _content(path: Path) -> bytes | None:
    """What the file holds; None without file."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BeingHError(f"cannot be read: {error.strerror}", where=path, remedy="move it away") from None


def _put(path: Path, content: bytes) -> None:
    try:
        with storage.told_when_full(path.parent):
            storage.write(path, content)
    except OSError as error:
        raise _not_written(path, error) from None


def _not_written(path: Path, error: OSError) -> BeingHError:
    return BeingHError(f"cannot be written: {error.strerror}", where=path, remedy="choose another folder (--out)")


def _first_line(content: bytes) -> bytes:
    return b"# untouched proposal " + hashlib.sha256(content).hexdigest().encode() + b"\n"
