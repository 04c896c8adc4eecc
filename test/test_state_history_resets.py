"""When the live history of states begins anew: instruction, epoch, closed gate; virtual time, no model."""

from types import SimpleNamespace

import numpy as np
import pytest

from beingh_core.contract import load_contract
from beingh_core.inference.chunk_maker import MadeChunk
from beingh_core.inference.chunk_schedule import ChunkSchedule
from beingh_core.inference.inference_thread import InferenceThread
from beingh_core.inference.policy_inputs import PolicyInputs
from beingh_core.realtime.clock import TickClock

FR3 = load_contract("fr3")
MS = 1_000_000
BEGIN_NS = 1_000_000 * MS
BEFORE_NS = (400 * MS, 200 * MS)
PIXELS = np.zeros((48, 64, 3), np.uint8)
FINGER = FR3.joint_names[-1]


class Maker:
    """Notes what it is begun with; holds the prefix."""

    prefetch, policy = False, None

    def __init__(self):
        self.begun = []

    def closed(self, _now_ns):
        return []

    def check_instruction(self, _text):
        pass

    def outside_statistics(self, _observation):
        return None

    def start_epoch(self, _positions_J):
        pass

    def begin(self, observation, instruction):
        self.begun.append(observation)
        return SimpleNamespace(observation=observation, instruction=instruction)

    def finish(self, begun, prefix_TJ, onward_RJ=None):
        positions = np.tile(prefix_TJ[-1], (FR3.policy.chunk_length, 1))
        stamp_ns = begun.observation.stamp_ns
        return MadeChunk(positions=positions, unreached=0, inference_ms=1.0, observation_ns=stamp_ns)


class Robot:
    """A tick, a picture and a joint state every period; a finger joint tells when it was measured [s]."""

    def __init__(self):
        self.clock, self.n, self.failures, self.sent = TickClock(FR3.rate_hz, BEGIN_NS), 0, [], []
        self.epoch, self.ns, self.told = f"0@{BEGIN_NS}", BEGIN_NS, None
        self.inputs, self.schedule, self.maker = PolicyInputs(FR3, before_ns=BEFORE_NS), ChunkSchedule(FR3, 8), Maker()
        self.thread = InferenceThread(
            self.inputs, self.schedule, self.maker, lambda request, made: self.sent.append(request), self.failures.append,
            lambda: self.ns,
        )  # fmt: skip
        self.thread.instruction = "pick up the red cube"
        self.thread.set_active(True)

    def run(self, ticks, pictures=True):
        """Some ticks; returns what was begun in them."""
        known = len(self.maker.begun)
        for _ in range(ticks):
            self.n += 1
            self.ns = self.clock.stamp_ns(self.n)
            self.inputs.push_joints("joint_states", self.ns, self.measured(self.ns), self.ns)
            for camera in FR3.cameras if pictures else ():
                self.inputs.push_image(f"video.{camera.name}", self.ns, PIXELS, self.ns)
            plan = np.tile(np.array(FR3.home), (FR3.policy.chunk_length, 1))
            self.schedule.buffer(self.epoch, self.clock.stamp_ns(self.n + 1), plan, self.ns)
            if self.sent and self.told is not self.sent[-1]:
                self.told = self.sent[-1]
                self.schedule.accepted(self.epoch, self.told.stamp_ns, self.ns)
            self.thread.look()
        assert not self.failures
        return self.maker.begun[known:]

    @staticmethod
    def measured(stamp_ns):
        return dict(zip(FR3.joint_names, FR3.home)) | {FINGER: (stamp_ns - BEGIN_NS) / 1e9}


@pytest.fixture
def robot():
    found = Robot()
    yield found
    found.thread.close()


def times(observation):
    """When the earlier states of an observation were measured, before it [s]."""
    return [round(observation.joints[FINGER] - one[FINGER], 6) for one in observation.earlier]


def test_a_history_grows_from_the_first_chunk_of_an_epoch(robot):
    first, *more = robot.run(40)
    assert first.earlier == () and len(more) >= 3
    assert times(more[-1]) == [0.4, 0.2]
    early = [times(one) for one in more if one.stamp_ns - first.stamp_ns < BEFORE_NS[0]]
    assert all(span[0] == pytest.approx((one.stamp_ns - first.stamp_ns) / 1e9) for span, one in zip(early, more))


def test_another_instruction_begins_it_anew_and_the_same_one_does_not(robot):
    robot.run(40)
    robot.thread.instruct("pick up the red cube")
    assert times(robot.run(12)[-1]) == [0.4, 0.2]
    robot.thread.instruct("pick up the blue cube")
    told_s = (robot.ns - BEGIN_NS) / 1e9
    found = robot.run(30)
    assert all(one[FINGER] > told_s for seen in found for one in seen.earlier)
    assert times(found[-1]) == [0.4, 0.2]


def test_another_epoch_begins_it_anew(robot):
    robot.run(40)
    robot.clock, robot.n = TickClock(FR3.rate_hz, robot.ns), 0
    robot.epoch = f"1@{robot.ns}"
    first, *more = robot.run(30)
    assert first.earlier == () and times(more[-1]) == [0.4, 0.2]


def test_a_closed_gate_begins_it_anew(robot):
    robot.run(40)
    robot.run(20, pictures=False)
    lost_s = (robot.ns - BEGIN_NS) / 1e9
    found = robot.run(30)
    assert found and all(one[FINGER] > lost_s for seen in found for one in seen.earlier)


def test_a_clock_that_was_set_back_begins_it_anew(robot):
    robot.run(40)
    robot.inputs.clear()
    robot.schedule.clear()
    robot.sent.clear()
    robot.ns = BEGIN_NS - 60_000 * MS
    robot.clock, robot.n, robot.epoch = TickClock(FR3.rate_hz, robot.ns), 0, f"1@{robot.ns}"
    first, *more = robot.run(30)
    assert first.earlier == () and times(more[-1]) == [0.4, 0.2]
