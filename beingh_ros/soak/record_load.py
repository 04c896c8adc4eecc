"""`beingh bench record`: two raw cameras and joints into a bag, by the recorder as it is, and what is missing in it."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beingh_core.data.bags import open_bag
from beingh_core.data.bags.writer import STORAGES, UNFINISHED
from beingh_core.data.in_charge import EVENTS
from beingh_core.errors import BeingHError
from beingh_ros.bringup import ProcessGroup, ProcessSpec
from beingh_ros.demo.command import isolate
from beingh_ros.soak.record_streams import CAMERA_HZ, HEIGHT, ROBOT, SETTLE_S, WIDTH, rates

# How much longer than the streams the episode is [s], and how long after it the bag may take.
LEAD_S, PATIENCE_S = SETTLE_S + 5.0, 60.0


@dataclass(frozen=True, kw_only=True)
class RecordBench:
    """What to measure; checked on construction.

    Attributes:
        seconds: how long cameras and joints are published [s].
        storage: one of `STORAGES`.
    """

    seconds: float = 60.0
    storage: str = "mcap"

    def __post_init__(self) -> None:
        if not 1.0 <= self.seconds <= 3600.0:
            raise BeingHError(f"--seconds {self.seconds:g}", allowed="1 to 3600")
        if self.storage not in STORAGES:
            raise BeingHError(f"--storage {self.storage}", allowed=STORAGES)


class _Streams(ProcessSpec):
    """A process of `record_streams`; its parameters are its words."""

    def command(self, python: str = sys.executable) -> list[str]:
        """Its command line."""
        return [python, "-m", "beingh_ros.soak.record_streams", *map(str, self.parameters.values())]


def run(bench: RecordBench) -> dict[str, Any]:
    """The report.

    Raises:
        BeingHError: Too little room, or a process has ended.
    """
    pixels_mb = 2 * HEIGHT * WIDTH * 3 * CAMERA_HZ / 1e6
    isolate()
    os.environ.setdefault("FASTDDS_BUILTIN_TRANSPORTS", "LARGE_DATA")  # as docs/record.md advises
    with tempfile.TemporaryDirectory(prefix="beingh_bench_") as name:
        needed_mb, free_mb = pixels_mb * bench.seconds * 1.1, shutil.disk_usage(name).free / 1e6
        if needed_mb > free_mb:
            raise BeingHError(
                f"the bag of {bench.seconds:g} s needs {needed_mb:.0f} MB, {free_mb:.0f} MB are free", where=name,
                remedy="take fewer --seconds, or set TMPDIR to a larger disk",
            )  # fmt: skip
        out = Path(name) / "episodes"
        given = {"contract": ROBOT, "out": str(out), "storage": bench.storage, "start": True, "preroll_s": 0.0,
                 "min_free_mb": 0.0, "max_s": bench.seconds + LEAD_S}  # fmt: skip
        # A process each, as drivers are: two cameras of one process share its shared memory, and overwrite each other there.
        specs = [_Streams(name=topic.strip("/").replace("/", "_"), executable="soak.record_streams",
                          parameters={"topic": topic, "seconds": bench.seconds}) for topic in rates()]  # fmt: skip
        specs.append(ProcessSpec(name="record", executable="record", parameters=given))
        print(f"recording for {bench.seconds + LEAD_S:g} s ...", file=sys.stderr)
        with ProcessGroup(specs, Path(name) / "logs") as group:
            path = _finished(group, out, bench.seconds + LEAD_S + PATIENCE_S)
        return _report(path, bench)


def _finished(group: ProcessGroup, out: Path, timeout_s: float) -> Path:
    """The recorder's bag, once it is whole."""
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        group.check()
        whole = [path for path in out.glob("*") if not path.name.endswith(UNFINISHED)]
        if whole:
            return whole[0]
        time.sleep(0.2)
    raise BeingHError(f"no bag within {timeout_s:g} s:\n{group.log_tail('record')}", where=out)


def _report(path: Path, bench: RecordBench) -> dict[str, Any]:
    sent = {topic: round(bench.seconds * hz) for topic, hz in rates().items()}
    with open_bag(path) as bag:
        recorded = {topic: bag.topics[topic].count if topic in bag.topics else 0 for topic in sent}
        events = [json.loads(bag.deserialise(message).data) for message in bag.messages([f"/{EVENTS}"])]
    told = events[-1]["topics"].values()
    size_mb = sum(file.stat().st_size for file in path.iterdir()) / 1e6
    return {
        "seconds": bench.seconds,
        "processors": len(os.sched_getaffinity(0)),
        "storage": bench.storage,
        "sent": sent,
        "recorded": recorded,
        "missing": sum(sent.values()) - sum(recorded.values()),
        "lost": sum(topic["lost"] for topic in told),
        "dropped": sum(topic["dropped"] for topic in told),
        "mb_per_s": round(size_mb / bench.seconds, 1),
    }
