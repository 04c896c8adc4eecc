"""YAML to plain data and the line of every key, within bounds, without the values that YAML 1.1 makes of odd numbers.

A plain `010`, `0x1f`, `1:30` or `2024-01-31` stays text, which no key for a number takes; keys are always text.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from beingh_core.errors import BeingHError, shown

MAX_BYTES = 256 * 1024
MAX_ENTRIES = 5_000
MAX_DEPTH = 20
MAX_KEY = 200
MAX_DIGITS = 60
_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(
    r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_TRUE = re.compile("yes|Yes|YES|true|True|TRUE|on|On|ON")
_FALSE = re.compile("no|No|NO|false|False|FALSE|off|Off|OFF")
_NULL = re.compile("~|null|Null|NULL|")
# In the order in which a plain text is tried: every integer would be a float too.
_PLAIN = (
    (_NULL, lambda text: None),
    (_TRUE, lambda text: True),
    (_FALSE, lambda text: False),
    (_INT, int),
    (_FLOAT, lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))),
)


class _Loader(yaml.SafeLoader):
    """Reads what is written, no more: what a plain text means is decided here, and a file ends somewhere."""

    yaml_implicit_resolvers: dict = {}

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = self._depth = 0
        self.aliases: dict[tuple[int, int], int] = {}  # sequence and place in it -> line, of items that are aliases

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._nodes += 1
        self._depth += 1
        if self._nodes > MAX_ENTRIES or self._depth > MAX_DEPTH:
            raise _TooMuch(self.peek_event().start_mark.line + 1)
        if isinstance(index, int) and self.check_event(yaml.AliasEvent):
            self.aliases[id(parent), index] = self.peek_event().start_mark.line + 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _TooMuch(Exception):
    """More than a file may hold, from this line on."""


class Lines(dict[tuple[str, ...], int]):
    """The line of every path of keys; of what an alias (or `<<`) brings, that of the alias.

    Attributes:
        anchored: path of what an alias brings -> line in which it is written.
    """

    def __init__(self) -> None:
        super().__init__()
        self.anchored: dict[tuple[str, ...], int] = {}

    def place(self, keys: tuple[str, ...], *, whole: bool = True) -> str:
        """`LINE: key.path` of a key, or with the line of the nearest one above that is written; "" where none is.

        Args:
            keys: path of the key.
            whole: whether the key is named that is asked for, or the one that is written.
        """
        found = next((keys[:n] for n in range(len(keys), 0, -1) if keys[:n] in self), ())
        if not found:
            return ""
        anchor = f" (written in line {self.anchored[found]})" if found in self.anchored else ""
        return f"{self[found]}: {'.'.join(keys if whole else found)}{anchor}"


def read_yaml_file(path: Path) -> tuple[object, Lines]:
    """The data of a file and the line of every path of keys.

    Raises:
        BeingHError: unreadable, too large, nested too deeply, not YAML, or a key written twice.
    """
    text = _text(path)
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.YAMLError as error:
        raise _not_yaml(path, text, error) from None
    except _TooMuch as error:
        raise _too_much(f"{path}:{error}") from None
    reader = _Reader(path, loader.aliases)
    data = None if root is None else reader.value(root, (), 0)
    return data, reader.lines


def read_yaml_value(text: str, where: str) -> object:
    """The value that a text would have behind a key of a file, as a command line gives it.

    Args:
        text: YAML, of one value.
        where: What to name in an error.

    Raises:
        BeingHError: not YAML, or more than such a value holds.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except (yaml.YAMLError, _TooMuch) as error:
        raise BeingHError(f"{shown(text)} is no value in YAML ({type(error).__name__})", where=where) from None
    return None if root is None else _Reader(Path(where), loader.aliases).value(root, (), 0)


