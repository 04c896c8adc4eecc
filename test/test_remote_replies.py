"""A server that is broken, hostile, stopped or too late: the robot's end goes on, or says in one error why not."""

import io
import os
import signal
import socket
import threading
import time

import numpy as np
import pytest

msgpack = pytest.importorskip("msgpack")

from PIL import Image
from remote_support import TOKEN, Served, make_checkpoint, observation, start_server, wait_until
from stub_policy import StubPolicy

from beingh_core.errors import BeingHError
from beingh_core.policy.remote import protocol, zmtp
from beingh_core.policy.remote.client import RemotePolicy
from beingh_core.policy.remote.connection import Connection, address_of
from beingh_core.policy.remote.server import PolicyServer

POLICY = StubPolicy()
DEADLINE_S = 0.5


class Impostor:
    """A server that answers requests for chunks with `say(socket, id)`, and handshakes with a real one's `fields`.

    Args:
        say: answers requests.
        welcome: changes the fields; or an error's code, with which the handshake is refused.
    """

    def __init__(self, say, welcome=lambda fields: fields):
        self._say, self._welcome = say, welcome
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._door.getsockname()[1]}"
        with Served(POLICY) as served:
            remote = RemotePolicy(served.url, deadline_s=20)
            self._fields = {"session": remote._session, "facts": remote._facts}
            self.chunk = remote.get_action(observation(POLICY))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                wire, _ = self._door.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(wire,), daemon=True).start()

    def _serve(self, wire):
        incoming = zmtp.Incoming(protocol.MAX_MESSAGE_BYTES)
        try:
            wire.sendall(zmtp.GREETING + zmtp.ready("ROUTER"))
            while data := wire.recv(1 << 20):
                incoming.feed(data)
                for kind, what in incoming.events():
                    if kind == "message":
                        header = protocol.unpack_header(what[1])[0]
                        if header["type"] == "hello" and isinstance(self._welcome, str):
                            send(wire, header["id"], {"code": self._welcome, "what": "no"}, ok=False)
                        elif header["type"] == "hello":
                            send(wire, header["id"], self._welcome(self._fields))
                        else:
                            self._say(wire, header["id"])
        except OSError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._door.close()


def send(wire, request_id, fields, arrays=None, ok=True):
    message = protocol.pack({"id": request_id, "ok": ok, "fields": fields}, arrays)
    wire.sendall(zmtp.frame(message) + message)


