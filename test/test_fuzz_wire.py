"""Random damage to what travels between robot and server: refused in one line, within bounds, by both ends."""

import io
import struct
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")
msgpack = pytest.importorskip("msgpack")

from fuzz_support import damage, failures
from remote_support import TOKEN, Served, observation, ping
from stub_policy import StubPolicy

from beingh_core.errors import BeingHError
from beingh_core.policy.remote import client, protocol, torch_bytes, zmtp
from beingh_core.policy.remote.batching import Batcher, Counts
from beingh_core.policy.remote.client import RemotePolicy
from beingh_core.policy.remote.compat import CompatDialect
from beingh_core.policy.remote.complaints import Complaints
from beingh_core.policy.remote.connection import Connection, Lost, address_of
from beingh_core.policy.remote.native import NativeDialect
from beingh_core.policy.remote.waiting import Job

POLICY = StubPolicy()
HELLO = {"contract_hash": "", "joint_names": [], "chunk_length": 0}


def encoded(value):
    """msgpack of anything: of lists as deep as may be, and of integers too large for it as its largest."""
    if isinstance(value, dict):
        parts = [encoded(key) + encoded(entry) for key, entry in value.items()]
        return b"\xdf" + struct.pack(">I", len(parts)) + b"".join(parts)
    prefix = b""
    while isinstance(value, list) and len(value) == 1:
        prefix, value = prefix + b"\x91", value[0]
    if isinstance(value, list):
        return prefix + b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(encoded, value))
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        value = 2**64 - 1
    return prefix + msgpack.packb(value)


def framed(header, body=b""):
    head = encoded(header)
    return struct.pack("<4sI", b"BHRP", len(head)) + head + body


def parts_of(message):
    header, body = protocol.unpack_header(message)
    return header, bytes(body)


def damaged_message(rng, message):
    """A message whose header was changed, or whose bytes were cut, changed or sent twice."""
    header, body = parts_of(message)
    kind = rng.integers(8)
    if kind < 5:
        return framed(damage(rng, header), body)
    if kind == 5:
        return message[: rng.integers(len(message))]
    if kind == 6:
        return message * 2
    changed = bytearray(message)
    for at in rng.integers(0, min(len(changed), 900), 4):
        changed[at] = rng.integers(256)
    return bytes(changed)


def requests(session):
    """Good ones of every type."""
    obs = observation(POLICY)
    arrays = {name: value for name, value in obs.items() if isinstance(value, np.ndarray)}
    arrays |= {"prev_chunk": np.zeros((1, 16, 200), np.float32), "inference_delay": np.array(3)}
    act = {"id": 7, "type": "act", "token": TOKEN, "deadline_ms": 5000}
    act["fields"] = {"session": session, "language.instruction": "go"}
    hello = {"id": 1, "type": "hello", "token": TOKEN, "deadline_ms": 5000, "fields": HELLO}
    return [
        protocol.pack(hello),
        protocol.pack(hello | {"type": "ping"}),
        protocol.pack(act, arrays),
        protocol.pack(act, arrays, jpeg_quality=90),
    ]


class Reader:
    """A server without sockets; `read` raises when a message was not answered, or made an exception."""

    def __init__(self, dialect_of):
        self.counts, self.replies = Counts(), []
        self.dialect = dialect_of(self.counts)
        self.batcher = Batcher(POLICY, self.counts, 4, Complaints())
        self.open, self.turn_s = True, 0.0

    def read(self, payload):
        self.replies.clear()
        taken = self.dialect.take(memoryview(payload), self, self.replies.append)
        if isinstance(taken.answer, Job):
            self.batcher._compute([taken.answer])
        else:
            self.replies.append(taken.answer)
        assert len(self.replies) == 1 and len(self.replies[0]) < 400_000
        assert self.counts.failed == 0, "a message made an exception of the server's own"


def test_native_requests():
    rng = np.random.default_rng(0)
    reader = Reader(lambda counts: NativeDialect(POLICY, None, counts, token=TOKEN, jpeg=True))
    good = requests(reader.dialect._session)
    for message in good:
        reader.read(message)
        assert protocol.unpack_header(reader.replies[0])[0]["ok"] is True
    inputs = [damaged_message(rng, good[n % len(good)]) for n in range(280)]
    assert failures(reader.read, inputs) == []


def test_nothing_of_a_stranger_is_sent_back_or_told():
    """Whatever it says, a stranger gets one of two answers."""
    rng = np.random.default_rng(1)
    reader = Reader(lambda counts: NativeDialect(POLICY, None, counts, token="another", jpeg=True))
    answers = {}
    for n in range(60):
        taken = reader.dialect.take(memoryview(damaged_message(rng, requests("x")[n % 4])), reader, None)
        assert taken.known is False
        header = protocol.unpack_header(taken.answer)[0]
        answers[header["fields"]["what"]] = header["id"]
    assert answers == {"malformed message": 0, "the token is missing or wrong": 0}


