"""Clients that flood, idle or dribble leave a server's time and places to the others."""

import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("msgpack")

from remote_support import TOKEN, Served, observation, wait_until
from stub_policy import StubPolicy

from beingh_core.errors import BeingHError
from beingh_core.policy.remote import protocol, zmtp
from beingh_core.policy.remote.client import RemotePolicy
from beingh_core.policy.remote.complaints import PERIOD_S, Complaints
from beingh_core.policy.remote.connection import address_of
from beingh_core.policy.remote.listener import TURN_MESSAGES, Listener
from beingh_core.policy.remote.peers import Bounds, Peer, Places
from beingh_core.policy.remote.waiting import Job, Refused, Waiting

FACTOR = 6.0  # how much longer a chunk may take beside two that flood: their turns, and one that is being computed


def job(client):
    return Job(client=client, deadline_s=0.0, read=None, answer=None, refuse=None, send=None)


def clients(*turns):
    return [SimpleNamespace(open=True, turn_s=turn) for turn in turns]


def test_who_had_its_turn_longest_ago_is_next():
    waiting = Waiting(4)
    a, b, c = (job(client) for client in clients(3.0, 1.0, 2.0))
    for one in (a, b, c):
        assert waiting.put(one) == []
    assert waiting.take(2) == [b, c] and waiting.take(2) == [a] and waiting.empty()
    assert a.client.turn_s >= b.client.turn_s > 3.0


def test_a_client_has_one_request_that_waits():
    waiting = Waiting(4)
    (client,) = clients(0.0)
    waiting.put(job(client))
    with pytest.raises(Refused, match="of this client"):
        waiting.put(job(client))
    waiting.take(1)
    waiting.put(job(client))


def test_where_all_places_are_taken_the_one_who_had_its_turn_last_gives_way():
    waiting = Waiting(2)
    jobs = [job(client) for client in clients(5.0, 4.0, 3.0, 6.0)]
    waiting.put(jobs[0])
    waiting.put(jobs[1])
    assert waiting.put(jobs[2]) == [jobs[0]]
    with pytest.raises(Refused, match="2 requests are waiting"):
        waiting.put(jobs[3])
    jobs[1].client.open = False
    assert waiting.put(jobs[3]) == [jobs[1]]
    assert waiting.take(4) == [jobs[2], jobs[3]]


def test_nobody_waits_after_the_end():
    waiting = Waiting(2)
    waiting.put(job(*clients(0.0)))
    waiting.close()
    assert waiting.take(1) == []


def peer(address="10.0.0.1", came_s=0.0, trusted=False, asked=0):
    made = Peer(None, address, Bounds(), came_s)
    made.trusted, made.asked = trusted, asked
    return made


def test_the_address_with_most_strangers_gives_way_first():
    places = Places(Bounds(strangers=4))
    places.peers = {peer("10.0.0.1", 0.0), peer("10.0.0.2", 2.0), peer("10.0.0.2", 1.0)}
    assert places.gives_way_to_stranger() is None
    places.peers.add(peer("10.0.0.2", 3.0))
    leaving = places.gives_way_to_stranger()
    assert (leaving.address, leaving.came_s) == ("10.0.0.2", 1.0)


def test_a_known_peer_gives_way_when_it_is_idle_longest_and_never_to_strangers():
    places = Places(Bounds(known=3, strangers=1))
    busy, idle, lively = peer(came_s=0.0, trusted=True, asked=1), peer(came_s=1.0, trusted=True), peer(came_s=2.0)
    lively.trusted = True
    places.peers = {busy, idle}
    assert places.gives_way_to_known() is None
    places.peers.add(lively)
    assert places.gives_way_to_known() is idle and places.gives_way_to_stranger() is None


def test_a_peer_that_sends_without_pause_earns_its_pauses():
    one = Peer(None, "", Bounds(rate=10.0, burst=5.0), 0.0)
    assert [one.charge(1.0, 0.0) for _ in range(5)] == [0.0] * 5
    assert one.charge(1.0, 0.0) == pytest.approx(0.1)
    assert one.charge(1000.0, 0.0) == pytest.approx(0.5), "what it did while nothing was computed is soon forgotten"
    assert one.charge(1.0, 100.0) == 0.0


