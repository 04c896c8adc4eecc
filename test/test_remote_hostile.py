"""Hostile peers against a server in a process of its own: no crash, no execution, bounded memory, robots still served.

`pytest -s` prints how much the server's memory grew.
"""

import io
import re
import signal
import socket
import struct
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
zmq = pytest.importorskip("zmq")
msgpack = pytest.importorskip("msgpack")

from remote_support import FR3, SET_A, TOKEN, make_checkpoint, observation, ping, start_server, wait_until
from test_remote_compat import BENCHMARK, HOSTILE, saved

from beingh_core.policy.loading import load_for_contract
from beingh_core.policy.remote import protocol, zmtp
from beingh_core.policy.remote.client import RemotePolicy
from beingh_core.policy.remote.connection import Connection, address_of

MESSAGES = 10_000
MIB = 1 << 20


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"))


class Victim:
    """A served policy as a process."""

    def __init__(self, checkpoint, *options, **served):
        self.process, self.url = start_server(checkpoint, 0, *options, **served)
        self.address = address_of(self.url)

    def forget_peak(self):
        """Begins anew with the largest resident memory."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def peak_mib(self):
        """Largest resident memory since."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024

    def stop(self):
        """Ends it as Ctrl-C does; whoever attacked it, it is still there and ends in order."""
        assert self.process.poll() is None
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(60) == 0


@contextmanager
def attacked(victim, allowed_mib, what):
    """Measures what the attack inside costs the server."""
    victim.forget_peak()
    before = victim.peak_mib()
    yield
    grown = victim.peak_mib() - before
    print(f"{what}: {before:.0f} MiB before, grew by {grown:.1f} MiB")
    assert grown < allowed_mib


@pytest.fixture(scope="module")
def native(checkpoint, tmp_path_factory):
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(TOKEN)
    victim = Victim(checkpoint, "--token-file", str(file))
    yield victim
    victim.stop()


@pytest.fixture(scope="module")
def compat():
    victim = Victim(SET_A, "--compat", served=BENCHMARK)
    yield victim
    victim.stop()


@pytest.fixture(scope="module")
def robot(native):
    """A robot that is connected all the time, and its observation."""
    remote = RemotePolicy(native.url, FR3, token=TOKEN, deadline_s=20)
    obs = observation(remote)
    remote.get_action(obs)
    return remote, obs


def raw(victim, *pieces):
    """A plain socket that has made ZeroMQ's handshake and sent these bytes."""
    peer = socket.create_connection(victim.address, timeout=20)
    try:
        peer.sendall(b"".join([zmtp.GREETING, zmtp.ready("DEALER"), *pieces]))
    except OSError:  # it was dropped already
        pass
    return peer


def is_dropped(peer):
    """Whether the server ends the connection within a while."""
    try:
        while peer.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def malformed(rng, good):
    """One of many kinds of bad message."""
    kind = rng.integers(8)
    if kind == 0:
        return rng.bytes(rng.integers(0, 400))
    if kind == 1:
        return good[: rng.integers(len(good))]
    if kind == 2:  # a header of an enormous declared length
        return struct.pack("<4sI", b"BHRP", rng.integers(2**31)) + rng.bytes(50)
    if kind == 3:  # enormous containers declared in msgpack
        head = bytes([rng.choice([0xDD, 0xDF, 0xDB, 0xC6, 0xC9])]) + b"\xff\xff\xff\xff" + rng.bytes(20)
    elif kind == 4:
        head = b"\x91" * int(rng.integers(1, 60000))
    elif kind == 5:
        wrong = rng.choice(np.array([None, "x", -1, [], {}, 1.5, 2**40], dtype=object))
        header = {"version": 1, "id": 1, "type": "act", "deadline_ms": 5, "fields": {}, "arrays": [], "token": TOKEN}
        head = msgpack.packb(header | {rng.choice(list(header)): wrong})
    elif kind == 6:
        flipped = bytearray(good)
        for at in rng.integers(0, min(len(good), 600), 6):
            flipped[at] = rng.integers(256)
        return bytes(flipped)
    else:
        entry = {"name": "state.eef_position", "dtype": "float32", "shape": [1, 3], "codec": "raw", "bytes": 12}
        bad = rng.choice(np.array([None, "object", -3, [2**31] * 4, [1] * 40, 2**60, True], dtype=object))
        entry[rng.choice(list(entry))] = bad
        header = {"version": 1, "id": 1, "type": "act", "deadline_ms": 500, "token": TOKEN, "arrays": [entry]}
        head = msgpack.packb(header | {"fields": {"session": msgpack.unpackb(good[8:])["fields"]["session"]}})
        return struct.pack("<4sI", b"BHRP", len(head)) + head + bytes(12)
    return struct.pack("<4sI", b"BHRP", len(head)) + head


