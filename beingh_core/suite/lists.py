"""Lists in options of `beingh suite`."""

from __future__ import annotations


def listed(text: str) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
