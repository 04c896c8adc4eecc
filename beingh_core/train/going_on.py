"""A run that goes on: what its settings were, and which of them are others now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beingh_core.errors import BeingHError

_TOLD = 8
"""Changed settings that are told one by one."""
_ANYWHERE = ("out", "resume", "log", "data.cache", "data.workers", "data.prefetch")
"""Settings without effect on what is learnt."""


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Key -> (value before, value now) of the settings that differ; of keys that both know."""
    found = {}
    for key, old, new in _pairs(before, now, ""):
        same = old == new or (key == "checkpoint" and Path(old).resolve() == Path(new).resolve())
        if not same and not any(key == one or key.startswith(one + ".") for one in _ANYWHERE):
            found[key] = (old, new)
    return found


def check(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What to tell about a run that goes on with other settings; "" where all are as before.

    Args:
        folder: The checkpoint that it goes on from.
        before: The settings in its training.json.
        now: Those of this start.

    Raises:
        BeingHError: It began from other weights than these settings say, which would never be read.
    """
    found = changed(before, now)
    for key, (old, new) in found.items():
        if key == "checkpoint" or key.partition(".")[0] == "start":
            raise BeingHError(
                f"this run began with {key} {_shown(old)}; it goes on from {folder.name} and would never read {_shown(new)}",
                where=folder.parent,
                remedy=f"give another `out` to begin anew, or put {key} back to go on; what only moved can leave a link in its place",
            )
    if not found:
        return ""
    told = [f"{key} {_shown(new)} (was {_shown(old)})" for key, (old, new) in list(found.items())[:_TOLD]]
    more = f" and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
    return f"note: other settings than before: {', '.join(told)}{more}"


def _pairs(before: Any, now: Any, key: str):
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in before.keys() & now.keys():
            yield from _pairs(before[name], now[name], f"{key}.{name}" if key else str(name))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for place, (old, new) in enumerate(zip(before, now)):
            yield from _pairs(old, new, f"{key}.{place}")
    else:
        yield key, before, now


def _shown(value: Any) -> str:
    text = str(value)
    return "nothing" if value in (None, "") else text if len(text) <= 80 else text[:77] + "..."
