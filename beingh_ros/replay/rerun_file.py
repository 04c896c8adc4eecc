"""A Rerun recording of a replay: recorded joints and commands, and each policy's chunks over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.contract.eef_path import EefPaths
from beingh_core.openloop.recording import Recording
from beingh_core.realtime.clock import TickClock
from beingh_ros.monitor.rerun_log import RerunLog
from beingh_ros.replay.nodes import Predicted
from beingh_ros.replay.session import Replayed

NS = 1_000_000_000


def write(
    log: RerunLog, contract: RobotContract, recordings: Sequence[Recording], results: Mapping[str, Replayed]
) -> None:
    """Writes all recordings behind one another, on the time of their stamps, and closes the file.

    Of several policies, the chunks of the first are drawn over the joints; those of the others are paths of the hand.
    """
    paths = EefPaths(contract)
    for index, recording in enumerate(recordings):
        _commanded(log, contract, paths, recording)
        for number, (name, result) in enumerate(results.items()):
            _predicted(log, contract, paths, result.recorded[index].predicted, name, is_first=number == 0)
        for time_s, pictures in next(iter(results.values())).recorded[index].film:
            for view, pixels in pictures.items():
                log.picture(view, recording.begin_ns + round(time_s * NS), pixels)
    log.close()


def _commanded(log: RerunLog, contract: RobotContract, paths: EefPaths, recording: Recording) -> None:
    """What was recorded: joints at every tick, and the way of each hand."""
    first, last = (recording.tick_at_or_after(stamp) for stamp in (recording.begin_ns, recording.end_ns))
    stamps = np.array([recording.tick_ns(tick) for tick in range(first, last)], dtype=np.int64)
    rows = recording.commanded(stamps)
    known = np.isfinite(rows).all(axis=1)
    log.event("recording", recording.begin_ns, 0, f"{recording.name}: {recording.task}")
    for arm in paths.arms:
        log.path(arm.eef_frame, "committed", recording.begin_ns, paths.along(arm, contract.joint_names, rows[known]))
    for stamp_ns, row in zip(stamps[known].tolist(), rows[known].tolist()):
        log.joints("commanded", stamp_ns, dict(zip(contract.joint_names, row)))


def _predicted(
    log: RerunLog, contract: RobotContract, paths: EefPaths, chunks: Sequence[Predicted], name: str, *, is_first: bool
) -> None:
    """A policy's chunks, those of the first one also joint by joint."""
    kind = "predicted" if is_first else f"predicted/{name}"
    for chunk in chunks:
        begin, rows = chunk.request.stamp_ns, chunk.made.positions
        times = TickClock(contract.rate_hz, begin).stamps_ns(np.arange(len(rows)))
        if is_first:
            log.chunk(times, contract.joint_names, rows)
        for arm in paths.arms:
            log.path(arm.eef_frame, kind, begin, paths.along(arm, contract.joint_names, rows))
        log.number(f"chunk/inference_ms/{name}", begin, chunk.made.inference_ms)
        if chunk.gates:
            log.number(f"chunk/gate/{name}", begin, float(np.mean(chunk.gates)))
