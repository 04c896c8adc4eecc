"""A recorded episode as annotating needs it: its signals, when each view has a picture, and single pictures."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from beingh_core.contract import RobotContract
from beingh_core.contract.codec import SignalCodec
from beingh_core.contract.schema import POSITION_SLOTS
from beingh_core.contract.state_messages import StateMessages
from beingh_core.data.annotate.signals import Mark, Signals
from beingh_core.data.bag_files import SUCCESS, ContractBag, full_name, of_other_contract
from beingh_core.data.bags.message import text_of
from beingh_core.data.bags.writer import UNFINISHED
from beingh_core.data.camera_reader import plain_pixels
from beingh_core.data.recorded import NS
from beingh_core.data.said_tasks import said_in
from beingh_core.errors import BeingHError, shown

EVENTS = "record/events"
Opener = Callable[[Path], AbstractContextManager[Any]]
_HANDS = {
    "gripper_position": "right",
    "left_gripper_position": "left",
    "eef_position": "right",
    "left_eef_position": "left",
}
_SAMPLE_NS = 18_000_000  # joint states that come faster are thinned out
_BACK_NS = NS  # stamps that go back further are another clock
_LONGEST_WAIT_NS = 600 * NS  # for the first joint state; beyond it some log time is wrong
_MOST_MARKS = 1000
_LONGEST_NAME = 80
LONGEST_TASK = 2000


def fingerprint(bag: Any) -> str:
    """What tells a bag from every other: its topics, how many messages each has, and when the first and last came."""
    topics = sorted((name, topic.type, topic.count) for name, topic in bag.topics.items())
    text = json.dumps([topics, bag.start_ns, bag.end_ns])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class View:
    """One camera: when each of its pictures was taken ([s] after the origin, and its stamp [ns]) and recorded [ns]."""

    name: str
    times_s: np.ndarray
    stamps_ns: np.ndarray
    log_ns: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What was read of a bag.

    Attributes:
        path: of the bag.
        robot: of the contract.
        fingerprint: see `fingerprint`.
        origin_ns: stamp of the bag's first message of all topics, by the clock of the joint states; seconds count from it.
        signals: see `Signals`.
        views: the contract's cameras that have pictures.
        findings: what is wrong with the bag, for people.
    """

    path: Path
    robot: str
    fingerprint: str
    origin_ns: int
    signals: Signals
    views: tuple[View, ...]
    findings: tuple[str, ...] = ()


@dataclass
class _Read:
    """What has been read so far, in stamps [ns]."""

    stamps: list[int] = field(default_factory=list)
    positions: list[dict[str, float]] = field(default_factory=list)
    slots: list[dict[str, np.ndarray]] = field(default_factory=list)
    marks: list[tuple[int, str]] = field(default_factory=list)
    charge: list[tuple[int, str]] = field(default_factory=list)
    pictures: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    task: str = ""
    success: bool | None = None
    late_ns: int | None = None  # how much later than its stamp a joint state is recorded at least


def read(path: Path, contract: RobotContract, opener: Opener, namespace: str = "") -> Recording:
    """Reads a bag once, without decoding pictures.

    Args:
        path: Bag.
        contract: Robot.
        opener: Opens a bag.
        namespace: In which the robot's nodes were recorded.

    Raises:
        BeingHError: It cannot be read, has no joint states that fit the contract, or its clock jumps.
    """
    if path.name.endswith(UNFINISHED):
        raise BeingHError(
            "its recorder has not finished it", where=path, remedy=f"python -m beingh_core.data.bags finish {path}"
        )
    with opener(path) as bag:
        named = ContractBag(bag, contract, namespace)
        found = _read_messages(named, contract, EVENTS, path)
        custom = dict(bag.custom)
        findings, name = (*bag.findings, *of_other_contract(custom, contract)), fingerprint(bag)
        begin_ns = bag.start_ns
        found.task = found.task or said_in(named, custom).task
    if len(found.stamps) < 2:
        raise BeingHError(
            "has no joint states of this robot",
            where=path,
            allowed=[signal.topic for signal in contract.state],
            remedy="give the contract with which it was recorded, or --namespace",
        )
    if found.success is None:
        found.success = {"true": True, "false": False}.get(custom.get(SUCCESS, ""))
    origin_ns = _origin_ns(found, begin_ns)
    views = tuple(
        View(
            name=camera.name,
            times_s=np.array([(stamp - origin_ns) / NS for stamp, _ in pairs]),
            stamps_ns=np.array([stamp for stamp, _ in pairs], np.int64),
            log_ns=np.array([log for _, log in pairs], np.int64),
        )
        for camera in contract.cameras
        if (pairs := sorted(found.pictures.get(camera.topic, ())))
    )
    return Recording(
        path=path, robot=contract.robot, fingerprint=name, origin_ns=origin_ns, views=views, findings=findings,
        signals=_signals(found, contract, origin_ns),
    )  # fmt: skip


