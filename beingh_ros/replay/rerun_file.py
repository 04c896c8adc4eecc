"""A Rerun recording of a replay: recorded joints and commands, and each policy's chunks over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.contract.eef_path import EefPaths
from beingh_core.openloop.recording import Recording
from beingh_ros.monitor.rerun_log import RerunLog
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
        first, last = (recording.tick_at_or_after(stamp) for stamp in (recording.begin_ns, recording.end_ns))
        stamps = np.array([recording.tick_ns(tick) for tick in range(first, last)], dtype=np.int64)
        for stamp_ns, row in zip(stamps.tolist(), recording.commanded(stamps)):
            if np.isfinite(row).all():
                log.joints("commanded", stamp_ns, dict(zip(contract.joint_names, row.tolist())))
        log.event("recording", int(stamps[0]), 0, f"{recording.name}: {recording.task}")
        for number, (name, result) in enumerate(results.items()):
            one = result.recorded[index]
            if number == 0:
                for time_s, pictures in one.film:
                    for view, pixels in pictures.items():
                        log.picture(view, recording.begin_ns + round(time_s * NS), pixels)
            for predicted in one.predicted:
                begin, rows = predicted.request.stamp_ns, predicted.made.positions
                times = begin + np.round(np.arange(len(rows)) * NS / contract.rate_hz).astype(np.int64)
                if number == 0:
                    log.chunk(times, contract.joint_names, rows)
                for arm in paths.arms:
                    log.path(
                        arm.eef_frame,
                        f"predicted/{name}" if number else "predicted",
                        begin,
                        paths.along(arm, contract.joint_names, rows),
                    )
                log.number(f"chunk/inference_ms/{name}", begin, predicted.made.inference_ms)
                if predicted.gates:
                    log.number(f"chunk/gate/{name}", begin, float(np.mean(predicted.gates)))
    log.close()
