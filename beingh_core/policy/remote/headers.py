"""The declared schema of every header on the wire: of requests as a server reads them, of replies as a client does."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from beingh_core.errors import BeingHError
from beingh_core.policy.pictures import MAX_SIDE
from beingh_core.state_history import ONE_STATE, StateHistory
from beingh_core.validation import Schema, check

MAX_MESSAGE_BYTES = 16 << 20
MAX_ARRAYS, MAX_DIMS, MAX_NAME = 64, 5, 128
MAX_DEADLINE_MS = 600_000
MAX_STEPS = 10_000
MAX_TOLD = 1000

Dtype = Literal["uint8", "int32", "int64", "float32", "float64"]
Codec = Literal["raw", "jpeg"]
Name = Annotated[str, Field(max_length=MAX_NAME)]
Length = Annotated[int, Field(ge=1, le=MAX_MESSAGE_BYTES)]
Steps = Annotated[int, Field(ge=0, le=MAX_STEPS)]
Names = Annotated[list[Name], Field(max_length=256)]
_Schema = TypeVar("_Schema", bound=Schema)


class ProtocolError(Exception):
    """A message that does not follow the protocol, and why."""


class Array(Schema):
    """One entry of `arrays`: how an array lies in the body."""

    name: Name
    dtype: Dtype
    shape: Annotated[list[Length], Field(max_length=MAX_DIMS)]
    codec: Codec
    size: Length = Field(alias="bytes")


class Arrays(Schema):
    """What a header says of the body."""

    arrays: Annotated[list[Array], Field(max_length=MAX_ARRAYS)]


class Request(Schema):
    """Every request."""

    id: Annotated[int, Field(ge=0, lt=2**64)]
    fields: dict[str, Any]


class Robot(Schema):
    """Fields of `hello`: the robot that asks."""

    contract_hash: Name
    joint_names: Names
    chunk_length: Steps


class Hello(Request):
    """A handshake."""

    fields: Robot


class Asked(Schema):
    """Fields of `act`."""

    session: Name
    instruction: str | Annotated[list[str], Field(min_length=1, max_length=1)] | None = Field(
        None, alias="language.instruction"
    )


class Act(Request):
    """A request for a chunk."""

    deadline_ms: Annotated[int, Field(ge=1, le=MAX_DEADLINE_MS)]
    fields: Asked


REQUESTS: dict[str, type[Request]] = {"hello": Hello, "act": Act, "ping": Request}


class Reply(Schema):
    """Every reply."""

    id: int
    ok: bool
    fields: dict[str, Any]


class Refusal(Schema):
    """Fields of a reply that is not `ok`."""

    code: Name
    what: str
    where: str | None = None
    allowed: str | None = None
    remedy: str | None = None


class Chunk(Schema):
    """Fields of the reply to `act`."""

    timing_ms: Annotated[dict[Name, Annotated[float, Field(ge=0, le=MAX_DEADLINE_MS)]], Field(max_length=64)]


class Key(Schema):
    """A `KeySpec`."""

    key: Name
    slot: Name
    normalization: Name
    rotation: Name | None
    width: Annotated[int, Field(ge=1, le=200)] | None
    padding: Name = "hold"


class Config(Schema):
    """A `DataConfig`."""

    name: Name
    views: Names
    state: Annotated[list[Key], Field(max_length=MAX_ARRAYS)]
    action: Annotated[list[Key], Field(max_length=MAX_ARRAYS)]


class Pictures(Schema):
    """How the server resizes pictures, and to which side [pixels]; 0 where it does not say."""

    transform: Name = ""
    size: Annotated[int, Field(ge=0, le=MAX_SIDE)] = 0


class Facts(Schema):
    """What a server tells of its policy in the handshake."""

    contract_hash: Name
    joint_names: Names
    chunk_length: Annotated[int, Field(ge=1, le=MAX_STEPS)]
    trained_delay: Steps
    data_config: Config
    statistics: dict[Name, Any]
    image: Pictures | None = None
    state_history: StateHistory = ONE_STATE
    model: Annotated[dict[Name, bool | int | float | Name], Field(max_length=64)]


class Welcome(Schema):
    """Fields of the reply to `hello`."""

    session: Name
    facts: Facts


def read(schema: type[_Schema], data: object) -> _Schema:
    """The data as an instance of its schema.

    Raises:
        ProtocolError: the first entry that does not fit, in one line.
    """
    try:
        return check(schema, data)
    except BeingHError as error:
        raise ProtocolError(told(str(error))) from None


def told(text: str) -> str:
    """A text from the other end, or about what it sent, in one line of at most `MAX_TOLD` characters."""
    return "".join(c if c.isprintable() else "?" for c in text[:MAX_TOLD])