def _read_messages(bag: ContractBag, contract: RobotContract, events: str, path: Path) -> _Read:
    cameras, states = {c.topic for c in contract.cameras}, {s.topic for s in contract.state}
    found, codec, latest = _Read(), SignalCodec(contract), {}
    readers = {topic: StateMessages(contract, topic) for topic in states}
    newest_ns: dict[str, int] = {}
    for message in bag.messages(cameras | states | {events}):
        if message.topic == events:
            _take_event(found, text_of(message.inner.data), message.log_ns)
            continue
        stamp_ns = bag.stamp_ns(message) or message.log_ns
        newest = newest_ns.get(message.topic, stamp_ns)
        if stamp_ns < newest - _BACK_NS:
            raise BeingHError(
                f"{message.topic}: its clock went back by {(newest - stamp_ns) / NS:.3f} s",
                where=path,
                remedy="`beingh export` cuts such a bag into episodes; there is no annotating it",
            )
        newest_ns[message.topic] = max(newest, stamp_ns)
        if message.topic in states:
            late_ns = message.log_ns - stamp_ns
            found.late_ns = late_ns if found.late_ns is None else min(found.late_ns, late_ns)
        if message.topic in cameras:
            found.pictures.setdefault(message.topic, []).append((stamp_ns, message.log_ns))
        elif not found.stamps or stamp_ns - found.stamps[-1] >= _SAMPLE_NS:
            latest.update(readers[message.topic].read(bag.deserialise(message)).positions)
            _take_joints(found, stamp_ns, codec, latest)
        elif len(states) > 1:  # too soon for a sample, and the newest of its topic's joints
            latest.update(readers[message.topic].read(bag.deserialise(message)).positions)
    return found


def _origin_ns(found: _Read, begin_ns: int) -> int:
    """The stamp that a joint state would have had that is recorded at `begin_ns`; the first one's where log times cannot be right."""
    origin_ns = min(found.stamps[0], begin_ns - (found.late_ns or 0))
    return origin_ns if found.stamps[0] - origin_ns <= _LONGEST_WAIT_NS else found.stamps[0]


def _take_joints(found: _Read, stamp_ns: int, codec: SignalCodec, latest: dict[str, float]) -> None:
    try:
        slots = codec.encode_state(latest, found.slots[-1] if found.slots else None)
    except BeingHError:  # joints of another topic have not come yet
        return
    found.stamps.append(stamp_ns)
    found.positions.append(dict(latest))
    found.slots.append(slots)


