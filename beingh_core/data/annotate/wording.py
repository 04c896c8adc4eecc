"""Texts of subtasks, from what moves and from the words of the task."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PICK = re.compile(
    r"^(?:please\s+)?(?:pick(?:\s+up)?|grasp|grab|take|lift|hold|get|put|place|move|bring|drop|insert|stack|push)\s+(.+)$",
    re.IGNORECASE,
)
_THEN = re.compile(r"\s+(?:and|then)\s+|[,.;]")
_TARGET = re.compile(r"\s+((?:up\s+)?(?:into|onto|in|on|to|at|next to|beside|under|behind|from)\s+.+)$", re.IGNORECASE)

_TO = re.compile(r"^(?:into|onto|in|on)\s+", re.IGNORECASE)
_LONGEST = 80  # what is longer is no name


@dataclass(frozen=True)
class TaskWords:
    """What a task names: the thing that is handled, and where it goes; "" for what it does not say."""

    thing: str = ""
    target: str = ""


def words_of(task: str) -> TaskWords:
    """The thing and the place in a task such as `put the red cube into the bowl`.

    Only simple English orders are understood; of anything else nothing is said.
    """
    parts = [part for part in _THEN.split(" ".join(task.split())) if part]
    found = _PICK.match(parts[0]) if parts else None
    if not found:
        return TaskWords()
    thing, target = found[1], ""
    places = [part for part in parts if _TARGET.search(part)]
    inside = _TARGET.search(thing)
    if inside:
        thing = thing[: inside.start()]
    if places and not _TARGET.search(places[-1])[1].lower().startswith(("from", "at")):
        target = _TARGET.search(places[-1])[1]
    fits = len(thing) <= _LONGEST and len(target) <= _LONGEST
    return TaskWords(thing.removesuffix(" up"), target) if fits else TaskWords()


def text_of(kind: str, task: TaskWords, hand: str = "") -> str:
    """The text of a kind of segment (see `proposal`).

    Args:
        kind: One of the keys below.
        task: What is handled.
        hand: Its name, where there are several.
    """
    thing = task.thing
    texts = {
        "reach": f"reach for {thing}" if thing else "reach",
        "grasp": f"grasp {thing}" if thing else "grasp",
        "lift": f"lift {thing}" if thing else "lift",
        "carry": " ".join(filter(None, ("carry", thing, _TO.sub("to ", task.target)))),
        "lower": " ".join(filter(None, ("lower", thing, task.target))),
        "hold": f"hold {thing}" if thing else "hold still",
        "release": f"release {thing}" if thing else "release",
        "away": "move away",
        "move": "move",
        "wait": "wait",
    }
    return texts[kind] + (f" with the {hand} hand" if hand and kind in ("grasp", "release") else "")