def saved(value):
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def test_compat_requests():
    rng = np.random.default_rng(2)
    reader = Reader(lambda counts: CompatDialect(POLICY, token=""))
    obs = {name: value for name, value in observation(POLICY).items() if not name.startswith("video.")}
    data = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in obs.items()}
    pictures = {f"video.{view}": np.zeros((1, 20, 30, 3), np.uint8) for view in POLICY.views}
    data |= {"prev_chunk": [[[0.0] * 20] * 16], "inference_delay": [2]}
    reader.read(saved({"endpoint": "get_action", "data": data | pictures | {"prev_chunk": None}}))
    assert "action.eef_position" in torch_bytes.read(reader.replies[0])
    inputs = []
    while len(inputs) < 130:
        request = damage(rng, {"endpoint": "get_action", "data": data, "api_token": "x"})
        if len(inputs) % 3:
            request["data"] = {**pictures, **request["data"]} if isinstance(request.get("data"), dict) else data
        try:
            message = saved(request)
        except (RecursionError, AttributeError, TypeError):  # cannot be written
            continue
        if len(inputs) % 10 == 0:
            changed = bytearray(message)
            for at in rng.integers(0, len(changed), 3):
                changed[at] = rng.integers(256)
            message = bytes(changed)
        inputs.append(message)
    assert failures(reader.read, inputs) == []


def test_bytes_of_a_connection():
    rng = np.random.default_rng(3)
    good = zmtp.GREETING + zmtp.ready("DEALER") + zmtp.frame(b"x" * 300) + b"x" * 300

    def read(data):
        incoming = zmtp.Incoming(65536)
        for at in range(0, len(data), 97):
            incoming.feed(data[at : at + 97])
            for kind, what in incoming.events():
                if kind == "command":
                    zmtp.check_ready(what)
                    zmtp.pong(what)
            assert len(incoming) < 70_000

    inputs = []
    for _ in range(110):
        changed = bytearray(good)
        for at in rng.integers(0, len(good), rng.integers(1, 6)):
            changed[at] = rng.integers(256)
        end = rng.integers(len(good))
        inputs.append(bytes(changed[:end] + rng.bytes(rng.integers(200)) + changed[end:]))
    assert failures(read, inputs, allowed=(zmtp.Malformed,)) == []


class Scripted:
    """A connection to a server that answers every message with `reply`, made for its id."""

    replies = ()

    def __init__(self, address, end_s):
        self._asked = {}

    def send(self, message, end_s):
        self._asked = protocol.unpack_header(message)[0]

    def receive(self, end_s):
        if time.monotonic() > end_s:
            raise TimeoutError
        return memoryview(Scripted.replies[self._asked["type"]](self._asked["id"]))

    def ended(self):
        return False

    def close(self):
        pass


def test_replies(monkeypatch):
    """The robot's end: every answer is a chunk or one `BeingHError`, whatever the server says."""
    rng = np.random.default_rng(4)
    monkeypatch.setattr(client, "Connection", Scripted)
    reader = Reader(lambda counts: NativeDialect(POLICY, None, counts, token=TOKEN, jpeg=True))
    hello, _, act, _ = requests(reader.dialect._session)
    replies = {}
    for kind, message in (("hello", hello), ("act", act)):
        reader.read(message)
        replies[kind] = parts_of(reader.replies[0])
    refusal = ({"version": 1, "id": 0, "ok": False, "fields": {"code": "busy", "what": "x", "remedy": None}}, b"")
    obs = observation(POLICY)

    def message_for(request_id, header, body, bad):
        header = header | {"id": request_id}
        return framed(damage(rng, header), body) if bad else framed(header, body)

    def run(number):
        bad = ("hello", "act", "both")[number % 3]
        Scripted.replies = {
            kind: lambda request_id, kind=kind: message_for(
                request_id, *(refusal if number % 10 == 0 and kind == "act" else replies[kind]), bad in (kind, "both")
            )
            for kind in replies
        }
        remote = RemotePolicy("tcp://127.0.0.1:1", deadline_s=0.02, connect_s=0.02)
        output = remote.get_action(obs)
        assert output["action_unified"].shape == (1, 16, 200)
        remote.encode_prefix({spec.key: np.zeros((1, spec.data_width("action"))) for spec in remote.data_config.action})
        remote.model_facts

    assert failures(run, range(180)) == []


def test_a_live_server_still_serves_after_hundreds_of_them():
    rng = np.random.default_rng(5)
    with Served(POLICY, token=TOKEN) as served:
        remote = RemotePolicy(served.url, token=TOKEN, deadline_s=20)
        obs = observation(POLICY)
        remote.get_action(obs)
        good = requests(remote._session)
        connection = None
        for n in range(300):
            end_s = time.monotonic() + 20
            connection = connection or Connection(address_of(served.url), end_s)
            try:
                message = damaged_message(rng, good[n % 4])
                connection.send(message, end_s)
                assert protocol.unpack_header(connection.receive(end_s))[0]["ok"] in (True, False)
            except Lost:  # too much from a stranger
                connection = None
        assert remote.get_action(obs)["action_unified"].shape == (1, 16, 200)
        assert served.server.counts.failed == 0 and ping(served.url, TOKEN)["served"] >= 2
        with pytest.raises(BeingHError, match="token"):
            RemotePolicy(served.url, token="x")
