"""Joints that come under other names than the contract's: which ones, and what they have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from beingh_core.errors import nearest, shown

_KEPT = 100  # names from strangers
_TOLD = 4
_LONGEST = 200  # of a name that is compared with others


class ForeignNames:
    """The names received on a topic that are not wanted there. One writer; reading from another thread is safe.

    What was told is kept until names are new: who waits for joints asks with every message.

    Args:
        wanted: Names of the contract.
    """

    def __init__(self, wanted: Iterable[str]) -> None:
        self._wanted = frozenset(wanted)
        self._names: dict[str, None] = {}
        self._told: tuple[tuple[str, ...], int, str] = ((), 0, "")

    def add(self, names: Iterable[str]) -> None:
        """Note the names of one message."""
        for name in names:
            if len(self._names) >= _KEPT:
                return
            if name not in self._wanted:
                self._names[name] = None

    def told(self, missing: Sequence[str]) -> str:
        """What came instead of the missing joints, as the rest of a sentence; "" when nothing did."""
        names = list(self._names)
        if not names or not missing:
            return ""
        told = self._told
        if told[:2] != (tuple(missing), len(names)):
            told = self._told = (tuple(missing), len(names), _compared(names, missing))
        return told[2]


def _compared(names: Sequence[str], missing: Sequence[str]) -> str:
    text = f"; instead come {_listed(names)}"
    short = [name for name in names if len(name) <= _LONGEST]
    affixes = _affixes(missing, short)
    if affixes is not None:
        parts = zip(("prefix", "suffix"), affixes)
        text += ": the names have the " + " and the ".join(f"{kind} {shown(part)}" for kind, part in parts if part)
    else:
        near = nearest(missing[0], short)
        text += f"; nearest to `{missing[0]}`: {_listed(near)}" if near else ""
    return f"{text}. To fix: the joint names of the contract must be those of the robot"


def _affixes(missing: Sequence[str], names: Sequence[str]) -> tuple[str, str] | None:
    """What stands before and behind each missing name, when all of them came with the same."""
    for name in names:
        if missing[0] in name:
            before, behind = name.split(missing[0], 1)
            if all(f"{before}{joint}{behind}" in names for joint in missing):
                return before, behind
    return None


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return ", ".join(shown(name).strip("'\"") for name in names[:_TOLD]) + more
