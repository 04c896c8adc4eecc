"""A check of a chunk holds up nothing: not a stop, not a tick, not the one who hands the chunk over."""

import threading

import numpy as np
import pytest
from control_support import FR3, H, Robot

from beingh_core.control.chunk_thread import MOST_WAITING, ChunkThread
from beingh_core.control.stop_causes import ESTOP, STOPPING

D, MARGIN = FR3.uac.delay_steps, FR3.uac.commit_margin
WAIT_S = 20.0


class Checked:
    """A robot under the virtual clock whose chunks are merged beside it, by a check that waits until it is let go on."""

    def __init__(self):
        self.asked, self.may_go, self.merged = (threading.Semaphore(0) for _ in range(3))
        self.results = []
        self.robot = Robot(self._check)
        self.controller = self.robot.controller
        self.thread = ChunkThread(self._merge, self.results.append)
        self.thread.start()

    def _merge(self, chunk):
        self.results.append(self.controller.merge(chunk))
        self.merged.release()

    def _check(self, *_path):
        self.asked.release()
        assert self.may_go.acquire(timeout=WAIT_S)

    def begin(self, speed):
        """Hand a chunk over and wait until it is checked; what it asked for, (H, J)."""
        chunk = self.robot.chunk(speed)
        assert self.thread.put(chunk) and self.asked.acquire(timeout=WAIT_S)
        return np.array(chunk.positions)

    def finish(self, checks=1):
        """Let it be free; what became of the chunk."""
        for _ in range(checks):
            self.may_go.release()
        assert self.merged.acquire(timeout=WAIT_S), self.results
        return self.results[-1]


@pytest.fixture
def beside():
    checked = Checked()
    yield checked
    for _ in range(10):
        checked.may_go.release()
    assert checked.thread.close()


def test_an_emergency_stop_during_a_check_acts_at_the_next_tick_and_nothing_of_the_chunk_is_sent(beside):
    beside.begin(0.01)
    beside.finish()
    beside.robot.run(D + 4)
    before, moving = (output.points.positions[0, 0] for output in beside.robot.sent[-2:])
    assert moving > before
    beside.begin(-0.01)
    beside.controller.set_estop(True, beside.robot.now_ns)
    assert (beside.controller.status.state, beside.controller.status.cause) == (STOPPING, ESTOP)
    beside.robot.run(1)
    first = beside.robot.sent[-1]
    assert first.stopping and not beside.thread.idle, "the check goes on"
    assert beside.finish().status == "stopped"
    beside.robot.run(H)
    braked = np.array([output.points.positions[0] for output in beside.robot.sent[-len(first.plan.positions) :]])
    assert (np.diff(braked[:, 0]) >= 0.0).all(), "nothing goes the way of the chunk"
    np.testing.assert_array_equal(braked[-1], first.plan.positions[-1])
    assert beside.controller.at_rest


def test_a_check_that_ends_too_late_makes_its_chunk_late_and_what_went_by_is_as_promised(beside):
    beside.robot.run(2)
    wanted = beside.begin(0.004)
    promised = beside.robot.sent[-1].plan.positions[: D + 2]
    beside.robot.run(D + 2)
    sent = np.array([output.points.positions[0] for output in beside.robot.sent[2:]])
    np.testing.assert_array_equal(sent, promised)
    result = beside.finish(checks=2)
    assert result.status == "late" and result.consumed == D + 2
    assert result.first_tick >= len(beside.robot.sent) + MARGIN
    beside.robot.run(H)
    last = beside.robot.sent[-1].points.positions[0]
    assert abs(last[0] - wanted[-1, 0]) < abs(promised[-1, 0] - wanted[-1, 0]), "what is left of it is used"


def test_ticks_go_on_during_a_check_and_the_chunk_counts_from_where_it_begins(beside):
    beside.robot.run(2)
    beside.begin(0.004)
    beside.robot.run(D - MARGIN)
    assert not any(output.points.positions[0, 0] - FR3.home[0] for output in beside.robot.sent), "nothing is unchecked"
    result = beside.finish()
    assert result.status == "merged" and result.first_tick == 2 + D
    beside.robot.run(3)
    assert beside.robot.sent[-1].points.positions[0, 0] > FR3.home[0]


def test_all_are_taken_in_order_and_of_too_many_the_oldest_goes():
    gate, entered, done, taken = threading.Event(), threading.Event(), threading.Event(), []

    def take(item):
        entered.set()
        assert gate.wait(WAIT_S)
        taken.append(item)
        if item == MOST_WAITING + 1:
            done.set()

    thread = ChunkThread(take, taken.append)
    thread.start()
    thread.put(0)
    assert entered.wait(WAIT_S)
    assert all(thread.put(item) for item in range(1, MOST_WAITING + 1))
    assert not thread.put(MOST_WAITING + 1)
    assert not thread.idle
    gate.set()
    assert done.wait(WAIT_S)
    assert taken == [0, *range(2, MOST_WAITING + 2)]
    assert thread.close() and thread.close()


def test_a_defect_is_handed_on_and_ends_the_thread():
    failed, told = threading.Event(), []

    def fail(error):
        told.append(error)
        failed.set()

    thread = ChunkThread(lambda item: item.nothing, fail)
    thread.start()
    thread.put("chunk")
    assert failed.wait(WAIT_S) and isinstance(told[0], AttributeError)
    assert thread.close()
