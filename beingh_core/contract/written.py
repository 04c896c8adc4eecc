"""What somebody wrote in a contract in place of a value of the right kind, in words, and what to write instead."""

from __future__ import annotations

import json
import re

from beingh_core.errors import shown

_NUMBER = r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_PLAIN = re.compile(_NUMBER)
_COMMA = re.compile(r"[-+]?[0-9]+,[0-9]+")
_WITH_UNIT = re.compile(rf"({_NUMBER})\s*([A-Za-z%°][\w%°/^]*)")
KIND_NAMES: dict[type, str] = {
    str: "a text", int: "an integer", float: "a number", bool: "a flag", list: "a list", dict: "a mapping",
}  # fmt: skip
_HINTS: dict[type, str] = {
    str: "text (in quotes if it looks like a number)",
    int: "a whole number in decimal digits",
    float: "a number in decimal digits, such as 0.5",
    bool: "`true` or `false`",
    list: "`[a, b]`",
    dict: "`{key: value}`",
}


def quoted(value: object) -> str:
    """A value of whatever size in backquotes, a text without its own."""
    text = str(value).lower() if isinstance(value, bool) else shown(value)
    return f"`{text[1:-1] if isinstance(value, str) else text}`"


def not_of_kind(value: object, kind: type) -> tuple[str, str]:
    """That a value is of another kind than `KIND_NAMES[kind]`, and the remedy."""
    if value is None:
        return "nothing is written behind the colon", f"write {_HINTS[kind]}"
    what = f"{quoted(value)} is not {KIND_NAMES[kind]}"
    text = value if isinstance(value, str) and len(value) < 60 else None
    number = text if kind in (int, float) else None
    if number is not None and _PLAIN.fullmatch(number):
        return f'`"{number}"` is a text, not {KIND_NAMES[kind]}', _plain(number, kind)
    if number is not None and _COMMA.fullmatch(number):
        return what, f"write a point, not a comma: {number.replace(',', '.')}"
    with_unit = None if number is None else _WITH_UNIT.fullmatch(number)
    if with_unit:
        return what, f"write the number alone, in the unit of this key, without `{with_unit[2]}`"
    if kind is int and isinstance(value, float) and value.is_integer():
        return what, f"write {value:.0f}" if abs(value) < 1e15 else f"write {_HINTS[kind]}"
    if kind is str and isinstance(value, (int, float)):
        return what, f"write it in quotes: {json.dumps(quoted(value)[1:-1])}"
    if kind is list and text is not None and "," not in text and not re.match("[0-9]", text):
        return what, f"write a list, also of one: `[{text}]`"
    return what, f"write {_HINTS[kind]}"


def _plain(text: str, kind: type) -> str:
    """How to write a number that stands in quotes, or with digits that YAML reads in more than one way."""
    digits = re.sub(r"^([-+]?)0+(?=[0-9])", r"\1", text)
    if digits != text:
        return f"write it in plain digits, without leading zeros: {digits}"
    if kind is int and not text.lstrip("+-").isdigit():
        return f"write {_HINTS[int]}"
    return f"write it without quotes: {text}"
