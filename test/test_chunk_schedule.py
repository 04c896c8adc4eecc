"""When the policy infers, and with what prefix, under a virtual clock."""

import numpy as np
import pytest
from control_support import DT_NS, FR3, NOW, H, J

from beingh_core.errors import BeingHError
from beingh_core.inference.chunk_schedule import ChunkSchedule, commanded
from beingh_core.realtime.clock import TickClock


class Schedule:
    """A schedule fed with the plan of a robot whose joint 1 moves by 0.001 a tick."""

    def __init__(self):
        self.schedule = ChunkSchedule(FR3, trained_delay=8)
        self.clock = TickClock(20, NOW)
        self.epoch = f"0@{NOW}"

    def plan(self, first):
        rows = np.tile(np.array(FR3.home), (H, 1))
        rows[:, 0] = 0.001 * (first + np.arange(H))
        return rows

    def tell(self, first, offset=0.0):
        self.schedule.buffer(self.epoch, self.clock.stamp_ns(first), self.plan(first) + offset, self.now(first))

    def now(self, first):
        return self.clock.stamp_ns(first) - DT_NS + 1_000_000

    def accepted(self, request, first):
        return self.schedule.accepted(self.epoch, request.stamp_ns, self.now(first))

    def request(self, first, age_ns=20_000_000):
        return self.schedule.request(self.now(first) - age_ns, self.now(first))


def test_the_prefix_is_the_log_before_and_the_plan_after_the_base_tick():
    feed = Schedule()
    assert "nothing" in feed.schedule.waiting_for(NOW)
    for first in range(5):
        feed.tell(first)
    request = feed.request(4, age_ns=30_000_000)
    # now is 1 ms after tick 3; the picture is 29 ms before tick 3, so tick 3 is the first one after it.
    assert request.base_tick == 3 and request.stamp_ns == feed.clock.stamp_ns(3) and request.new_epoch
    np.testing.assert_array_equal(request.prefix[:, 0], 0.001 * np.arange(2, 3 + feed.schedule.delay))
    assert len(request.prefix) == 1 + FR3.uac.delay_steps


def test_no_inference_before_the_log_reaches_back_to_the_picture():
    feed = Schedule()
    feed.tell(0)
    assert feed.request(0, age_ns=200_000_000) is None
    feed.tell(1)
    assert feed.request(1, age_ns=20_000_000) is None  # base tick 0: what ran before it is not known
    feed.tell(2)
    assert feed.request(2, age_ns=20_000_000).base_tick == 1


def test_the_next_inference_waits_for_its_last_chunk_and_for_the_execution_steps():
    feed = Schedule()
    for first in range(5):
        feed.tell(first)
    request = feed.request(4)
    feed.schedule.sent(request)
    feed.tell(11)
    assert "not in the controller's buffer" in feed.schedule.waiting_for(feed.now(11))
    assert feed.accepted(request, 11) == 11 - request.base_tick
    feed.tell(12)
    assert feed.request(12) is None  # may have been under way during the merge
    feed.tell(13)
    again = feed.request(13)
    assert again.base_tick == 12 and not again.new_epoch
    feed.schedule.sent(again)
    feed.accepted(again, 13)
    for first in range(14, 19):
        feed.tell(first)
        assert "running" in feed.schedule.waiting_for(feed.now(first)) or first < 15
    feed.tell(19)
    assert feed.schedule.waiting_for(feed.now(19)) is None