def test_while_a_chunk_is_computed_a_flood_is_read_no_faster_than_allowed():
    bounds = Bounds(rate=20.0, burst=5.0)
    listener = Listener("127.0.0.1", 0, bounds, Complaints())
    with strangers(listener.url, 1) as (flood,):
        flood.sendall((zmtp.frame(b"x") + b"x") * 500)

        began_s, count = time.monotonic(), 0
        while time.monotonic() - began_s < 0.5:
            count += len(listener.poll(0.05, sparing=True))
            took_s = time.monotonic() - began_s
        assert 0 < count <= bounds.burst + took_s * bounds.rate + TURN_MESSAGES
        while count < 500 and time.monotonic() - began_s < 20:
            count += len(listener.poll(0.05, sparing=False))
        assert count == 500
    listener.close()


def test_troubles_are_told_in_one_line_for_many(caplog):
    now = [0.0]
    complaints = Complaints(clock=lambda: now[0])
    for _ in range(1000):
        complaints.tell("token", "missing\n\x1b[31m")
        complaints.tell("busy", "too many")
    now[0] = PERIOD_S
    complaints.tell("token", "wrong")
    lines = [record.getMessage() for record in caplog.records]
    told = "token: wrong (1000 of this kind since the last line)"
    assert lines == ["token: missing??[31m", "busy: too many", told]


class Flood:
    """Sends one message over and over and reads all answers; comes back when it is dropped."""

    def __init__(self, url, message_of):
        self._url, self._message_of, self._ending = url, message_of, threading.Event()
        self.answered = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._ending.is_set():
            try:
                robot = RemotePolicy(self._url, deadline_s=20)
                data = self._message_of(robot)
                wire = robot._connection._socket
                wire.setblocking(False)
                while not self._ending.is_set():
                    for act in (lambda: wire.send((zmtp.frame(data) + data) * 20), lambda: wire.recv(1 << 20)):
                        try:
                            self.answered += 1 if act() else 0
                        except BlockingIOError:
                            self._ending.wait(0.001)
            except (OSError, BeingHError):
                continue

    def stop(self):
        self._ending.set()
        self._thread.join(20)


def act(robot):
    fields, arrays = robot._parts(observation(robot))
    header = {"id": 1, "type": "act", "deadline_ms": 5000, "fields": {**fields, "session": robot._session}}
    return protocol.pack(header, {name: value for name, value in arrays.items() if "video" not in name})


def times_s(robot, count=12):
    obs, times = observation(robot), []
    for _ in range(count):
        began_s = time.monotonic()
        robot.get_action(obs)
        times.append(time.monotonic() - began_s)
        time.sleep(0.005)
    return times


@pytest.mark.parametrize("kind", ["requests without pictures", "pings", "asks again at once"])
def test_two_that_flood_leave_a_third_its_turns(kind):
    policy = StubPolicy(seconds=0.03)
    with ExitStack() as stack:
        served = stack.enter_context(Served(policy))
        robot = RemotePolicy(served.url, deadline_s=20)
        alone_s = np.median(times_s(robot))
        if kind == "asks again at once":
            ending = threading.Event()
            stack.callback(ending.set)
            others = [RemotePolicy(served.url, deadline_s=20) for _ in range(2)]
            obs = observation(robot)

            def ask(other):
                while not ending.is_set():
                    try:
                        other.get_action(obs)
                    except BeingHError:  # at the end of the server
                        return

            for other in others:
                threading.Thread(target=ask, args=(other,), daemon=True).start()
        else:
            ping = protocol.pack({"id": 1, "type": "ping", "fields": {}})
            floods = [Flood(served.url, act if "requests" in kind else lambda robot: ping) for _ in range(2)]
            for flood in floods:
                stack.callback(flood.stop)
            wait_until(lambda: all(flood.answered > 50 for flood in floods), what="the floods")
        beside_s = times_s(robot)
        assert np.median(beside_s) < FACTOR * alone_s
        assert served.server.counts.failed == 0


