"""Joint positions of a bag: what was measured, and what was commanded."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.contract.schema import JOINT_SOURCES
from beingh_core.data.contract_rows import joint_positions
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
        if contract is not None:
            named = {full(s.topic): s.topic for s in contract.state if s.source in JOINT_SOURCES}
            self._wires = {name: contract.wire_of(topic).positions for name, topic in named.items()}
            self._wires |= {full(g.topic): g.wire.positions for g in contract.command_groups if g.wire is not None}
            for signal in contract.state:
                if signal.source in JOINT_SOURCES:
                    self._wanted.setdefault(full(signal.topic), set()).update(signal.joints)
        self._found: dict[tuple[str, str], tuple[array, array]] = {}
        self._bad: dict[str, list] = {}

    def take(self, log_ns: int, message: Any) -> None:
        """A message."""
        try:
            values = joint_positions(self._bag.deserialise(message))
            values = self._wires.get(message.topic, dict)(values)
        except BeingHError as error:
            count = self._bad.setdefault(message.topic, [0, error.what, log_ns])
            count[0] += 1
            return
        for name, value in values.items():
            key = (message.topic, name)
            pair = self._found.get(key)
            if pair is None:
                if len(self._found) >= MOST_JOINTS:
                    continue
                pair = self._found[key] = (array("q"), array("d"))
            pair[0].append(log_ns)
            pair[1].append(value)

    def curves(self, begin_ns: int, end_ns: int, findings: list[Finding]) -> list[Curve]:
        """All joints between two log times, with their limits."""
        limits = known_contract.limits(self._contract) if self._contract else {}
        grips = known_contract.grips(self._contract) if self._contract else {}
        curves = []
        for (topic, name), (logs, values) in self._found.items():
            times = np.frombuffer(logs, np.int64)
            inside = (times >= begin_ns) & (times <= end_ns)
            lower, upper, tolerance = limits.get(name, (-math.inf, math.inf, 0.0))
            unknown = _UNKNOWN_GRIP if any(word in name.lower() for word in GRIP_NAMES) else None
            curves.append(Curve(
                group=topic, name=name, times_s=(times[inside] - begin_ns) * 1e-9,
                values=np.frombuffer(values, np.float64)[inside], lower=lower, upper=upper, tolerance=tolerance,
                grip=grips.get(name, None if self._contract else unknown), commanded=topic in self._commands,
            ))  # fmt: skip
        for curve in curves:
            curve.still = still_of(curve.values)
        self._tell(begin_ns, findings)
        return curves

    def _tell(self, begin_ns: int, findings: list[Finding]) -> None:
        """Messages that cannot be read, and joints that never come."""
        for topic, (count, why, log_ns) in self._bad.items():
            of = self._bag.topics[topic].count
            text, weight = f"{count} of {of} messages cannot be read: {why}", FAULT if count > 0.1 * of else FLAW
            first_s = max(0.0, (log_ns - begin_ns) * 1e-9)
            findings.append(Finding(kind="message", weight=weight, text=text, topic=topic, start_s=first_s))
        for topic, wanted in self._wanted.items():
            lacking = sorted(wanted - {name for there, name in self._found if there == topic})
            if lacking and topic in self.topics and self._bag.topics[topic].count and topic not in self._bad:
                text = f"the joints {', '.join(lacking)} never come"
                findings.append(Finding(kind="joints", weight=FAULT, text=text, topic=topic))


def still_of(values: np.ndarray) -> float:
    """By how much a joint may move and still rests [rad or m]."""
    finite = values[np.isfinite(values)]
    span = float(np.ptp(finite)) if finite.size else 0.0
    return min(STILL, max(STILL_LEAST, STILL_SHARE * span))
