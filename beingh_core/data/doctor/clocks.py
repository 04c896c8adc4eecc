"""What the times of messages say: rates, gaps, clocks that jump or differ, stamps out of order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from beingh_core.data.doctor.facts import CAMERA, COMMANDS, FAULT, FLAW, JOINTS, NOTE, ROWS, Curve, Finding, Run, Stream

GAP_S, GAP_PERIODS = 0.25, 5.0  # a gap where no contract says how old a sample may be
SLOW_S = 0.2  # commands that come more rarely come when they are needed
JUMP_S = 1.0
ORDER_S, ORDER_SHARE = 0.1, 0.01  # stamps that go back by less, and as rarely, are only noted
MUCH = 0.2


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How messages follow each other.

    Attributes:
        rate_hz: By the median of the periods; None with less than three.
        longest_s: Between two of them.
    """

    rate_hz: float | None
    longest_s: float | None


def all_there_s(streams: Sequence[Stream], duration_s: float) -> float:
    """When the last of the cameras and joints begins [s]; 0 when one begins so late that it is missed, not awaited."""
    inputs = [stream for stream in streams if stream.role in (CAMERA, JOINTS) and len(stream.times_s)]
    last_s = max((float(stream.times_s.min()) for stream in inputs), default=0.0)
    return last_s if last_s <= MUCH * duration_s else 0.0


def pace(stream: Stream, begin_s: float = 0.0) -> Pace:
    """The pace of a stream from `begin_s` on, by its stamps where it has them."""
    steps = np.diff(np.sort(_seconds(stream)[stream.times_s >= begin_s]))
    middle = float(np.median(steps)) if len(steps) > 1 else 0.0
    return Pace(
        rate_hz=1.0 / middle if middle > 0 else None,
        longest_s=float(steps.max()) if len(steps) else None,
    )


def has_stamps(stream: Stream) -> bool:
    """Whether its messages say when they were made."""
    return stream.stamps_ns is not None and bool(np.any(stream.stamps_ns != 0))


def of_stream(stream: Stream, duration_s: float, begin_s: float = 0.0, pauses: Sequence[Run] = ()) -> list[Finding]:
    """What is wrong with the times of one stream; gaps count from `begin_s` on, and without `pauses` in commands."""
    found = []
    if not len(stream.times_s):
        return found
    if stream.role != ROWS and stream.stamps_ns is not None and not stream.stamps_ns.all():
        stamped = stream.stamps_ns != 0
        which = f"{np.count_nonzero(~stamped)} of its messages" if stamped.any() else "its messages"
        text = f"{which} have no stamps; the times of recording stand for them"
        found.append(Finding(kind="stamp", weight=NOTE, text=text, topic=stream.name))
        if stamped.any():
            stream = replace(stream, times_s=stream.times_s[stamped], stamps_ns=stream.stamps_ns[stamped])
    if has_stamps(stream):
        early = stream.stamps_ns < 0
        if early.any():
            at_s = float(stream.times_s[np.argmax(early)])
            text = f"{np.count_nonzero(early)} stamps lie before 1970, the first"
            found.append(Finding(kind="clock", weight=FAULT, text=text, topic=stream.name, start_s=at_s))
            return found
        found += _jumps(stream) or _order(stream)
    return found + _gaps(stream, duration_s, begin_s, pauses if stream.role == COMMANDS else ())


def between(streams: Sequence[Stream]) -> list[Finding]:
    """Clocks of streams that belong together and differ by more than a second."""
    judged = [s for s in streams if s.role in (CAMERA, JOINTS) and has_stamps(s) and len(s.times_s)]
    late = {s.name: float(np.median(s.times_s - s.stamps_ns * 1e-9)) for s in judged}
    if len(late) < 2:
        return []
    middle = float(np.median(list(late.values())))
    first = min(late, key=lambda name: abs(late[name] - middle))
    return [
        Finding(
            kind="clock", weight=FAULT, topic=name,
            text=f"its clock is {abs(value - late[first]):.2f} s {'behind' if value > late[first] else 'ahead of'} "
            f"that of {first}",
        )
        for name, value in late.items() if abs(value - late[first]) > JUMP_S
    ]  # fmt: skip


def _seconds(stream: Stream) -> np.ndarray:
    """Times by which a stream is judged [s]."""
    return stream.stamps_ns * 1e-9 if has_stamps(stream) else stream.times_s


def _jumps(stream: Stream) -> list[Finding]:
    """A clock that goes back, or runs ahead of the one by which it is recorded."""
    stamps, times = stream.stamps_ns * 1e-9, stream.times_s
    newest = np.maximum.accumulate(stamps)
    back = np.flatnonzero(stamps[1:] < newest[:-1] - JUMP_S) + 1
    # Messages are never recorded before they are made, so the smallest delay so far shows a clock that was set ahead.
    delay = times - stamps
    ahead = [] if stream.role == ROWS else np.flatnonzero(delay[1:] < np.minimum.accumulate(delay)[:-1] - JUMP_S) + 1
    sizes = (("jumps back", back, newest[:-1] - stamps[1:]), ("jumps ahead", ahead, -np.diff(delay)))
    found = [
        (place, f"its clock {word} by {abs(size[place - 1]):.2f} s")
        for word, places, size in sizes
        for place in _firsts(places)
    ]
    # From here on all of them come later than any did before.
    later = np.minimum.accumulate(delay[::-1])[::-1][1:] - np.maximum.accumulate(delay)[:-1]
    for place in [] if stream.role == ROWS or len(back) else _firsts(np.flatnonzero(later > JUMP_S) + 1):
        text = f"its messages come {later[place - 1]:.2f} s later from here on: the recorder's clock jumped, or they are held up"
        found.append((place, text))
    return [
        Finding(kind="clock", weight=FAULT, text=text, topic=stream.name, start_s=float(times[place]))
        for place, text in found
    ]