def test_more_that_flood_than_there_are_places_leave_another_its_turns():
    with Served(StubPolicy(seconds=0.01)) as served, ExitStack() as stack:
        robot = RemotePolicy(served.url, deadline_s=20)
        obs = observation(robot)
        robot.get_action(obs)
        floods = [Flood(served.url, act) for _ in range(10)]
        for flood in floods:
            stack.callback(flood.stop)
        wait_until(lambda: served.server.counts.refused > 100, what="the floods to fill the queue")
        answered = 0
        for _ in range(12):
            time.sleep(0.3)
            try:
                robot.get_action(obs)
                answered += 1
            except BeingHError as error:
                assert "waiting" in str(error)
        assert answered >= 10


@contextmanager
def strangers(url, count, start=zmtp.GREETING + zmtp.ready("DEALER")):
    peers = [socket.create_connection(address_of(url), timeout=20) for _ in range(count)]
    for one in peers:
        try:
            one.sendall(start)
        except OSError:  # it has given way already
            pass
    yield peers
    for one in peers:
        one.close()


def is_dropped(one):
    try:
        while one.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


@pytest.mark.parametrize("token", ["", TOKEN])
@pytest.mark.parametrize("count", [16, 200])
def test_idle_strangers_keep_nobody_out(count, token):
    with Served(StubPolicy(), token=token) as served, strangers(served.url, count):
        for _ in range(3):
            robot = RemotePolicy(served.url, token=token, deadline_s=20)
            robot.get_action(observation(robot))


def test_idle_clients_that_are_known_keep_nobody_out_and_are_served_again():
    with Served(StubPolicy(), token=TOKEN) as served:
        robots = [RemotePolicy(served.url, token=TOKEN, deadline_s=20) for _ in range(Bounds.known + 8)]
        obs = observation(robots[0])
        wait_until(lambda: robots[0]._connection.ended(), what="the first to give way")
        assert not robots[-1]._connection.ended()
        for robot in (robots[-1], robots[0], robots[-1]):
            robot.get_action(obs)


def test_who_does_not_say_the_token_is_dropped_soon_whatever_else_it_says():
    hello = protocol.pack({"id": 1, "type": "hello", "fields": {}, "token": "wrong"})
    with Served(StubPolicy(), token=TOKEN, bounds=Bounds(stranger_s=0.4)) as served:
        robot = RemotePolicy(served.url, token=TOKEN, deadline_s=20)
        began_s = time.monotonic()
        with strangers(served.url, 3) as (silent, talking, dribbling):
            try:
                while time.monotonic() - began_s < 20:
                    talking.sendall(zmtp.frame(hello) + hello)
                    dribbling.sendall(b"\0")
                    time.sleep(0.05)
            except OSError:
                pass
            assert time.monotonic() - began_s < 10
            assert all(is_dropped(one) for one in (silent, talking, dribbling))
        connection = robot._connection
        robot.get_action(observation(robot))
        assert robot._connection is connection, "an idle robot stays"
        assert "did not say the token" in served.server.report() or "flags" in served.server.report()


def test_a_message_that_arrives_byte_by_byte_ends_and_others_are_served():
    with Served(StubPolicy(), bounds=Bounds(message_s=0.5)) as served:
        slow = RemotePolicy(served.url, deadline_s=20)._connection._socket
        slow.setblocking(True)
        slow.settimeout(20)
        robot = RemotePolicy(served.url, deadline_s=20)
        began_s = time.monotonic()
        with pytest.raises(OSError):
            slow.sendall(zmtp.frame(bytes(1000)))
            while time.monotonic() - began_s < 20:
                slow.sendall(b"\0")
                time.sleep(0.05)
        robot.get_action(observation(robot))
        assert "too long to arrive" in served.server.report()