def test_ten_thousand_malformed_messages(native, robot):
    remote, obs = robot
    rng = np.random.default_rng(0)
    good = protocol.pack(
        {"id": 1, "type": "act", "deadline_ms": 500, "token": "wrong", "fields": {"session": remote._session}}
    )
    served = ping(native.url, TOKEN)["served"]
    attacker = zmq.Context.instance().socket(zmq.DEALER)
    attacker.setsockopt(zmq.LINGER, 0)
    attacker.connect(native.url)
    with attacked(native, 32, f"{MESSAGES} malformed messages"):
        for number in range(MESSAGES):
            attacker.send(malformed(rng, good))
            answer = protocol.unpack_header(attacker.recv())[0] if attacker.poll(10_000) else None
            assert answer and answer["ok"] is False, number
    attacker.close()
    counts = ping(native.url, TOKEN)
    assert counts["served"] == served and counts["malformed"] + counts["refused"] >= MESSAGES
    remote.get_action(obs)


def malformed_for_compat(rng, good, hostile):
    """A hostile case, or a good message that was cut, changed or filled with noise."""
    kind = rng.integers(6)
    if kind == 0:
        return rng.bytes(rng.integers(1, 2000))
    if kind == 1:
        return good[: rng.integers(1, len(good))]
    if kind == 2:
        return hostile[rng.integers(len(hostile))]
    changed = bytearray(good)
    pickle_at = good.index(b"data.pkl") if kind == 3 else 0
    for at in rng.integers(pickle_at, min(len(good), pickle_at + 900) if kind != 4 else len(good), 5):
        changed[at] = rng.integers(256)
    return bytes(changed)


def test_ten_thousand_malformed_messages_to_the_compatibility_mode(compat, tmp_path):
    rng = np.random.default_rng(0)
    target = tmp_path / "executed"
    good = saved({"endpoint": "no such", "data": {"a": np.zeros(3), "b": ["x", 1, None]}, "api_token": "x"})
    hostile = [made for made in (make(target) for make in HOSTILE.values()) if 0 < len(made) < 100_000]
    connection = Connection(compat.address, time.monotonic() + 10)
    with attacked(compat, 64, f"{MESSAGES} malformed messages to --compat"):
        for number in range(MESSAGES):
            connection.send(malformed_for_compat(rng, good, hostile), time.monotonic() + 20)
            answer = torch.load(io.BytesIO(connection.receive(time.monotonic() + 20)), weights_only=True)
            assert answer.keys() == {"error"}, number
    with attacked(compat, 300, "the hostile messages of many megabytes to --compat"):
        for make in HOSTILE.values():
            if 100_000 <= len(made := make(target)) < protocol.MAX_MESSAGE_BYTES:
                connection.send(made, time.monotonic() + 20)
                answer = torch.load(io.BytesIO(connection.receive(time.monotonic() + 20)), weights_only=True)
                assert answer.keys() == {"error"}
    assert not target.exists()
    connection.send(saved({"endpoint": "ping"}), time.monotonic() + 20)
    answer = torch.load(io.BytesIO(connection.receive(time.monotonic() + 20)), weights_only=True)
    assert answer["status"] == "ok"
    connection.close()


