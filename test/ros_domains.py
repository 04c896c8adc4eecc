"""ROS domains for tests: one that nobody else on this machine uses, whether it runs tests or not."""

from __future__ import annotations

import fcntl
import itertools
import os
import socket
import tempfile
from pathlib import Path

PORTABLE_DOMAINS = range(1, 102)
_held_locks = {}
_turns = itertools.count(os.getpid())


def next_domain() -> int:
    """A ROS domain that no other test uses, in this process or another one on this machine, until `free_domain`.

    The domains take turns, since what a test leaves to the garbage collector stays on the network for a while after its end.
    """
    for _ in PORTABLE_DOMAINS:
        domain = PORTABLE_DOMAINS[next(_turns) % len(PORTABLE_DOMAINS)]
        lock = open(Path(tempfile.gettempdir()) / f"beingh_test_domain_{domain}.lock", "w")  # noqa: SIM115
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        if not _is_quiet(domain):
            lock.close()  # a demo or another program, which knows nothing of the locks
            continue
        _held_locks[domain] = lock
        _clear(domain)
        return domain
    raise RuntimeError("every ROS domain is in use")


def _clear(domain: int) -> None:
    """Remove what processes that were killed here have left of Fast DDS's ports in shared memory, which would lead nowhere."""
    ports = {str(7400 + 250 * domain + offset) for offset in range(250)}
    for path in Path("/dev/shm").glob("*fastrtps_port*"):
        if path.name.partition("fastrtps_port")[2].partition("_")[0] in ports:
            path.unlink(missing_ok=True)


def free_domain(domain: int) -> None:
    """Let others use a domain."""
    _held_locks.pop(domain).close()


def _is_quiet(domain: int) -> bool:
    """Whether the port of a domain's first participant is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", 7410 + 250 * domain))
        except OSError:
            return False
    return True
