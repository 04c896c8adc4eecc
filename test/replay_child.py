"""Replays a bag and notes what the policy node could have seen at every tick: `python replay_child.py BAG CHECKPOINT OUT`.

A process of its own, since a replay owns rclpy. OUT/seen.pkl has `seen` (stamp -> digest of the observation of that time),
`rows` (tick [ns] -> stream -> newest value at it) and `topics` (topic -> its publishers, at the end of a tick).
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
from observed_policy import digest

from beingh_ros.replay import nodes
from beingh_ros.replay.command import main

PERIOD_NS = 50_000_000
seen, rows, topics = {}, {}, {}
look = nodes.ReplayPolicy.infer_if_due


def noting(self):
    now_ns, inputs = self.get_clock().now().nanoseconds, self._inputs
    if not inputs.closed(now_ns):
        observation = inputs.observe()
        seen[observation.stamp_ns] = digest(observation)
    tick_ns = now_ns - 2 * PERIOD_NS  # everything of that time has arrived since
    samples = {name: stream.at(tick_ns) for name, stream in inputs.streams.items()}
    if all(samples.values()):
        rows[tick_ns] = {name: np.array(sample.value) for name, sample in samples.items()}
    topics.update({name: self.count_publishers(name) for name, _ in self.get_topic_names_and_types()})
    return look(self)


if __name__ == "__main__":
    bag, checkpoint, out = sys.argv[1:4]
    nodes.ReplayPolicy.infer_if_due = noting
    status = main(["--bag", bag, "--checkpoint", checkpoint, "--out", out, "--threads", "1", *sys.argv[4:]])
    Path(out, "seen.pkl").write_bytes(pickle.dumps({"seen": seen, "rows": rows, "topics": topics}))
    sys.exit(status)
