"""Error of tracking and the judge of a time, against hand-made motions."""

import numpy as np
import pytest

from beingh_core.evaluate.episodes import EpisodeResult
from beingh_core.evaluate.judge import TimeJudge
from beingh_core.evaluate.tracking import Followed, tracking_figures

BOTH = np.array([True, True])


def swinging(lag_s, off=0.0, gap=False):
    """Two joints that swing; the robot does the same later, and a little off."""
    sent_s, measured_s = np.arange(0.0, 6.0, 0.05), np.arange(0.0, 6.0, 0.02)

    def path(time_s):
        return np.column_stack([np.sin(time_s), 0.5 * np.cos(time_s)])

    sent = path(sent_s)
    if gap:
        sent[40:50] = np.nan
    return Followed(sent_s=sent_s, sent=sent, measured_s=measured_s, measured=path(measured_s - lag_s) + off)


def test_the_lag_is_found_and_what_is_left_is_the_error():
    found = tracking_figures([swinging(0.12), swinging(0.12)], BOTH)
    assert found["lag_ms"] == 120 and found["max"] < 0.001
    assert found["max_without_lag"] == pytest.approx(0.12, abs=0.002)  # the first joint's speed is 1 rad/s at most
    off = tracking_figures([swinging(0.0, off=0.03)], BOTH)
    assert off["p95"] == pytest.approx(0.03, abs=0.02) and off["max"] >= 0.02


def test_only_the_joints_that_are_asked_for_and_the_ticks_that_were_seen_count():
    episode = swinging(0.0)
    wrong = Followed(
        sent_s=episode.sent_s,
        sent=episode.sent,
        measured_s=episode.measured_s,
        measured=episode.measured + [0.0, 1.0],
    )
    assert tracking_figures([wrong], np.array([True, False]))["max"] < 0.001
    assert tracking_figures([swinging(0.0, gap=True)], BOTH)["max"] < 0.05


def test_nothing_is_null_and_not_zero():
    nothing = {"lag_ms": None, "p95": None, "max": None, "max_without_lag": None}
    empty = Followed(sent_s=np.empty(0), sent=np.empty((0, 2)), measured_s=np.empty(0), measured=np.empty((0, 2)))
    assert tracking_figures([], BOTH) == tracking_figures([empty], BOTH) == nothing
    assert tracking_figures([swinging(0.0)], np.array([False, False])) == nothing


def test_a_time_is_over_by_the_robots_clock():
    judge = TimeJudge(2.0)
    assert not judge.success and judge.success_s is None and judge.elapsed_s == 0.0
    for stamp_s in (100.0, 101.0, 100.5):
        judge.update(stamp_s, {})
    assert not judge.success and judge.elapsed_s == 1.0
    judge.update(102.0, {})
    assert judge.success and judge.success_s == 2.0 and judge.first_lifted is None


def test_a_path_is_followed_or_not():
    def result(success):
        return EpisodeResult(
            index=0, seed=0, instruction="go", wanted="", success=success, time_s=1.0, first_lifted=None
        )

    assert result(True).outcome == "followed the path" and result(False).outcome == "did not follow the path"
