"""The reference of a contract's keys, docs/contract.md, from their declarations in `keys`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from beingh_core import slots
from beingh_core.contract.driver_options import DRIVER_KINDS
from beingh_core.contract.key import LIST, REQUIRED, TEXT, Key
from beingh_core.contract.keys import CONTRACT

_HEAD = """# Keys of a contract

<!-- Written by `python -m beingh_core.contract` from beingh_core/contract/keys.py: edit that file. -->

`config/robots/NAME.yaml` describes one robot; [your_robot.md](your_robot.md) says how to write one. `beingh robots check NAME` checks a file
and everything that is built from it. An unknown key, a value of another type or out of range is one error with file, line, key and remedy.
Editors that know YAML complete and check the keys after the file's first line
`# yaml-language-server: $schema=../robot.schema.json` (the path to [config/robot.schema.json](../config/robot.schema.json)).

Numbers are plain decimals; names of topics and actions are relative to the namespace of the nodes, unless they begin with `/`.
"""


def reference() -> str:
    """The whole document."""
    parts = [_HEAD, "## The file\n", _table(CONTRACT.keys.items())]
    for title, key in _mappings("", CONTRACT):
        parts += [f"## {title}\n", f"{_sentence(key.help)}\n", _table(key.keys.items())]
    for name, kind in DRIVER_KINDS.items():
        parts += [
            f"## `kind: {name}`\n",
            _kind_note(kind.endpoint, kind.joints_per_group),
            _table(kind.options.items()),
        ]
    parts += ["## Slots\n", _slot_table()]
    return "\n".join(parts)


def _mappings(path: str, key: Key) -> Iterator[tuple[str, Key]]:
    """(title, mapping) of every mapping with keys of its own below `key`, each once."""
    seen: list[Mapping[str, Key]] = []
    waiting = [(path, key)]
    while waiting:
        path, key = waiting.pop(0)
        below = [(f"{path}.{name}".strip("."), value) for name, value in key.keys.items()]
        below += [(f"{path}.<name>", key.each)] if key.each else []
        for name, value in below:
            if value.keys and value.keys not in seen:
                seen.append(value.keys)
                yield f"`{name}`" + (", each entry" if value.type == LIST else ""), value
        waiting = below + waiting


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _table(keys: Iterable[tuple[str, Key]]) -> str:
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    rows += [f"| `{name}` | {_value(key)} | {_default(key)} | {_escaped(key.help)} |" for name, key in keys]
    return "\n".join(rows) + "\n"


def _value(key: Key) -> str:
    """Type, unit, bounds and choices of a key, in a few words."""
    words = "{name: " + _value(key.each) + "}" if key.each else key.type
    if key.type == TEXT and key.choices:
        words = ""
    if key.unit:
        words += f" [{key.unit}]"
    bounds = [
        f"{word} {bound:g}"
        for word, bound in (("above", key.above), ("from", key.at_least), ("to", key.at_most))
        if bound is not None
    ]
    words += (", " if bounds else "") + " ".join(bounds) + (", or `.inf`" if key.or_infinite else "")
    if key.choices and key.each is None:
        words += (" of " if words else "") + ", ".join(f"`{name}`" for name in key.choices)
    return words


def _default(key: Key) -> str:
    if key.absent:
        return _escaped(key.absent)
    if key.default is REQUIRED:
        return "required"
    if key.default in ({}, (), None):
        return "none"
    if isinstance(key.default, bool):
        return f"`{str(key.default).lower()}`"
    return f"`{key.default:g}`" if isinstance(key.default, (int, float)) else f"`{key.default}`"


def _kind_note(endpoint: str, joints: int | None) -> str:
    count = "" if joints is None else f", with {joints} joint{'s' if joints > 1 else ''}"
    return f"Its name on the wire stands under `{endpoint}`{count}.\n"


def _slot_table() -> str:
    names = {**slots.STATE_SLOTS, **slots.ACTION_SLOTS}
    rows = ["| slot | values | in |", "|---|---|---|"]
    for name, place in sorted(names.items(), key=lambda item: (item[1].start, item[0])):
        uses = [kind for kind in ("state", "action") if name in slots.slots(kind)]
        most = "up to " if name in slots.PARTIAL_SLOTS else ""
        rows.append(f"| `{name}` | {most}{place.stop - place.start} ({place.start}:{place.stop}) | {', '.join(uses)} |")
    return "\n".join(rows) + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
