"""What people did, as our recorder writes it into a bag: start, marks, verdict, who is in charge, what was lost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from beingh_core.data.doctor.facts import FLAW, NOTE, Charge, EpisodeFacts, Finding, Mark
from beingh_core.data.said_tasks import SaidTasks, listed

_LONGEST_TEXT = 500
STARTS = "recording starts"  # the mark of a start event


class Events:
    """The events of one bag.

    Args:
        custom: `custom_data` of its metadata.
    """

    def __init__(self, custom: Mapping[str, str]) -> None:
        self._custom = custom
        self._tasks = SaidTasks(custom)
        self._seen: list[tuple[int, dict[str, Any]]] = []
        self._ticks: list[list] = []

    @staticmethod
    def contract_in(text: str) -> str:
        """The contract's text in a start event."""
        found = _parsed(text)
        return found["contract"] if isinstance(found.get("contract"), str) else ""

    def take(self, log_ns: int, text: str) -> bool:
        """An event; whether it is worth a picture."""
        found = _parsed(text)
        found.pop("contract", None)
        self._seen.append((log_ns, found))
        self._tasks.event(found)
        return found.get("event") in ("mark", "in_charge")

    def instruct(self, text: str) -> None:
        """An instruction to the policy."""
        self._tasks.instruct(text)

    def tick(self, log_ns: int, who: str) -> None:
        """Who is in charge of a tick."""
        if self._ticks and self._ticks[-1][2] == who:
            self._ticks[-1][1] = log_ns
        else:
            if self._ticks:
                self._ticks[-1][1] = log_ns
            self._ticks.append([log_ns, log_ns, who])

    @property
    def started(self) -> bool:
        """Whether the recorder says when the episode starts."""
        return any(event.get("event") == "start" for _, event in self._seen)

    def into(self, facts: EpisodeFacts, begin_ns: int, end_ns: int) -> None:
        """Writes everything into the facts of an episode that lies between two log times."""
        at = lambda log_ns: min(max(0.0, (log_ns - begin_ns) * 1e-9), facts.duration_s)
        facts.task = _text(self._tasks.task)
        facts.operator = _text(self._custom.get("beingh_operator"))
        facts.success = {"true": True, "false": False}.get(self._custom.get("beingh_success", ""))
        facts.in_charge = [Charge(start_s=at(s), end_s=at(e), who=_text(who)) for s, e, who in self._ticks]
        ended = None
        for log_ns, event in self._seen:
            kind = event.get("event")
            if kind == "start":
                facts.operator = facts.operator or _text(event.get("operator"))
                facts.robot = _text(event.get("robot"))
                facts.begin_s = facts.begin_s or at(log_ns)
                facts.marks.append(Mark(time_s=at(log_ns), name=STARTS))
            elif kind == "mark":
                facts.marks.append(Mark(time_s=at(log_ns), name=_text(event.get("name")) or "mark"))
            elif kind == "in_charge" and event.get("who"):
                facts.marks.append(Mark(time_s=at(log_ns), name=f"{_text(event['who'])} in charge"))
            elif kind == "end":
                ended = event
        if self._seen and not facts.task:
            facts.findings.append(Finding(kind="task", weight=FLAW, text="it does not say its task"))
        if len(self._tasks.different) > 1:
            why = f"it holds several instructions ({listed(self._tasks.different)}): export needs --task"
            facts.findings.append(Finding(kind="tasks", weight=FLAW, text=why))
        elif self._tasks.stand_in and ended is None:
            why = f"its task is taken from {self._tasks.stand_in}: its metadata has none"
            facts.findings.append(Finding(kind="task_source", weight=NOTE, text=why))
        if ended is not None:
            facts.success = ended.get("success") if isinstance(ended.get("success"), bool) else facts.success
            facts.lost = _losses(ended.get("topics"))
            if ended.get("reason") and ended.get("complete") is not True:
                why = f"the recorder ended it: {_text(ended['reason'])}"
                facts.findings.append(Finding(kind="ended", weight=FLAW, text=why))
        elif self._seen:
            facts.findings.append(Finding(kind="end", weight=FLAW, text="its recorder has not written its end"))
        if facts.success is False:
            facts.findings.append(Finding(kind="failure", weight=NOTE, text="its recorder calls it a failure"))


def _losses(topics: Any) -> dict[str, tuple[int, int, int]]:
    found = {}
    for name, counts in topics.items() if isinstance(topics, dict) else ():
        try:
            found[_text(name)] = tuple(int(counts.get(key, 0)) for key in ("received", "lost", "dropped"))
        except (AttributeError, TypeError, ValueError):
            continue
    return found


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "..."
