"""What one key of a contract's YAML takes: the declaration that readers, reference and editors' schema share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

REQUIRED = object()
# Types of values, in the reference's words.
TEXT, TOPIC, NUMBER, INTEGER, FLAG = "text", "topic", "number", "integer", "flag"
NAMES, NUMBERS, MAPPING, LIST, PER_JOINT = (
    "list of names",
    "list of numbers",
    "mapping",
    "list of mappings",
    "number or {joint: number}",
)


class Bounds(TypedDict, total=False):
    """Bounds of a number, as arguments of `number` and `Section.number`."""

    above: float
    at_least: float
    at_most: float


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key.

    Attributes:
        type: one of the constants above.
        help: one line; what it means.
        unit: of a number, as in "Hz"; "" where it has none.
        default: value where the key is absent; REQUIRED where it must be there.
        absent: in place of `default` in words, where another key or the URDF decides.
        above, at_least, at_most: bounds of a number, the first not allowed itself.
        or_infinite: whether `.inf` is allowed beside the bounds.
        count: how many entries a list of numbers has, None for any.
        choices: the only values allowed, or the only names of a mapping whose names are free otherwise.
        keys: keys of a mapping, or of each mapping of a list.
        each: what stands under each name of a mapping whose names are free (joints, views, slots).
        by_kind: further keys of a mapping, after the value of its key `kind`.
    """

    type: str
    help: str
    unit: str = ""
    default: Any = REQUIRED
    absent: str = ""
    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    or_infinite: bool = False
    count: int | None = None
    choices: tuple[str, ...] = ()
    keys: Mapping[str, Key] = field(default_factory=dict)
    each: Key | None = None
    by_kind: Mapping[str, Mapping[str, Key]] = field(default_factory=dict)

    @property
    def required(self) -> bool:
        """Whether every file must have it."""
        return self.default is REQUIRED and not self.absent

    @property
    def bounds(self) -> dict[str, float | None]:
        """Arguments of `Section.number`."""
        return {"above": self.above, "at_least": self.at_least, "at_most": self.at_most}

    def below(self, name: str, kind: object = None) -> Key | None:
        """The key of that name in this mapping, whose key `kind` has that value; None where it is not declared."""
        if self.type == PER_JOINT:
            return self
        more = self.by_kind.get(kind, {}) if isinstance(kind, str) else {}
        return self.keys.get(name) or more.get(name) or self.each


def text(help: str, **more: Any) -> Key:
    """A text."""
    return Key(type=TEXT, help=help, **more)


def choice(help: str, choices: Iterable[str], **more: Any) -> Key:
    """One of some words."""
    return Key(type=TEXT, help=help, choices=tuple(choices), **more)


def topic(help: str, **more: Any) -> Key:
    """Name of a topic or action."""
    return Key(type=TOPIC, help=help, **more)


def number(help: str, unit: str = "", **more: Any) -> Key:
    """A finite number."""
    return Key(type=NUMBER, help=help, unit=unit, **more)


def integer(help: str, unit: str = "", **more: Any) -> Key:
    """A whole number."""
    return Key(type=INTEGER, help=help, unit=unit, **more)


def flag(help: str, default: bool = False) -> Key:
    """true or false."""
    return Key(type=FLAG, help=help, default=default)


def names(help: str, **more: Any) -> Key:
    """A list of different names."""
    return Key(type=NAMES, help=help, **more)


def per_joint(help: str, unit: str = "", **more: Any) -> Key:
    """One number for all joints, or {joint: number}."""
    return Key(type=PER_JOINT, help=help, unit=unit, **more)


def mapping(help: str, keys: Mapping[str, Key], **more: Any) -> Key:
    """A mapping with these keys."""
    return Key(type=MAPPING, help=help, keys=keys, **more)


def table(help: str, each: Key, **more: Any) -> Key:
    """A mapping whose names are free; `each` stands under every name."""
    return Key(type=MAPPING, help=help, each=each, **more)


def listed(help: str, keys: Mapping[str, Key], **more: Any) -> Key:
    """A list of mappings with these keys."""
    return Key(type=LIST, help=help, keys=keys, **more)
