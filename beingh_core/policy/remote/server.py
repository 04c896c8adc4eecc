"""`PolicyServer`: answers robots and evaluation clients that ask for chunks (`beingh serve`).

One thread talks, one infers, so that a handshake is answered and a deadline counted while the model runs. Messages are
not encrypted: beyond one machine, use a token and a network that you trust, or a tunnel.
"""

from __future__ import annotations

import ipaddress
import queue
import threading
from typing import TYPE_CHECKING

from beingh_core.errors import BeingHError
from beingh_core.policy.remote.batching import Batcher, Counts, Job, Refused
from beingh_core.policy.remote.listener import Bounds, Listener, Peer
from beingh_core.policy.remote.native import NativeDialect
from beingh_core.policy.remote.protocol import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from beingh_core.contract import RobotContract

POLL_S = 0.5


class PolicyServer:
    """Answers handshakes and requests for chunks. `serve` from one thread, `stop` from any.

    Args:
        policy: a `BeingHPolicy`, warmed up; it is called from one thread of the server.
        contract: the robot it serves; None serves clients without a contract.
        host: address to listen on.
        port: 0 takes a free one (see `url`).
        token: what clients must send; needed for any address but a loopback one.
        jpeg: whether pictures may come compressed, which loses some detail.
        max_batch: most robots in one call of the policy.
        compat: whether to speak with the released evaluation clients instead of robots (see `compat`).
        bounds: what it spends on its clients; None for the defaults.

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
        max_batch: int = 4,
        compat: bool = False,
        bounds: Bounds | None = None,
    ) -> None:
        host = {"localhost": "127.0.0.1", "*": "0.0.0.0"}.get(host, host)
        if not token and not _is_loopback(host):
            raise BeingHError(
                f"binding to `{host}` without a token would let anyone on the network use the policy",
                allowed="127.0.0.1, or any address together with a token",
                remedy="give --token-file, or leave --host at its default",
            )
        self.counts = Counts()
        self._dialect = _dialect(compat, policy, contract, self.counts, token or "", jpeg)
        self._batcher = Batcher(policy, self.counts, max_batch)
        bounds = bounds or Bounds(
            message_bytes=MAX_MESSAGE_BYTES,
            first_bytes=MAX_MESSAGE_BYTES if self._dialect.trusts_strangers else Bounds.first_bytes,
        )
        self._listener = Listener(host, port, bounds)
        self.url = self._listener.url
        self._stopping = threading.Event()
        self._replies: queue.SimpleQueue[tuple[Peer, bytes]] = queue.SimpleQueue()

    def serve(self) -> None:
        """Serves until `stop`; an inference that is running then is waited for a bounded time."""
        self._batcher.start()
        while not self._stopping.is_set():
            messages = self._listener.poll(POLL_S)
            while not self._replies.empty():
                self._listener.send(*self._replies.get())
            for peer, payload in messages:
                self._take(peer, payload)
        self._batcher.stop()
        self._listener.close()

    def stop(self) -> None:
        """Ends `serve` soon. Any thread."""
        self._stopping.set()
        self._listener.wake()

    def report(self) -> str:
        """What it has done, in one line."""
        told = str(self.counts)
        if self._listener.violations:
            told += f"; dropped {self._listener.violations} connections, the last one: {self._listener.last_violation}"
        return told

    def _take(self, peer: Peer, payload: memoryview) -> None:
        trusted, answer = self._dialect.take(payload, lambda message: self._reply(peer, message), lambda: peer.open)
        if trusted and not peer.trusted:
            self._listener.trust(peer)
        if isinstance(answer, Job):
            try:
                self._batcher.submit(answer)
                return
            except Refused as refused:
                answer = self._dialect.refusal(payload, refused)
        self._listener.send(peer, answer)

    def _reply(self, peer: Peer, message: bytes) -> None:
        """The policy's thread."""
        self._replies.put((peer, message))
        self._listener.wake()


def _dialect(compat: bool, policy, contract: RobotContract | None, counts: Counts, token: str, jpeg: bool):
    if not compat:
        return NativeDialect(policy, contract, counts, token=token, jpeg=jpeg)
    from beingh_core.policy.remote.compat import CompatDialect

    return CompatDialect(policy, counts, token=token)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
