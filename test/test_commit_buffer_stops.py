"""The commit buffer's end of a plan: running dry, gaps, stops and restarts."""

import numpy as np
import pytest
from buffer_support import DT, EPOCH, D, H, make_buffer, make_chunk, sent

from beingh_core.errors import BeingHError
from beingh_core.realtime.commit_buffer import CommitBuffer
from beingh_core.realtime.limits import JointLimits


def test_runs_dry_braking_then_holding():
    """From 1.07 at 0.2 rad/s (0.01 a tick) with 2 rad/s^2 (0.005 a tick and tick): 0.005 more, then rest."""
    buffer = make_buffer(start=1.0, acceleration=2.0, velocity=1.0)
    buffer.merge(make_chunk(0, positions=np.stack([1 + 0.01 * np.maximum(np.arange(H) - 2.5, 0.0)] * 2, axis=1)))
    values = sent(buffer, 12)
    assert values[:8] == [1, 1, 1, 1.005, 1.015, 1.025, 1.035, 1.045]
    assert values[8:] == [1.05, 1.05, 1.05, 1.05]
    assert [command.held for command in buffer.log][8:] == [True] * 4
    assert buffer.counters["held"] == 3 + 4


def test_chunk_behind_a_dry_gap_never_jumps():
    """Ticks without a point keep the held command; the chunk's points are approached within the limits."""
    buffer = make_buffer(acceleration=2.0, velocity=1.0)
    sent(buffer, 20)
    result = buffer.merge(make_chunk(18))  # free from max(20 + 1, 18 + 3) = 21
    assert (result.status, result.first_tick) == ("merged", 21) and result.clips == 2 * 5
    values = np.array([0.0, 0.0] + sent(buffer, 12))
    assert values[2] == 0.0 and values[3] == 0.005
    assert np.abs(np.diff(values, 2)).max() <= 2.0 * DT**2 + 1e-12


def test_chunk_from_a_picture_before_its_first_tick_waits():
    buffer = make_buffer()
    assert buffer.merge(make_chunk(2)).first_tick == 5
    assert sent(buffer, 7) == [0, 0, 0, 0, 0, 1.05, 1.06]


def test_planned_is_what_will_be_sent():
    buffer = make_buffer(velocity=1.0, acceleration=3.0)
    buffer.merge(make_chunk(0))
    first, planned = buffer.planned(40)
    assert first == 0 and planned.shape == (40, 2)
    np.testing.assert_array_equal(planned, [buffer.advance().positions for _ in range(40)])
    assert buffer.planned()[1].shape == (H, 2)
    assert buffer.planned(0)[1].shape == (0, 2)


def test_limits_leave_the_prefix_alone():
    buffer = make_buffer(velocity=0.1, acceleration=1.0)
    sent(buffer, 3)
    before = buffer.planned()[1][:3]
    result = buffer.merge(make_chunk(3, value=50.0))
    assert result.first_tick == 6 and result.clips == 2 * 5
    np.testing.assert_array_equal(buffer.planned()[1][:3], before)
    assert buffer.counters["clips"] == 10


def test_commands_cannot_be_changed_from_outside():
    buffer = make_buffer()
    positions = make_chunk(0).positions
    buffer.merge(make_chunk(0, positions=positions))
    positions[:] = 9.0
    buffer.planned()[1][:] = 9.0
    assert sent(buffer, 4)[-1] == 1.03
    with pytest.raises(ValueError):
        buffer.log[-1].positions[0] = 9.0


def test_stop_brakes_at_once_holds_and_refuses_the_old_epoch():
    """0.2 rad/s (0.01 a tick), deceleration 2 rad/s^2 (0.1 rad/s a tick): one more 0.005, then rest."""
    buffer = make_buffer(acceleration=2.0, velocity=1.0)
    ramp = 0.01 * np.maximum(np.arange(H) - 2.5, 0.0)
    buffer.merge(make_chunk(0, positions=np.stack([ramp, ramp], axis=1)))
    assert sent(buffer, 6) == [0, 0, 0, 0.005, 0.015, 0.025]
    assert buffer.stop("e-stop pressed") and not buffer.stop("another reason")
    assert buffer.merge(make_chunk(5)).status == "stopped"
    assert sent(buffer, 4) == [0.03, 0.03, 0.03, 0.03]
    assert [command.tick for command in buffer.log] == list(range(10))
    assert [command.stopped for command in buffer.log] == [False] * 6 + [True] * 4


def test_after_a_stop_the_robot_goes_on_to_what_it_is_under_way_to():
    buffer = make_buffer(acceleration=2.0, velocity=1.0)
    buffer.merge(make_chunk(0, value=4.0))
    sent(buffer, 7)
    moving = buffer.log[-1].positions
    promised = buffer.planned()[1][:1]
    expected = buffer.rest_after(1)
    assert expected[0] > promised[0, 0] > moving[0], "it brakes from the point that it is under way to"
    buffer.stop("test")
    buffer.uphold(np.empty((0, 2)))
    assert buffer.planned()[1][0, 0] < promised[0, 0]
    buffer.uphold(promised)
    path = np.array([buffer.advance().positions for _ in range(40)])
    np.testing.assert_array_equal(path[0], promised[0])
    np.testing.assert_array_equal(path[-1], expected)
    before = [command.positions for command in buffer.log[-42:-40]]
    accelerations = np.diff([*before, *path], 2, axis=0) / buffer.dt_s**2
    assert np.abs(accelerations).max() <= 2.0 * (1 + 1e-6)
    buffer.uphold(path[-1:])
    assert buffer.planned()[1][0, 0] == path[-1, 0]


def test_restart_begins_another_epoch():
    buffer = make_buffer()
    buffer.merge(make_chunk(0))
    sent(buffer, 5)
    buffer.stop("reset")
    log = buffer.log
    buffer.restart(np.array([0.5, 0.25]), "1@7")
    assert buffer.next_tick == 0 and buffer.epoch == "1@7"
    assert buffer.merge(make_chunk(0)).status == "foreign_epoch"
    assert buffer.merge(make_chunk(0, epoch="1@7")).status == "merged"
    assert sent(buffer, 4) == [0.5, 0.5, 0.5, 1.03]
    assert buffer.log[: len(log)] == log
    assert [(c.epoch, c.tick) for c in buffer.log[-4:]] == [("1@7", t) for t in range(4)]


@pytest.mark.parametrize("positions, epoch", [([0.0], "1@0"), ([0.0, np.nan], "1@0"), ([0.0, 0.0], EPOCH)])
def test_restart_refuses_nonsense(positions, epoch):
    buffer = make_buffer()
    sent(buffer, 3)
    with pytest.raises(BeingHError):
        buffer.restart(np.array(positions), epoch)
    assert buffer.next_tick == 3 and buffer.epoch == EPOCH


@pytest.mark.parametrize("change", [{"delay_steps": 8}, {"commit_margin": -1}, {"dt_s": 0.0}])
def test_impossible_buffer(change):
    limits = JointLimits(lower=[-1], upper=[1], velocity=[1], acceleration=[1])
    arguments = {
        "joints": ["a"],
        "start_positions": [0.0],
        "limits": limits,
        "dt_s": DT,
        "chunk_length": H,
        "delay_steps": D,
        "commit_margin": 1,
        "epoch": EPOCH,
    }
    with pytest.raises(BeingHError):
        CommitBuffer(**{**arguments, **change})
    with pytest.raises(BeingHError):
        CommitBuffer(**{**arguments, "joints": ["a", "b"]})
