"""Joint positions of a bag: what was measured, and what was commanded."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.contract.schema import JOINT_SOURCES
from beingh_core.data.command_messages import named_positions
from beingh_core.data.doctor import known_contract
from beingh_core.data.doctor.facts import COMMANDS, FAULT, FLAW, JOINTS, Curve, Finding, Stream
from beingh_core.errors import BeingHError

STILL = 0.01  # a joint rests while it moves less than this [rad], or 3 % of what it moves in the episode
STILL_SHARE, STILL_LEAST = 0.03, 5e-4
MOST_JOINTS = 500  # a topic with more names than this is no robot
_JOINT_STATE = "sensor_msgs/msg/JointState"
_UNKNOWN_GRIP = (math.nan, math.nan)
GRIP_NAMES = ("grip", "finger")


class Positions:
    """Collects the joints of one bag; names and units are the contract's, or those of the messages.

    Args:
        bag: Open.
        contract: Robot, or None.
        full: Gives the full name of a contract's topic.
        streams: The bag's.

    Attributes:
        topics: Those whose messages it takes.
    """

    def __init__(
        self, bag: Any, contract: RobotContract | None, full: Callable[[str], str], streams: Mapping[str, Stream]
    ) -> None:
        self._bag, self._contract = bag, contract
        buffers = [name for name in streams if name.endswith("controller/buffer") and streams[name].count]
        commands = [name for name, s in streams.items() if s.role == COMMANDS and (not buffers or name in buffers)]
        states = [name for name, s in streams.items() if s.role == JOINTS and s.type == _JOINT_STATE]
        self.topics = {*commands, *states}
        self._commands = set(commands)
        self._wires, self._wanted = {}, {}
        self._limits, self._grips, self._needed = {}, {}, set()
        if contract is not None:
            self._limits, self._grips = known_contract.limits(contract), known_contract.grips(contract)
            named = {full(s.topic): s.topic for s in contract.state if s.source in JOINT_SOURCES}
            self._wires = {name: contract.wire_of(topic).positions for name, topic in named.items()}
            self._wires |= {full(g.topic): g.wire.positions for g in contract.command_groups if g.wire is not None}
            for signal in contract.state:
                if signal.source in JOINT_SOURCES:
                    self._wanted.setdefault(full(signal.topic), set()).update(signal.joints)
            self._needed = set(contract.joint_names).union(*self._wanted.values())
        # Of each topic and each set of names: times, and rows of values.
        self._found: dict[tuple[str, tuple[str, ...]], tuple[array, array]] = {}
        self._bad: dict[str, list] = {}

    def take(self, log_ns: int, message: Any) -> None:
        """A message."""
        try:
            _, values = named_positions(self._bag.deserialise(message))
            values = self._wires.get(message.topic, dict)(values)
        except BeingHError as error:
            count = self._bad.setdefault(message.topic, [0, error.what, log_ns])
            count[0] += 1
            return
        key = (message.topic, tuple(values))
        pair = self._found.get(key)
        if pair is None:
            if sum(len(names) for _, names in self._found) + len(values) > MOST_JOINTS:
                return
            pair = self._found[key] = (array("q"), array("d"))
        pair[0].append(log_ns)
        pair[1].extend(values.values())

    def curves(self, begin_ns: int, end_ns: int, findings: list[Finding]) -> list[Curve]:
        """All joints between two log times, with their limits."""
        parts: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = {}
        for (topic, names), (logs, values) in self._found.items():
            times = np.frombuffer(logs, np.int64)
            inside = (times >= begin_ns) & (times <= end_ns)
            times_s = (times[inside] - begin_ns) * 1e-9
            rows_NJ = np.frombuffer(values, np.float64).reshape(len(times), len(names))
            rows_NJ = rows_NJ if inside.all() else rows_NJ[inside]
            for column, name in enumerate(names):
                parts.setdefault((topic, name), []).append((times_s, rows_NJ[:, column]))
        self._tell(begin_ns, findings)
        return [self._curve(topic, name, *_joined(found)) for (topic, name), found in parts.items()]

    def _curve(self, topic: str, name: str, times_s: np.ndarray, values: np.ndarray) -> Curve:
        lower, upper, tolerance = self._limits.get(name, (-math.inf, math.inf, 0.0))
        unknown = _UNKNOWN_GRIP if any(word in name.lower() for word in GRIP_NAMES) else None
        return Curve(
            group=topic, name=name, times_s=times_s, values=values, lower=lower, upper=upper, tolerance=tolerance,
            still=still_of(values), grip=self._grips.get(name, None if self._contract else unknown),
            commanded=topic in self._commands, needed=self._contract is None or name in self._needed,
        )  # fmt: skip

    def _tell(self, begin_ns: int, findings: list[Finding]) -> None:
        """Messages that cannot be read, and joints that never come."""
        for topic, (count, why, log_ns) in self._bad.items():
            of = self._bag.topics[topic].count
            text, weight = f"{count} of {of} messages cannot be read: {why}", FAULT if count > 0.1 * of else FLAW
            first_s = max(0.0, (log_ns - begin_ns) * 1e-9)
            findings.append(Finding(kind="message", weight=weight, text=text, topic=topic, start_s=first_s))
        for topic, wanted in self._wanted.items():
            lacking = sorted(wanted - {name for there, names in self._found if there == topic for name in names})
            if lacking and topic in self.topics and self._bag.topics[topic].count and topic not in self._bad:
                text = f"the joints {', '.join(lacking)} never come"
                findings.append(Finding(kind="joints", weight=FAULT, text=text, topic=topic))


def _joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """One joint's values from messages with different names beside it, by time."""
    if len(parts) == 1:
        return parts[0]
    times, values = (np.concatenate(arrays) for arrays in zip(*parts))
    order = np.argsort(times, kind="stable")
    return times[order], values[order]


def still_of(values: np.ndarray) -> float:
    """By how much a joint may move and still rests [rad or m]."""
    finite = values[np.isfinite(values)]
    span = float(np.ptp(finite)) if finite.size else 0.0
    return min(STILL, max(STILL_LEAST, STILL_SHARE * span))
