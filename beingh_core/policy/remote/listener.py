"""`Listener`: the connections of a server, each of them bounded in memory and time."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time

from beingh_core.errors import BeingHError
from beingh_core.policy.remote import zmtp
from beingh_core.policy.remote.complaints import Complaints
from beingh_core.policy.remote.peers import Bounds, Peer, Places

READ_BYTES = 256 << 10
BACKLOG = 512
TURN_CONNECTIONS = 16  # accepted before the peers have their turn: time to say who they are
TURN_MESSAGES = 16  # of one peer, before the others have their turn
SWEEP_S = 0.5


class Listener:
    """Accepts peers and hands over their messages. All methods but `wake` belong to one thread.

    Attributes:
        url: Where it listens, with the port that was taken.
        violations: Peers that were dropped because they broke a rule; `last_violation` says which.

    Args:
        host: Address to listen on.
        port: 0 takes a free one.
        bounds: What may be spent.
        complaints: Is told of those that are dropped.

    Raises:
        BeingHError: The address cannot be bound.
    """

    def __init__(self, host: str, port: int, bounds: Bounds, complaints: Complaints) -> None:
        self._bounds, self._complaints = bounds, complaints
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._door = socket.create_server((host, port), family=family, backlog=BACKLOG)
        except (OSError, OverflowError, UnicodeError) as error:
            raise BeingHError(
                f"cannot listen on {host}, port {port}: {error}", remedy="choose another port or stop what uses it"
            ) from None
        bound_host, bound_port = self._door.getsockname()[:2]
        self.url = f"tcp://[{bound_host}]:{bound_port}" if ":" in host else f"tcp://{bound_host}:{bound_port}"
        self.violations, self.last_violation = 0, ""
        self._bell, self._clapper = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        for waiting in (self._door, self._bell):
            waiting.setblocking(False)
            self._selector.register(waiting, selectors.EVENT_READ)
        self._clapper.setblocking(False)
        self._places = Places(bounds)
        self._unfinished: set[Peer] = set()  # peers with messages left over from the last turn
        self._paused: dict[Peer, float] = {}  # until when, monotonic [s]
        self._swept_s = time.monotonic()
        self._buffer = memoryview(bytearray(READ_BYTES))

    def wake(self) -> None:
        """Ends a `poll` that waits. Any thread."""
        with contextlib.suppress(OSError):
            self._clapper.send(b"\0")

    def poll(self, timeout_s: float, sparing: bool = False) -> list[tuple[Peer, memoryview]]:
        """The next messages; a peer that breaks a rule is dropped.

        Args:
            timeout_s: Longest wait [s].
            sparing: Whether other work in this process needs the time: then a peer that sends without pause is read
                no faster than the bounds say.
        """
        timeout_s = self._resume(timeout_s, sparing)
        ready = self._selector.select(0 if self._unfinished - self._paused.keys() else timeout_s)
        messages: list[tuple[Peer, memoryview]] = []
        turn = {key.data for key, mask in ready if key.data is not None and mask & selectors.EVENT_READ}
        for key, mask in ready:
            if key.fileobj is self._door:
                self._accept()
            elif key.fileobj is self._bell:
                self._silence_bell()
            elif mask & selectors.EVENT_WRITE:
                self._flush(key.data)
        for peer in self._unfinished | turn:
            if peer.open and peer not in self._paused:
                self._read(peer, messages, sparing)
        self._sweep()
        return messages

    def trust(self, peer: Peer) -> None:
        """Makes a peer a known one, which may send whole messages."""
        if not peer.open or peer.trusted:
            return
        if (other := self._places.gives_way_to_known()) is not None:
            self.drop(other)
        peer.trusted, peer.incoming.limit = True, self._bounds.message_bytes

    def send(self, peer: Peer, payload: bytes) -> None:
        """Sends an answer; a peer that is gone or does not read loses it."""
        if peer.open:
            self._write(peer, (b"\x01\x00" if peer.enveloped else b"") + zmtp.frame(payload), payload)

    def close(self) -> None:
        """Ends all connections."""
        for peer in list(self._places.peers):
            self.drop(peer)
        self._selector.close()
        for one in (self._door, self._bell, self._clapper):
            one.close()

    def drop(self, peer: Peer, violation: str = "") -> None:
        """Ends a connection, because of a rule that it broke or without one."""
        if not peer.open:
            return
        peer.open = False
        if violation:
            self.violations, self.last_violation = self.violations + 1, violation
            self._complaints.tell("dropped a connection", violation)
        if peer.watched:
            self._selector.unregister(peer.connection)
        peer.connection.close()
        self._places.peers.discard(peer)
        self._unfinished.discard(peer)
        self._paused.pop(peer, None)
        peer.incoming, peer.unsent, peer.events = zmtp.Incoming(0), bytearray(), iter(())

    def _accept(self) -> None:
        for _ in range(TURN_CONNECTIONS):
            try:
                connection, address = self._door.accept()
            except OSError:  # no more, gone already, or no descriptors left
                return
            self._admit(connection, address[0])

    def _admit(self, connection: socket.socket, address: str) -> None:
        if (other := self._places.gives_way_to_stranger()) is not None:
            self.drop(other)
        connection.setblocking(False)
        for level, option, value in (
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", None), 30),
            (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPINTVL", None), 10),
            (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPCNT", None), 3),
        ):
            if option is not None:
                with contextlib.suppress(OSError):  # gone already
                    connection.setsockopt(level, option, value)
        peer = Peer(connection, address, self._bounds, time.monotonic())
        self._places.peers.add(peer)
        self._watch(peer)
        self._write(peer, zmtp.GREETING + zmtp.ready("ROUTER"), b"")

    def _watch(self, peer: Peer) -> None:
        """Waits for what the peer may do."""
        wanted = 0 if peer in self._paused else selectors.EVENT_READ
        wanted |= selectors.EVENT_WRITE if peer.unsent else 0
        if wanted == peer.watched:
            return
        if not peer.watched:
            self._selector.register(peer.connection, wanted, peer)
        elif wanted:
            self._selector.modify(peer.connection, wanted, peer)
        else:
            self._selector.unregister(peer.connection)
        peer.watched = wanted

    def _resume(self, timeout_s: float, sparing: bool) -> float:
        """Lets those go on whose pause is over; returns how long to wait at most for the next [s]."""
        now_s = time.monotonic()
        for peer, until_s in list(self._paused.items()):
            if not sparing or until_s <= now_s:
                del self._paused[peer]
                self._watch(peer)
            else:
                timeout_s = min(timeout_s, until_s - now_s)
        return timeout_s

    def _read(self, peer: Peer, messages: list, sparing: bool) -> None:
        """One turn of a peer: what is left of its last one, or else new bytes."""
        count = number = 0
        try:
            if peer not in self._unfinished:
                count = peer.connection.recv_into(self._buffer)
                if not count:
                    self.drop(peer)
                    return
                peer.incoming.feed(self._buffer[:count])
                peer.events = peer.incoming.events()
            self._unfinished.discard(peer)
            for number, (kind, what) in enumerate(peer.events, 1):
                if kind == "command":
                    self._command(peer, what)
                elif not peer.ready:
                    raise zmtp.Malformed("a message before the handshake")
                else:
                    peer.enveloped, payload = what
                    messages.append((peer, payload))
                if not peer.open:
                    return
                if number >= TURN_MESSAGES:
                    self._unfinished.add(peer)
                    break
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.drop(peer)
            return
        except zmtp.Malformed as error:
            self.drop(peer, str(error))
            return
        self._keep_time(peer, number)
        pause_s = peer.charge(number + count / 2**20, peer.received_s)
        if sparing and pause_s > 0:
            self._paused[peer] = peer.received_s + pause_s
            self._watch(peer)

    def _keep_time(self, peer: Peer, completed: int) -> None:
        """Remembers since when a handshake or message is unfinished."""
        peer.received_s = time.monotonic()
        if completed or peer.since_s is None:
            idle = not len(peer.incoming) and peer.ready
            peer.since_s = None if idle else peer.received_s

    def _command(self, peer: Peer, body: bytes) -> None:
        if not peer.ready:
            zmtp.check_ready(body)
            peer.ready = True
        elif zmtp.command_name(body) == b"PING":
            self._write(peer, zmtp.pong(body), b"")

    def _write(self, peer: Peer, head: bytes, payload: bytes) -> None:
        sent, size = 0, len(head) + len(payload)
        try:
            if not peer.unsent:
                sent = peer.connection.sendmsg([head, payload])
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.drop(peer)
            return
        if sent == size:
            return
        peer.unsent += (head + payload)[sent:]
        self._watch(peer)
        if len(peer.unsent) > self._bounds.unsent_bytes:
            self.drop(peer, "it does not read its answers")

    def _flush(self, peer: Peer) -> None:
        try:
            sent = peer.connection.send(peer.unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.drop(peer)
            return
        del peer.unsent[:sent]
        self._watch(peer)

    def _sweep(self) -> None:
        """Drops who is too slow, and who holds too much when all together do."""
        while (largest := self._places.too_large()) is not None:
            self.drop(largest, "unfinished messages hold too much memory")
        now_s = time.monotonic()
        if now_s - self._swept_s < SWEEP_S:
            return
        self._swept_s = now_s
        for peer, violation in self._places.overdue(now_s):
            self.drop(peer, violation)

    def _silence_bell(self) -> None:
        with contextlib.suppress(OSError):
            while self._bell.recv(4096):
                pass
