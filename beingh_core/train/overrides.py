"""`key.of.section=value` on a command line, in place of what a configuration file says."""

from __future__ import annotations

import copy
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from beingh_core.contract.yaml_text import read_yaml_value
from beingh_core.errors import BeingHError, did_you_mean, shown

_FORM = "key=value, such as optimiser.learning_rate=1e-4 or data.datasets.0.path=/data/mine"


def overridden(data: Mapping[str, Any], changes: Sequence[str], schema: type[pydantic.BaseModel]) -> dict[str, Any]:
    """A copy of the mapping with the changes in it.

    Args:
        data: Content of a file.
        changes: `key.of.section=value`; parts of a key are names or places in a list, values are YAML.
        schema: What the mapping should be; its keys are the only ones.

    Raises:
        BeingHError: No `=`, an unknown key (the nearest ones are named), one given twice, or a place that is not there.
    """
    changed, given = copy.deepcopy(dict(data)), set()
    for change in changes:
        key, equals, value = change.partition("=")
        key = key.strip()
        if not equals or not key:
            raise BeingHError(f"{shown(change)} is no change of a configuration", allowed=_FORM)
        if key in given:
            raise BeingHError(f"`{key}` is given twice", remedy="keep one of the two")
        given.add(key)
        _put(changed, key, read_yaml_value(value, f"command line: {key}"), schema)
    return changed


def blamed(error: BeingHError, path: Path, changes: Sequence[str]) -> BeingHError:
    """The error of a file with changes, placed on the command line where what is wrong was given there."""
    keys = [change.partition("=")[0].strip() for change in changes]
    place = (error.where or "").removeprefix(str(path)).removeprefix(": ")
    below = lambda inner, outer: not outer or f"{inner}.".startswith(f"{outer}.")
    where = error.where
    if any(below(place, key) for key in keys):
        where = f"command line: {place}"
    elif any(below(key, place) for key in keys):  # a section, with keys from both
        where = f"{path} with the command line" + (f": {place}" if place else "")
    return BeingHError(error.what, where=where, allowed=error.allowed, remedy=error.remedy)


def _put(data: dict[str, Any], key: str, value: Any, schema: Any) -> None:
    """Puts a value into nested mappings and lists; mappings that are not there are made."""
    at: Any = data
    *path, last = key.split(".")
    for depth, part in enumerate([*path, last]):
        where = "command line: " + ".".join([*path, last][: depth + 1])
        schema = _below(schema, part, where)
        part = _place(at, part, where) if isinstance(at, list) else part
        if depth == len(path):
            at[part] = value
        elif isinstance(at, list):
            at = at[part]
        else:
            at = at.setdefault(part, {})
        if depth < len(path) and not isinstance(at, (dict, list)):
            raise BeingHError(f"{shown(at)} has no keys", where=where, allowed=_FORM)


def _below(schema: Any, part: str, where: str) -> Any:
    """The schema of an entry; None where nothing is known of it."""
    for kind in _kinds(schema):
        if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
            if part not in kind.model_fields:
                raise BeingHError(
                    f"the key {shown(part)} is unknown", where=where, allowed=kind.model_fields,
                    remedy=did_you_mean(part, kind.model_fields),
                )  # fmt: skip
            return kind.model_fields[part].annotation
        if typing.get_origin(kind) is list:
            return typing.get_args(kind)[0]
    return None


def _kinds(schema: Any) -> list[Any]:
    """The types that a possibly annotated or optional type stands for."""
    if typing.get_origin(schema) is typing.Annotated:
        return _kinds(typing.get_args(schema)[0])
    if typing.get_origin(schema) in (typing.Union, types.UnionType):
        return [kind for inner in typing.get_args(schema) for kind in _kinds(inner)]
    return [schema]


def _place(entries: list, part: str, where: str) -> int:
    if not part.isdecimal() or int(part) >= len(entries):
        raise BeingHError(
            f"{shown(part)} is no place in a list of {len(entries)}", where=where, allowed=range(len(entries)),
            remedy="an entry is added in the file; a command line changes those that are there",
        )  # fmt: skip
    return int(part)
