"""From what the nodes did with recordings to the comparison that the report shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.contract.codec import SignalCodec
from beingh_core.contract.urdf import read_urdf
from beingh_core.evaluate.evaluated import NodeFigures
from beingh_core.evaluate.openloop import Comparison
from beingh_core.evaluate.seams import jumps_of, seams
from beingh_core.evaluate.trivial import TRIVIAL, trivial_actions
from beingh_core.evaluate.wire import EpochLog, Rows
from beingh_core.openloop import quantities
from beingh_core.openloop.recording import Recording
from beingh_core.realtime.clock import TickClock, parse_epoch
from beingh_ros.replay.nodes import Predicted, Published
from beingh_ros.replay.player import Pass

# A chunk begins where the recording was when no joint is further away [rad or m].
SAME_PLACE = 2e-3
# An epoch with fewer ticks has nothing to tell.
FEW = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Chunks:
    """Chunks of one policy about one recording, by the time of their base tick [ns]."""

    recording: Recording
    by_stamp: Mapping[int, Predicted]


def compare(
    contract: RobotContract, policies: Mapping[str, Chunks], named: Sequence[str], mean_D: np.ndarray, delay: int
) -> tuple[Comparison | None, int]:
    """Of one recording, the chunks that every policy has made, and how many of them are left out.

    Where the controller was not yet where the recording was, after its start or a stop, a chunk begins elsewhere: its distance
    from the recording says nothing about the policy.

    Args:
        contract: Robot.
        policies: source -> its chunks.
        named: sources that are policies of their own.
        mean_D: mean recorded action.
        delay: d.
    """
    recording = next(iter(policies.values())).recording
    made = sorted(set.intersection(*(set(chunks.by_stamp) for chunks in policies.values())))
    ahead = contract.policy.chunk_length - delay
    clock = TickClock(contract.rate_hz, 0)
    offsets = clock.stamps_ns(np.arange(-3, ahead))
    decided = np.array(made, dtype=np.int64) + clock.stamp_ns(delay)
    grid = (decided[:, None] + offsets).reshape(len(made), len(offsets))
    rows = recording.commanded(grid.ravel()).reshape(*grid.shape, len(contract.joint_names))
    there = _is_there(policies, made, rows[:, 2])
    stamps, decided, grid, rows = np.array(made)[there], decided[there], grid[there], rows[there]
    if not len(stamps):
        return None, len(made)
    recorded, past = rows[:, 3:], rows[:, :3]
    first = next(iter(policies.values())).by_stamp
    prefixes = np.array([first[stamp].request.prefix[-1] for stamp in stamps])
    past = np.where(np.isfinite(past), past, prefixes[:, None, :])
    predicted = {
        source: np.array([chunks.by_stamp[stamp].made.positions[delay:] for stamp in stamps])
        for source, chunks in policies.items()
    }
    predicted |= _trivial(contract, past, mean_D, ahead)
    found = Comparison(
        episodes=np.full(len(stamps), recording.name),
        ticks=np.array([recording.tick_at_or_after(stamp) for stamp in decided.tolist()])
        - recording.tick_at_or_after(recording.begin_ns),
        in_charge=recording.in_charge(grid[:, 3:].ravel()).reshape(len(stamps), ahead),
        executed=contract.uac.execution_steps,
        rate_hz=contract.rate_hz,
        policies=tuple(named),
        trivial=TRIVIAL,
        quantities=quantities.of_joints(contract, past[:, -1], recorded, predicted),
    )
    return found, len(made) - len(stamps)


def _is_there(policies: Mapping[str, Chunks], stamps: Sequence[int], recorded_NJ: np.ndarray) -> np.ndarray:
    """(N,) whether every policy's chunk begins where the recording was; also where that is not known."""
    away = np.zeros(len(stamps))
    for chunks in policies.values():
        prefixes = np.array([chunks.by_stamp[stamp].request.prefix[-1] for stamp in stamps]).reshape(recorded_NJ.shape)
        away = np.maximum(away, np.nan_to_num(np.abs(prefixes - recorded_NJ)).max(axis=1, initial=0.0))
    return away <= SAME_PLACE


