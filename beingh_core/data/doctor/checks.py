"""What is wrong with an episode: every check, in the order in which people read the findings."""

from __future__ import annotations

import numpy as np

from beingh_core.data.doctor import clocks
from beingh_core.data.doctor.facts import FAULT, FLAW, JOINTS, NOTE, OTHER, Curve, EpisodeFacts, Finding, Run, View
from beingh_core.data.doctor.motion import Motion, grip_marks

SHORTEST_S = 1.0
IDLE_S, LONG_IDLE_S, MOSTLY = 3.0, 8.0, 0.6  # told from here on; a flaw from here on, or from this share on
FROZEN_S, FROZEN_SAMPLED_S = 0.4, 0.9  # of equal bytes, and of pictures of a video that are looked at now and then
REPEATS, REPEAT_SHARE = 10, 0.4  # so many pictures, and so much of them, are those before
MOVED = 5.0  # so many times what counts as rest must a joint have moved for a picture to have changed
MUCH = 0.2  # of an episode: what concerns more of it is a fault
LOST_SHARE = 0.01
MOST_LISTED = 5  # of one kind and topic


@np.errstate(over="ignore", invalid="ignore")
def check(facts: EpisodeFacts) -> None:
    """Adds what is wrong to the findings, and the grippers' closings to the marks."""
    if not facts.readable:
        return
    motion = Motion(facts.curves, facts.duration_s)
    facts.marks += grip_marks(facts.curves)
    facts.marks.sort(key=lambda mark: mark.time_s)
    found = facts.findings
    if facts.duration_s < SHORTEST_S and any(stream.count for stream in facts.streams):
        found.append(Finding(kind="short", weight=FLAW, text=f"it lasts only {facts.duration_s:.2f} s"))
    found += _losses(facts)
    for stream in facts.streams:
        if stream.role != OTHER:
            found += clocks.of_stream(stream, facts.duration_s, facts.begin_s, facts.pauses)
    found += _pauses(facts)
    jumped = {finding.topic for finding in found if finding.kind == "clock"}
    found += clocks.between([stream for stream in facts.streams if stream.name not in jumped])
    for view in facts.views:
        found += _frozen(view, facts, motion)
        found += _black(view, facts)
    streams = {stream.name: stream for stream in facts.streams if stream.role == JOINTS}
    for curve in facts.curves:
        found += _numbers(curve)
        if curve.needed and curve.group in streams:
            found += clocks.of_joint(curve, streams[curve.group], facts.duration_s, facts.begin_s)
    found += _idle(facts, motion)
    facts.findings = _shortened(found)


def _losses(facts: EpisodeFacts) -> list[Finding]:
    roles = {stream.name: stream.role for stream in facts.streams}
    found = []
    for name, (received, lost, dropped) in facts.lost.items():
        if lost + dropped <= 0:
            continue
        share = (lost + dropped) / max(1, received + lost)
        grave = FAULT if share > MUCH else FLAW
        weight = grave if share > LOST_SHARE and roles.get(name, OTHER) != OTHER else NOTE
        text = f"its recorder counted {lost} lost and {dropped} dropped messages of {received + lost}"
        found.append(Finding(kind="lost", weight=weight, text=text, topic=name))
    return found


def _pauses(facts: EpisodeFacts) -> list[Finding]:
    """Where no commands came because none were due."""
    runs = [run for run in facts.pauses if run.end_s > facts.begin_s and run.end_s - run.start_s >= clocks.GAP_S]
    return [
        Finding(kind="pause", weight=NOTE, text=f"the controller was stopped or between epochs for {run.end_s - run.start_s:.2f} s",
                **_span(run))
        for run in runs
    ]  # fmt: skip


def _frozen(view: View, facts: EpisodeFacts, motion: Motion) -> list[Finding]:
    """Equal pictures while the robot moves or, where no joint is known, while another camera sees something new."""
    found, total_s = [], 0.0
    least_s = FROZEN_SAMPLED_S if view.sampled else FROZEN_S
    others = [other for other in facts.views if other is not view and other.looks]
    for run in view.still:
        if run.end_s - run.start_s < least_s or any(_covers(black, run) for black in view.black):
            continue
        seen = "the same picture" if view.sampled else f"{run.count} equal pictures in a row"
        if motion.known:
            frozen, why = motion.moved(run.start_s, run.end_s) > MOVED, "while the robot moved"
        else:
            frozen, why = any(not _rests(other, run) for other in others), "while another camera saw something new"
        if frozen:
            total_s += run.end_s - run.start_s
            found.append(Finding(kind="frozen", weight=FLAW, text=f"{seen} {why}", topic=view.name, **_span(run)))
        elif not motion.known and not others:
            text = f"{seen}; nothing else tells whether anything moved"
            found.append(Finding(kind="still", weight=NOTE, text=text, topic=view.name, **_span(run)))
    return _graver(found, "frozen", total_s, facts.duration_s) + _repeats(view)


