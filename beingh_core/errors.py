"""The one exception class for what a user can fix, and values as it shows them."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterable

_MOST_LISTED = 60
MAX_PLACE = 600


class BeingHError(Exception):
    """A mistake in a file, a setting or an input, told in one message.

    Programmer mistakes are assertions or built-in exceptions; this class is for what whoever runs
    the software can put right.

    Args:
        what: what is wrong, with the bad value.
        where: file, line's key or stream the mistake is in.
        allowed: the values that would have been accepted.
        remedy: what to do next.
    """

    def __init__(
        self,
        what: str,
        *,
        where: object | None = None,
        allowed: Iterable[object] | str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.what = what
        self.where = None if where is None else _short(str(where))
        if allowed is not None and not isinstance(allowed, str):
            allowed = _listed([str(value) for value in allowed])
        self.allowed = allowed
        self.remedy = remedy
        super().__init__(what)

    def __str__(self) -> str:
        text = self.what if self.where is None else f"{self.where}: {self.what}"
        sentences = [text]
        if self.allowed:
            sentences.append(f"Allowed: {self.allowed}")
        if self.remedy:
            sentences.append(f"To fix: {self.remedy}")
        return " ".join(s if s.endswith((".", "?", "!")) else f"{s}." for s in sentences)

    def __reduce__(self):
        return _rebuild, (self.what, self.where, self.allowed, self.remedy)


def _listed(values: list[str]) -> str:
    """The values in a row, cut where nobody would read on."""
    text = ", ".join(values[:_MOST_LISTED])
    return text if len(values) <= _MOST_LISTED else f"{text} and {len(values) - _MOST_LISTED} more"


def _short(place: str) -> str:
    """A place in printable characters, without its middle when it is absurdly long."""
    place = "".join(c if c.isprintable() else "?" for c in place)
    return place if len(place) <= MAX_PLACE else f"{place[: MAX_PLACE // 2]}...{place[-MAX_PLACE // 2 :]}"


def _rebuild(what, where, allowed, remedy) -> BeingHError:
    """Rebuilds a pickled error (worker processes hand errors to their parent)."""
    return BeingHError(what, where=where, allowed=allowed, remedy=remedy)


def nearest(name: object, allowed: Iterable[str], count: int = 3) -> list[str]:
    """The allowed names that look most like `name` in any case, best first (empty when none is close)."""
    written = {str(a).lower(): str(a) for a in allowed}
    return [written[found] for found in difflib.get_close_matches(str(name).lower(), written, n=count, cutoff=0.5)]


def misspelled(name: str, arguments: Iterable[str]) -> str | None:
    """The argument that a name stands for but for case, separators or one wrong, missing, doubled or exchanged letter.

    One letter makes another word of a short name (`speed`, `seed`), and a digit at the end counts things (`robot2`).
    """
    for argument in arguments:
        found, wanted = _letters(name), _letters(argument)
        may_differ = len(wanted) >= 5 and not name[-1:].isdigit()
        if found == wanted or (may_differ and _is_one_edit(found, wanted)):
            return argument
    return None


def did_you_mean(name: object, allowed: Iterable[str]) -> str | None:
    """The sentence "write `x`" (or "`x` or `y`") for a mistyped name, None when nothing is close."""
    close = nearest(name, allowed)
    if not close:
        return None
    return "did you mean " + " or ".join(f"`{c}`" for c in close) + "?"


def shown(value: object, most: int = 60) -> str:
    """A value in about `most` characters at most, whatever it is; without control characters."""
    short = reprlib.Repr()
    short.maxstring = short.maxlong = short.maxother = most
    try:
        text = short.repr(value)
    except ValueError:  # an integer of more digits than Python writes out
        text = f"an integer of {value.bit_length()} bits" if isinstance(value, int) else type(value).__name__
    return "".join(c if c.isprintable() else "?" for c in text)


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _is_one_edit(one: str, other: str) -> bool:
    """Whether a letter was left out, put in, replaced or exchanged with its neighbour."""
    short, long = sorted((one, other), key=len)
    if len(long) - len(short) > 1:
        return False
    at = next((i for i, (a, b) in enumerate(zip(short, long)) if a != b), len(short))
    if len(short) < len(long):
        return short[at:] == long[at + 1 :]
    exchanged = short[:at] + short[at : at + 2][::-1] + short[at + 2 :]
    return short[at + 1 :] == long[at + 1 :] or exchanged == long