@pytest.mark.parametrize("victim", ["native", "compat"])
def test_a_message_without_end(victim, request):
    """libzmq would keep all parts: they count for no limit of its own until the last one has come."""
    victim = request.getfixturevalue(victim)
    part = bytes(MIB // 32)
    with attacked(victim, 24, "5 messages of 1,000 parts without end"):
        for _ in range(5):
            peer = raw(victim, *[zmtp.frame(part, zmtp.MORE) + part] * 1000)
            assert is_dropped(peer)
            peer.close()


@pytest.mark.parametrize("victim", ["native", "compat"])
def test_thousands_of_messages_of_many_parts_from_libzmq(victim, request):
    victim = request.getfixturevalue(victim)
    socket_ = zmq.Context.instance().socket(zmq.DEALER)
    socket_.setsockopt(zmq.LINGER, 0)
    socket_.setsockopt(zmq.SNDTIMEO, 10_000)
    socket_.setsockopt(zmq.RECONNECT_IVL, 1)
    socket_.connect(victim.url)
    with attacked(victim, 24, "3,000 messages of 200 parts from libzmq"):
        for _ in range(3000):
            socket_.send_multipart([b"x" * 500] * 200)
    socket_.close()


def test_messages_that_are_never_finished(native, compat):
    """Each of sixteen peers announces a message of the longest length and stops in the middle."""
    for victim, allowed in ((native, 24), (compat, 96)):
        unfinished = zmtp.frame(bytes(protocol.MAX_MESSAGE_BYTES)) + bytes(12 * MIB)
        with attacked(victim, allowed, "16 unfinished messages of 12 MiB"):
            peers = [raw(victim, unfinished) for _ in range(16)]
            assert any(is_dropped(peer) for peer in peers)
            for peer in peers:
                peer.close()


def test_a_frame_that_declares_too_much_is_refused_before_its_bytes(native):
    for head in (b"\x02" + b"\xff" * 8, b"\x02" + (17 * MIB).to_bytes(8, "big"), b"\x06" + (2000).to_bytes(8, "big")):
        peer = raw(native, head)
        assert is_dropped(peer)
        peer.close()


def test_a_stranger_may_send_little_before_it_is_known(native):
    """A whole observation is received only from who has said the token."""
    message = bytes(80_000)
    peer = raw(native, zmtp.frame(message) + message)
    assert is_dropped(peer)
    peer.close()


def test_answers_that_nobody_reads(native, robot):
    small = zmtp.frame(b"x") + b"x"
    with attacked(native, 32, "a flood of small messages whose answers are not read"):
        peer = socket.create_connection(native.address, timeout=20)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.sendall(zmtp.GREETING + zmtp.ready("DEALER"))
        with pytest.raises(OSError):
            for _ in range(10_000):
                peer.sendall(small * 1000)
        peer.close()
    robot[0].get_action(robot[1])


def test_a_flood_of_connections_does_not_take_a_robots_place(native, robot):
    with attacked(native, 24, "1,000 connections"):
        peers = [socket.create_connection(native.address, timeout=20) for _ in range(1000)]
        robot[0].get_action(robot[1])
        assert sum(is_dropped(peer) for peer in peers[:900]) == 900
        another = RemotePolicy(native.url, FR3, token=TOKEN, deadline_s=20)
        another.get_action(robot[1])
        another.close()
        for peer in peers:
            peer.close()


def test_bytes_that_are_no_zeromq(native, robot):
    rng = np.random.default_rng(1)
    with attacked(native, 24, "3,000 connections with noise"):
        for number in range(3000):
            noise = rng.bytes(rng.integers(1, 400))
            with socket.create_connection(native.address, timeout=20) as peer:
                kind = number % 4
                start = [b"", b"GET / HTTP/1.1\r\n", zmtp.GREETING, zmtp.GREETING + zmtp.ready("DEALER")][kind]
                peer.sendall(start + noise)
    robot[0].get_action(robot[1])


def test_a_peer_that_is_silent_in_the_middle_is_dropped(checkpoint):
    from remote_support import Served

    from beingh_core.policy.remote.listener import Bounds

    policy = load_for_contract(FR3, checkpoint, threads=1)
    bounds = Bounds(message_s=0.3)
    with Served(policy, FR3, bounds=bounds) as served:
        victim = type("Local", (), {"address": address_of(served.url)})
        assert is_dropped(raw(victim, zmtp.frame(bytes(100)) + bytes(50)))
        half = socket.create_connection(victim.address, timeout=20)
        half.sendall(zmtp.GREETING[:20])
        assert is_dropped(half)
        wait_until(lambda: served.server._listener.violations == 2, what="both to be counted")
        assert "too long to arrive" in served.server.report()
        idle = RemotePolicy(served.url, FR3, deadline_s=20)
        time.sleep(1.0)  # an idle robot stays
        connection = idle._connection
        idle.get_action(observation(idle))
        assert idle._connection is connection


def test_the_parser_yields_what_libzmq_wrote_however_it_is_cut():
    """Every way of cutting the bytes of a real DEALER and a real REQ gives the same messages."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(20)
    port = listener.getsockname()[1]
    payload = bytes(range(256)) * 3
    for kind, enveloped in ((zmq.DEALER, False), (zmq.REQ, True)):
        sender = zmq.Context.instance().socket(kind)
        sender.setsockopt(zmq.LINGER, 0)
        sender.connect(f"tcp://127.0.0.1:{port}")
        sender.send(payload)
        wire, _ = listener.accept()
        wire.settimeout(20)
        wire.sendall(zmtp.GREETING + zmtp.ready("ROUTER"))
        data = b""
        while not data.endswith(payload):
            data += wire.recv(65536)
        wire.close()
        sender.close()
        for step in (1, 2, 3, 7, 64, 65, len(data)):
            incoming, found = zmtp.Incoming(1 << 16), []
            for at in range(0, len(data), step):
                incoming.feed(data[at : at + step])
                found += [
                    (kind_, what if kind_ == "command" else (what[0], bytes(what[1])))
                    for kind_, what in incoming.events()
                ]
            commands = [what for kind_, what in found if kind_ == "command"]
            assert len(commands) == 1 and zmtp.check_ready(commands[0]) is None
            assert [what for kind_, what in found if kind_ == "message"] == [(enveloped, payload)]
            assert len(incoming) == 0


def test_a_robot_reaches_the_server_through_a_real_libzmq(checkpoint):
    """Our client and a libzmq ROUTER, a libzmq DEALER and our server, understand each other."""
    from threading import Thread

    from remote_support import Served

    policy = load_for_contract(FR3, checkpoint, threads=1)
    context = zmq.Context()
    front, back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    port = front.bind_to_random_port("tcp://127.0.0.1")
    with Served(policy, FR3) as served:
        back.connect(served.url)

        def relay():
            poller = zmq.Poller()
            poller.register(front, zmq.POLLIN)
            poller.register(back, zmq.POLLIN)
            robot = None
            while robot != b"end":
                ready = dict(poller.poll(20_000))
                if front in ready:
                    robot, *parts = front.recv_multipart()
                    if parts == [b"end"]:
                        return
                    back.send_multipart(parts)
                if back in ready:
                    front.send_multipart([robot, *back.recv_multipart()])

        thread = Thread(target=relay, daemon=True)
        thread.start()
        remote = RemotePolicy(f"tcp://127.0.0.1:{port}", FR3, deadline_s=20)
        assert remote.get_action(observation(remote))["action_unified"].shape == (1, 16, 200)
        end = zmq.Context.instance().socket(zmq.DEALER)
        end.connect(f"tcp://127.0.0.1:{port}")
        end.send(b"end")
        thread.join(20)
        assert not thread.is_alive()
        for one in (front, back, end):
            one.close(0)
