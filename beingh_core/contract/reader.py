"""Reading a YAML file key by key, so that every error names file, line, key and remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from beingh_core.contract.key import REQUIRED, Key
from beingh_core.contract.written import not_of_kind, quoted
from beingh_core.contract.yaml_text import Lines, read_yaml_file
from beingh_core.errors import BeingHError, did_you_mean, nearest, shown

DECLARED = object()
# Middleware bounds the names of topics at about 255 with its own prefixes and suffixes.
MAX_TOPIC, MAX_TEXT, MAX_NAMES = 200, 500, 200
_TOPIC = re.compile(r"[~/]?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)


class Section:
    """One mapping of a YAML file; knows its place in the file and which keys were asked for.

    Use: `get` every key one knows, then `finish`, which refuses what is left over.

    Args:
        path: the file.
        data: the mapping.
        lines: line of each key path of the file.
        keys: path of this mapping in the file.
        declared: what this mapping takes; default and bounds of its numbers.
    """

    def __init__(
        self, path: Path, data: dict, lines: Lines, keys: tuple[str, ...] = (), declared: Key | None = None
    ) -> None:
        self.path, self.keys, self.declared = path, keys, declared
        self._data, self._lines = data, lines
        self._known: set[str] = set()

    def where(self, key: str | None = None) -> str:
        """`file:line: key.path`, for errors; of what an alias brings also the line in which it is written."""
        keys = self.keys if key is None else (*self.keys, key)
        return f"{self.path}:{self._lines.place(keys) or ': '.join(filter(None, ('1', '.'.join(keys))))}"

    def error(self, key: str | None, what: str, **details: Any) -> BeingHError:
        """An error at `key` of this section."""
        return BeingHError(what, where=self.where(key), **details)

    def _below(self, key: str) -> Key | None:
        """What is declared of a key."""
        return self.declared.below(key, self._data.get("kind")) if self.declared else None

    def __contains__(self, key: str) -> bool:
        return key in self._data

    def names(self) -> list[str]:
        """The keys written in the file, in order; for sections whose keys are names."""
        return list(self._data)

    def lines(self) -> dict[str, int]:
        """Line of every key of the whole file, by its dotted path."""
        return {".".join(keys): line for keys, line in self._lines.items()}

    @property
    def data(self) -> dict[str, Any]:
        """The whole mapping, for a reader with a schema of its own."""
        return self._data

    def get(self, key: str, kind: type, default: Any = REQUIRED, *, allowed: str | None = None) -> Any:
        """The value of a key.

        Args:
            key: name of the key.
            kind: str, int, float (also takes an int), list or dict.
            default: value when the key is absent; without it the key is required.
            allowed: the allowed values in words, for the error.

        Raises:
            BeingHError: absent and required, or of another type.
        """
        self._known.add(key)
        if key not in self._data:
            if default is REQUIRED:
                raise self.error(None, f"`{key}` is missing", remedy=f"add `{key}:` here{self._instead(key)}")
            return default
        value = self._data[key]
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            what, remedy = not_of_kind(value, kind)
            raise self.error(key, what, allowed=allowed, remedy=remedy)
        if isinstance(value, str) and not (len(value) <= MAX_TEXT and value.isprintable()):
            raise self.error(
                key, f"{quoted(value)} is too long or unprintable", allowed=f"up to {MAX_TEXT} printable characters"
            )
        return value

    def _instead(self, key: str) -> str:
        """The key that nobody asks for and that looks like a mistyped one, as the rest of a remedy."""
        free = self.declared is None or self.declared.each is not None
        others = [other for other in self._data if other not in self._known and (free or self._below(other) is None)]
        alike = [other for other in others if len(other) > 2 and (key.startswith(other) or other.startswith(key))]
        for other in alike or nearest(key, others, 1):
            return f", or rename `{other}`, if that is what it means"
        return ""

    def name(self, key: str) -> str:
        """A text that is not empty and may be part of a file's name."""
        value = self.get(key, str)
        if not value.strip(" .") or "/" in value:
            raise self.error(key, f"{quoted(value)} is not a name", remedy="write a word, without slashes")
        return value

    def number(
        self,
        key: str,
        default: Any = DECLARED,
        *,
        above: float | None = None,
        at_least: float | None = None,
        at_most: float | None = None,
        kind: type = float,
        remedy: str | None = None,
    ) -> Any:
        """A finite number within bounds; the default may be any value. Without bounds, those of `keys` hold.

        Args:
            key: name of the key.
            default: value when the key is absent; without it that of `keys`, where it may be required.
            above: bound below, not allowed itself.
            at_least, at_most: bounds, allowed themselves.
            kind: float, or int.
            remedy: what to write where a number does not fit.

        Raises:
            BeingHError: absent and required, of another type, not finite or out of bounds.
        """
        declared = self._below(key)
        if declared is not None and above is at_least is at_most is None:
            above, at_least, at_most = declared.above, declared.at_least, declared.at_most
        if default is DECLARED:
            default = declared.default if declared else REQUIRED
        allowed = _range(above, at_least, at_most)
        value = self.get(key, kind, default, allowed=allowed)
        if key not in self._data:
            return value
        low = (above is None or value > above) and (at_least is None or value >= at_least)
        if not (low and abs(value) < float("inf") and (at_most is None or value <= at_most)):
            what = f"{value:g} is {'out of range' if abs(value) < float('inf') else 'not finite'}"
            raise self.error(key, what, allowed=allowed, remedy=remedy)
        return value

    def is_mapping(self, key: str) -> bool:
        """Whether the value of a key is a mapping."""
        self._known.add(key)
        return isinstance(self._data.get(key), dict)

    def flag(self, key: str, default: Any = REQUIRED) -> bool:
        """`true` or `false`."""
        return self.get(key, bool, default)

    def choice(self, key: str, allowed: Iterable[str], default: Any = REQUIRED) -> str:
        """A string out of a closed set."""
        allowed = list(allowed)
        value = self.get(key, str, default)
        if key in self._data and value not in allowed:
            raise self.error(
                key, f"unknown value {quoted(value)}", allowed=allowed, remedy=did_you_mean(value, allowed)
            )
        return value

    def topic(self, key: str, example: str = "joint_states") -> str:
        """A ROS topic name: relative to the namespace of the nodes, or absolute with `/` before it."""
        topic = self._data.get(key)
        topic = topic if topic is not None and not isinstance(topic, (str, list, dict)) else self.get(key, str)
        if not isinstance(topic, str) or len(topic) > MAX_TOPIC or not _TOPIC.fullmatch(topic):
            raise self.error(
                key,
                f"{quoted(topic)} is not a topic name",
                allowed=f"up to {MAX_TOPIC} characters: letters, digits, `_` and `/`",
                remedy=f"write it like `{example}`, in the namespace of the nodes, or `/{example}`, in none",
            )
        return topic

    def strings(self, key: str) -> tuple[str, ...]:
        """A non-empty list of different names."""
        values = self.get(key, list)
        if not 1 <= len(values) <= MAX_NAMES:
            raise self.error(
                key,
                "the list is empty" if not values else f"the list has {len(values)} entries",
                allowed=f"1 to {MAX_NAMES} names",
                remedy="list at least one name" if not values else None,
            )
        for index, value in enumerate(values):
            if not isinstance(value, str) or not (0 < len(value) <= MAX_TEXT and value.isprintable()):
                raise self.error(
                    key, f"{quoted(value)} is not a name", remedy="write a list of names, odd ones in quotes"
                )
            if value in values[:index]:
                raise self.error(key, f"{quoted(value)} is listed twice", remedy="list it once")
        return tuple(values)

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        """A list of so many finite numbers, from -1e6 to 1e6."""
        allowed = f"{count} numbers in `[ ]`"
        values = self.get(key, list, allowed=allowed)
        fits = [type(value) in (int, float) and abs(value) <= 1e6 for value in values]
        if len(values) != count or not all(fits):
            raise self.error(key, f"{shown(values)} is not allowed here", allowed=allowed)
        return tuple(map(float, values))

    def texts(self, key: str) -> dict[str, str]:
        """A mapping of text to text; empty when it is absent."""
        table = self.section(key, optional=True)
        return {name: table.get(name, str) for name in table.names()}

    def section(self, key: str, *, optional: bool = False, hint: str = "") -> Section:
        """The mapping below a key (an empty one when optional and absent); `hint` is one that could stand there."""
        data = self.get(key, dict, {} if optional else REQUIRED, allowed=f"such as `{hint}`" if hint else None)
        return Section(self.path, data, self._lines, (*self.keys, key), self._below(key))

    def sections(self, key: str) -> list[Section]:
        """The mappings of a list below a key."""
        values = self.get(key, list)
        if len(values) > MAX_NAMES:
            raise self.error(key, f"the list has {len(values)} entries", allowed=f"up to {MAX_NAMES}")
        found = []
        for index, value in enumerate(values):
            keys = (*self.keys, key, str(index))
            if not isinstance(value, dict):
                raise self.error(key, f"item {index} ({quoted(value)}) is not a mapping", remedy="write `{key: value}`")
            found.append(Section(self.path, value, self._lines, keys, self._below(key)))
        return found

    def named_numbers(
        self, key: str, names: Iterable[str], *, at_least: float | None = None, at_most: float | None = None
    ) -> dict[str, float]:
        """A mapping of joint name to number whose keys must be among `names`; see `number` for the bounds."""
        table = self.section(key)
        table.refuse_unknown(names, "joint")
        return {name: table.number(name, at_least=at_least, at_most=at_most) for name in table.names()}

    def refuse_unknown(self, allowed: Iterable[str], noun: str = "key") -> None:
        """Refuses a key that is not in `allowed`, naming the nearest."""
        allowed = list(allowed)
        for name in self._data:
            if name not in allowed:
                remedy = did_you_mean(name, allowed)
                raise self.error(str(name), f"unknown {noun} `{name}`", allowed=allowed, remedy=remedy)

    def finish(self) -> None:
        """Refuses every key that nobody asked for."""
        self.refuse_unknown(sorted(self._known))


def read_yaml(path: Path, declared: Key | None = None) -> Section:
    """Reads a YAML file whose top level is a mapping, `declared` where its keys are.

    Raises:
        BeingHError: see `read_yaml_file`, or not a mapping.
    """
    data, lines = read_yaml_file(path)
    if not isinstance(data, dict):
        raise BeingHError("the file is not a mapping of keys", where=path, remedy="start it with `robot: NAME`")
    return Section(path, data, lines, declared=declared)


def _range(above: float | None, at_least: float | None, at_most: float | None) -> str:
    """Bounds of a number in words."""
    bounds = (("more than", above), ("at least", at_least), ("at most", at_most))
    return ", ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
