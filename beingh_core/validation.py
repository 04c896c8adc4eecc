"""Data from outside against a declared schema: pydantic checks, one error names place, value, allowed values and remedy."""

from __future__ import annotations

import reprlib
from typing import Any, TypeVar

import pydantic

from beingh_core.errors import BeingHError

_Schema = TypeVar("_Schema", bound="Schema")
_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxlong = _SHOWN.maxother = 60
_EXPECTED = "Input should be "


class Schema(pydantic.BaseModel):
    """Base of the declared schemas: no conversion between types, finite numbers, unknown keys are left out."""

    model_config = pydantic.ConfigDict(
        strict=True, frozen=True, extra="ignore", allow_inf_nan=False, protected_namespaces=()
    )


def shown(value: object) -> str:
    """A value in at most about 60 characters, whatever it is; without control characters."""
    try:
        text = _SHOWN.repr(value)
    except ValueError:  # an integer of more digits than Python writes out
        text = f"an integer of {value.bit_length()} bits" if isinstance(value, int) else type(value).__name__
    return "".join(c if c.isprintable() else "?" for c in text)


def check(schema: type[_Schema], data: object, *, where: object = None, remedy: str | None = None) -> _Schema:
    """The data as an instance of its schema.

    Args:
        schema: What is expected.
        data: Parsed JSON, YAML or msgpack.
        where: File or message, for the error; the path of the key is added.
        remedy: What to do next.

    Raises:
        BeingHError: The first entry that does not fit.
    """
    try:
        return schema.model_validate(data)
    except (pydantic.ValidationError, RecursionError, OverflowError) as error:
        raise _error(error, where, remedy) from None


def _error(error: Exception, where: object, remedy: str | None) -> BeingHError:
    if not isinstance(error, pydantic.ValidationError):
        return BeingHError("the data is nested too deeply or holds numbers too large", where=where, remedy=remedy)
    first = error.errors(include_url=False)[0]
    path = ".".join(shown(part).strip("'") for part in first["loc"])
    where = ": ".join(str(part) for part in (where, path) if part) or None
    message = first["msg"]
    if first["type"] in ("model_type", "dict_type"):
        message = f"{_EXPECTED}a mapping of keys"
    if first["type"] == "missing":
        return BeingHError(f"`{path}` is missing", where=where, remedy=remedy)
    if message.startswith(_EXPECTED):
        return BeingHError(
            f"{shown(first['input'])} is not allowed here",
            where=where,
            allowed=message[len(_EXPECTED) :],
            remedy=remedy,
        )
    return BeingHError(message.removeprefix("Value error, "), where=where, remedy=remedy)
