"""ZeroMQ's wire protocol (ZMTP 3, NULL mechanism, RFC 23), with every length bounded.

libzmq keeps the parts of a message that is not finished without any limit, and its limits count only finished
messages; here what a peer sends is checked before it is stored. A message is one part, or one part behind an empty
one, which is what DEALER and REQ sockets send.
"""

from __future__ import annotations

from collections.abc import Iterator

MORE, LONG, COMMAND = 1, 2, 4
MAX_COMMAND_BYTES = 1024
GREETING_BYTES = 64
_SIGNATURE = b"\xff" + bytes(8) + b"\x7f"
GREETING = _SIGNATURE + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
PEER_SOCKETS = (b"DEALER", b"REQ", b"ROUTER", b"REP")


class Malformed(Exception):
    """Bytes that do not follow the protocol or its limits; the peer must be dropped."""


def frame(payload, flags: int = 0) -> bytes:
    """Head of a frame; the payload follows it on the wire."""
    size = len(payload)
    if size < 256:
        return bytes((flags, size))
    return bytes((flags | LONG,)) + size.to_bytes(8, "big")


def ready(kind: str) -> bytes:
    """The command that ends the handshake, of a kind of socket."""
    body = _command("READY", _property(b"Socket-Type", kind.encode()) + _property(b"Identity", b""))
    return frame(body, COMMAND) + body


def pong(ping: bytes) -> bytes:
    """Answer to a PING command (its name, a time to live of 2 bytes and a context)."""
    body = _command("PONG", ping[7:23])
    return frame(body, COMMAND) + body


def command_name(body: bytes) -> bytes:
    """Name of a command, b"" for none."""
    return body[1 : 1 + body[0]] if body else b""


def check_ready(body: bytes) -> None:
    """Refuses a peer whose first command is no READY of a socket that sends requests or answers.

    Raises:
        Malformed: something else.
    """
    if command_name(body) != b"READY":
        raise Malformed("the handshake does not end with READY")
    properties, at = {}, 6
    while at < len(body):
        end = at + 1 + body[at]
        size = int.from_bytes(body[end : end + 4], "big")
        properties[body[at + 1 : end].lower()] = body[end + 4 : end + 4 + size]
        at = end + 4 + size
    if at != len(body) or properties.get(b"socket-type") not in PEER_SOCKETS:
        raise Malformed("the peer is a socket of another kind")


class Incoming:
    """What one peer has sent: bytes in, commands and messages out.

    Holds at most `limit` bytes of an unfinished message and what one call of `feed` added.

    Args:
        limit: largest message [bytes]; may be raised later.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._inbox = bytearray()
        self._greeted = self._enveloped = False

    def __len__(self) -> int:
        return len(self._inbox)

    def feed(self, data) -> None:
        """Adds bytes from the wire; take what they complete with `events` before the next call."""
        self._inbox += data

    def events(self) -> Iterator[tuple[str, object]]:
        """What is complete, as ("command", bytes) or ("message", (whether enveloped, memoryview)).

        Raises:
            Malformed: from then on the peer must be dropped.
        """
        if not self._greeted and not self._greeting():
            return
        while (found := self._frame()) is not None:
            flags, body = found
            if flags & COMMAND:
                yield "command", bytes(body)
            elif flags & MORE:
                if len(body) or self._enveloped:
                    raise Malformed("a message of several parts")
                self._enveloped = True
            else:
                enveloped, self._enveloped = self._enveloped, False
                yield "message", (enveloped, body)

    def _greeting(self) -> bool:
        """Whether the greeting is complete."""
        inbox = self._inbox
        if inbox[:1] != b"\xff"[: len(inbox)] or (len(inbox) > 9 and not inbox[9] & 1):
            raise Malformed("no greeting of ZeroMQ")
        if len(inbox) > 10 and inbox[10] < 3:
            raise Malformed("a version of ZeroMQ's protocol before 3")
        if len(inbox) < GREETING_BYTES:
            return False
        if inbox[12:32] != GREETING[12:32]:
            raise Malformed("a security mechanism other than NULL")
        del inbox[:GREETING_BYTES]
        self._greeted = True
        return True

    def _frame(self) -> tuple[int, memoryview] | None:
        """The next complete frame; its declared length is checked before its bytes are waited for."""
        inbox = self._inbox
        if len(inbox) < 2:
            return None
        flags, head = inbox[0], 9 if inbox[0] & LONG else 2
        if flags & ~(MORE | LONG | COMMAND) or flags & (COMMAND | MORE) == COMMAND | MORE:
            raise Malformed(f"a frame with flags {flags}")
        if len(inbox) < head:
            return None
        size = int.from_bytes(inbox[1:head], "big")
        limit = MAX_COMMAND_BYTES if flags & COMMAND else self.limit
        if size > limit:
            raise Malformed(f"a frame of {size} bytes is declared; allowed: {limit}")
        if len(inbox) < head + size:
            return None
        if len(inbox) == head + size:
            self._inbox = bytearray()
            return flags, memoryview(inbox)[head:]
        with memoryview(inbox) as view:
            body = bytes(view[head : head + size])
        del inbox[: head + size]
        return flags, memoryview(body)


def _command(name: str, data: bytes) -> bytes:
    return bytes((len(name),)) + name.encode() + data


def _property(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value
