"""`Peer`, one connection of a server, and `Places`: who may stay when there are more than it can keep."""

from __future__ import annotations

import socket
from collections import Counter
from dataclasses import dataclass

from beingh_core.policy.remote import zmtp


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a server spends on its peers.

    Attributes:
        message_bytes: Largest message of a known peer.
        first_bytes: Largest message of a stranger.
        total_bytes: Unfinished messages of all peers together.
        unsent_bytes: Answers that one peer has not read.
        known: Connections of known peers; more than can have a request in progress.
        strangers: Connections of others.
        message_s: Longest time from the first byte of a message to its last [s].
        stranger_s: How long a peer may stay a stranger [s].
        rate: Messages, or MiB, of one peer in a second while a chunk is computed.
        burst: How many may come at once.
    """

    message_bytes: int = 16 << 20
    first_bytes: int = 64 << 10
    total_bytes: int = 64 << 20
    unsent_bytes: int = 4 << 20
    known: int = 32
    strangers: int = 64
    message_s: float = 10.0
    stranger_s: float = 5.0
    rate: float = 50.0
    burst: float = 20.0


class Peer:
    """One connection; all but `open` and `turn_s` belongs to the thread that talks.

    Attributes:
        open: Whether it is still there. Any thread may read it.
        turn_s: See `waiting.Client`.
        trusted: Whether it is known: it has said the token or, where there is none, anything.
        asked: Its requests in progress.
    """

    def __init__(self, connection: socket.socket, address: str, bounds: Bounds, now_s: float) -> None:
        self.connection, self.address = connection, address
        self.incoming, self.unsent, self.events = zmtp.Incoming(bounds.first_bytes), bytearray(), iter(())
        self.open, self.trusted, self.ready, self.enveloped = True, False, False, False
        self.since_s: float | None = now_s  # of what is unfinished
        self.came_s = self.received_s = self.turn_s = now_s
        self.asked = self.watched = 0
        self._credit, self._credit_s = bounds.burst, now_s
        self._rate, self._burst = bounds.rate, bounds.burst

    def charge(self, cost: float, now_s: float) -> float:
        """Takes from what the peer may still do, and returns how long it must then pause [s], 0 for not at all."""
        earned = (now_s - self._credit_s) * self._rate
        self._credit = max(min(self._credit + earned, self._burst) - cost, -self._burst)
        self._credit_s = now_s
        return max(0.0, -self._credit / self._rate)


class Places:
    """The connections there are. Strangers and known peers have places of their own, so neither keep the others out.

    Args:
        bounds: How many of each.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.peers: set[Peer] = set()

    def gives_way_to_stranger(self) -> Peer | None:
        """Who must go before one more stranger comes: of the address with most of them, the one that came first."""
        strangers = [peer for peer in self.peers if not peer.trusted]
        if len(strangers) < self._bounds.strangers:
            return None
        crowd = Counter(peer.address for peer in strangers)
        return min(strangers, key=lambda peer: (-crowd[peer.address], peer.came_s))

    def gives_way_to_known(self) -> Peer | None:
        """Who must go before one more peer is known: who has been silent longest, of those without a request."""
        known = [peer for peer in self.peers if peer.trusted]
        if len(known) < self._bounds.known:
            return None
        return min(known, key=lambda peer: (peer.asked > 0, peer.received_s))

    def overdue(self, now_s: float) -> list[tuple[Peer, str]]:
        """Who has taken too long, and what for."""
        found = []
        for peer in self.peers:
            if peer.since_s is not None and now_s - peer.since_s > self._bounds.message_s:
                found.append((peer, "a message takes too long to arrive"))
            elif not peer.trusted and now_s - peer.came_s > self._bounds.stranger_s:
                found.append((peer, "it did not say the token, or anything where there is none"))
        return found

    def too_large(self) -> Peer | None:
        """Whose unfinished message must go, as all together hold too much: a stranger's, or else the largest."""
        if sum(len(peer.incoming) for peer in self.peers) <= self._bounds.total_bytes:
            return None
        return max(self.peers, key=lambda peer: (not peer.trusted, len(peer.incoming)))
