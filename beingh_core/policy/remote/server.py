"""`PolicyServer`: answers robots that ask for chunks (`beingh serve`).

One thread talks, one infers, so that a handshake is answered and a deadline counted while the model runs. Messages are
not encrypted: beyond one machine, use a token and a network that you trust, or a tunnel.
"""

from __future__ import annotations

from collections.abc import Mapping
import contextlib
from dataclasses import asdict
import hmac
import ipaddress
import logging
import queue
import secrets
import threading
import time
from typing import TYPE_CHECKING

import zmq

from beingh_core.errors import BeingHError
from beingh_core.policy.remote.protocol import (
    CODECS,
    MAX_MESSAGE_BYTES,
    VERSION,
    ProtocolError,
    pack,
    unpack_arrays,
    unpack_header,
)

if TYPE_CHECKING:
    from beingh_core.contract import RobotContract

log = logging.getLogger(__name__)
QUEUE = 8
MAX_DEADLINE_MS = 600_000
POLL_MS = 100
JOIN_S = 5.0
OBSERVED = ("video.", "state.")
EXTRA_ARRAYS = ("prev_chunk", "inference_delay", "noise", "projections")
LONGEST_ASPECT = 8  # a strip of pixels would be enormous once its short side is resized


class Refused(Exception):
    """A request that is answered with a reason instead of a result."""

    def __init__(self, code: str, what: str, remedy: str | None = None) -> None:
        super().__init__(what)
        self.fields = {"code": code, "what": what, "where": None, "allowed": None, "remedy": remedy}


