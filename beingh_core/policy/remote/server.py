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
from beingh_core.policy.remote.batching import Batcher, Counts
from beingh_core.policy.remote.complaints import Complaints
from beingh_core.policy.remote.headers import MAX_MESSAGE_BYTES
from beingh_core.policy.remote.listener import Listener
from beingh_core.policy.remote.native import NativeDialect
from beingh_core.policy.remote.peers import Bounds, Peer
from beingh_core.policy.remote.waiting import Job, Refused

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
        self.counts, self._complaints = Counts(), Complaints()
        self._dialect = _dialect(compat, policy, contract, self.counts, token or "", jpeg)
        self._batcher = Batcher(policy, self.counts, max_batch, self._complaints)
        bounds = bounds or Bounds(
            message_bytes=MAX_MESSAGE_BYTES,
            first_bytes=MAX_MESSAGE_BYTES if self._dialect.trusts_strangers else Bounds.first_bytes,
        )
        self._listener = Listener(host, port, bounds, self._complaints)
        self.url = self._listener.url
        self._stopping = threading.Event()
        self._replies: queue.SimpleQueue[tuple[Peer, bytes]] = queue.SimpleQueue()

    def serve(self) -> None:
        """Serves until `stop`; an inference that is running then is waited for a bounded time."""
        self._batcher.start()
        while not self._stopping.is_set():
            messages = self._listener.poll(POLL_S, sparing=self._batcher.computing)
            while not self._replies.empty():
                peer, message = self._replies.get()
                peer.asked -= 1
                self._listener.send(peer, message)
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
        """Answers one message, or sees to it that the policy's thread does; whatever it holds, the server goes on."""
        try:
            taken = self._dialect.take(payload, peer, lambda message: self._reply(peer, message))
            answer, refused = taken.answer, taken.refused
            if taken.known:
                self._listener.trust(peer)
            if isinstance(answer, Job):
                try:
                    self._batcher.submit(answer)
                    peer.asked += 1
                    return
                except Refused as busy:
                    answer, refused = answer.refuse(busy), busy
            if refused is not None:
                self._count(refused)
            self._listener.send(peer, answer)
        except Exception as error:
            self.counts.failed += 1
            self._complaints.tell("failed", f"a message made {type(error).__name__}")
            self._listener.drop(peer, "its message could not be handled")

    def _count(self, refused: Refused) -> None:
        code = refused.fields["code"]
        if code == "malformed":
            self.counts.malformed += 1
        else:
            self.counts.refused += 1
        self._complaints.tell(code, refused.fields["what"])

    def _reply(self, peer: Peer, message: bytes) -> None:
        """The policy's thread."""
        self._replies.put((peer, message))
        self._listener.wake()


def _dialect(compat: bool, policy, contract: RobotContract | None, counts: Counts, token: str, jpeg: bool):
    if not compat:
        return NativeDialect(policy, contract, counts, token=token, jpeg=jpeg)
    from beingh_core.policy.remote.compat import CompatDialect

    return CompatDialect(policy, token=token)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
