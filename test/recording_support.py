"""A recording in memory that can be opened as a bag, with the FR3's topics."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace as Message
from typing import Any

import numpy as np

from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError

NS = 1_000_000_000
BEGIN = 100 * NS
SHAPE = (48, 64)
JOINTS, BUFFER = "joint_states", "/controller/buffer"
CONTRACT = load_contract("fr3")
CHARGE, EVENTS = "/record/in_charge", "/record/events"
SCENE, WRIST = (camera.topic for camera in CONTRACT.cameras)


def posture(stamp_ns):
    """Commanded and measured positions at a time (J,)."""
    return np.array(CONTRACT.home) + 0.02 * np.sin((stamp_ns - BEGIN) / NS + np.arange(len(CONTRACT.home)))


def image(number, encoding="rgb8"):
    """Flat grey that tells its number."""
    data = np.full((*SHAPE, 3), number % 256, np.uint8).tobytes()
    return Message(height=SHAPE[0], width=SHAPE[1], step=3 * SHAPE[1], encoding=encoding, is_bigendian=0, data=data)


def joint_state(stamp_ns):
    return Message(name=list(CONTRACT.joint_names), position=posture(stamp_ns).tolist(), velocity=[])


def plan(stamp_ns):
    now = Message(sec=0, nanosec=0)
    points = [Message(positions=posture(stamp_ns + k * NS // 20).tolist(), time_from_start=now) for k in range(2)]
    return Message(joint_names=list(CONTRACT.joint_names), points=points)


@dataclass
class Recorded:
    topic: str
    log_ns: int
    stamp: int
    content: Any


@dataclass
class FakeBag:
    """`lost`: topic -> (from [s], to [s]) without messages; `latency_ns`: from stamp to log time, by topic; `charge`:
    (from [s], who) of each tick; `events`: (at [s], event)."""

    seconds: float = 2.0
    custom: dict = field(default_factory=lambda: {"beingh_task": "pick up the red cube"})
    lost: dict = field(default_factory=dict)
    latency_ns: dict = field(default_factory=dict)
    encoding: str = "rgb8"
    without: tuple = ()
    stamped: bool = True
    findings: tuple = ()
    offset_ns: int = 0
    charge: tuple = ()
    events: tuple = ()

    def __post_init__(self):
        kinds = {JOINTS: (100, joint_state), BUFFER: (20, plan), SCENE: (30, None), WRIST: (30, None)}
        found = []
        for topic, (rate, make) in kinds.items():
            if topic in self.without:
                continue
            low, high = self.lost.get(topic, (0, 0))
            for number in range(round(self.seconds * rate)):
                if low <= number / rate < high:
                    continue
                stamp = BEGIN + number * NS // rate
                content = make(stamp) if make else image(number, self.encoding)
                found.append(
                    Recorded(topic, stamp + self.latency_ns.get(topic, 2_000_000), stamp + self.offset_ns, content)
                )
        found += [Recorded(CHARGE, when + 3_000_000, when, content) for when, content in self._charges()]
        for at_s, event in self.events:
            when = BEGIN + round(at_s * NS)
            text = json.dumps({"stamp_ns": when, **event})
            found.append(Recorded(EVENTS, when, 0, Message(data=text)))
        self.recorded = sorted(found, key=lambda message: message.log_ns)
        counts = Counter(message.topic for message in found)
        self.topics = {
            topic: Message(type="", count=counts[topic])
            for topic in [*kinds, *((CHARGE,) if self.charge else ()), *((EVENTS,) if self.events else ())]
            if topic not in self.without
        }
        self.start_ns, self.end_ns = self.recorded[0].log_ns, self.recorded[-1].log_ns

    def _charges(self):
        for tick in range(round(20 * self.seconds)) if self.charge else ():
            when = BEGIN + tick * NS // 20
            who = [who for from_s, who in self.charge if from_s <= tick / 20][-1]
            yield when, Message(stamp=Message(sec=when // NS, nanosec=when % NS), frame_id=who)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def messages(self, topics):
        return (message for message in self.recorded if message.topic in set(topics))

    def deserialise(self, message):
        return message.content

    def stamp_ns(self, message):
        return message.stamp if self.stamped else 0


BAGS = {
    "whole": {},
    "long": {"seconds": 3.0},
    "gap": {"seconds": 3.0, "lost": {WRIST: (1.0, 1.6)}},
    "no_wrist": {"without": (WRIST,)},
    "other_encoding": {"encoding": "bgr8"},
    "no_task": {"custom": {}},
    "no_commands": {"without": (BUFFER,)},
    "short": {"seconds": 0.3},
    "cut_off": {"findings": ("bag.mcap: cut off at byte 1000",)},
    "failed": {"custom": {"beingh_task": "pick up the red cube", "beingh_success": "false"}},
    "corrected": {
        "seconds": 3.0,
        "custom": {"beingh_task": "pick up the red cube", "beingh_success": "true", "beingh_operator": "Ada"},
        "charge": ((0.0, "nobody"), (0.2, "policy"), (1.0, "person"), (2.0, "policy")),
        "events": (
            (0.5, {"event": "mark", "name": "contact"}),
            (1.0, {"event": "in_charge", "who": "person"}),
            (1.6, {"event": "mark", "name": "release"}),
            (9.0, {"event": "mark", "name": "too late"}),
        ),
    },
    "taught": {"charge": ((0.0, "person"),)},
    "other_contract": {"custom": {"beingh_task": "pick up the red cube", "beingh_contract_hash": "abc"}},
}


def open_and_die(path: Path):
    """As `open_fake`, but a worker process is killed by it."""
    if multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return open_fake(path)


def open_slowly(path: Path):
    """A bag that takes a minute to open."""
    print("opened", flush=True)
    time.sleep(60)


def open_fake(path: Path):
    """Opens one of `BAGS` by the path's name."""
    if path.name not in BAGS:
        raise BeingHError("there is no such bag", where=path)
    return FakeBag(**BAGS[path.name])
