"""The report of a run: its keys, figures that agree with the data, pictures and video that can be read."""

import base64
import io
import json
import re

import av
import numpy as np
import pytest
from PIL import Image
from wire_support import DELAY, GROUPS, JOINTS, MARGIN, RATE_HZ, healthy

from beingh_core.evaluate.episodes import EpisodeResult, EpisodeTrace
from beingh_core.evaluate.figures import RunData, figures, percentiles
from beingh_core.evaluate.report import write_report
from beingh_core.evaluate.seams import seams, sent_positions
from beingh_core.evaluate.video import VideoWriter, captioned

KEYS = [
    "robot",
    "episodes",
    "successes",
    "prefix_violations",
    "chunks",
    "late_chunks",
    "useless_chunks",
    "cut_chunks",
    "inference_ms",
    "consumed_delay_steps",
    "control_period_ms",
    "seam_velocity_jump_rad_s",
    "late_seam_velocity_jump_rad_s",
    "inside_velocity_jump_rad_s",
    "limit_violations",
    "tracking_error",
    "limit_clips",
    "image_frames_lost",
    "checkpoint",
    "instruction_counts",
]
RESULTS = [
    EpisodeResult(
        index=0,
        seed=3,
        instruction="pick up the <red> cube",
        wanted="red",
        success=True,
        time_s=0.8,
        first_lifted="red",
    ),
    EpisodeResult(
        index=1,
        seed=4,
        instruction="pick up the <red> cube",
        wanted="red",
        success=False,
        time_s=2.0,
        first_lifted="blue",
    ),
]


def run_data(stream=None, **changes):
    values = {
        "results": RESULTS,
        "wire": (stream or healthy()).log(),
        "commit_margin": MARGIN,
        "delay_steps": DELAY,
        "revolute": np.array([True, True, False]),
        "inference_ms": [10.0, 20.0, 30.0],
        "latency_ms": [60.0, 70.0, 80.0],
        "controller": {"late": "2", "useless": "1", "clips": "5", "consumed_delay_p50": "3", "consumed_delay_max": "4"},
        "image_frames_lost": 7,
        "checkpoint": "some/where",
    }
    return RunData(**(values | changes))


def trace(frames):
    log = healthy().log().epochs()[0]
    first, sent = sent_positions(log, JOINTS, GROUPS)
    return EpisodeTrace(
        result=RESULTS[0],
        joints=JOINTS,
        rate_hz=RATE_HZ,
        measured_s=np.arange(20) * 0.04,
        measured=np.zeros((20, 3)),
        first_tick_s=0.0,
        sent=sent,
        chunks=[(c.first - first, c.positions) for c in log.chunks],
        seams=seams(log),
        locked_steps=DELAY,
        frames=frames,
    )


def test_the_figures_of_a_hand_made_run():
    values, audit = figures(run_data())
    assert list(values) == KEYS
    assert values["episodes"] == 2 and values["successes"] == 1 and values["chunks"] == 1
    assert values["prefix_violations"] == 0 and audit.comparisons > 0
    assert values["inference_ms"] == {"p50": 20.0, "p95": 29.0}
    assert values["consumed_delay_steps"] == {"p50": 3.0, "max": 4.0}
    assert (values["late_chunks"], values["useless_chunks"], values["limit_clips"], values["image_frames_lost"]) == (
        2,
        1,
        5,
        7,
    )
    assert values["control_period_ms"] == {"target": 100.0, "p50": 100.001, "p99": 100.001}
    # Joint a jumps by 1 rad/s at the only seam, joint b by half of it; the gripper is no turning joint.
    assert values["seam_velocity_jump_rad_s"] == {"p95": 1.0, "max": 1.0}
    assert values["instruction_counts"] == {"pick up the <red> cube": {"episodes": 2, "successes": 1, "wrong_cube": 1}}


def test_a_broken_promise_is_counted():
    stream = healthy()
    stream.commands[0].insert(6, stream.commands[0][5])
    assert figures(run_data(stream))[0]["prefix_violations"] == 1


def test_no_data_is_null_and_not_zero():
    values, _ = figures(run_data(controller={}, inference_ms=[]))
    assert values["late_chunks"] is None and values["limit_clips"] is None
    assert values["inference_ms"] == {"p50": None, "p95": None} and values["consumed_delay_steps"] == {
        "p50": None,
        "max": None,
    }
    assert percentiles([], 95, 100) == {"p95": None, "max": None}


def test_the_report_holds_its_pictures_and_the_files_agree(tmp_path):
    frames = [
        (
            0.25 * k,
            {"scene_view": np.full((96, 96, 3), 20 * k, np.uint8), "wrist_view": np.zeros((96, 96, 3), np.uint8)},
        )
        for k in range(12)
    ]
    values, _ = write_report(tmp_path / "out", run_data(), trace(frames))
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == json.loads(json.dumps(values))
    assert [row["seed"] for row in json.loads((tmp_path / "out" / "episodes.json").read_text())] == [3, 4]
    page = (tmp_path / "out" / "report.html").read_text()
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 4
    for picture in pictures:
        assert Image.open(io.BytesIO(base64.b64decode(picture))).size[0] > 600
    # Self-contained, and text is escaped.
    assert not re.search(r'(src|href)="(?!data:)', page) and "&lt;red&gt;" in page and "<red>" not in page
    assert "lifted the blue cube first" in page


def test_a_report_without_an_episode_to_show(tmp_path):
    write_report(tmp_path, run_data(results=[], inference_ms=[], latency_ms=[]), None)
    assert "report" in (tmp_path / "report.html").read_text()


def test_a_trace_without_images_or_commands_still_makes_a_report(tmp_path):
    shown = trace([])
    write_report(tmp_path, run_data(), shown, video="video.mp4")
    assert 'src="video.mp4"' in (tmp_path / "report.html").read_text()
    empty = EpisodeTrace(**(vars(shown) | {"sent": np.empty((0, 3)), "chunks": [], "seams": []}))
    write_report(tmp_path, run_data(), empty)


def test_the_video_can_be_read_back(tmp_path):
    path = tmp_path / "video.mp4"
    with VideoWriter(path, fps=10) as video:
        for k in range(15):
            video.add(np.full((120, 160, 3), 10 * k, np.uint8), caption="pick up the red cube")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert float(stream.average_rate) == pytest.approx(10)
    assert len(frames) == 15 and frames[0].shape == (120, 160, 3)
    # The upper half keeps the picture's brightness, give or take the compression.
    assert [frame[:60].mean() for frame in frames] == pytest.approx([10 * k for k in range(15)], abs=6)


def test_no_frames_make_no_file(tmp_path):
    with VideoWriter(tmp_path / "video.mp4", fps=10):
        pass
    assert not (tmp_path / "video.mp4").exists()


def test_the_caption_is_on_a_copy():
    pixels = np.full((96, 128, 3), 200, np.uint8)
    marked = captioned(pixels, "red")
    assert (pixels == 200).all() and not (marked[-10:] == 200).all() and (marked[:60] == 200).all()
