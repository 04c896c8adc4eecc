"""Lists in options of `beingh suite`."""

from __future__ import annotations

from beingh_core.errors import BeingHError


def listed(text: str) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def numbers(text: str, option: str) -> tuple[int, ...]:
    """Whole numbers between commas.

    Raises:
        BeingHError: Something else is there; names the option.
    """
    try:
        return tuple(int(part) for part in listed(text))
    except ValueError:
        raise BeingHError(f"`{text}` is no list of numbers", where=option, allowed="whole numbers, as 0,2,4") from None