def _firsts(places: np.ndarray) -> list[int]:
    """The first of each row of neighbours."""
    return [int(p) for i, p in enumerate(places) if i == 0 or p != places[i - 1] + 1]


def _order(stream: Stream) -> list[Finding]:
    stamps = stream.stamps_ns
    newest = np.maximum.accumulate(stamps)
    back_s = (newest[:-1] - stamps[1:]) * 1e-9
    wrong = np.flatnonzero((back_s > 0) & (back_s <= JUMP_S)) + 1
    twice = np.flatnonzero(np.diff(stamps) == 0) + 1
    found = []
    if len(wrong):
        worst_s, share = float(back_s[wrong - 1].max()), len(wrong) / len(stamps)
        text = f"{len(wrong)} stamps are out of order, by up to {worst_s:.3f} s, the first"
        # Several drivers may publish joints on one topic, each with a delay of its own.
        weight = NOTE if worst_s < ORDER_S and (share < ORDER_SHARE or stream.role == JOINTS) else FLAW
        found.append(Finding(kind="order", weight=weight, text=text, topic=stream.name,
                             start_s=float(stream.times_s[wrong[0]])))  # fmt: skip
    if len(twice) and stream.role in (CAMERA, ROWS):
        text = f"{len(twice)} stamps are those of the message before, the first"
        weight = NOTE if len(twice) / len(stamps) < ORDER_SHARE else FLAW
        found.append(Finding(kind="order", weight=weight, text=text, topic=stream.name,
                             start_s=float(stream.times_s[twice[0]])))  # fmt: skip
    return found


def _gaps(stream: Stream, duration_s: float, begin_s: float, pauses: Sequence[Run]) -> list[Finding]:
    """Times without a message, also at the beginning and the end of the episode; of one that begins before, the rest."""
    by_stamp = _seconds(stream)
    order = np.argsort(by_stamp, kind="stable")
    at, steps = stream.times_s[order], np.diff(by_stamp[order])
    period = float(np.median(steps)) if len(steps) else 0.0
    longest = stream.max_age_s or max(GAP_S, GAP_PERIODS * period)
    if stream.role == ROWS:
        longest = 1.5 * period
    found, total_s = [], 0.0
    if stream.role == COMMANDS and period > SLOW_S:
        return found
    # A jump of the clock is no gap: where it is that large, at least half of it must have passed while recording, too.
    since = np.maximum(at[:-1], begin_s)
    passed, steps = at[1:] - since, steps - (since - at[:-1])
    for index in np.flatnonzero((steps > longest) & ((passed > 0.5 * longest) | (steps <= JUMP_S))):
        if steps[index] - _shared_s(pauses, since[index], at[index + 1]) <= longest:
            continue
        total_s += steps[index]
        late = passed[index] < 0.25 * steps[index]  # what was held up and recorded at once
        text = f"{'its stamps leave out' if late else 'nothing for'} {steps[index]:.2f} s"
        found.append(Finding(kind="gap", weight=FLAW, text=text, topic=stream.name,
                             start_s=float(since[index]), end_s=float(at[index + 1])))  # fmt: skip
    if stream.role not in (ROWS, COMMANDS) and stream.count > 1:
        first_s, last_s = float(stream.times_s[0]), float(stream.times_s[-1])
        for start_s, end_s in ((begin_s, first_s), (max(last_s, begin_s), duration_s)):
            if end_s - start_s > max(longest, 1.0):
                total_s += end_s - start_s
                text = f"nothing for {end_s - start_s:.2f} s"
                found.append(Finding(kind="gap", weight=FLAW, text=text, topic=stream.name,
                                     start_s=start_s, end_s=end_s))  # fmt: skip
    if total_s > MUCH * (whole_s := duration_s - begin_s) > 0:
        text = f"silent for {min(1.0, total_s / whole_s):.0%} of the episode"
        found.insert(0, Finding(kind="gap", weight=FAULT, text=text, topic=stream.name))
    return found


def _shared_s(pauses: Sequence[Run], start_s: float, end_s: float) -> float:
    """How much of a stretch lies in pauses [s]."""
    return sum(max(0.0, min(run.end_s, end_s) - max(run.start_s, start_s)) for run in pauses)


def of_joint(curve: Curve, stream: Stream, duration_s: float, begin_s: float = 0.0) -> list[Finding]:
    """Times without a joint that only some messages of its topic hold, as where several drivers publish on one."""
    if len(curve.times_s) >= stream.count:
        return []
    at = np.concatenate([[begin_s], np.sort(curve.times_s[curve.times_s > begin_s]), [duration_s]])
    steps = np.diff(at)
    longest = max(stream.max_age_s or GAP_S, GAP_PERIODS * float(np.median(steps)))
    return [
        Finding(kind="gap", weight=FLAW, text=f"nothing for {steps[index]:.2f} s", topic=f"{curve.group} {curve.name}",
                start_s=float(at[index]), end_s=float(at[index + 1]))
        for index in np.flatnonzero(steps > longest)
    ]  # fmt: skip
