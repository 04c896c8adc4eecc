"""The JSON schema (draft 7) of a contract for editors, from the declarations in `keys`.

It knows types, bounds, choices and names of keys. What needs the URDF or several keys at once is found by `load_contract`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from beingh_core.contract import key as keys
from beingh_core.contract.key import Key
from beingh_core.contract.keys import CONTRACT

Json = dict[str, Any]
_TOPIC = r"^[~/]?[A-Za-z_]\w*(/[A-Za-z_]\w*)*$"


def editor_schema() -> Json:
    """The whole schema."""
    one_of = [
        {"required": [name], "not": {"required": [other]}}
        for name, other in (("driver", "drivers"), ("drivers", "driver"))
    ]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Robot contract of beingh_ros",
        **_schema(CONTRACT),
        "oneOf": one_of,
    }


def _schema(key: Key) -> Json:
    described = {"description": key.help + (f" [{key.unit}]" if key.unit else "")}
    if not (key.required or key.absent) and key.default not in ({}, (), None):
        described["default"] = key.default
    return described | _TYPES[key.type](key)


def _text(key: Key) -> Json:
    return {"type": "string"} | ({"enum": list(key.choices)} if key.choices else {})


def _topic(_key: Key) -> Json:
    return {"type": "string", "pattern": _TOPIC}


def _number(key: Key) -> Json:
    bounds = {
        "exclusiveMinimum": key.above,
        "minimum": key.at_least,
        "maximum": None if key.or_infinite else key.at_most,
    }
    kind = "integer" if key.type == keys.INTEGER else "number"
    return {"type": kind} | {name: bound for name, bound in bounds.items() if bound is not None}


def _flag(_key: Key) -> Json:
    return {"type": "boolean"}


def _names(key: Key) -> Json:
    return {"type": "array", "items": _text(key), "minItems": 1, "uniqueItems": True}


def _numbers(key: Key) -> Json:
    length = {} if key.count is None else {"minItems": key.count, "maxItems": key.count}
    return {"type": "array", "items": {"type": "number"}} | length


def _per_joint(key: Key) -> Json:
    return {"oneOf": [_number(key), {"type": "object", "additionalProperties": _number(key)}]}


def _list(key: Key) -> Json:
    return {"type": "array", "items": _mapping(key)}


def _mapping(key: Key) -> Json:
    if key.each is not None:
        names = {"propertyNames": {"enum": list(key.choices)}} if key.choices else {}
        return {"type": "object", "additionalProperties": _schema(key.each)} | names
    if not key.by_kind:
        return _closed(key.keys)
    cases = [
        {"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]}, "then": _closed({**key.keys, **more})}
        for kind, more in key.by_kind.items()
    ]
    return {"type": "object", "required": ["kind"], "properties": {"kind": _schema(key.keys["kind"])}, "allOf": cases}


def _closed(table: Mapping[str, Key]) -> Json:
    """A mapping that has these keys and no others."""
    required = [name for name, key in table.items() if key.required]
    properties = {name: _schema(key) for name, key in table.items()}
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


_TYPES = {
    keys.TEXT: _text,
    keys.TOPIC: _topic,
    keys.NUMBER: _number,
    keys.INTEGER: _number,
    keys.FLAG: _flag,
    keys.NAMES: _names,
    keys.NUMBERS: _numbers,
    keys.PER_JOINT: _per_joint,
    keys.LIST: _list,
    keys.MAPPING: _mapping,
}
