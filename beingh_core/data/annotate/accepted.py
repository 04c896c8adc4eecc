"""What the export takes of label files: accepted subtasks on the rows of an episode, and success."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beingh_core.data.annotate import labels as files
from beingh_core.data.annotate.labels import ACCEPTED, Labels
from beingh_core.data.annotate.recording import fingerprint
from beingh_core.data.contract_rows import SUCCESS
from beingh_core.data.lerobot import storage
from beingh_core.data.lerobot.episode import Frame, Staged, Subtask
from beingh_core.errors import BeingHError

_NS = 1_000_000_000


@dataclass(frozen=True)
class Accepted:
    """What a person has accepted of a bag.

    Attributes:
        labels: None without label file.
        success: a person's accepted word; without one the recorder's; None where nobody said it.
    """

    labels: Labels | None
    success: bool | None


def of_bag(bag: Path, opened: Any, folder: Path | None, recorder: str | None) -> Accepted:
    """What is accepted of an open bag.

    Args:
        bag: Its path.
        opened: The bag.
        folder: Where label files are; None for beside the bags.
        recorder: What the recorder says of success: "true", "false" or nothing.

    Raises:
        BeingHError: The label file cannot be read, or is of another recording.
    """
    path, labels = files.path_for(bag, folder), None
    success = {"true": True, "false": False}.get(recorder or "")
    if path.exists():
        labels = files.load(path)
        files.check_bag(labels, bag.name, fingerprint(opened), path)
        success = labels.success.value if labels.success.state == ACCEPTED else success
    return Accepted(labels, success)


def subtasks_of(labels: Labels | None, stamps_ns: Sequence[int], *, fps: int) -> list[Subtask]:
    """Accepted texts from the rows on at which they begin; "" where what follows an accepted one is not accepted.

    Args:
        labels: None for no labels.
        stamps_ns: Of each row of an episode, which may be a piece of the recording.
        fps: Rows per second of the dataset, in which a row's time is its number / fps.
    """
    spans = labels.spans() if labels else []
    if not any(segment.state == ACCEPTED for _, _, segment in spans):
        return []
    times_s = (np.asarray(stamps_ns, np.int64) - labels.origin_ns) / _NS
    number = np.searchsorted([start for start, _, _ in spans], times_s + 1e-9, "right") - 1
    held: list[int] = []
    for index, time_s in zip(number, times_s):
        inside = index >= 0 and time_s < spans[index][1] and spans[index][2].state == ACCEPTED
        held.append(int(index) if inside else -1)
    found: list[Subtask] = []
    for row, index in enumerate(held):
        if index != (held[row - 1] if row else -1):
            found.append(Subtask(start_s=row / fps, text=spans[index][2].text if index >= 0 else ""))
    return found


def check_success(accepted: Accepted, bag: Path) -> None:
    """Refuses a bag of which nobody said whether it succeeded.

    Raises:
        BeingHError: So it is.
    """
    if accepted.success is None:
        raise BeingHError(
            "nobody has said whether it succeeded",
            where=bag,
            remedy="accept a verdict in `beingh annotate --serve` (g or b), or leave --success out",
        )


def without_success(frames: Iterable[Frame]) -> Iterator[Frame]:
    """The rows of an episode that has not succeeded yet."""
    for frame in frames:
        yield replace(frame, vectors={**frame.vectors, SUCCESS: np.zeros(1, bool)})


def succeed(staged: Staged) -> None:
    """Makes the last row of a recording's last piece, which is known only now, that of its success."""
    table = pq.read_table(staged.data)
    column = np.zeros(len(table), bool)
    column[-1] = True
    place = table.column_names.index(SUCCESS)
    pq.write_table(table.set_column(place, SUCCESS, pa.array(column)), staged.data)
    storage.sync(staged.data)
