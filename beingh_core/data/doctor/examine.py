"""Goes through sources episode by episode; what cannot be read becomes an episode that says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.data.doctor.checks import check
from beingh_core.data.doctor.facts import EpisodeFacts, unreadable
from beingh_core.data.doctor.sources import DATASET, Source
from beingh_core.errors import BeingHError, shown

# Called with the episode's name and how much of all has been read, 0 to 1.
Progress = Callable[[str, float], None]


def examine(
    sources: Sequence[Source], contract: RobotContract | None, namespace: str, progress: Progress
) -> Iterator[EpisodeFacts]:
    """The episodes of all sources with their findings, one after another."""
    for number, source in enumerate(sources):
        tell = lambda name, share, number=number: progress(name, (number + min(1.0, share)) / len(sources))
        read = _dataset if source.kind == DATASET else _bag
        for facts in read(source.path, contract, namespace, tell):
            check(facts)
            yield facts


def _bag(path: Path, contract: RobotContract | None, namespace: str, tell: Progress) -> Iterator[EpisodeFacts]:
    name = path.resolve().name  # of `.`, too

    def read() -> EpisodeFacts:
        from beingh_core.data.doctor.bag_reader import read_bag

        return read_bag(path, contract, namespace, lambda share: tell(name, share))

    yield _tried(name, path, read)


def _dataset(path: Path, contract: RobotContract | None, _namespace: str, tell: Progress) -> Iterator[EpisodeFacts]:
    def opened():
        from beingh_core.data.doctor.dataset_reader import DatasetReader

        return DatasetReader(path, contract)

    reader = _tried(path.resolve().name, path, opened)
    if isinstance(reader, EpisodeFacts):
        yield reader
        return
    if not reader.episodes:
        yield unreadable(reader.name, str(path), "; ".join(["it holds no episode", *(t.text for t in reader.trouble)]))
    for number, episode in enumerate(reader.episodes):
        tell(reader.title(episode), number / len(reader.episodes))
        facts = _tried(reader.title(episode), path, lambda episode=episode: reader.read(episode))
        facts.findings += reader.trouble if number == 0 else []  # what concerns the whole dataset stands at its first
        yield facts


def _tried(name: str, path: Path, read: Callable):
    """What `read` gives, or an episode that says why it gives nothing."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # odd numbers are found, not warned of
            return read()
    except BeingHError as error:
        told = BeingHError(error.what, allowed=error.allowed, remedy=error.remedy)  # the page names the path beside it
        return unreadable(name, str(path), str(told))
    except ImportError as error:
        raise BeingHError(
            f"a library is missing ({error})", where=path, remedy="pip install mcap rosbags pyarrow av"
        ) from None
    except Exception as error:  # noqa: BLE001 - files of others fail in libraries in ways that nobody has listed
        return unreadable(name, str(path), f"{type(error).__name__}: {shown(str(error), 200)}")
