"""What is known of one episode, from wherever it comes; times are seconds since its first message or row."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

# Weights of findings: a note changes nothing, a flaw makes an episode usable, a fault makes it bad.
NOTE, FLAW, FAULT = "note", "flaw", "fault"
GOOD, USABLE, BAD = "good", "usable", "bad"
# What a stream is for; `OTHER` is listed and not judged.
CAMERA, JOINTS, COMMANDS, ROWS, OTHER = "camera", "joints", "commands", "rows", "other"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found.

    Attributes:
        kind: One word for scripts, such as `gap`.
        weight: `NOTE`, `FLAW` or `FAULT`.
        text: What it is, for people; does not repeat topic and time.
        topic: Stream, camera or joint; "" for the whole episode.
        start_s, end_s: When; None for the whole episode.
    """

    kind: str
    weight: str
    text: str
    topic: str = ""
    start_s: float | None = None
    end_s: float | None = None

    def __str__(self) -> str:
        when = ""
        if self.start_s is not None:
            when = f" at {self.start_s:.2f} s"
            if self.end_s is not None and self.end_s > self.start_s:
                when = f" from {self.start_s:.2f} to {self.end_s:.2f} s"
        return f"{self.topic + ': ' if self.topic else ''}{self.text}{when}"


@dataclass(kw_only=True)
class Stream:
    """Messages of one topic, or rows of a dataset, in the order in which they were recorded.

    Attributes:
        name: Topic or column.
        type: Of its messages.
        role: What it is for.
        count: How many there are.
        times_s: (N,) when each was recorded.
        stamps_ns: (N,) time in each header [ns]; None where there are no headers.
        max_age_s: Longest gap that the contract allows [s]; None when nobody says.
    """

    name: str
    type: str = ""
    role: str = OTHER
    count: int = 0
    times_s: np.ndarray = field(default_factory=lambda: np.zeros(0))
    stamps_ns: np.ndarray | None = None
    max_age_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Look:
    """A small picture of a camera (JPEG), with its time."""

    time_s: float
    jpeg: bytes


@dataclass(frozen=True, kw_only=True)
class Run:
    """So many pictures in a row, from the first to the last of them [s]."""

    start_s: float
    end_s: float
    count: int


@dataclass(kw_only=True)
class View:
    """What one camera saw.

    Attributes:
        name: Topic or column.
        label: As people call it.
        detail: Size and encoding.
        count: Pictures that came.
        looks: Small pictures, in order of time.
        still: Stretches of equal pictures.
        black: Stretches of black pictures.
        unreadable: How many pictures could not be decoded, of those that were tried.
        tried: How many were decoded.
        trouble: Why the first of these could not.
        sampled: Whether only a picture now and then was looked at.
    """

    name: str
    label: str
    detail: str = ""
    count: int = 0
    looks: list[Look] = field(default_factory=list)
    still: list[Run] = field(default_factory=list)
    black: list[Run] = field(default_factory=list)
    unreadable: int = 0
    tried: int = 0
    trouble: str = ""
    sampled: bool = False

    def tell_unreadable(self, findings: list[Finding]) -> None:
        """Adds what could not be decoded."""
        if self.unreadable:
            text = f"{self.unreadable} of {self.tried} pictures that were tried cannot be decoded: {self.trouble}"
            weight = FAULT if self.unreadable == self.tried else FLAW
            findings.append(Finding(kind="pictures", weight=weight, text=text, topic=self.name))


@dataclass(kw_only=True)
class Curve:
    """One number over time: a joint's position, or a column of a dataset.

    Attributes:
        group: Topic or column it belongs to.
        name: Of the joint.
        times_s, values: (N,).
        lower, upper: Its limits; infinite where nobody gives them.
        tolerance: How far outside of these it may be.
        still: It rests while it changes by less.
        grip: (closed, open) of a gripper whose direction is known; (nan, nan) of one whose is not; None of others.
        commanded: Whether it was wanted, not measured.
        needed: Whether anybody uses it; a contract does not name every joint that a robot publishes.
    """

    group: str
    name: str
    times_s: np.ndarray
    values: np.ndarray
    lower: float = -math.inf
    upper: float = math.inf
    tolerance: float = 0.0
    still: float = 0.01
    grip: tuple[float, float] | None = None
    commanded: bool = False
    needed: bool = True


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A moment with a name."""

    time_s: float
    name: str


@dataclass(frozen=True, kw_only=True)
class Charge:
    """Who was in charge from when to when [s]."""

    start_s: float
    end_s: float
    who: str


@dataclass(kw_only=True)
class EpisodeFacts:
    """One episode.

    Attributes:
        name: As people call it.
        source: File or folder.
        kind: `bag`, `dataset`, or "" for what cannot be read.
        readable: Whether anything could be read.
        duration_s: From the first message or row to the last.
        begin_s: From here on rates and gaps are judged: a recorder's pre-roll, or streams that start up, come before.
        task, operator: Texts, "" when unknown.
        success: What its recorder says; None when it does not.
        robot: Of the contract or dataset.
        judged_by: Where limits and topics come from; "" without a contract.
        pauses: Stretches without an epoch of the controller, in which no commands are due.
        lost: Stream -> (received, lost on the way, dropped by the recorder).
        findings: What reading found; the checks add to it.
    """

    name: str
    source: str
    kind: str = ""
    readable: bool = True
    duration_s: float = 0.0
    begin_s: float = 0.0
    task: str = ""
    operator: str = ""
    success: bool | None = None
    robot: str = ""
    judged_by: str = ""
    streams: list[Stream] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    in_charge: list[Charge] = field(default_factory=list)
    pauses: list[Run] = field(default_factory=list)
    lost: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """`GOOD`, `USABLE` or `BAD`: as the gravest finding says."""
        weights = {finding.weight for finding in self.findings}
        return BAD if FAULT in weights else USABLE if FLAW in weights else GOOD

    def release(self) -> None:
        """Forgets pictures, curves and times, which take most of the memory."""
        self.curves, self.streams = [], []
        for view in self.views:
            view.looks = []


def unreadable(name: str, source: str, why: str) -> EpisodeFacts:
    """An episode of which nothing can be read."""
    reason = Finding(kind="unreadable", weight=FAULT, text=why)
    return EpisodeFacts(name=name, source=source, readable=False, findings=[reason])
