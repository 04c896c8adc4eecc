"""Bags as the export sees them: opened only when they are needed, with the contract's names of the topics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from beingh_core.contract import RobotContract
from beingh_core.data.command_messages import BASE_BUFFER, BUFFER
from beingh_core.data.in_charge import CHARGE, EVENTS
from beingh_core.data.said_tasks import INSTRUCTION, TASK
from beingh_core.errors import BeingHError

# Names in a bag's custom data, beside `TASK`: "true", "false" or "" for success; hash of the contract.
SUCCESS, HASH = "beingh_success", "beingh_contract_hash"
__all__ = ["HASH", "SUCCESS", "TASK", "ContractBag", "full_name", "of_other_contract", "open_bag"]


def open_bag(path: Path) -> AbstractContextManager:
    """A bag directory or file as a `resample.BagReader`.

    Raises:
        BeingHError: No bag that can be read, or a library is missing.
    """
    try:
        from beingh_core.data import bags
    except ImportError as error:
        raise BeingHError(
            f"bags cannot be read here ({error})", where=path, remedy="`pip install mcap rosbags`"
        ) from None
    return bags.open_bag(path)


def of_other_contract(custom: Mapping[str, str], contract: RobotContract) -> list[str]:
    """What to tell of a bag that was recorded with another contract; nothing of any other."""
    if custom.get(HASH, contract.hash) == contract.hash:
        return []
    return ["it was recorded with another contract: rates, joints, slots or frames differ"]


class _Named(NamedTuple):
    topic: str
    log_ns: int
    inner: Any


class ContractBag:
    """A bag whose topics have the names that a contract gives them; see `resample.BagReader`.

    Args:
        bag: The bag; its topics have full names.
        contract: Robot.
        namespace: In which its nodes were recorded.
    """

    def __init__(self, bag: Any, contract: RobotContract, namespace: str = "") -> None:
        names = {camera.topic for camera in contract.cameras} | {signal.topic for signal in contract.state}
        names |= {group.topic for group in contract.command_groups} | set(contract.joint_state_topics)
        names |= {camera.undistort for camera in contract.cameras if camera.undistort}
        names |= {BUFFER, BASE_BUFFER, EVENTS, CHARGE, INSTRUCTION}
        full = {name: full_name(name, namespace) for name in names}
        self._bag, self._full = bag, {name: there for name, there in full.items() if there in bag.topics}
        own = {there: name for name, there in self._full.items()}
        self.path = getattr(bag, "path", None)
        self.topics = [own.get(topic, topic) for topic in bag.topics]
        self._own = own

    @property
    def start_ns(self) -> int | None:
        """Log time of the first message of all topics [ns], from which seconds in messages count; None when unknown."""
        return getattr(self._bag, "start_ns", None) or None

    def type_of(self, topic: str) -> str:
        """Message type of a topic, "" where the bag does not say."""
        topics = self._bag.topics
        told = topics.get(self._full.get(topic, topic)) if isinstance(topics, Mapping) else None
        return getattr(told, "type", "")

    def messages(self, topics: Iterable[str]) -> Iterator[_Named]:
        """Serialised messages by log time."""
        for message in self._bag.messages([self._full.get(topic, topic) for topic in topics]):
            yield _Named(self._own.get(message.topic, message.topic), message.log_ns, message)

    def deserialise(self, message: _Named) -> Any:
        """A message with its fields."""
        return self._bag.deserialise(message.inner)

    def stamp_ns(self, message: _Named) -> int | None:
        """Time in its header [ns]."""
        return self._bag.stamp_ns(message.inner)


def full_name(topic: str, namespace: str) -> str:
    """A topic's name in a recording of nodes in a namespace."""
    return topic if topic.startswith("/") else "/" + "/".join(part for part in (namespace.strip("/"), topic) if part)