def _repeats(view: View) -> list[Finding]:
    """A camera that sends pictures again to keep its rate; stretches that rest are left out."""
    short = sum(run.count - 1 for run in view.still if run.end_s - run.start_s < FROZEN_S)
    count = view.count - sum(run.count for run in view.still if run.end_s - run.start_s >= FROZEN_S)
    if view.sampled or short < REPEATS or short < REPEAT_SHARE * count:
        return []
    text = f"{short} of {count} pictures repeat the one before"
    return [Finding(kind="repeats", weight=FLAW, text=text, topic=view.name)]


def _rests(view: View, run: Run) -> bool:
    """Whether a camera's pictures were equal, too."""
    return any(_covers(other, run) for other in view.still)


def _covers(wide: Run, run: Run) -> bool:
    return wide.start_s <= run.start_s + 0.1 and wide.end_s >= run.end_s - 0.1


def _black(view: View, facts: EpisodeFacts) -> list[Finding]:
    found, total_s = [], 0.0
    for run in view.black:
        total_s += max(run.end_s - run.start_s, 0.05)
        text = f"{run.count} black pictures" if run.count > 1 and not view.sampled else "black"
        found.append(Finding(kind="black", weight=FLAW, text=text, topic=view.name, **_span(run)))
    return _graver(found, "black", total_s, facts.duration_s)


def _numbers(curve: Curve) -> list[Finding]:
    """Values that are no numbers, and those outside of the limits."""
    found, name = [], f"{curve.group} {curve.name}"
    bad = ~np.isfinite(curve.values)
    if bad.any():
        first = int(np.argmax(bad))
        text = f"{np.count_nonzero(bad)} values are no numbers, the first"
        weight = FAULT if curve.needed else NOTE
        found.append(Finding(kind="nan", weight=weight, text=text, topic=name, start_s=float(curve.times_s[first])))
    beyond = np.maximum(curve.lower - curve.values, curve.values - curve.upper)
    outside = np.nan_to_num(beyond, nan=-1.0, posinf=-1.0) > curve.tolerance + 1e-6
    if outside.any():
        worst = int(np.argmax(np.where(outside, beyond, -np.inf)))
        text = (
            f"{np.count_nonzero(outside)} values outside of {curve.lower:.4g} to {curve.upper:.4g}, "
            f"the worst one {curve.values[worst]:.4g}"
        )
        share = np.count_nonzero(outside) / len(outside)
        weight = FAULT if share > MUCH else FLAW
        found.append(Finding(kind="limits", weight=weight, text=text, topic=name, start_s=float(curve.times_s[worst])))
    return found


def _idle(facts: EpisodeFacts, motion: Motion) -> list[Finding]:
    runs = motion.idle(IDLE_S)
    total_s = sum(run.end_s - run.start_s for run in runs)
    if runs and total_s >= 0.95 * (facts.duration_s - 0.2):
        return [Finding(kind="idle", weight=FAULT, text="nothing ever moves", **_span(runs[0]))]
    found = []
    for run in runs:
        length_s = run.end_s - run.start_s
        long = length_s >= LONG_IDLE_S or total_s > MOSTLY * facts.duration_s
        text = f"nothing moves for {length_s:.1f} s"
        found.append(Finding(kind="idle", weight=FLAW if long else NOTE, text=text, **_span(run)))
    if not motion.known and facts.kind == "bag" and not any(s.role == JOINTS for s in facts.streams):
        found.append(Finding(kind="joints", weight=NOTE, text="no joint states"))
    return found


def _span(run: Run) -> dict[str, float]:
    return {"start_s": run.start_s, "end_s": run.end_s}


def _graver(found: list[Finding], kind: str, total_s: float, duration_s: float) -> list[Finding]:
    """A fault beside them when they take much of the episode."""
    if duration_s and total_s > MUCH * duration_s:
        text = f"{kind} for {min(1.0, total_s / duration_s):.0%} of the episode"
        found = [Finding(kind=kind, weight=FAULT, text=text, topic=found[0].topic), *found]
    return found


def _shortened(found: list[Finding]) -> list[Finding]:
    """Each kind and topic a few times at most; the rest is counted."""
    kept, seen = [], {}
    for finding in found:
        key = (finding.kind, finding.topic)
        seen.setdefault(key, []).append(finding)
        if len(seen[key]) <= MOST_LISTED:
            kept.append(finding)
    for (kind, topic), all_of_it in seen.items():
        if len(all_of_it) > MOST_LISTED:
            weights = {finding.weight for finding in all_of_it}
            weight = next(weight for weight in (FAULT, FLAW, NOTE) if weight in weights)
            text = f"and {len(all_of_it) - MOST_LISTED} more: {kind}"
            kept.append(Finding(kind=kind, weight=weight, text=text, topic=topic))
    rank = {FAULT: 0, FLAW: 1, NOTE: 2}
    return sorted(kept, key=lambda finding: rank[finding.weight])