class PolicyServer:
    """Answers handshakes and requests for chunks. `serve` from one thread, `stop` from any.

    Args:
        policy: a `BeingHPolicy`, warmed up; it is called from one thread of the server.
        contract: the robot it serves; None serves clients without a contract.
        host: address to listen on.
        port: 0 takes a free one (see `url`).
        token: what clients must send; needed for any address but a loopback one.
        jpeg: whether pictures may come compressed, which loses some detail.

    Raises:
        BeingHError: an open address without a token, or an address that cannot be bound.
    """

    def __init__(
        self,
        policy,
        contract: RobotContract | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 5555,
        token: str | None = None,
        jpeg: bool = True,
    ) -> None:
        host = "127.0.0.1" if host == "localhost" else host
        if not token and not _is_loopback(host):
            raise BeingHError(
                f"binding to `{host}` without a token would let anyone on the network use the policy",
                allowed="127.0.0.1, or any address together with a token",
                remedy="give --token-file, or leave --host at its default",
            )
        self._policy, self._contract, self._token = policy, contract, (token or "").encode()
        self._codecs = CODECS if jpeg else ("raw",)
        self._session = secrets.token_hex(16)
        self._facts = _facts(policy, contract)
        self._jobs: queue.Queue = queue.Queue(maxsize=QUEUE)
        self._stopping = threading.Event()
        self.served = self.refused = self.malformed = self.expired = 0
        self._context = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES),
            (zmq.RCVHWM, QUEUE),
            (zmq.SNDHWM, QUEUE),
            (zmq.IPV6, int(":" in host)),
        ):
            self._router.setsockopt(option, value)
        try:
            self._router.bind(f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}")
        except zmq.ZMQError as error:
            self._router.close()
            raise BeingHError(
                f"cannot listen on {host}, port {port}: {error}", remedy="choose another port or stop what uses it"
            ) from None
        self.url = self._router.getsockopt_string(zmq.LAST_ENDPOINT)
        self._results = self._context.socket(zmq.PULL)
        self._results.bind("inproc://results")

    def serve(self) -> None:
        """Serves until `stop`; an inference that is running then is waited for a bounded time."""
        worker = threading.Thread(target=self._infer_forever, name="policy", daemon=True)
        worker.start()
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._results, zmq.POLLIN)
        while not self._stopping.is_set():
            ready = dict(poller.poll(POLL_MS))
            if self._results in ready:
                self._send(*self._results.recv_multipart())
            if self._router in ready:
                self._receive()
        with contextlib.suppress(queue.Full):
            self._jobs.put_nowait(None)
        worker.join(JOIN_S)
        self._router.close()
        self._results.close()

    def stop(self) -> None:
        """Ends `serve` soon. Any thread."""
        self._stopping.set()

    def _receive(self) -> None:
        """Takes one message; only the first part after the sender's address is ever kept."""
        identity = self._router.recv()
        frame = self._router.recv(copy=False) if self._router.getsockopt(zmq.RCVMORE) else None
        parts = 1
        while self._router.getsockopt(zmq.RCVMORE):
            self._router.recv(copy=False)
            parts += 1
        try:
            if frame is None or parts != 1:
                raise ProtocolError("a message is exactly one part")
            header, body = unpack_header(frame.buffer)
        except ProtocolError as error:
            self.malformed += 1
            self._send(identity, _refusal(0, Refused("malformed", f"malformed message: {error}")))
            return
        request_id = header.get("id") if type(header.get("id")) is int else 0
        try:
            fields = self._answer(identity, request_id, header, body)
        except Refused as refused:
            self.refused += 1
            self._send(identity, _refusal(request_id, refused))
            return
        if fields is not None:
            self._send(identity, pack({"id": request_id, "ok": True, "fields": fields}))

    def _answer(self, identity: bytes, request_id: int, header: Mapping, body: memoryview) -> dict | None:
        """The reply's fields, or None when the policy's thread will answer.

        Raises:
            Refused: with the reason.
        """
        if header.get("version") != VERSION:
            raise Refused(
                "version",
                f"the client speaks protocol version {header.get('version')!r:.20}, this server {VERSION}",
                "install the same version on both sides",
            )
        token = header.get("token")
        if self._token and not (
            isinstance(token, str) and hmac.compare_digest(token.encode(errors="replace"), self._token)
        ):
            raise Refused("token", "the token is missing or wrong", "give the client the server's token")
        kind, fields = header.get("type"), header.get("fields")
        if not isinstance(fields, dict):
            raise Refused("malformed", "`fields` must be a map")
        if kind == "ping":
            return {"session": self._session}
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
        try:
            self._jobs.put_nowait((identity, request_id, header, body, time.monotonic() + deadline_ms / 1e3))
        except queue.Full:
            raise Refused(
                "busy", f"{QUEUE} requests are waiting already", "use fewer robots or a faster server"
            ) from None
        return None

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

    def _infer_forever(self) -> None:
        """The policy's thread."""
        results = self._context.socket(zmq.PUSH)
        results.setsockopt(zmq.LINGER, 0)
        results.connect("inproc://results")
        while not self._stopping.is_set():
            job = self._jobs.get()
            if job is None:
                break
            results.send_multipart([job[0], self._reply(*job[1:])])
        results.close()

    def _reply(self, request_id: int, header: Mapping, body: memoryview, deadline: float) -> bytes:
        """The answer to a request for a chunk, whatever happens."""
        try:
            _check_deadline(deadline, "before the inference began")
            output = self._act(header["fields"], unpack_arrays(header, body, self._codecs))
            _check_deadline(deadline, "during the inference")
            self.served += 1
            timing = {name: float(value) for name, value in self._policy.last_timing_ms.items()}
            return pack({"id": request_id, "ok": True, "fields": {"timing_ms": timing}}, output)
        except Refused as refused:
            self.expired += 1
            return _refusal(request_id, refused)
        except ProtocolError as error:
            self.malformed += 1
            return _refusal(request_id, Refused("malformed", f"malformed message: {error}"))
        except BeingHError as error:
            self.refused += 1
            refused = Refused("input", error.what, error.remedy)
            refused.fields |= {"where": error.where, "allowed": error.allowed}
            return _refusal(request_id, refused)
        except Exception as error:  # one bad request must not end the service
            log.exception("inference failed")
            return _refusal(
                request_id, Refused("internal", f"the server failed: {type(error).__name__}", "read the server's log")
            )

    def _act(self, fields: Mapping, arrays: Mapping) -> dict:
        observations = {"language.instruction": fields.get("language.instruction")}
        for name, array in arrays.items():
            if not name.startswith(OBSERVED) and name not in EXTRA_ARRAYS:
                raise ProtocolError(f"unknown array `{name}`")
            sides = array.shape[-3:-1]
            if name.startswith("video.") and sides and max(sides) > LONGEST_ASPECT * min(sides):
                raise ProtocolError(
                    f"`{name}` has shape {array.shape}; one side may be {LONGEST_ASPECT} times the other"
                )
            observations[name] = array
        noise, projections = observations.pop("noise", None), observations.pop("projections", None)
        return self._policy.get_action(observations, noise=noise, projections=projections)

    def _send(self, identity: bytes, message: bytes) -> None:
        with contextlib.suppress(zmq.Again):  # a client that does not read loses its answers
            self._router.send_multipart([identity, message], zmq.NOBLOCK)


def _facts(policy, contract: RobotContract | None) -> dict:
    """What a client learns in the handshake; `encode_prefix` needs the statistics."""
    return {
        "contract_hash": contract.hash if contract else "",
        "joint_names": list(contract.joint_names) if contract else [],
        "chunk_length": policy.chunk_length,
        "trained_delay": policy.trained_delay,
        "data_config": _plain(asdict(policy.data_config)),
        "statistics": _plain(policy.transform.statistics),
        "model": policy.model_facts,
    }


def _plain(value):
    """The value with lists for tuples and dicts for mappings, as it comes out of msgpack."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _check_deadline(deadline: float, when: str) -> None:
    if time.monotonic() > deadline:
        raise Refused("expired", f"the deadline passed {when}", "allow more time or use a faster server")


def _refusal(request_id: int, refused: Refused) -> bytes:
    return pack({"id": request_id, "ok": False, "fields": refused.fields})


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