@pytest.mark.parametrize("queued", [0, 1, 2, 4])
def test_plans_from_before_the_merge_that_come_after_its_acceptance_do_not_hold_the_chunk(queued):
    """A node that was held up takes `controller/accepted` first and finds plans in the queue of another topic."""
    feed = Schedule()
    for first in range(5):
        feed.tell(first)
    request = feed.request(4)
    feed.schedule.sent(request)
    merged = 14  # the next tick when the chunk was merged
    for first in range(5, merged + 1 - queued):
        feed.tell(first)
    feed.accepted(request, merged)
    for first in range(merged + 1 - queued, merged + 1):
        feed.schedule.buffer(feed.epoch, feed.clock.stamp_ns(first), feed.plan(first), feed.now(merged))
        assert "not in the controller's buffer" in feed.schedule.waiting_for(feed.now(merged))
    feed.tell(merged + 1)
    feed.tell(merged + 2)
    assert feed.schedule.waiting_for(feed.now(merged + 2)) is None


@pytest.mark.parametrize("first", [15, 17, 19, 20, 23])
def test_what_the_last_chunk_still_wants_comes_with_the_request_and_nothing_behind_it(first):
    feed = Schedule()
    for tick in range(1, 9):
        feed.tell(tick)
    one = feed.request(8)
    assert one.onward.shape == (0, J)  # no chunk ran before
    feed.schedule.sent(one)
    feed.accepted(one, 8)
    for tick in range(9, first + 1):
        feed.tell(tick)
    request = feed.request(first)
    begin = request.base_tick + feed.schedule.delay
    ticks = range(begin, max(begin, min(begin + FR3.uac.blend_steps, one.base_tick + H)))
    assert request.onward.shape == (len(ticks), J)
    np.testing.assert_allclose(request.onward[:, 0], [0.001 * tick for tick in ticks])


def test_a_chunk_that_was_never_accepted_is_given_up_when_it_is_over():
    feed = Schedule()
    for first in range(5):
        feed.tell(first)
    request = feed.request(4)
    feed.schedule.sent(request)
    feed.tell(request.base_tick + H - 1)
    assert feed.schedule.waiting_for(feed.now(request.base_tick + H - 1)) is not None
    feed.tell(request.base_tick + H)
    assert feed.schedule.waiting_for(feed.now(request.base_tick + H)) is None


def test_a_silent_controller_closes_the_gate_and_a_new_epoch_starts_afresh():
    feed = Schedule()
    for first in range(5):
        feed.tell(first)
    assert "silent" in feed.schedule.waiting_for(feed.now(4) + 400_000_000)
    feed.schedule.sent(feed.request(4))
    feed.epoch, feed.clock = f"1@{NOW + 10**10}", TickClock(20, NOW + 10**10)
    for first in range(4):
        feed.tell(first)
    assert feed.request(3).new_epoch
    feed.schedule.buffer(f"0@{NOW}", NOW + DT_NS, feed.plan(1), feed.now(3))  # a late message of the old epoch
    assert feed.schedule.accepted(f"0@{NOW}", NOW, feed.now(3)) is None


def test_delays_longer_than_the_budget_lengthen_the_prefix_up_to_what_was_trained():
    feed = Schedule()
    first = 5
    for tick in range(first + 1):
        feed.tell(tick)
    for _ in range(6):
        request = feed.request(first)
        feed.schedule.sent(request)
        for tick in range(first + 1, first + 12):
            feed.tell(tick)
            if tick - request.base_tick == 9:
                assert feed.accepted(request, tick) == 9
        first += 11
    assert feed.schedule.estimated_delay == 10 and feed.schedule.delay == min(8, FR3.uac.execution_steps)


@pytest.mark.parametrize("trained", [0, FR3.uac.delay_steps - 1])
def test_a_checkpoint_trained_for_shorter_delays_is_refused(trained):
    with pytest.raises(BeingHError, match=f"trained for delays up to {trained}"):
        ChunkSchedule(FR3, trained_delay=trained)


def test_buffer_joints_are_matched_by_name():
    rows = np.array([[1.0, 2.0]])
    np.testing.assert_array_equal(commanded(("a", "b"), ("b", "a"), rows), [[2.0, 1.0]])
    with pytest.raises(BeingHError, match="same contract"):
        commanded(("a", "b"), ("a", "c"), rows)
