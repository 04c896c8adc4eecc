"""The inference thread begins images and words before the prefix is known; virtual time, the shipped checkpoint."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from ros_support import wait_until

from beingh_core.contract import load_contract
from beingh_core.contract.kinematics import Kinematics
from beingh_core.inference.chunk_maker import ChunkMaker, Observation
from beingh_core.inference.chunk_schedule import ChunkSchedule
from beingh_core.inference.inference_thread import InferenceThread
from beingh_core.inference.policy_inputs import PolicyInputs
from beingh_core.policy import BeingHPolicy, data_config_for
from beingh_core.realtime.clock import TickClock

FR3 = load_contract("fr3")
HOME = dict(zip(FR3.joint_names, FR3.home))
CHECKPOINT = Path(__file__).resolve().parent.parent / "checkpoints" / "fr3_cubes"
MS = 1_000_000
START_NS = 1_000_000 * MS
STEPS = FR3.uac.execution_steps


class RecordingMaker(ChunkMaker):
    """Notes what is begun and finished, and when."""

    def __init__(self, contract, policy, now):
        super().__init__(contract, policy)
        self.now, self.begun, self.prefixes = now, [], []

    def begin(self, observation, instruction):
        # No virtual time passes meanwhile, however long it takes on a busy machine.
        result = replace(super().begin(observation, instruction), begin_ms=0.0)
        self.begun.append((self.now(), observation.stamp_ns, instruction))
        return result

    def finish(self, begun, prefix_TJ, onward_RJ=None):
        torch.manual_seed(len(self.prefixes))
        self.prefixes.append(prefix_TJ)
        return super().finish(begun, prefix_TJ, onward_RJ)


class Robot:
    """Pictures every 50 ms, 10 ms after the ticks of a controller that always holds; nothing moves but the time."""

    def __init__(self, policy, prefetch):
        self.ns = START_NS
        self.clock = TickClock(FR3.rate_hz, START_NS)
        self.epoch = f"0@{START_NS}"
        self.inputs, self.schedule = PolicyInputs(FR3), ChunkSchedule(FR3, policy.trained_delay)
        self.maker = RecordingMaker(FR3, policy, lambda: self.ns)
        self.chunks, self.failures, self.accepted = [], [], None
        self.thread = InferenceThread(
            self.inputs,
            self.schedule,
            self.maker,
            lambda request, made: self.chunks.append((request, made)),
            self.failures.append,
            lambda: self.ns,
            prefetch=prefetch,
        )
        self.thread.instruction = "pick up the red cube"
        self.thread.set_active(True)

    def picture(self, age_ms=0):
        rng = np.random.default_rng(self.ns)
        for camera in FR3.cameras:
            pixels = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            self.inputs.push_image(f"video.{camera.name}", self.ns - age_ms * MS, pixels)
        self.inputs.push_joints("joint_states", self.ns - age_ms * MS, HOME)

    def tick(self, n):
        """The controller sends tick n and publishes the buffer behind it."""
        self.ns = self.clock.stamp_ns(n)
        plan = np.tile(np.array(FR3.home), (FR3.policy.chunk_length, 1))
        self.schedule.buffer(self.epoch, self.clock.stamp_ns(n + 1), plan, self.ns)
        if self.chunks and self.accepted != self.chunks[-1][0].base_tick:
            request = self.chunks[-1][0]
            self.accepted = request.base_tick
            self.schedule.accepted(self.epoch, request.stamp_ns, self.ns)
        self.look()

    def look(self):
        """Lets the thread look at the present state twice: when it begins the second look, the first is over."""
        for _ in range(2):
            self.thread.notify()
            wait_until(lambda: not self.thread._wake.is_set(), 5)

    def run(self, ticks, until_ms=45):
        """Ticks with a picture 10 ms after each; stops `until_ms` after the last one."""
        for n in ticks:
            self.tick(n)
            self.ns += 10 * MS
            self.picture()
            self.look()
        self.ns += (until_ms - 10) * MS


@pytest.fixture(scope="module")
def policy():
    return BeingHPolicy(CHECKPOINT, data_config_for(FR3), FR3.policy.dataset_name, embodiment_tag=FR3.robot)


@pytest.fixture
def make(policy):
    robots = []

    def made(prefetch):
        robots.append(Robot(policy, prefetch))
        return robots[-1]

    yield made
    for robot in robots:
        robot.thread.close()
        assert robot.failures == []


def first_chunk(robot):
    robot.run(range(4))
    wait_until(lambda: len(robot.chunks) == 1, 10)
    return robot.chunks[0][0]


def test_the_last_picture_before_the_start_is_begun_when_it_comes(make):
    robot = make(True)
    first_chunk(robot)
    started = robot.schedule.next_start_ns(robot.ns)
    last = robot.clock.nearest_tick(started)
    robot.run(range(4, last), until_ms=20)
    wait_until(lambda: len(robot.maker.begun) == 2, 10)
    begun_ns, picture_ns, _ = robot.maker.begun[1]
    assert begun_ns < started and started - picture_ns == 40 * MS
    assert len(robot.chunks) == 1
    robot.tick(last)
    wait_until(lambda: len(robot.chunks) == 2, 10)
    assert robot.thread.prefetched == 1 and len(robot.maker.begun) == 2


def test_an_earlier_picture_is_left_for_a_newer_one(make):
    robot = make(True)
    first_chunk(robot)
    last = robot.clock.nearest_tick(robot.schedule.next_start_ns(robot.ns))
    robot.run(range(4, last - 1), until_ms=49)
    robot.look()
    assert len(robot.maker.begun) == 1


def test_it_changes_when_the_work_is_done_and_not_the_chunk(make):
    results = []
    for early in (True, False):
        robot = make(early)
        first_chunk(robot)
        last = robot.clock.nearest_tick(robot.schedule.next_start_ns(robot.ns))
        robot.run(range(4, last + 1))
        wait_until(lambda: len(robot.chunks) == 2, 10)
        assert robot.thread.prefetched == int(early)
        results.append(robot.chunks)
    for (mine, chunk), (other, expected) in zip(*results):
        assert mine.base_tick == other.base_tick
        np.testing.assert_array_equal(chunk.positions, expected.positions)


def test_another_instruction_throws_away_what_was_begun(make):
    robot = make(True)
    first_chunk(robot)
    last = robot.clock.nearest_tick(robot.schedule.next_start_ns(robot.ns))
    robot.run(range(4, last), until_ms=20)
    wait_until(lambda: len(robot.maker.begun) == 2, 10)
    robot.thread.instruction = "pick up the blue cube"
    robot.tick(last)
    wait_until(lambda: len(robot.chunks) == 2, 10)
    assert [words for _, _, words in robot.maker.begun][1:] == ["pick up the red cube", "pick up the blue cube"]
    assert robot.thread.prefetched == 0


def test_the_arm_goes_over_from_the_last_motion_to_the_new_one_in_equal_shares(policy):
    """Against a chunk that turns at once: the hand's first steps are weighted means of both motions."""
    maker = ChunkMaker(FR3, policy)
    signal = next(signal for signal in FR3.action if signal.slot == "eef_position")
    arm = Kinematics(FR3.urdf_path, signal.joints, signal.eef_frame, signal.base_frame)
    d, home = 4, np.array(FR3.home)
    prefix = np.tile(home, (d + 1, 1))
    onward = np.tile(home, (3, 1))
    onward[:, 0] += 0.004 * np.arange(1, 4)
    observation = Observation(
        stamp_ns=1, images={c.name: np.zeros((48, 64, 3), np.uint8) for c in FR3.cameras}, joints=HOME
    )

    def hand_steps(rows):
        maker.start_epoch(home)
        torch.manual_seed(3)
        made = maker.finish(maker.begin(observation, "pick up the red cube"), prefix, rows)
        np.testing.assert_array_equal(made.positions[:d], prefix[1:])
        places = np.array([arm.fk(q[:7])[0] for q in (home, *made.positions[d:])])
        return np.diff(places, axis=0)

    turning, mixed = hand_steps(None), hand_steps(onward)
    before = np.diff([arm.fk(q[:7])[0] for q in (home, *onward)], axis=0)
    assert np.abs(turning[0] - before[0]).max() > 1e-4
    for step, share in enumerate((0.25, 0.5, 0.75)):
        expected = share * turning[step] + (1 - share) * before[step]
        np.testing.assert_allclose(mixed[step], expected, atol=2e-5)
    np.testing.assert_allclose(mixed[3:], turning[3:], atol=2e-5)
    np.testing.assert_allclose(hand_steps(np.empty((0, 8))), turning, atol=1e-12)
