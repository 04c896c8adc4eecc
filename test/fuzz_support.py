"""Random damage to good inputs, and a check that the code which reads them stays within bounds."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import resource
import signal
import traceback
from contextlib import contextmanager

import numpy as np

from beingh_core.errors import BeingHError

SECONDS, MEGABYTES = 3.0, 500
WAITING = 10  # times the limit of work, for what waits and does not work
MANY = 5_000

STRANGE = (
    None,
    True,
    0,
    -1,
    1,
    2**31,
    2**64,
    -(2**63),
    10**4299,
    1e308,
    1e-308,
    -0.0,
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    "x" * 100_000,
    "\x00\x1b[31m\n",
    "1e9",
    "../../etc/passwd",
    [],
    {},
    [[]],
    {"": {}},
    [0] * 10_000,
)


def damage(rng: np.random.Generator, value: object, times: int | None = None) -> object:
    """A copy of JSON-like data with one to three entries replaced, removed, doubled or nested."""
    value = copy.deepcopy(value)
    for _ in range(times or int(rng.integers(1, 4))):
        places = list(_places(value))
        if not places:
            return STRANGE[rng.integers(len(STRANGE))]
        holder, key = places[rng.integers(len(places))]
        # A thousandfold of a thousandfold would be the test's own memory.
        _damage_place(rng, holder, key, may_grow=len(places) < MANY)
    return value


def failures(run, inputs, allowed=(BeingHError,), seconds=SECONDS, megabytes=MEGABYTES) -> list[str]:
    """What `run(input)` did wrong, over all inputs: another exception than those allowed, too slow, or too much memory.

    Runs in a forked child whose memory is bounded, so that a fault cannot take the tests with it.
    """
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(
        target=_run_all, args=(sender, run, inputs, allowed, seconds, megabytes)
    )
    gc.freeze()  # the child's collector must not end what threads of this process hold: they are not in the child
    child.start()
    gc.unfreeze()
    sender.close()
    found, at = [], None
    while True:
        try:
            kind, content = receiver.recv()
        except EOFError:
            break
        if kind == "begin":
            at = content
        elif kind == "fault":
            found.append(content)
        else:
            at = None
            break
    child.join()
    if at is not None:
        found.append(f"input {at} ended the process with status {child.exitcode}")
    return found


def _run_all(sender, run, inputs, allowed, seconds, megabytes) -> None:
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()  # noqa: SIM115
    resource.setrlimit(resource.RLIMIT_AS, (size + (megabytes << 20), resource.RLIM_INFINITY))
    for index, value in enumerate(inputs):
        sender.send(("begin", index))
        try:
            with _within(seconds):
                run(value)
        except allowed:
            pass
        except BaseException:
            sender.send(("fault", f"input {index}:\n{traceback.format_exc(limit=-4)[-1500:]}"))
    sender.send(("end", None))


@contextmanager
def _within(seconds):
    def late(_signal, _frame):
        raise TimeoutError(f"more than {seconds} s of work, or {WAITING * seconds} s of waiting")

    timers = (
        (signal.SIGPROF, signal.ITIMER_PROF, seconds),  # the processor's time, which others do not lengthen
        (signal.SIGALRM, signal.ITIMER_REAL, WAITING * seconds),
    )
    before = [signal.signal(number, late) for number, _, _ in timers]
    try:
        for _, timer, limit in timers:
            signal.setitimer(timer, limit)
        yield
    finally:
        for (number, timer, _), handler in zip(timers, before):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


def _places(value, depth=0):
    """(holder, key) of every entry, except those nested too deeply for a recursion."""
    if depth > 50:
        return
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in items:
        yield value, key
        yield from _places(entry, depth + 1)


def _damage_place(rng, holder, key, may_grow) -> None:
    kind = rng.integers(6)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        deep = holder[key]
        for _ in range(int(rng.choice([1, 3, 500, 2000]))):
            deep = [deep]
        holder[key] = deep
    elif kind == 2 and isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
        holder[key] = holder[key] * int(rng.choice([-1, 0, 2, 1_000_000]))
    elif kind == 3 and isinstance(holder, dict):
        holder[f"{key}_"] = holder.pop(key)
    elif kind == 4 and isinstance(holder[key], list) and holder[key]:
        holder[key] = holder[key] * int(rng.choice([0, 2, 1000 if may_grow else 2]))
    else:
        holder[key] = copy.deepcopy(STRANGE[rng.integers(len(STRANGE))])
