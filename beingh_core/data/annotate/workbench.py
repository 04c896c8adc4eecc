"""The episodes that are being annotated, and the rule for changing their files: only who has seen the newest may save.

Any thread. A bag is read when it is first looked at; the pictures of the few that were looked at last stay open.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from beingh_core.contract import RobotContract
from beingh_core.data.annotate import labels as files
from beingh_core.data.annotate.labels import Labels
from beingh_core.data.annotate.proposal import propose
from beingh_core.data.annotate.recording import Closed, Opener, Pictures, Recording, fingerprint, read
from beingh_core.errors import BeingHError, shown

_OPEN = 4


@dataclass(frozen=True)
class Seen:
    """What stands in a file, and the mark of exactly this content; "" for a file that is not there."""

    labels: Labels
    mark: str


class Changed(Exception):
    """The file is not the one that was edited.

    Attributes:
        mark: Of what is there.
    """

    def __init__(self, mark: str) -> None:
        super().__init__("the file has changed since it was read")
        self.mark = mark


class Workbench:
    """Bags with their label files.

    Args:
        bags: Paths, with different names.
        contract: Robot.
        opener: Opens a bag.
        out: Folder of the label files; None for beside each bag.
        namespace: In which the robot's nodes were recorded.
    """

    def __init__(
        self,
        bags: Sequence[Path],
        contract: RobotContract,
        opener: Opener,
        out: Path | None = None,
        namespace: str = "",
    ) -> None:
        self._bags = {bag.name: bag for bag in bags}
        self._contract, self._opener, self._out, self._namespace = contract, opener, out, namespace
        self._lock = threading.Lock()
        self._recordings: OrderedDict[str, Recording] = OrderedDict()
        self._fingerprints: dict[str, str] = {}
        self._pictures: OrderedDict[str, Pictures] = OrderedDict()

    @property
    def names(self) -> list[str]:
        """Of all bags, in order."""
        return list(self._bags)

    def path(self, name: str) -> Path:
        """Where the labels of a bag are.

        Raises:
            BeingHError: No such bag here.
        """
        return files.path_for(self._bag(name), self._out)

    def recording(self, name: str) -> Recording:
        """A bag as `recording.read` gives it.

        Raises:
            BeingHError: It cannot be used.
        """
        bag = self._bag(name)
        with self._lock:
            if name not in self._recordings:
                self._recordings[name] = read(bag, self._contract, self._opener, self._namespace)
            self._recordings.move_to_end(name)
            while len(self._recordings) > 4 * _OPEN:
                self._recordings.popitem(last=False)
            return self._recordings[name]

    def pictures(self, name: str) -> Pictures:
        """The pictures of a bag."""
        recording = self.recording(name)
        with self._lock:
            if name not in self._pictures:
                self._pictures[name] = Pictures(recording, self._contract, self._opener, self._namespace)
            self._pictures.move_to_end(name)
            while len(self._pictures) > _OPEN:
                self._pictures.popitem(last=False)[1].close()
            return self._pictures[name]

    def jpeg(self, name: str, view: str, index: int) -> bytes:
        """A picture; see `Pictures.jpeg`."""
        while True:
            try:
                return self.pictures(name).jpeg(view, index)
            except Closed:  # others were looked at meanwhile
                continue

    def propose(self, name: str, improve: Callable[[Labels, Recording, Pictures], Labels] | None = None) -> bool:
        """Writes a proposal unless a person has touched the labels; False when they were left alone.

        Args:
            name: Of the bag.
            improve: Makes better labels of a proposal.

        Raises:
            BeingHError: The bag cannot be used.
        """

        def make() -> Labels:
            recording = self.recording(name)
            proposed = files.labels_of(recording, propose(recording.signals))
            return improve(proposed, recording, self.pictures(name)) if improve else proposed

        return files.write_proposal(self.path(name), make)

    def load(self, name: str) -> Seen:
        """The labels of a bag.

        Raises:
            BeingHError: None, unreadable ones, or those of another recording.
        """
        path = self.path(name)
        labels = files.load(path)
        mark = self.mark(name)
        files.check_bag(labels, name, self._fingerprint(name), path)
        return Seen(labels, mark)

    def mark(self, name: str) -> str:
        """The mark of what the file holds now."""
        path = self.path(name)
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        except FileNotFoundError:
            return ""

    def save(self, name: str, labels: Labels, mark: str, *, keep_both: bool = False) -> str:
        """Writes a person's labels; the mark of what was written.

        Args:
            name: Of the bag.
            labels: All of them.
            mark: Of what was edited.
            keep_both: Set a file that has changed since then aside, and write all the same.

        Raises:
            Changed: The file is not the one that was edited.
            BeingHError: The labels are of another recording, or the disk is full.
        """
        path = self.path(name)
        files.check_bag(labels, name, self._fingerprint(name), path)
        with self._lock, files.only_writer(path):
            now = self.mark(name)
            if now != mark and now:
                if not keep_both:
                    raise Changed(now)
                files.set_aside(path)
            return hashlib.sha256(files.write(path, labels)).hexdigest()

    def close(self) -> None:
        """Close all bags."""
        with self._lock:
            while self._pictures:
                self._pictures.popitem()[1].close()

    def _fingerprint(self, name: str) -> str:
        """The bag's fingerprint, for which it is opened and not read."""
        bag = self._bag(name)
        with self._lock:
            if name not in self._fingerprints:
                with self._opener(bag) as opened:
                    self._fingerprints[name] = fingerprint(opened)
            return self._fingerprints[name]

    def _bag(self, name: str) -> Path:
        if name not in self._bags:
            raise BeingHError(f"there is no bag {shown(name)} here", allowed=self._bags)
        return self._bags[name]
