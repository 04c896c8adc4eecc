"""Stream buffers, the freshness gate, and the policy's copy of the command log."""

import numpy as np
import pytest

from beingh_core.errors import BeingHError
from beingh_core.realtime.planner import PrefixLog
from beingh_core.realtime.streams import FreshnessGate, StreamBuffer

MS = 1_000_000


def test_at_gives_what_was_known_then():
    stream = StreamBuffer("camera", 0.25, depth=3)
    assert stream.latest() is None and stream.at(0) is None
    for stamp in (30, 10, 20):  # out of order
        stream.push(stamp, f"v{stamp}")
    assert [stream.at(t) and stream.at(t).value for t in (9, 10, 19, 20, 29, 35)] == [
        None,
        "v10",
        "v10",
        "v20",
        "v20",
        "v30",
    ]
    stream.push(40, "v40")  # depth 3: 10 goes
    assert stream.at(15) is None and stream.latest().value == "v40"
    stream.push(40, "again")
    assert stream.latest().value == "again" and stream.at(39).value == "v30"
    stream.push(1, "too old")
    assert stream.at(5) is None
    stream.clear()
    assert stream.latest() is None


def test_gate_names_what_is_missing_and_what_is_stale():
    camera, joints = StreamBuffer("wrist_view", 0.25), StreamBuffer("joint_states", 0.1)
    gate = FreshnessGate([camera, joints])
    assert [name for name, _ in gate.check(0)] == ["wrist_view", "joint_states"]
    camera.push(1000 * MS, "image")
    [(name, reason)] = gate.check(1000 * MS)
    assert name == "joint_states" and "missing" in reason
    joints.push(1000 * MS, "positions")
    assert gate.check(1100 * MS) == []
    [(name, reason)] = gate.check(1101 * MS)
    assert name == "joint_states" and "0.101 s old" in reason and "0.1 s" in reason
    assert [name for name, _ in gate.check(1251 * MS)] == ["wrist_view", "joint_states"]
    [(name, reason)] = gate.check(800 * MS)
    assert name == "joint_states" and "future" in reason


def test_stream_needs_a_depth_and_an_age():
    with pytest.raises(BeingHError):
        StreamBuffer("camera", 0.0)
    with pytest.raises(BeingHError):
        StreamBuffer("camera", 0.1, depth=0)


def rows(first, count, offset=0.0):
    """Publication whose command at tick t is t + offset."""
    return np.arange(first, first + count, dtype=float)[:, None] + offset


def test_log_remembers_ticks_that_have_run():
    log = PrefixLog(commit_margin=1, depth=10)
    assert log.positions(0, 1) is None and log.first_tick is None
    for first in range(0, 6):
        log.update(first, rows(first, 8))
    np.testing.assert_array_equal(log.positions(3, 10)[:, 0], np.arange(3, 10))
    assert log.positions(3, 14) is None  # 13 is not published yet
    assert log.positions(5, 5) is None
    for first in range(6, 30):
        log.update(first, rows(first, 8))
    assert log.positions(18, 22) is None  # older than depth
    assert log.positions(19, 22) is not None


def test_new_plan_replaces_what_has_not_run():
    log = PrefixLog(commit_margin=1)
    log.update(10, rows(10, 8))
    log.update(11, rows(11, 8, offset=100.0))
    np.testing.assert_array_equal(log.positions(9 + 1, 13)[:, 0], [10, 111, 112])
    log.update(10, rows(10, 8, offset=500.0))  # out of order: ignored
    np.testing.assert_array_equal(log.positions(10, 13)[:, 0], [10, 111, 112])


def test_shorter_plan_forgets_the_rest():
    log = PrefixLog(commit_margin=1)
    log.update(10, rows(10, 8))
    log.update(11, rows(11, 2))
    assert log.positions(11, 13) is not None and log.positions(11, 14) is None


def test_lost_publications_of_an_unchanged_plan_do_no_harm():
    log = PrefixLog(commit_margin=1)
    log.update(10, rows(10, 8))
    log.update(13, rows(13, 8))
    np.testing.assert_array_equal(log.positions(10, 15)[:, 0], np.arange(10, 15))


def test_lost_publications_of_a_changed_plan_leave_a_gap():
    """Tick 10 was committed when it was published; 11 and 12 may have been replaced before they ran."""
    log = PrefixLog(commit_margin=1)
    log.update(10, rows(10, 8))
    log.update(13, rows(13, 8, offset=100.0))
    assert log.positions(10, 11) is not None
    assert log.positions(11, 12) is None and log.positions(12, 14) is None
    np.testing.assert_array_equal(log.positions(13, 15)[:, 0], [113, 114])


def test_log_knows_whether_it_holds_a_chunk():
    log = PrefixLog(commit_margin=1)
    log.update(20, rows(20, 8))
    assert not log.contains(18)
    log.accept(18)  # publication 21 may have left before the merge
    assert not log.contains(18)
    log.update(21, rows(21, 8))
    assert not log.contains(18)
    log.update(22, rows(22, 8))
    assert log.contains(18) and log.contains(15) and not log.contains(19)
    log.accept(18)  # said again: nothing changes
    assert log.contains(18)
    log.accept(19)
    assert log.contains(18) and not log.contains(19)
    log.update(23, rows(23, 8))
    assert not log.contains(19)
    log.update(24, rows(24, 8))
    assert log.contains(19)
    log.clear()
    assert not log.contains(15) and log.positions(22, 23) is None
