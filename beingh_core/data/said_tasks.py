"""What the robot was told to do during one recording, from its metadata, the recorder's events and the instructions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from beingh_core.data.in_charge import EVENTS, event_of

INSTRUCTION = "policy/instruction"  # topic: std_msgs/String
TASK = "beingh_task"  # in a bag's custom data: what was said last
_TEXT = "std_msgs/msg/String"


class SaidTasks:
    """The tasks of one recording, taken in the order of its log times.

    What was said before the recorder's start counts only where the start names no task, and then the last one.

    Args:
        custom: `custom_data` of the bag's metadata.
    """

    def __init__(self, custom: Mapping[str, str] | None = None) -> None:
        self._finished = str((custom or {}).get(TASK, "")).strip()
        self._newest = ""
        self._said: list[str] = []
        self._by_events: set[str] = set()

    def event(self, event: Mapping[str, Any]) -> None:
        """An event of the recorder."""
        kind, task = event.get("event"), event.get("task")
        if kind not in ("start", "task"):
            return
        text = task.strip() if isinstance(task, str) else ""
        if kind == "start":
            self._said = self._said[-1:] if not text else []
        if text:
            self._by_events.add(text)
            self._said.append(text)

    def instruct(self, text: str) -> None:
        """An instruction to the policy; the same one again says nothing new."""
        text = text.strip()
        if text == self._newest:
            return
        self._newest = text
        if text:
            self._said.append(text)

    @property
    def different(self) -> tuple[str, ...]:
        """The texts that held during the recording, each once; several where it holds more than one task."""
        return tuple(dict.fromkeys(self._said))

    @property
    def task(self) -> str:
        """The task: of the metadata, else what was said last, as the recorder writes it there; "" for none."""
        return self._finished or (self._said[-1] if self._said else "")

    @property
    def stand_in(self) -> str:
        """What has told the task in place of the metadata, in words; "" where those do, or nothing does."""
        if self._finished or not self.task:
            return ""
        return "the recorder's events" if self.task in self._by_events else f"the last {INSTRUCTION}"


def said_in(named: Any, custom: Mapping[str, str] | None) -> SaidTasks:
    """The tasks of a bag.

    Args:
        named: A `ContractBag`.
        custom: Its `custom_data`.
    """
    said = SaidTasks(custom)
    topics = [name for name in (EVENTS, INSTRUCTION) if name in named.topics and named.type_of(name) in ("", _TEXT)]
    for message in named.messages(topics) if topics else ():
        text = named.deserialise(message).data
        if message.topic == INSTRUCTION:
            said.instruct(text)
        else:
            said.event(event_of(text) or {})
    return said


def listed(texts: Iterable[str]) -> str:
    """Texts in quotation marks, none longer than a line."""
    return ", ".join(f"`{text if len(text) <= 60 else text[:60] + '...'}`" for text in texts)
