"""Encoders leave the process's scheduling as it was, whatever their library asks for."""

import os

import numpy as np
import pytest

pytest.importorskip("av")
from beingh_core.data.lerobot import encoders, video
from beingh_core.data.lerobot.schema import Camera, VideoSettings


def scheduling():
    """Scheduling policies of all threads of this process."""
    return {os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")}


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="threads are looked up in /proc")
@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root may take real-time priority, and SVT-AV1 does not try otherwise"
)
def test_no_thread_becomes_a_real_time_one_by_encoding_av1(tmp_path):
    settings = VideoSettings(codec="av1", encoder="software")
    before = scheduling()
    encoders.works.cache_clear()
    assert encoders.works("libsvtav1") and scheduling() == before
    encoder = video.CameraEncoder(
        tmp_path / "v.mp4", Camera(key="view", height=240, width=320, depth=None), 30, settings, 1
    )
    for value in range(10):
        encoder.add(np.full((240, 320, 3), value, np.uint8))
    assert scheduling() == before
    encoder.finish()
    assert scheduling() == before and video.count(tmp_path / "v.mp4") == 10