def _text(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise BeingHError("this file is too large", where=path, allowed=f"{MAX_BYTES} bytes")
        return data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise BeingHError(f"cannot read this file: {error}", where=path, allowed="YAML in UTF-8") from error


def _too_much(where: str) -> BeingHError:
    return BeingHError(
        "this is more than such a file holds",
        where=where,
        allowed=f"{MAX_ENTRIES} entries, each alias counted with all that its anchor holds, in {MAX_DEPTH} levels",
        remedy="write plain entries; an anchor must not hold itself",
    )


def _not_yaml(path: Path, text: str, error: yaml.YAMLError) -> BeingHError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = text.count("\n", 0, getattr(error, "position", 0)) if mark is None else mark.line
    problem = str(getattr(error, "problem", None) or getattr(error, "context", None))
    if isinstance(error, yaml.reader.ReaderError):
        problem = f"the character U+{error.character:04X} is not allowed"
    remedy = "indent with spaces, not tabs, write a space behind each `:`, and put a text with `:`, `#`, `{` or `[` in quotes"
    if "undefined alias" in problem:
        remedy = "write `&NAME` before the value that `*NAME` stands for, further up in the file"
    return BeingHError(
        f"this is not YAML: {''.join(c if c.isprintable() else '?' for c in problem[:200])}",
        where=f"{path}:{line + 1}",
        remedy=remedy,
    )


class _Reader:
    """From nodes to data; counts entries again, since an alias stands for all that its anchor holds."""

    def __init__(self, path: Path, aliases: dict[tuple[int, int], int]) -> None:
        self.lines = Lines()
        self._path, self._entries, self._aliases = path, 0, aliases
        self._seen: set[int] = set()
        self._used: int | None = None  # line of the alias whose value is read

    def value(self, node: yaml.Node, keys: tuple[str, ...], depth: int) -> object:
        self._entries += 1
        self._seen.add(id(node))
        if self._entries > MAX_ENTRIES or depth > MAX_DEPTH:
            raise _too_much(self._where(node, keys))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, keys)
        if node.tag != _TAG + ("map" if isinstance(node, yaml.MappingNode) else "seq"):
            raise self._unknown_tag(node, keys)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, keys, depth)
        return [
            self._entry(str(i), item, keys, depth, self._aliases.get((id(node), i), item.start_mark.line + 1))
            for i, item in enumerate(node.value)
        ]

    def _mapping(self, node: yaml.MappingNode, keys: tuple[str, ...], depth: int) -> dict[str, object]:
        """The entries of a mapping, over those that it merges from others (`<<`)."""
        merged: dict[str, object] = {}
        data: dict[str, object] = {}
        first: dict[str, int] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == "<<" and key.style is None:
                merged = self._merged(value, keys, depth, key.start_mark.line + 1) | merged
        for key, value in node.value:
            name = self._key(key, keys)
            if name == "<<" and key.style is None:
                continue
            if name in first:
                what = f"`{name}` is written twice (first in line {first[name]})"
                raise self._error(key, (*keys, name), what, remedy="keep one of the two")
            first[name] = key.start_mark.line + 1
            data[name] = self._entry(name, value, keys, depth, key.start_mark.line + 1)
        return {**merged, **data}

    def _merged(self, node: yaml.Node, keys: tuple[str, ...], depth: int, line: int) -> dict[str, object]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, object] = {}
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                raise self._error(node, (*keys, "<<"), "only mappings can be merged", remedy="write `<<: *anchor`")
            value = self._at(line, source, keys, depth)
            assert isinstance(value, dict), "of a mapping"
            merged = value | merged
        return merged

    def _entry(self, name: str, node: yaml.Node, keys: tuple[str, ...], depth: int, line: int) -> object:
        """What stands under a key (or as an item of a list) in a line."""
        path = (*keys, name)
        self.lines[path] = line if self._used is None else self._used
        self.lines.anchored.pop(path, None)
        if self._used is not None:
            self.lines.anchored[path] = line
        elif id(node) in self._seen:
            self.lines.anchored[path] = node.start_mark.line + 1
        return self._at(line, node, path, depth)

    def _at(self, line: int, node: yaml.Node, keys: tuple[str, ...], depth: int) -> object:
        """The value of a node that stands, or whose alias stands, in a line."""
        used = self._used
        if used is None and id(node) in self._seen:
            self._used = line
        try:
            return self.value(node, keys, depth + 1)
        finally:
            self._used = used

    def _key(self, node: yaml.Node, keys: tuple[str, ...]) -> str:
        text = node.value if isinstance(node, yaml.ScalarNode) else None
        if text is None or not (text.isprintable() and 0 < len(text) <= MAX_KEY):
            raise self._error(node, keys, "this key is not a name", allowed=f"1 to {MAX_KEY} printable characters")
        return text

    def _scalar(self, node: yaml.ScalarNode, keys: tuple[str, ...]) -> object:
        if node.tag != _TAG + "str":
            raise self._unknown_tag(node, keys)
        if node.style is not None:
            return node.value
        for pattern, convert in _PLAIN:
            if pattern.fullmatch(node.value):
                if len(node.value) > MAX_DIGITS:
                    what = f"this number has {len(node.value)} characters"
                    raise self._error(node, keys, what, allowed=f"up to {MAX_DIGITS}")
                return convert(node.value)
        return node.value

    def _unknown_tag(self, node: yaml.Node, keys: tuple[str, ...]) -> BeingHError:
        return self._error(node, keys, f"the tag {shown(node.tag)} has no meaning here", remedy="leave it out")

    def _error(self, node: yaml.Node, keys: tuple[str, ...], what: str, **details: str) -> BeingHError:
        return BeingHError(what, where=self._where(node, keys), **details)

    def _where(self, node: yaml.Node, keys: tuple[str, ...]) -> str:
        return f"{self._path}:{node.start_mark.line + 1}" + (f": {'.'.join(keys)}" if keys else "")
