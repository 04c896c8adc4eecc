"""`Connection`: a DEALER's end of ZeroMQ's wire protocol that tells at once when the other end is gone.

libzmq hides a lost connection from the one who waits for an answer; its monitor sockets tell, but block every socket
of the process when they are collected before the socket they watch.
"""

from __future__ import annotations

import re
import select
import socket
import time

from beingh_core.errors import BeingHError
from beingh_core.policy.remote import zmtp
from beingh_core.policy.remote.headers import MAX_MESSAGE_BYTES

READ_BYTES = 256 << 10
STALE_READS = 4  # enough for answers that nobody waits for any more
RETRY_S = 0.02


class Lost(Exception):
    """The connection has ended, or none can be made."""


def address_of(url: str) -> tuple[str, int]:
    """(host, port) of `tcp://HOST:PORT`; an IPv6 host stands in brackets.

    Raises:
        BeingHError: something else.
    """
    found = re.fullmatch(r"tcp://(?:\[([0-9a-fA-F:.%\w]+)\]|([^\s:/\[\]]+)):(\d{1,5})", url)
    if not found or not 0 < int(found[3]) < 65536:
        raise BeingHError(f"`{url}` is no address of a policy server", allowed="tcp://HOST:PORT")
    return found[1] or found[2], int(found[3])


class Connection:
    """One connection, made when constructed. One thread at a time.

    Args:
        address: Host and port.
        end_s: Until when to try, monotonic [s].

    Raises:
        Lost: Nobody listens there.
    """

    def __init__(self, address: tuple[str, int], end_s: float) -> None:
        self._socket = _connected(address, end_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._incoming = zmtp.Incoming(MAX_MESSAGE_BYTES)
        self._events = iter(())
        self._buffer = memoryview(bytearray(READ_BYTES))
        try:
            self._shake_hands(end_s)
        except (TimeoutError, Lost):
            self.close()
            raise Lost from None

    def ended(self) -> bool:
        """Whether the other end is gone, or talks without end. An answer that nobody waits for any more is dropped."""
        try:
            for _ in range(STALE_READS):
                for _ in self._events:
                    pass
                if not self._read():
                    return False
        except (Lost, zmtp.Malformed):
            pass
        return True

    def send(self, message: bytes, end_s: float) -> None:
        """Sends one message.

        Raises:
            TimeoutError: Not within the time; the connection must be closed.
            Lost: The other end is gone.
        """
        self._send([zmtp.frame(message), message], end_s)

    def receive(self, end_s: float) -> memoryview:
        """The next message.

        Raises:
            TimeoutError: None within the time.
            Lost: The other end is gone, or speaks another protocol.
        """
        return self._next("message", end_s)[1]

    def close(self) -> None:
        """Ends it."""
        self._socket.close()

    def _shake_hands(self, end_s: float) -> None:
        """libzmq takes no message before it has said READY itself."""
        self._send([zmtp.GREETING, zmtp.ready("DEALER")], end_s)
        try:
            zmtp.check_ready(self._next("command", end_s))
        except zmtp.Malformed:
            raise Lost from None

    def _next(self, wanted: str, end_s: float):
        """The next command or message."""
        while True:
            try:
                for kind, what in self._events:
                    if kind == wanted:
                        return what
            except zmtp.Malformed:
                raise Lost from None
            if not self._read():
                self._wait(select.POLLIN, end_s)
            elif time.monotonic() > end_s:  # it talks without end
                raise TimeoutError

    def _read(self) -> bool:
        """Whether new bytes were there."""
        try:
            count = self._socket.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            raise Lost from None
        if not count:
            raise Lost
        self._incoming.feed(self._buffer[:count])
        self._events = self._incoming.events()
        return True

    def _send(self, pieces: list, end_s: float) -> None:
        left = [memoryview(piece) for piece in pieces]
        while left:
            try:
                sent = self._socket.sendmsg(left)
            except (BlockingIOError, InterruptedError):
                self._wait(select.POLLOUT, end_s)
                continue
            except OSError:
                raise Lost from None
            while left and sent >= len(left[0]):
                sent -= len(left.pop(0))
            if left:
                left[0] = left[0][sent:]

    def _wait(self, event: int, end_s: float) -> None:
        left_s = end_s - time.monotonic()
        poll = select.poll()
        poll.register(self._socket, event)
        if left_s <= 0 or not poll.poll(max(1, int(left_s * 1e3))):
            raise TimeoutError


def _connected(address: tuple[str, int], end_s: float) -> socket.socket:
    """A connected socket; a server that is just starting is waited for."""
    while True:
        try:
            connection = socket.create_connection(address, timeout=max(end_s - time.monotonic(), 1e-3))
            if connection.getsockname() != connection.getpeername():
                return connection
            # A port of this machine that nobody listens on, met by itself; kept, it would keep the server out.
            connection.close()
            raise ConnectionRefusedError
        except (OSError, UnicodeError):  # UnicodeError: a host that is no name
            if time.monotonic() + RETRY_S > end_s:
                raise Lost from None
            time.sleep(RETRY_S)