def without_end(data):
    def say(wire, request_id):
        while True:
            wire.sendall(data * (1 + (1 << 16) // len(data)))

    return say


def other_reply(request_id=0):
    message = protocol.pack({"id": request_id, "ok": True, "fields": {}})
    return zmtp.frame(message) + message


PING = b"\x04PING\x00\x00"


@pytest.mark.parametrize(
    "say, told",
    [
        (lambda wire, request_id: None, "did not answer within"),
        (lambda wire, request_id: wire.close(), "is gone"),
        (without_end(zmtp.frame(PING, zmtp.COMMAND) + PING), "did not answer within|is gone"),
        (without_end(other_reply(12345)), "did not answer within"),
        (lambda wire, request_id: wire.sendall(b"\x02" + b"\xff" * 8), "is gone"),
        (lambda wire, request_id: wire.sendall(zmtp.frame(bytes(1 << 20)) + bytes(1000)), "did not answer within"),
        (lambda wire, request_id: wire.sendall(zmtp.frame(b"x") + b"x"), "nonsense"),
        (lambda wire, request_id: send(wire, request_id, {"timing_ms": {}}), "nonsense: a chunk of other arrays"),
        (lambda wire, request_id: send(wire, request_id, {}, {"a": np.zeros(4_000_000, np.float32)}), "nonsense"),
        (lambda wire, request_id: send(wire, request_id, {"code": "session", "what": ""}, ok=False), "is gone"),
        (lambda wire, request_id: send(wire, request_id, {"code": 1, "what": "x"}, ok=False), "nonsense"),
        (
            lambda wire, request_id: send(wire, request_id, {"code": "x", "what": "\x1b[31m\n" * 9000}, ok=False),
            r"refused: \?\[31m\?{2}",
        ),
    ],
    ids=range(12),
)
def test_what_a_server_may_say_to_a_request(say, told):
    with Impostor(say) as impostor:
        remote = RemotePolicy(impostor.url, deadline_s=DEADLINE_S)
        for _ in range(2):
            began_s = time.monotonic()
            with pytest.raises(BeingHError, match=told) as given:
                remote.get_action(observation(POLICY))
            assert time.monotonic() - began_s < DEADLINE_S + 1.0 and len(str(given.value)) < 2000


def test_a_chunk_of_other_numbers_is_none():
    changes = [
        lambda chunk: {name: value.astype(np.float64) for name, value in chunk.items()},
        lambda chunk: chunk | {"action.eef_position": np.full((1, 16, 3), np.nan, np.float32)},
        lambda chunk: {name: value[:, :3] for name, value in chunk.items()},
    ]
    turn = iter(range(100))
    times = [{"total": float("nan")}, {"total": -1.0}, {"total": "x"}, [], {}]

    def say(wire, request_id):
        number = next(turn)
        if number < len(changes):
            send(wire, request_id, {"timing_ms": {}}, changes[number](impostor.chunk))
        else:
            send(wire, request_id, {"timing_ms": times[number - len(changes)]}, impostor.chunk)

    with Impostor(say) as impostor:
        remote = RemotePolicy(impostor.url, deadline_s=20)
        for _ in range(len(changes) + len(times) - 1):
            with pytest.raises(BeingHError, match="nonsense"):
                remote.get_action(observation(POLICY))
        remote.get_action(observation(POLICY))


def test_an_answer_to_an_earlier_request_is_not_taken_for_this_one():
    def say(wire, request_id):
        wrong = {name: value + 1 for name, value in impostor.chunk.items()}
        for other in (request_id - 1, request_id + 1, 2**40):
            send(wire, other, {"timing_ms": {}}, wrong)
        send(wire, request_id, {"timing_ms": {}}, impostor.chunk)
        send(wire, request_id, {"timing_ms": {}}, wrong)

    with Impostor(say) as impostor:
        remote = RemotePolicy(impostor.url, deadline_s=20)
        for _ in range(3):
            output = remote.get_action(observation(POLICY))
            np.testing.assert_array_equal(output["action_unified"], impostor.chunk["action_unified"])


def test_a_host_that_cannot_be_is_told():
    with pytest.raises(BeingHError, match="is gone or does not answer"):
        RemotePolicy(f"tcp://{'x' * 70}.example:5555", connect_s=0.1)
    with pytest.raises(BeingHError, match="cannot listen"):
        PolicyServer(POLICY, host=f"{'x' * 70}.example", port=0, token=TOKEN)


KEY = {"key": "a", "slot": "", "normalization": "none", "rotation": None, "width": None}


def facts(**changes):
    return lambda fields: fields | {"facts": fields["facts"] | changes}


@pytest.mark.parametrize(
    "welcome",
    [
        lambda fields: {},
        lambda fields: fields | {"session": 3},
        lambda fields: fields | {"facts": [1]},
        facts(chunk_length=10**9),
        facts(chunk_length=-1),
        facts(chunk_length="16"),
        facts(trained_delay=None),
        facts(data_config={}),
        facts(model={"a": [[[]]]}),
        facts(joint_names=[1]),
        facts(statistics=[]),
        lambda fields: facts(data_config=fields["facts"]["data_config"] | {"views": []})(fields),
        lambda fields: facts(data_config=fields["facts"]["data_config"] | {"views": [["a"]]})(fields),
        lambda fields: facts(data_config=fields["facts"]["data_config"] | {"state": [KEY | {"slot": "nowhere"}]})(
            fields
        ),
        lambda fields: facts(
            data_config=fields["facts"]["data_config"]
            | {"state": [KEY | {"slot": "eef_position", "normalization": "q99"}]},
            statistics={"state": {"a": {"q01": "x", "q99": [[1], [2, 3]]}}},
        )(fields),
    ],
    ids=range(15),
)
def test_what_a_server_may_say_in_a_handshake(welcome):
    with Impostor(None, welcome) as impostor:
        with pytest.raises(BeingHError, match="answers nonsense"):
            RemotePolicy(impostor.url, deadline_s=DEADLINE_S)


@pytest.mark.parametrize("code", ["session", "busy", "no such"])
def test_a_handshake_that_is_refused(code):
    with Impostor(None, code) as impostor:
        with pytest.raises(BeingHError, match="refused: no"):
            RemotePolicy(impostor.url, deadline_s=DEADLINE_S)


def test_a_refusal_is_as_short_as_a_line_whatever_was_sent():
    with Served(POLICY, token=TOKEN) as served:
        remote = RemotePolicy(served.url, token=TOKEN, deadline_s=20)
        many = np.full((6, 6, 6, 6, 6), 1 / 3)
        with pytest.raises(BeingHError, match="inference_delay") as given:
            remote.get_action(observation(POLICY) | {"inference_delay": many, "prev_chunk": np.zeros((1, 16, 200))})
        assert len(str(given.value)) < 3000
        remote.get_action(observation(POLICY))


def test_a_failure_of_the_servers_own_ends_nothing(monkeypatch):
    """Neither of the thread that talks nor of the policy's."""
    policy = StubPolicy()
    with Served(policy) as served:
        remote = RemotePolicy(served.url, deadline_s=DEADLINE_S)
        obs = observation(POLICY)
        with monkeypatch.context() as broken:
            broken.setattr(served.server._dialect, "take", lambda *_: 1 / 0)
            with pytest.raises(BeingHError, match="is gone"):
                remote.get_action(obs)
        with monkeypatch.context() as broken:
            broken.setattr(policy, "get_actions", lambda observations: 1 / 0)
            with pytest.raises(BeingHError, match="the server failed: ZeroDivisionError"):
                remote.get_action(obs)
        with monkeypatch.context() as broken:
            broken.setattr(served.server._batcher, "_infer", lambda group: 1 / 0)
            with pytest.raises(BeingHError, match="did not answer"):
                remote.get_action(obs)
        remote.get_action(obs)
        assert served.server.counts.failed == 3


def jpeg(width, height, **options):
    stream = io.BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(stream, "JPEG", **options)
    return stream.getvalue()


def bombs():
    """(JPEG, its declared shape)"""
    small = jpeg(64, 48)
    size_at = small.index(b"\xff\xc0") + 5
    scan_at = small.index(b"\xff\xda")
    progressive = jpeg(64, 48, progressive=True)
    last_scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    yield small[:size_at] + b"\xff\xdc\xff\xdc" + small[size_at + 4 :], [48, 64, 3]
    yield small[:2] + b"\xff\xe0\x00\x02" * 1_000_000 + small[2:], [48, 64, 3]
    yield small[:2] + b"\xff\xfe\x00\x00" + small[2:], [48, 64, 3]
    yield progressive[:-2] + last_scan * 10_000 + b"\xff\xd9", [48, 64, 3]
    yield small[:scan_at], [48, 64, 3]
    yield small[: scan_at + 12], [48, 64, 3]
    yield small, [64, 48, 3]
    yield b"\xff\xd8", [1, 1, 3]
    yield jpeg(64, 48).replace(b"JFIF", b"Exif"), [65500, 65500, 3]


@pytest.mark.parametrize("number", range(9))
def test_pictures_that_are_more_than_they_seem(number):
    data, shape = list(bombs())[number]
    entry = {"name": "video.a", "dtype": "uint8", "shape": shape, "codec": "jpeg", "bytes": len(data)}
    began_s = time.monotonic()
    with pytest.raises(protocol.ProtocolError):
        protocol.unpack_arrays({"arrays": [entry]}, memoryview(data))
    assert time.monotonic() - began_s < 1.0


def test_usual_jpegs_are_read():
    for data in (jpeg(64, 48), jpeg(64, 48, progressive=True, quality=100), jpeg(64, 48, optimize=True, dpi=(9, 9))):
        entry = {"name": "a", "dtype": "uint8", "shape": [1, 48, 64, 3], "codec": "jpeg", "bytes": len(data)}
        assert protocol.unpack_arrays({"arrays": [entry]}, memoryview(data))["a"].shape == (1, 48, 64, 3)


def test_a_server_that_is_stopped_and_goes_on(tmp_path):
    pytest.importorskip("torch")
    from remote_support import FR3

    process, url = start_server(make_checkpoint(tmp_path), 0)
    try:
        remote = RemotePolicy(url, FR3, deadline_s=DEADLINE_S)
        obs = observation(remote)
        remote.warm_up()
        os.kill(process.pid, signal.SIGSTOP)
        for _ in range(4):
            began_s = time.monotonic()
            with pytest.raises(BeingHError, match="did not answer within|is gone or does not answer"):
                remote.get_action(obs)
            assert time.monotonic() - began_s < DEADLINE_S + 0.5
        os.kill(process.pid, signal.SIGCONT)
        continued_s, output = time.monotonic(), None
        while output is None and time.monotonic() - continued_s < 10:
            try:
                output = remote.get_action(obs)
            except BeingHError:
                continue
        assert output is not None and time.monotonic() - continued_s < 2.0
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def test_a_connection_that_talks_unasked_is_left():
    with Impostor(without_end(other_reply())) as impostor:
        connection = Connection(address_of(impostor.url), time.monotonic() + 20)
        assert not connection.ended()
        connection.send(protocol.pack({"id": 9, "type": "act", "fields": {}}), time.monotonic() + 5)
        wait_until(connection.ended, 5.0, "the connection to be given up")
        connection.close()
