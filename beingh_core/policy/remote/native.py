"""The dialect of `RemotePolicy`: handshakes, requests for chunks, and why one is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
import hmac
import secrets
import time
from typing import TYPE_CHECKING

from beingh_core.policy.pictures import TRANSFORM
from beingh_core.policy.remote.batching import Counts, Job, Refused
from beingh_core.policy.remote.protocol import CODECS, VERSION, ProtocolError, pack, unpack_arrays, unpack_header

if TYPE_CHECKING:
    from beingh_core.contract import RobotContract

MAX_DEADLINE_MS = 600_000
OBSERVED = ("video.", "state.")
EXTRA_ARRAYS = ("prev_chunk", "inference_delay", "noise", "projections")


class NativeDialect:
    """Reads what `RemotePolicy` sends; see `protocol` for the messages.

    Attributes:
        trusts_strangers: Whether a peer may send a whole observation before it was accepted once.

    Args:
        policy: gives the facts of the handshake.
        contract: the robot it serves; None serves clients without a contract.
        counts: kept up to date.
        token: what clients must send; "" for none.
        jpeg: whether pictures may come compressed.
    """

    trusts_strangers = False

    def __init__(self, policy, contract: RobotContract | None, counts: Counts, *, token: str, jpeg: bool) -> None:
        self._contract, self._counts, self._token = contract, counts, token.encode()
        self._codecs = CODECS if jpeg else ("raw",)
        self._session = secrets.token_hex(16)
        self._facts = _facts(policy, contract)

    def take(
        self, payload: memoryview, send: Callable[[bytes], None], wanted: Callable[[], bool]
    ) -> tuple[bool, bytes | Job]:
        """Whether the peer may be trusted, and the answer to its message or the job that will answer it.

        Args:
            payload: the message.
            send: takes the job's answer.
            wanted: whether the peer is still there.
        """
        try:
            header, body = unpack_header(payload)
        except ProtocolError as error:
            self._counts.malformed += 1
            return False, _refusal(0, Refused("malformed", f"malformed message: {error}"))
        request_id = header.get("id") if type(header.get("id")) is int else 0
        try:
            self._check_sender(header)
            answer = self._answer(request_id, header, body, send, wanted)
        except Refused as refused:
            self._counts.refused += 1
            return False, _refusal(request_id, refused)
        if isinstance(answer, Job):
            return True, answer
        return True, pack({"id": request_id, "ok": True, "fields": answer})

    def refusal(self, payload: memoryview, refused: Refused) -> bytes:
        """The answer to a message that was read but cannot be served now."""
        self._counts.refused += 1
        return _refusal(unpack_header(payload)[0]["id"], refused)

    def _check_sender(self, header: Mapping) -> None:
        if header.get("version") != VERSION:
            raise Refused(
                "version",
                f"the client speaks protocol version {header.get('version')!r:.20}, this server {VERSION}",
                "install the same version on both sides",
            )
        if self._token and not same_token(header.get("token"), self._token):
            raise Refused("token", "the token is missing or wrong", "give the client the server's token")

    def _answer(self, request_id: int, header: Mapping, body: memoryview, send, wanted) -> dict | Job:
        """The reply's fields, or a job."""
        kind, fields = header.get("type"), header.get("fields")
        if not isinstance(fields, dict):
            raise Refused("malformed", "`fields` must be a map")
        if kind == "ping":
            return {"session": self._session, "counts": self._counts.plain()}
        if kind == "hello":
            self._check_robot(fields)
            return {"session": self._session, "facts": self._facts}
        if kind != "act":
            raise Refused("malformed", f"`type` is {kind!r:.40}; allowed: hello, act, ping")
        if fields.get("session") != self._session:
            raise Refused("session", "no handshake was made with this server", "say hello first")
        deadline_ms = header.get("deadline_ms")
        if type(deadline_ms) is not int or not 0 < deadline_ms <= MAX_DEADLINE_MS:
            raise Refused("malformed", f"`deadline_ms` must be an integer from 1 to {MAX_DEADLINE_MS}")
        return Job(
            deadline_s=time.monotonic() + deadline_ms / 1e3,
            read=lambda: _observations(fields, unpack_arrays(header, body, self._codecs)),
            answer=lambda output, timing_ms, robots: pack(
                {"id": request_id, "ok": True, "fields": {"timing_ms": timing_ms, "robots": robots}}, output
            ),
            refuse=lambda refused: _refusal(request_id, refused),
            send=send,
            wanted=wanted,
        )

    def _check_robot(self, fields: Mapping) -> None:
        """Refuses a robot that the checkpoint is not for."""
        for key, what in (
            ("joint_names", "the order of the joints"),
            ("chunk_length", "the chunk length"),
            ("contract_hash", "the contract's hash"),
        ):
            mine, given = self._facts[key], fields.get(key)
            if given != mine and not (key == "chunk_length" and self._contract is None):
                raise Refused(
                    "contract",
                    f"{what} differs: the client has {given!r:.200}, the server {mine!r:.200}",
                    "use one contract for robot and server, and a checkpoint that was trained with it",
                )


def same_token(given, token: bytes) -> bool:
    """Whether a client's token is the server's, compared in constant time."""
    return isinstance(given, str) and hmac.compare_digest(given.encode(errors="replace"), token)


def _observations(fields: Mapping, arrays: dict) -> tuple[dict, dict]:
    """(observations, what only a computation of its own can take)."""
    observations = {"language.instruction": fields.get("language.instruction")}
    for name, array in arrays.items():
        if not name.startswith(OBSERVED) and name not in EXTRA_ARRAYS:
            raise ProtocolError(f"unknown array `{name}`")
        observations[name] = array
    options = {name: observations.pop(name) for name in ("noise", "projections") if name in observations}
    return observations, options


def _facts(policy, contract: RobotContract | None) -> dict:
    """What a client learns in the handshake; `encode_prefix` needs the statistics."""
    return {
        "contract_hash": contract.hash if contract else "",
        "joint_names": list(contract.joint_names) if contract else [],
        "chunk_length": policy.chunk_length,
        "trained_delay": policy.trained_delay,
        "data_config": _plain(asdict(policy.data_config)),
        "statistics": _plain(policy.transform.statistics),
        "image": {"transform": TRANSFORM, "size": policy.image_size},
        "model": policy.model_facts,
    }


def _plain(value):
    """The value with lists for tuples and dicts for mappings, as it comes out of msgpack."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _refusal(request_id: int, refused: Refused) -> bytes:
    return pack({"id": request_id, "ok": False, "fields": refused.fields})
