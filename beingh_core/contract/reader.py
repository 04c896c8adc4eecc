"""Reading a YAML file key by key, so that every error names file, line, key and remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from beingh_core.errors import BeingHError, did_you_mean

REQUIRED = object()
_TOPIC = re.compile(r"[~/]?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)


class Section:
    """One mapping of a YAML file; knows its place in the file and which keys were asked for.

    Use: `get` every key one knows, then `finish`, which refuses what is left over.

    Args:
        path: the file.
        data: the mapping.
        lines: line number of each key path of the file.
        keys: path of this mapping in the file.
    """

    def __init__(self, path: Path, data: dict, lines: dict, keys: tuple[str, ...] = ()) -> None:
        self.path, self.keys = path, keys
        self._data, self._lines = data, lines
        self._known: set[str] = set()

    def where(self, key: str | None = None) -> str:
        """`file:line: key.path`, for errors."""
        keys = self.keys if key is None else (*self.keys, key)
        line = next((self._lines[keys[:n]] for n in range(len(keys), 0, -1) if keys[:n] in self._lines), 1)
        dotted = ".".join(keys)
        return f"{self.path}:{line}" + (f": {dotted}" if dotted else "")

    def error(self, key: str | None, what: str, **details: Any) -> BeingHError:
        """An error at `key` of this section."""
        return BeingHError(what, where=self.where(key), **details)

    def __contains__(self, key: str) -> bool:
        return key in self._data

    def names(self) -> list[str]:
        """The keys written in the file, in order; for sections whose keys are names."""
        return list(self._data)

    @property
    def data(self) -> dict[str, Any]:
        """The whole mapping, for a reader with a schema of its own."""
        return self._data

    def get(self, key: str, kind: type, default: Any = REQUIRED) -> Any:
        """The value of a key.

        Args:
            key: name of the key.
            kind: str, int, float (also takes an int), list or dict.
            default: value when the key is absent; without it the key is required.

        Raises:
            BeingHError: absent and required, or of another type.
        """
        self._known.add(key)
        if key not in self._data:
            if default is REQUIRED:
                raise self.error(None, f"`{key}` is missing", remedy=f"add `{key}:` here")
            return default
        value = self._data[key]
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            article = "an" if kind is int else "a"
            what = f"`{value}` is not {article} {_KIND_NAMES[kind]}"
            raise self.error(key, what, remedy=f"write {_KIND_HINTS[kind]}")
        return value

    def number(self, key: str, default: Any = REQUIRED, *, above: float | None = None, kind: type = float) -> Any:
        """A finite number, above a bound when one is given."""
        value = self.get(key, kind, default)
        if key in self._data and not (abs(value) < float("inf")):
            raise self.error(key, f"{value} is not finite")
        if above is not None and value is not None and not value > above:
            raise self.error(key, f"{value:g} is out of range", allowed=f"more than {above:g}")
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
            raise self.error(key, f"unknown value `{value}`", allowed=allowed, remedy=did_you_mean(value, allowed))
        return value

    def topic(self, key: str) -> str:
        """A ROS topic name, absolute or relative."""
        topic = self.get(key, str)
        if not _TOPIC.fullmatch(topic):
            raise self.error(key, f"`{topic}` is not a topic name", remedy="write it like `/joint_states`")
        return topic

    def strings(self, key: str) -> tuple[str, ...]:
        """A non-empty list of different names."""
        values = self.get(key, list)
        for value in values:
            if not isinstance(value, str):
                raise self.error(key, f"`{value}` is not a name", remedy="write a list of names")
            if values.count(value) > 1:
                raise self.error(key, f"`{value}` is listed twice", remedy="list it once")
        if not values:
            raise self.error(key, "the list is empty", remedy="list at least one name")
        return tuple(values)

    def section(self, key: str, *, optional: bool = False) -> Section:
        """The mapping below a key (an empty one when optional and absent)."""
        data = self.get(key, dict, {} if optional else REQUIRED)
        return Section(self.path, data, self._lines, (*self.keys, key))

    def sections(self, key: str) -> list[Section]:
        """The mappings of a list below a key."""
        values = self.get(key, list)
        found = []
        for index, value in enumerate(values):
            keys = (*self.keys, key, str(index))
            if not isinstance(value, dict):
                raise self.error(key, f"item {index} (`{value}`) is not a mapping", remedy="write `{key: value}`")
            found.append(Section(self.path, value, self._lines, keys))
        return found

    def named_numbers(self, key: str, names: Iterable[str], *, optional: bool = False) -> dict[str, float]:
        """A mapping of joint name to number whose keys must be among `names`."""
        table = self.section(key, optional=optional)
        table.refuse_unknown(names, "joint")
        return {name: table.number(name) for name in table.names()}

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


_KIND_NAMES: dict[type, str] = {str: "text", int: "integer", float: "number", bool: "flag", list: "list", dict: "mapping"}
_KIND_HINTS: dict[type, str] = {
    str: "text (in quotes if it looks like a number)",
    int: "a whole number",
    float: "a number",
    bool: "`true` or `false`",
    list: "`[a, b]`",
    dict: "`{key: value}`",
}


def read_yaml(path: Path) -> Section:
    """Reads a YAML file whose top level is a mapping.

    Raises:
        BeingHError: unreadable, not YAML, a key written twice, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BeingHError(f"cannot read this file: {error}", where=path) from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BeingHError(f"this is not YAML: {error}", where=path) from error
    if not isinstance(data, dict):
        raise BeingHError("the file is not a mapping of keys", where=path, remedy="start it with `robot: NAME`")
    lines: dict[tuple[str, ...], int] = {}
    _collect_lines(path, root, (), lines)
    return Section(path, data, lines)


def _collect_lines(path: Path, node: yaml.Node, keys: tuple[str, ...], lines: dict) -> None:
    """Fills the line number of every key path; refuses duplicate keys, which PyYAML would drop."""
    children = []
    if isinstance(node, yaml.SequenceNode):
        children = [(str(index), item, item) for index, item in enumerate(node.value)]
    elif isinstance(node, yaml.MappingNode):
        children = [(str(key.value), key, value) for key, value in node.value]
    seen: dict[str, int] = {}
    for name, marked, value in children:
        here, line = (*keys, name), marked.start_mark.line + 1
        if name in seen:
            raise BeingHError(
                f"`{name}` is written twice (first in line {seen[name]})",
                where=f"{path}:{line}: {'.'.join(here)}",
                remedy="keep one of the two",
            )
        seen[name] = lines[here] = line
        _collect_lines(path, value, here, lines)
