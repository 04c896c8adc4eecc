"""A commit buffer of two joints, and chunks for it."""

import numpy as np

from beingh_core.realtime.commit_buffer import Chunk, CommitBuffer
from beingh_core.realtime.limits import JointLimits

DT, H, D = 0.05, 8, 3
LOOSE = {"lower": -1e3, "upper": 1e3, "velocity": 1e4, "acceleration": 1e7}
EPOCH = "0@0"


def make_buffer(joints=("a", "b"), start=0.0, commit_margin=1, log_length=1000, **limits):
    values = {**LOOSE, **limits}
    return CommitBuffer(
        joints=joints,
        start_positions=np.full(len(joints), start),
        limits=JointLimits(**{name: np.full(len(joints), value) for name, value in values.items()}),
        dt_s=DT,
        chunk_length=H,
        delay_steps=D,
        commit_margin=commit_margin,
        epoch=EPOCH,
        log_length=log_length,
    )


def make_chunk(base, value=1.0, **changes):
    """Point for tick t of joint a is value + t / 100, of joint b its negative."""
    ticks = np.arange(base, base + H) / 100 + value
    fields = {
        "base_tick": base,
        "epoch": EPOCH,
        "joints": ["a", "b"],
        "positions": np.stack([ticks, -ticks], axis=1),
        "dt_s": DT,
    }
    return Chunk(**{**fields, **changes})


def sent(buffer, count):
    """The next `count` commands of joint a."""
    return [round(float(buffer.advance().positions[0]), 9) for _ in range(count)]
