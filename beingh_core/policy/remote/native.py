"""The dialect of `RemotePolicy`: handshakes, requests for chunks, and why one is refused."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from beingh_core.errors import BeingHError, shown
from beingh_core.policy.observations import IMAGE_PREFIX
from beingh_core.policy.pictures import TRANSFORM, check_size
from beingh_core.policy.remote.batching import Counts
from beingh_core.policy.remote.headers import REQUESTS, Act, Facts, Hello, ProtocolError, Request, Robot, read, told
from beingh_core.policy.remote.protocol import CODECS, VERSION, check_arrays, pack, read_arrays, unpack_header
from beingh_core.policy.remote.waiting import Client, Job, Refused, Taken

if TYPE_CHECKING:
    from beingh_core.contract import RobotContract

SESSION_BYTES = 16
OBSERVED = (IMAGE_PREFIX, "state.")
EXTRA_ARRAYS = ("prev_chunk", "inference_delay", "noise", "projections")


class NativeDialect:
    """Reads what `RemotePolicy` sends; see `protocol` for the messages.

    Attributes:
        trusts_strangers: Whether a peer may send a whole observation before it was accepted once.

    Args:
        policy: gives the facts of the handshake.
        contract: the robot it serves; None serves clients without a contract.
        counts: told to who pings.
        token: what clients must send; "" for none.
        jpeg: whether pictures may come compressed.

    Raises:
        BeingHError: the facts of the handshake do not fit into a message.
    """

    trusts_strangers = False

    def __init__(self, policy, contract: RobotContract | None, counts: Counts, *, token: str, jpeg: bool) -> None:
        self._contract, self._counts, self._token = contract, counts, token.encode()
        self._codecs = CODECS if jpeg else ("raw",)
        self._session = secrets.token_hex(SESSION_BYTES)
        self._facts = _facts(policy, contract)

    def take(self, payload: memoryview, client: Client, send: Callable[[bytes], None]) -> Taken:
        """The answer to a message, or the job that will answer it.

        Nothing of what a client says is told or sent back before its token is known to be right.

        Args:
            payload: the message.
            client: who sent it.
            send: takes the job's answer.
        """
        request_id, known = 0, not self._token
        try:
            header, body = unpack_header(payload)
            if not known and not same_token(header.get("token"), self._token):
                raise Refused("token", "the token is missing or wrong", "give the client the server's token")
            known = True
            request_id = header["id"] if type(header.get("id")) is int else 0
            return Taken(known, self._answer(_request(header), header, body, client, send))
        except ProtocolError as error:
            refused = Refused("malformed", "malformed message" + (f": {error}" if known else ""))
        except Refused as error:
            refused = error
        return Taken(known, _refusal(request_id, refused), refused)

    def _answer(self, request: Request, header: Mapping, body: memoryview, client: Client, send) -> bytes | Job:
        """The reply, or the job that will make it."""
        if isinstance(request, Hello):
            self._check_robot(request.fields)
            return _reply(request.id, {"session": self._session, "facts": self._facts})
        if not isinstance(request, Act):
            return _reply(request.id, {"session": self._session, "counts": self._counts.plain()})
        if request.fields.session != self._session:
            raise Refused("session", "no handshake was made with this server", "say hello first")
        entries = check_arrays(header, body, self._codecs)
        for entry in entries:
            _check_meaning(entry.name, entry.shape)
        return Job(
            client=client,
            deadline_s=time.monotonic() + request.deadline_ms / 1e3,
            read=lambda: _observations(request.fields.instruction, read_arrays(entries, body)),
            answer=lambda output, timing_ms, robots: _reply(
                request.id, {"timing_ms": timing_ms, "robots": robots}, output
            ),
            refuse=lambda refused: _refusal(request.id, refused),
            send=send,
        )

    def _check_robot(self, robot: Robot) -> None:
        """Refuses a robot that the checkpoint is not for."""
        for key, what in (
            ("joint_names", "the order of the joints"),
            ("chunk_length", "the chunk length"),
            ("contract_hash", "the contract's hash"),
        ):
            mine, given = self._facts[key], getattr(robot, key)
            if given != mine and not (key == "chunk_length" and self._contract is None):
                raise Refused(
                    "contract",
                    f"{what} differs: the client has {given!r:.200}, the server {mine!r:.200}",
                    "use one contract for robot and server, and a checkpoint that was trained with it",
                )


def same_token(given, token: bytes) -> bool:
    """Whether a client's token is the server's, compared in constant time."""
    return isinstance(given, str) and hmac.compare_digest(given.encode(errors="replace"), token)


def _request(header: Mapping) -> Request:
    """The header of a request, once it follows its schema."""
    version, kind = header.get("version"), header.get("type")
    if type(version) is not int or version != VERSION:
        raise Refused(
            "version",
            f"the client speaks protocol version {shown(version)}, this server {VERSION}",
            "install the same version on both sides",
        )
    if not isinstance(kind, str) or kind not in REQUESTS:
        raise ProtocolError(f"`type` is {shown(kind)}; allowed: {', '.join(REQUESTS)}")
    return read(REQUESTS[kind], header)


def _check_meaning(name: str, shape: Sequence[int]) -> None:
    """Refuses an array that no policy reads."""
    if not name.startswith(OBSERVED) and name not in EXTRA_ARRAYS:
        raise ProtocolError(f"unknown array {shown(name)}")
    if name.startswith(IMAGE_PREFIX) and len(shape) >= 3:
        try:
            check_size(shape[-3], shape[-2], name)
        except BeingHError as error:
            raise ProtocolError(told(str(error))) from None


def _observations(instruction: str | list[str] | None, arrays: dict) -> tuple[dict, dict]:
    """(observations, what only a computation of its own can take)."""
    observations = {"language.instruction": instruction, **arrays}
    options = {name: observations.pop(name) for name in ("noise", "projections") if name in observations}
    return observations, options


def _facts(policy, contract: RobotContract | None) -> dict:
    """What a client learns in the handshake; `encode_prefix` needs the statistics."""
    facts = {
        "contract_hash": contract.hash if contract else "",
        "joint_names": list(contract.joint_names) if contract else [],
        "chunk_length": policy.chunk_length,
        "trained_delay": policy.trained_delay,
        "data_config": _plain(asdict(policy.data_config)),
        "statistics": _plain(policy.transform.statistics),
        "image": {"transform": TRANSFORM, "size": policy.image_size},
        "state_history": policy.state_history.model_dump(),
        "model": policy.model_facts,
    }
    try:
        read(Facts, facts)
        _reply(0, {"session": secrets.token_hex(SESSION_BYTES), "facts": facts})
    except ProtocolError as error:
        raise BeingHError(
            f"what clients must know of this checkpoint cannot be sent: {error}",
            remedy="serve a checkpoint whose metadata holds the statistics of one robot",
        ) from None
    return facts


def _plain(value):
    """The value with lists for tuples and dicts for mappings, as it comes out of msgpack."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _reply(request_id: int, fields: Mapping, arrays: Mapping | None = None) -> bytes:
    return pack({"id": request_id, "ok": True, "fields": fields}, arrays)


def _refusal(request_id: int, refused: Refused) -> bytes:
    fields = {name: text and told(text) for name, text in refused.fields.items()}
    return pack({"id": request_id, "ok": False, "fields": fields})
