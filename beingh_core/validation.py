"""Data from outside against a declared schema: pydantic checks, one error names place, value, allowed values and remedy."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic_core import PydanticCustomError

from beingh_core.errors import BeingHError, did_you_mean, shown

_Schema = TypeVar("_Schema")
_EXPECTED = "Input should be "


class Schema(pydantic.BaseModel):
    """Base of the declared schemas: no conversion between types, finite numbers, unknown keys are left out."""

    model_config = pydantic.ConfigDict(
        strict=True, frozen=True, extra="ignore", allow_inf_nan=False, protected_namespaces=()
    )


def whole(low: int, high: int) -> Any:
    """The type of an integer between two bounds; one error tells both, and how to write a whole number that is a float (1e3)."""
    fits = lambda value: low <= value <= high

    def as_integer(value: object) -> str:
        is_whole = isinstance(value, float) and value.is_integer() and fits(value)
        return f"; write {int(value)}" if is_whole else ""

    return _narrowed(int, f"a whole number from {low} to {high}", fits, as_integer)


def real(low: float, high: float) -> Any:
    """The type of a finite number between two bounds; one error tells both."""
    return _narrowed(float, f"a number from {low:g} to {high:g}", lambda value: low <= value <= high)


def positive(high: float) -> Any:
    """The type of a number above zero, up to a bound."""
    return _narrowed(float, f"a number above 0, at most {high:g}", lambda value: 0 < value <= high)


def text(most: int) -> Any:
    """The type of a text that can be printed in one line."""
    return _narrowed(
        str, f"printable text of at most {most} characters", lambda value: len(value) <= most and value.isprintable()
    )


def only(value: object) -> Any:
    """The type of one value; 1 is not true, and 3.0 not 3."""
    return _narrowed(type(value), json.dumps(value), lambda found: found == value)


def unfit(expected: str) -> PydanticCustomError:
    """The error of a validator for a value that should be something else."""
    return PydanticCustomError("range", _EXPECTED + expected)


def unsupported(what: str, remedy: str) -> PydanticCustomError:
    """The error of a validator for a value that means something, but nothing that this software does."""
    return PydanticCustomError("unsupported", "{what}", {"what": what, "remedy": remedy})


def several(names: Sequence[str], least: int = 0) -> Any:
    """The type of a list of some names; one error tells them all."""
    expected = f"a list of {', '.join(names)}, such as [{names[0]}]"
    size = pydantic.Field(min_length=least, max_length=len(names))
    return Annotated[list[Literal[tuple(names)]], size, at_most(len(names)), a_list(expected)]


def a_list(expected: str) -> pydantic.BeforeValidator:
    """Refuses what is no list, with what it should be."""

    def validate(value: object) -> object:
        if not isinstance(value, (list, tuple)):
            raise unfit(expected)
        return value

    return pydantic.BeforeValidator(validate)


def _narrowed(
    kind: type, expected: str, fits: Callable[[Any], bool], hint: Callable[[object], str] = lambda value: ""
) -> Any:
    def validate(given: object, handler: Callable[[object], Any]) -> Any:
        try:
            value = handler(given)
        except (pydantic.ValidationError, OverflowError):
            fitting = False
        else:
            fitting = fits(value)
        if not fitting:
            raise unfit(expected + hint(given))
        return value

    return Annotated[kind, pydantic.Strict(), pydantic.WrapValidator(validate)]


def at_most(count: int) -> pydantic.BeforeValidator:
    """Refuses a list or mapping of more entries before any of them is looked at."""

    def validate(value: object) -> object:
        if isinstance(value, (list, dict)) and len(value) > count:
            raise PydanticCustomError("size", f"has {len(value)} entries, more than {count}")
        return value

    return pydantic.BeforeValidator(validate)


def check(schema: type[_Schema], data: object, *, where: object = None, remedy: str | None = None) -> _Schema:
    """The data as an instance of its schema.

    Args:
        schema: What is expected: a `Schema` or a pydantic dataclass.
        data: Parsed JSON, YAML or msgpack.
        where: File or message, for the error; the path of the key is added.
        remedy: What to do next.

    Raises:
        BeingHError: The first entry that does not fit.
    """
    try:
        return pydantic.TypeAdapter(schema).validate_python(data)
    except (pydantic.ValidationError, RecursionError, OverflowError) as error:
        raise _error(error, where, remedy) from None


def _error(error: Exception, where: object, remedy: str | None) -> BeingHError:
    if not isinstance(error, pydantic.ValidationError):
        return BeingHError("the data is nested too deeply or holds numbers too large", where=where, remedy=remedy)
    errors = error.errors(include_url=False)
    unknown = [one for one in errors if one["type"] in ("extra_forbidden", "unexpected_keyword_argument")]
    first = (unknown or errors)[0]
    names = [shown(part).strip("'") for part in first["loc"]]
    absent = names.pop() if first["type"] == "missing" else None
    path = ".".join(names)
    where = ": ".join(str(part) for part in (where, path) if part) or None
    message = first["msg"]
    remedy = first.get("ctx", {}).get("remedy", remedy)
    if unknown:
        missing = [str(one["loc"][-1]) for one in errors if one["type"] == "missing"]
        remedy = did_you_mean(first["loc"][-1], missing) or remedy
        return BeingHError(f"the key {shown(first['loc'][-1])} is unknown", where=where, remedy=remedy)
    if first["type"] in ("model_type", "dict_type", "dataclass_type"):
        message = f"{_EXPECTED}a mapping of keys"
    if first["type"] == "list_type":
        message = f"{_EXPECTED}a list, written [one, another]"
    if first["type"] == "bool_type":
        message = f"{_EXPECTED}true or false"
    if absent is not None:
        return BeingHError(f"`{absent}` is missing", where=where, remedy=remedy)
    if message.startswith(_EXPECTED):
        return BeingHError(
            f"{shown(first['input'])} is not allowed here",
            where=where,
            allowed=message[len(_EXPECTED) :],
            remedy=remedy,
        )
    return BeingHError(message.removeprefix("Value error, "), where=where, remedy=remedy)