def _take_event(found: _Read, text: str, log_ns: int) -> None:
    """An event of our recorder; what is none is left out."""
    try:
        event = json.loads(text)
        kind, stamp_ns = event["event"], event["stamp_ns"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return
    if not isinstance(stamp_ns, int) or isinstance(stamp_ns, bool) or not 0 <= stamp_ns < 1 << 63:
        stamp_ns = log_ns
    if kind in ("start", "task") and isinstance(event.get("task"), str):
        found.task = event["task"]
    elif kind == "mark" and len(found.marks) < _MOST_MARKS:
        found.marks.append((stamp_ns, shown(event.get("name"), _LONGEST_NAME).strip("'\"")))
    elif kind == "in_charge" and len(found.charge) < _MOST_MARKS:
        found.charge.append((stamp_ns, str(event.get("who"))))
    if kind in ("success", "end") and isinstance(event.get("success"), bool):
        found.success = event["success"]


def _signals(found: _Read, contract: RobotContract, origin_ns: int) -> Signals:
    after = lambda stamp_ns: (stamp_ns - origin_ns) / NS
    times_s = np.array([after(stamp) for stamp in found.stamps])
    names = list(dict.fromkeys(joint for signal in contract.state for joint in signal.joints))
    slot = lambda name: np.array([slots[name] for slots in found.slots])
    inside = lambda time_s: 0.0 <= time_s <= times_s[-1]
    return Signals(
        times_s=times_s,
        joints={name: np.array([row[name] for row in found.positions]) for name in names},
        tools={_HANDS[s.slot]: slot(s.slot) for s in contract.state if s.slot in POSITION_SLOTS},
        grippers={
            _HANDS[s.slot]: slot(s.slot)[:, 0] for s in contract.state if s.slot in _HANDS and s.closed is not None
        },
        marks=tuple(Mark(time_s=after(t), name=n) for t, n in sorted(found.marks) if inside(after(t))),
        person=_stretches([(after(t), who) for t, who in found.charge], times_s[-1]),
        task="".join(c for c in " ".join(found.task.split()) if c.isprintable())[:LONGEST_TASK],
        success=found.success,
    )


def _stretches(charge: Iterable[tuple[float, str]], end_s: float) -> tuple[tuple[float, float], ...]:
    """From when to when a person was in charge."""
    found, since = [], None
    for time_s, who in charge:
        if who == "person" and since is None:
            since = max(0.0, time_s)
        elif who != "person" and since is not None:
            found.append((since, time_s))
            since = None
    if since is not None:
        found.append((since, float(end_s)))
    return tuple((low, high) for low, high in found if low < high)


class Closed(Exception):
    """The bag has been closed meanwhile."""


class Pictures:
    """Single pictures of one recording, as JPEG; keeps its bag open. Any thread.

    Args:
        recording: As `read` gave it.
        contract, opener, namespace: As there.
    """

    def __init__(self, recording: Recording, contract: RobotContract, opener: Opener, namespace: str = "") -> None:
        self._recording, self._lock = recording, threading.Lock()
        self._cameras = {camera.name: camera for camera in contract.cameras}
        self._open = opener(recording.path)
        self._bag = self._open.__enter__()
        self._full = {name: full_name(camera.topic, namespace) for name, camera in self._cameras.items()}

    def close(self) -> None:
        """Close the bag."""
        with self._lock:
            if self._open is not None:
                self._open.__exit__(None, None, None)
                self._open = None

    def jpeg(self, view: str, index: int, largest: int = 640) -> bytes:
        """A picture, made smaller where a side is longer than `largest` pixels.

        Raises:
            BeingHError: No such view or picture, or one that does not fit the contract.
            Closed: After `close`.
        """
        found = next((one for one in self._recording.views if one.name == view), None)
        if found is None:
            raise BeingHError(f"there is no view {shown(view)}", allowed=[one.name for one in self._recording.views])
        if not 0 <= index < len(found.log_ns):
            raise BeingHError(f"there is no picture {index}", where=view, allowed=f"0 to {len(found.log_ns) - 1}")
        with self._lock:
            if self._open is None:
                raise Closed
            message = self._message(self._full[view], int(found.log_ns[index]), int(found.stamps_ns[index]))
            if message is None:
                raise BeingHError(f"picture {index} is not in the bag any more", where=view)
            pixels = plain_pixels(self._bag.deserialise(message), self._cameras[view])
        picture = Image.fromarray(pixels)
        picture.thumbnail((largest, largest))
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=85)
        return stream.getvalue()

    def _message(self, topic: str, log_ns: int, stamp_ns: int):
        """With simulated time, several messages may have been recorded at one time."""
        messages = self._bag.messages([topic], log_ns, log_ns + 1)
        return next((m for m in messages if (self._bag.stamp_ns(m) or m.log_ns) == stamp_ns), None)

    def at(self, view: str, time_s: float, largest: int = 640) -> bytes:
        """The newest picture of a view at a time, else its first one; see `jpeg`."""
        times_s = next(one.times_s for one in self._recording.views if one.name == view)
        return self.jpeg(view, max(0, int(np.searchsorted(times_s, time_s, "right")) - 1), largest)
