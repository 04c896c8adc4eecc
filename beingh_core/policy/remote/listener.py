"""`Listener`: the connections of a server, each of them bounded in memory and time."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
import selectors
import socket
import time

from beingh_core.errors import BeingHError
from beingh_core.policy.remote import zmtp

READ_BYTES = 256 << 10
BACKLOG = 128
TURN_CONNECTIONS = 64  # accepted before the peers have their turn
TURN_MESSAGES = 16  # of one peer, before the others have their turn
SWEEP_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a server spends on its peers.

    Attributes:
        message_bytes: Largest message of a trusted peer.
        first_bytes: Largest message of a peer that is not trusted yet.
        total_bytes: Unfinished messages of all peers together.
        unsent_bytes: Answers that one peer has not read.
        peers: Connections.
        message_s: Longest time from the first byte of a message, or of a connection, to its last [s].
    """

    message_bytes: int = 16 << 20
    first_bytes: int = 64 << 10
    total_bytes: int = 64 << 20
    unsent_bytes: int = 4 << 20
    peers: int = 16
    message_s: float = 10.0


class Peer:
    """One connection; all but `open` belongs to the listener.

    Attributes:
        open: Whether it is still there. Any thread may read it.
        trusted: Set by the server for a peer that it serves; others give way first.
    """

    def __init__(self, connection: socket.socket, limit: int, now_s: float) -> None:
        self.connection, self.incoming, self.unsent = connection, zmtp.Incoming(limit), bytearray()
        self.open, self.trusted, self.ready, self.enveloped = True, False, False, False
        self.since_s: float | None = now_s  # of what is unfinished
        self.came_s = now_s
        self.events = iter(())


class Listener:
    """Accepts peers and hands over their messages. All methods but `wake` belong to one thread.

    Attributes:
        url: Where it listens, with the port that was taken.
        violations: Peers that were dropped because they broke a rule; `last_violation` says which.

    Args:
        host: Address to listen on.
        port: 0 takes a free one.
        bounds: What may be spent.

    Raises:
        BeingHError: The address cannot be bound.
    """

    def __init__(self, host: str, port: int, bounds: Bounds) -> None:
        self._bounds = bounds
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._door = socket.create_server((host, port), family=family, backlog=BACKLOG)
        except (OSError, OverflowError) as error:
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
        self._peers: set[Peer] = set()
        self._unfinished: set[Peer] = set()  # peers with messages left over from the last turn
        self._swept_s = time.monotonic()
        self._buffer = memoryview(bytearray(READ_BYTES))

    def wake(self) -> None:
        """Ends a `poll` that waits. Any thread."""
        with contextlib.suppress(OSError):
            self._clapper.send(b"\0")

    def poll(self, timeout_s: float) -> list[tuple[Peer, memoryview]]:
        """The next messages, after at most `timeout_s` [s]; a peer that breaks a rule is dropped."""
        ready = self._selector.select(0 if self._unfinished else timeout_s)
        messages: list[tuple[Peer, memoryview]] = []
        turn = {key.data: True for key, mask in ready if key.data is not None and mask & selectors.EVENT_READ}
        for key, mask in ready:
            if key.fileobj is self._door:
                self._accept()
            elif key.fileobj is self._bell:
                self._silence_bell()
            elif mask & selectors.EVENT_WRITE:
                self._flush(key.data)
        for peer in list(self._unfinished | turn.keys()):
            if peer.open:
                self._read(peer, messages)
        self._sweep()
        return messages

    def trust(self, peer: Peer) -> None:
        """Allows a peer whole messages and lets others give way to it."""
        peer.trusted, peer.incoming.limit = True, self._bounds.message_bytes

    def send(self, peer: Peer, payload: bytes) -> None:
        """Sends an answer; a peer that is gone or does not read loses it."""
        if peer.open:
            self._write(peer, (b"\x01\x00" if peer.enveloped else b"") + zmtp.frame(payload), payload)

    def close(self) -> None:
        """Ends all connections."""
        for peer in list(self._peers):
            self._drop(peer)
        self._selector.close()
        for one in (self._door, self._bell, self._clapper):
            one.close()

    def _accept(self) -> None:
        for _ in range(TURN_CONNECTIONS):
            try:
                connection, _ = self._door.accept()
            except OSError:  # no more, gone already, or no descriptors left
                return
            self._admit(connection)

    def _admit(self, connection: socket.socket) -> None:
        if len(self._peers) >= self._bounds.peers:
            strangers = [peer for peer in self._peers if not peer.trusted]
            if not strangers:
                connection.close()
                return
            self._drop(min(strangers, key=lambda peer: peer.came_s))
        connection.setblocking(False)
        for level, option, value in (
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", None), 30),
            (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPINTVL", None), 10),
            (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPCNT", None), 3),
        ):
            if option is not None:
                connection.setsockopt(level, option, value)
        peer = Peer(connection, self._bounds.first_bytes, time.monotonic())
        self._peers.add(peer)
        self._selector.register(connection, selectors.EVENT_READ, peer)
        self._write(peer, zmtp.GREETING + zmtp.ready("ROUTER"), b"")

    def _read(self, peer: Peer, messages: list) -> None:
        """One turn of a peer: what is left of its last one, or else new bytes."""
        try:
            if peer not in self._unfinished:
                count = peer.connection.recv_into(self._buffer)
                if not count:
                    self._drop(peer)
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
                    return
            if not len(peer.incoming) and peer.ready:
                peer.since_s = None
            elif peer.since_s is None:
                peer.since_s = time.monotonic()
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._drop(peer)
        except zmtp.Malformed as error:
            self._drop(peer, str(error))

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
            self._drop(peer)
            return
        if sent == size:
            return
        if not peer.unsent:
            self._selector.modify(peer.connection, selectors.EVENT_READ | selectors.EVENT_WRITE, peer)
        peer.unsent += (head + payload)[sent:]
        if len(peer.unsent) > self._bounds.unsent_bytes:
            self._drop(peer, "it does not read its answers")

    def _flush(self, peer: Peer) -> None:
        try:
            sent = peer.connection.send(peer.unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._drop(peer)
            return
        del peer.unsent[:sent]
        if not peer.unsent:
            self._selector.modify(peer.connection, selectors.EVENT_READ, peer)

    def _sweep(self) -> None:
        """Drops who is too slow, and who holds too much when all together do."""
        held = {peer: len(peer.incoming) for peer in self._peers}
        while sum(held.values()) > self._bounds.total_bytes:
            largest = max(held, key=lambda peer: (not peer.trusted, held[peer]))
            del held[largest]
            self._drop(largest, "unfinished messages hold too much memory")
        now_s = time.monotonic()
        if now_s - self._swept_s < SWEEP_S:
            return
        self._swept_s = now_s
        for peer in list(self._peers):
            if peer.since_s is not None and now_s - peer.since_s > self._bounds.message_s:
                self._drop(peer, "a message takes too long to arrive")

    def _silence_bell(self) -> None:
        with contextlib.suppress(OSError):
            while self._bell.recv(4096):
                pass

    def _drop(self, peer: Peer, violation: str = "") -> None:
        if not peer.open:
            return
        peer.open = False
        if violation:
            self.violations, self.last_violation = self.violations + 1, violation
        self._selector.unregister(peer.connection)
        peer.connection.close()
        self._peers.discard(peer)
        self._unfinished.discard(peer)
        peer.incoming, peer.unsent, peer.events = zmtp.Incoming(0), bytearray(), iter(())