def mean_action(contract: RobotContract, recordings: Sequence[Recording]) -> np.ndarray:
    """(D,) mean of the recorded actions."""
    codec, found = SignalCodec(contract), []
    for recording in recordings:
        first = recording.tick_at_or_after(recording.begin_ns)
        last = recording.tick_at_or_after(recording.end_ns)
        rows = recording.commanded(np.array([recording.tick_ns(tick) for tick in range(first, last)], dtype=np.int64))
        rows = rows[np.isfinite(rows).all(axis=1)]
        if len(rows) > 1:
            found.append(quantities.row_of(contract, codec.encode_commands(rows)))
    width = sum(signal.width for signal in contract.action)
    return np.concatenate(found).mean(axis=0) if found else np.zeros(width)


def node_figures(contract: RobotContract, passes: Sequence[tuple[Recording, Pass]]) -> NodeFigures:
    """What the nodes did while the controller followed the policy."""
    found, turning = NodeFigures(), _turning(contract)
    for recording, one in passes:
        counters = one.counters
        found.chunks += len(one.predicted)
        found.late += counters.get("late", 0)
        found.useless += counters.get("useless", 0)
        others = ("merged", "late", "useless", "sent", "held", "clips", "stops", "cuts", "duplicate")
        found.refused += sum(count for status, count in counters.items() if status not in others)
        found.observation_age_ms += one.ages_ms
        for text, times in Counter(one.stops).items():
            found.stops.append(f"{recording.name}: {text}" + (f" ({times} times)" if times > 1 else ""))
        for reason, ticks in one.closed.items():
            found.closed[reason] = found.closed.get(reason, 0) + ticks
        for begin_ns, path, at in _epochs(one.plans, contract.rate_hz):
            joined, inside = jumps_of(path[:, turning], at, (), contract.rate_hz)
            found.seam_jumps += joined.tolist()
            found.inside_jumps += inside.tolist()
            found.jerk += _jerk(path[:, turning], contract.rate_hz)
            stamps = TickClock(contract.rate_hz, begin_ns).stamps_ns(np.arange(len(path)))
            found.recorded_jerk += _jerk(recording.commanded(stamps)[:, turning], contract.rate_hz)
    return found


def _trivial(contract: RobotContract, past_N3J: np.ndarray, mean_D: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    """Joint commands (N, K, J) of the policies that see nothing."""
    codec = SignalCodec(contract)
    rows = np.array([quantities.row_of(contract, codec.encode_commands(past)) for past in past_N3J])
    actions = trivial_actions(rows[:, 1], rows[:, 0], mean_D, quantities.is_delta(contract), steps)
    return {name: quantities.decoded(contract, values, past_N3J[:, -1], codec) for name, values in actions.items()}


def _epochs(plans: Sequence[Published], rate_hz: float) -> Iterator[tuple[int, np.ndarray, list[int]]]:
    """Of each epoch that was sent for long enough: time of its first tick [ns], (T, J) what was sent, rows of seams."""
    by_epoch: dict[str, list[Published]] = {}
    for plan in plans:
        by_epoch.setdefault(plan.epoch, []).append(plan)
    for name, own in by_epoch.items():
        clock = TickClock(rate_hz, parse_epoch(name)[1])
        buffers = [Rows(clock.nearest_tick(plan.stamp_ns), plan.positions) for plan in own]
        sent = {rows.first - 1: plan.sent for rows, plan in zip(buffers, own) if plan.sent is not None}
        first = min(sent, default=0)
        if len(sent) > FEW and sorted(sent) == list(range(first, first + len(sent))):
            log = EpochLog(name=name, start_ns=clock.start_ns, commands=(), buffers=buffers)
            at = [tick - first for tick in seams(log)]
            yield clock.stamp_ns(first), np.array([sent[tick] for tick in sorted(sent)]), at


def _jerk(path_TJ: np.ndarray, rate_hz: float) -> list[float]:
    """Jerk of the worst joint at every tick where it is known [rad/s^3]."""
    jerk = np.abs(np.diff(path_TJ, n=3, axis=0)).max(axis=1) * rate_hz**3
    return jerk[np.isfinite(jerk)].tolist()


def _turning(contract: RobotContract) -> np.ndarray:
    """(J,) which columns are angles."""
    kinds = read_urdf(contract.urdf_path).joints
    is_angle = [name in kinds and kinds[name].type != "prismatic" for name in contract.joint_names]
    return np.array(is_angle) & ~contract.limits.is_velocity
