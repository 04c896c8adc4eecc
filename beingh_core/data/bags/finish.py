"""Makes a finished bag of one whose recorder was killed: everything that can be read, with an index and metadata.yaml.

The metadata get the task, and success where somebody has said it, as the recorder writes them at its end.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beingh_core.data.bag_files import SUCCESS
from beingh_core.data.bags.bag import Bag
from beingh_core.data.bags.message import text_of
from beingh_core.data.bags.writer import UNFINISHED, BagWriter
from beingh_core.data.in_charge import EVENTS, event_of
from beingh_core.data.said_tasks import INSTRUCTION, TASK, SaidTasks
from beingh_core.errors import BeingHError


def finish(path: Path) -> Path:
    """Finish `NAME.recording` as `NAME`, and remove it once all of its messages are there.

    Returns:
        The finished bag; its metadata says that it is not complete, and why.

    Raises:
        BeingHError: It is being written, nothing in it can be read, or the disk is full (it stays as it was).
    """
    if not path.name.endswith(UNFINISHED):
        raise BeingHError("is no unfinished bag", where=path, allowed=f"a directory named ...{UNFINISHED}")
    _refuse_in_use(path)
    target = path.with_name(path.name.removesuffix(UNFINISHED))
    # The writer's own unfinished name must be another one than this.
    work = target.with_name(f"{target.name}.finishing")
    for stale in (work, work.with_name(work.name + UNFINISHED)):  # of an attempt that was broken off
        shutil.rmtree(stale, ignore_errors=True)
    with Bag(path) as bag:
        told = bag.findings
        storage = "sqlite3" if any(path.glob("*.db3")) else "mcap"
        said = _Said(bag.custom)
        writer = BagWriter(work, storage=storage, distribution=bag.distribution or "jazzy", name=target.name)
        try:
            numbers = {name: writer.add_topic(topic) for name, topic in bag.topics.items()}
            for message in bag.messages():
                writer.write(
                    numbers[message.topic], message.log_ns, message.data,
                    publish_ns=message.publish_ns, sequence=message.sequence,
                )  # fmt: skip
                said.take(message)
        except OSError as error:
            writer.discard()
            raise BeingHError(
                f"the disk failed: {error.strerror or error}", where=work, remedy="free some space"
            ) from None
        writer.facts.custom |= bag.custom | said.custom()
        reason = writer.close(f"its recorder was killed; {'; '.join(told)}")
        if writer.lost:
            raise BeingHError(reason, where=work, remedy="free some space, then remove this directory and try again")
    if target.exists():
        raise BeingHError(
            "there is a bag of this name", where=target, remedy=f"rename it, then rename {work.name} to it"
        )
    work.rename(target)
    shutil.rmtree(path)
    return target


class _Said:
    """What was said while the messages of a bag pass.

    Args:
        custom: `custom_data` of its metadata, if it has any.
    """

    def __init__(self, custom: Mapping[str, str]) -> None:
        self._tasks, self._success = SaidTasks(custom), ""

    def take(self, message: Any) -> None:
        """A message of the bag, in the order of log times."""
        if message.topic.endswith(f"/{INSTRUCTION}"):
            self._tasks.instruct(text_of(message.data))
        elif message.topic.endswith(f"/{EVENTS}"):
            event = event_of(text_of(message.data)) or {}
            self._tasks.event(event)
            if event.get("event") == "success" and isinstance(event.get("success"), bool):
                self._success = str(event["success"]).lower()

    def custom(self) -> dict[str, str]:
        """What belongs into the metadata."""
        told = {TASK: self._tasks.task, SUCCESS: self._success}
        return {name: text for name, text in told.items() if text}


def _refuse_in_use(path: Path) -> None:
    for file in path.glob("*_0.*"):
        with open(file, "rb") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise BeingHError("is being written", where=path, remedy="end its recorder first") from None
