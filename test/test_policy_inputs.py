"""What the policy makes of stamps, clocks, split joint states and controllers that come and go; on a virtual clock."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beingh_core.contract import load_contract
from beingh_core.contract.state_messages import joint_positions
from beingh_core.errors import BeingHError
from beingh_core.inference.chunk_schedule import ChunkSchedule
from beingh_core.inference.policy_inputs import PolicyInputs
from beingh_core.realtime.clock import parse_epoch
from beingh_core.realtime.streams import JointHistory, JointStream
from beingh_ros.nodes.gate_log import AGAIN_S, PATIENCE_S, GateLog
from beingh_ros.nodes.policy_report import PolicyReport

pytest.importorskip("rclpy")
from sensor_msgs.msg import JointState

FR3 = load_contract("fr3")
HOME = dict(zip(FR3.joint_names, FR3.home))
ARM = FR3.state[0].joints
NOW, S, MS = 1_700_000_000_000_000_000, 1_000_000_000, 1_000_000
PIXELS = np.zeros((2, 2, 3), np.uint8)


class Feed:
    """Cameras at 20 Hz and joint states at 50 Hz of a robot that stands still, on a clock that a test sets."""

    def __init__(self):
        self.inputs, self.now_ns = PolicyInputs(FR3), NOW

    def pictures(self, ahead_ns=0):
        for camera in FR3.cameras:
            yield self.inputs.push_image(f"video.{camera.name}", self.now_ns + ahead_ns, PIXELS, self.now_ns)

    def joints(self, positions=HOME, ahead_ns=0):
        return self.inputs.push_joints("joint_states", self.now_ns + ahead_ns, positions, self.now_ns)

    def run(self, seconds, ahead_ns=0, parts=(tuple(HOME),)):
        for step in range(round(seconds * 50)):
            self.now_ns += S // 50
            for part in parts:
                self.joints({name: HOME[name] for name in part}, ahead_ns)
            if step % 2:
                list(self.pictures(ahead_ns))
        return self

    def closed(self):
        return dict(self.inputs.closed(self.now_ns + MS))


# --- stamps and clocks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead_s", [0.3, 10, 3600, 1e9])
def test_one_message_from_the_future_is_refused_counted_and_mutes_nothing(ahead_s):
    feed = Feed().run(1.0)
    told = [*feed.pictures(round(ahead_s * S)), *feed.joints(ahead_ns=round(ahead_s * S)).values()]
    assert len(told) == 4 and all("in the future: another clock" in reason for reason in told)
    assert {stats.refused for stats in feed.inputs.stats.values()} == {1}
    assert feed.closed() == {}
    assert feed.run(1.0).closed() == {}
    assert feed.inputs.stats["video.scene_view"].rate_hz == pytest.approx(25.0, rel=0.01)
    feed.inputs.observe()


def test_a_clock_that_is_always_ahead_is_told_and_how_far():
    reasons = Feed().run(1.0, ahead_ns=100 * S).closed()
    assert set(reasons) == set(PolicyInputs(FR3).streams)
    assert all("nothing to use" in reason and "100.000 s in the future" in reason for reason in reasons.values())


@pytest.mark.parametrize("step_s", [-0.5, -3600, -1e8, 3600])
def test_a_clock_that_is_set_is_followed(step_s):
    feed = Feed().run(1.0)
    feed.now_ns += round(step_s * S)
    assert set(feed.closed()) == (set(feed.inputs.streams) if abs(step_s) > 1 else set())
    assert feed.run(0.2).closed() == {}
    assert abs(feed.inputs.observe().stamp_ns - feed.now_ns) < 0.1 * S
    feed.run(1.0)
    assert feed.inputs.stats["video.wrist_view"].rate_hz == pytest.approx(25.0, rel=0.01)


def test_messages_without_a_stamp_are_told_as_such_and_old_ones_with_their_age():
    feed = Feed()
    for camera in FR3.cameras:
        feed.inputs.push_image(f"video.{camera.name}", 0, PIXELS, NOW)
    feed.joints(ahead_ns=-100 * S)
    reasons = feed.closed()
    assert all("no time stamp (0)" in reasons[f"video.{camera.name}"] for camera in FR3.cameras)
    for name in ("state.eef_position", "state.gripper_position"):
        assert "stale: 100.0" in reasons[name] and "another clock" in reasons[name]
    feed.now_ns += S
    assert "another clock" not in feed.closed()["state.eef_position"], "it is silent now"
    assert feed.run(0.2).closed() == {}


def test_a_stamp_of_zero_is_one_at_the_beginning_of_simulated_time():
    inputs = PolicyInputs(FR3)
    assert inputs.push_image("video.scene_view", 0, PIXELS, 20 * MS) is None


def test_a_small_lead_of_the_robots_clock_is_measured_and_named():
    feed = Feed().run(1.0, ahead_ns=150 * MS)
    assert feed.closed() == {}
    for simulated, word in ((False, "0.150 s ahead of this computer's clock"), (True, "fresh")):
        report = PolicyReport(FR3, feed.inputs, {}, simulated)
        assert word in report.stream("state.eef_position", feed.now_ns, "reliable")[1]


# --- joints -----------------------------------------------------------------------------------------------------

SPLITS = {
    "one by one": tuple((name,) for name in HOME),
    "two halves": (ARM[:4], (*ARM[4:], "fr3_finger_joint1")),
    "overlapping": (ARM[:5], (*ARM[3:], "fr3_finger_joint1")),
    "with strangers": (tuple(HOME),),
}


@pytest.mark.parametrize("split", SPLITS)
def test_joints_are_joined_whatever_messages_they_come_in(split):
    feed = Feed()
    for _ in range(20):
        feed.run(0.04, parts=SPLITS[split])
        feed.joints({"rail": 0.1})
    assert feed.closed() == {}
    observation = feed.inputs.observe()
    assert observation.joints == HOME
    stats = feed.inputs.stats["state.eef_position"]
    assert stats.rate_hz == pytest.approx(50.0, rel=0.01) and (stats.lost, stats.refused) == (0, 0)


def test_each_joint_has_its_own_age_and_the_oldest_is_that_of_the_signal():
    feed = Feed().run(1.0)
    for _ in range(20):
        feed.run(0.04, parts=(tuple(name for name in HOME if name not in ("fr3_joint3", "fr3_joint6")),))
    reasons = feed.closed()
    assert set(reasons) == {"state.eef_position"}
    assert "stale: 0.8" in reasons["state.eef_position"] and "(fr3_joint3, fr3_joint6)" in reasons["state.eef_position"]
    feed.run(0.1, parts=(tuple(HOME),))
    assert feed.closed() == {}


def test_a_joint_that_never_comes_is_named():
    reasons = Feed().run(1.0, parts=(tuple(name for name in HOME if name != "fr3_joint5"),)).closed()
    assert set(reasons) == {"state.eef_position"} and "fr3_joint5 never received" in reasons["state.eef_position"]


def test_no_number_for_one_joint_is_not_forgotten_by_a_message_about_another():
    feed = Feed().run(1.0)
    assert list(feed.joints({"fr3_joint2": math.nan})) == ["state.eef_position"]
    feed.joints({"fr3_joint1": 0.0})
    assert "nan for fr3_joint2" in feed.closed()["state.eef_position"]
    feed.joints({"fr3_joint2": 0.1})
    assert feed.closed() == {}


def test_a_merged_sample_holds_what_was_known_of_each_joint():
    history = JointHistory(("a", "b"), depth=3)
    stream = JointStream("state.x", 0.1, ("b", "a"), history)
    assert stream.latest() is None and stream.missing() == ["b", "a"] and "nothing was received" in stream.problem(0)
    history.push(10, {"a": 1.0, "other": 5.0})
    assert stream.latest() is None and stream.missing() == ["b"]
    history.push(30, {"b": 2.0})
    history.push(20, {"a": 3.0})  # late
    assert stream.at(29) is None and stream.at(30).stamp_ns == 20
    np.testing.assert_array_equal(stream.at(30).value, [2.0, 3.0])
    history.push(30, {"a": 4.0})
    assert stream.latest().stamp_ns == 30 and stream.latest().value.tolist() == [2.0, 4.0]
    assert history.drop_after(25) == 1 and history.drop_after(25) == 0 and stream.missing() == ["b"]


@pytest.mark.parametrize(
    "message, positions",
    [
        (JointState(name=["a", "b"], effort=[1.0, 2.0]), {}),
        (JointState(name=["a"], velocity=[0.0]), {}),
        (JointState(), {}),
        (JointState(name=["a", "b", "a"], effort=[1.0, 2.0, 3.0]), {}),
    ],
)
def test_joint_states_need_not_be_about_positions(message, positions):
    assert joint_positions(message, {"a"}) == positions


@pytest.mark.parametrize("other", [1.0, 3.0, math.nan])
def test_a_wanted_joint_may_come_once_in_a_message_and_foreign_ones_as_often_as_they_like(other):
    message = JointState(name=["a", "b", "a"], position=[1.0, 2.0, other])
    assert joint_positions(message, {"b"})["b"] == 2.0
    with pytest.raises(BeingHError, match="holds a more than once. To fix: .*each joint once"):
        joint_positions(message, {"a", "b"})
    many = [f"{k}\n" * 100 for k in range(500)]
    with pytest.raises(BeingHError, match="and 496 more joints more than once") as caught:
        joint_positions(JointState(name=many * 2, position=[0.0] * 1000), many)
    assert len(str(caught.value)) < 600 and "\n" not in str(caught.value)


def test_joint_states_of_another_length_are_refused():
    with pytest.raises(BeingHError, match="2 names and 1 positions"):
        joint_positions(JointState(name=["a", "b"], position=[1.0]))


def test_what_holds_nothing_to_use_closes_nothing_but_is_told_when_nothing_better_comes():
    feed = Feed().run(1.0)
    feed.inputs.set_aside("joint_states", "the newest message holds no positions")
    assert feed.closed() == {}
    feed.now_ns += S
    assert "; the newest message holds no positions (joint_states)" in feed.closed()["state.eef_position"]


@pytest.mark.parametrize(
    "rename, words",
    [
        (lambda name: f"left_{name}", "the names have the prefix 'left_'"),
        (lambda name: f"{name}_state", "the names have the suffix '_state'"),
        (lambda name: f"robot/{name}/1", "the prefix 'robot/' and the suffix '/1'"),
        (lambda name: name.replace("fr3", "panda"), "nearest to `fr3_joint1`: panda_joint1"),
        (lambda name: f"motor{ord(name[-1])}\n\x1b[31m", "instead come motor"),
    ],
)
def test_joints_that_come_under_other_names_are_named(rename, words):
    feed = Feed().run(0.1)
    feed = Feed()
    for _ in range(10):
        feed.joints({rename(name): value for name, value in HOME.items()})
    reason = feed.closed()["state.eef_position"]
    assert words in reason and "must be those of the robot (joint_states)" in reason and reason.isprintable()


def test_names_of_strangers_are_kept_in_bounds():
    feed = Feed()
    for k in range(3000):
        feed.joints({f"joint_{k}_{'x' * 1000}": 0.0})
    assert len(feed.inputs._foreign["joint_states"]._names) <= 100 and len(feed.closed()["state.eef_position"]) < 1000


def test_topics_are_told_as_they_are_known_on_the_network():
    inputs = PolicyInputs(FR3, lambda topic: f"/cell_3/{topic}")
    assert inputs.push_joints("joint_states", NOW, HOME, NOW) == {}
    reasons = dict(inputs.closed(NOW))
    assert "(/cell_3/scene_camera/color/image_raw)" in reasons["video.scene_view"]
    assert "(/cell_3/joint_states)" in dict(inputs.closed(NOW + S))["state.eef_position"]


# --- controllers ------------------------------------------------------------------------------------------------


class Plans:
    """What a schedule receives of controllers, on one clock."""

    def __init__(self):
        self.schedule, self.now_ns = ChunkSchedule(FR3, trained_delay=8), NOW
        self.rows = np.tile(np.array(FR3.home), (FR3.policy.chunk_length, 1))

    def say(self, epoch, late_ns=0):
        self.schedule.buffer(epoch, self.now_ns + 50 * MS - late_ns, self.rows, self.now_ns)

    def run(self, epoch, seconds=1.0):
        for _ in range(round(20 * seconds)):
            self.now_ns += 50 * MS
            self.say(epoch)
        return self

    @property
    def followed(self):
        """The epoch of the inference that would start now."""
        request = self.schedule.request(self.now_ns - 10 * MS, self.now_ns)
        return None if request is None else request.epoch


def epoch(index, start_ns):
    return f"{index}@{start_ns}"


@pytest.mark.parametrize("step_s", [-3600, -60, -2, -0.3, 0, 0.3, 5, 3600])
@pytest.mark.parametrize("pause_s", [0.1, 5])
def test_a_restarted_controller_is_followed_whatever_the_clock_does(step_s, pause_s):
    plans = Plans()
    for index in range(3):
        old = epoch(index, plans.now_ns)
        plans.run(old)
        assert plans.followed == old
    plans.now_ns += round((step_s + pause_s) * S)
    new = epoch(0, plans.now_ns)
    plans.run(new, 2.0)
    assert plans.followed == new
    plans.schedule.buffer(old, NOW + 3 * S, plans.rows, plans.now_ns)
    assert plans.schedule.controller_silent(plans.now_ns) is None
    assert plans.run(new, FR3.uac.execution_steps / 20).followed == new


@pytest.mark.parametrize("late_s", [0.0, 0.2, 0.9, 2.0, 3600])
def test_late_messages_of_the_last_epoch_do_not_come_back(late_s):
    plans = Plans()
    old, new = epoch(0, NOW), epoch(1, NOW + 5 * S)
    plans.run(old, 5.0)
    plans.run(new)
    plans.schedule.sent(plans.schedule.request(plans.now_ns - 10 * MS, plans.now_ns))
    plans.say(old, late_ns=round(late_s * S))
    assert "running" in plans.run(new, 0.05).schedule.waiting_for(plans.now_ns) or plans.followed is None
    assert not plans.schedule.has_rivals(plans.now_ns)


def test_of_two_controllers_the_newer_is_followed_and_both_are_told():
    plans = Plans()
    old, new = epoch(0, NOW), epoch(0, NOW + 2 * S)
    plans.run(old, 2.0)
    for _ in range(40):
        plans.run(new, 0.05).say(old)
    assert plans.followed == new and plans.schedule.has_rivals(plans.now_ns)
    plans.run(old)
    assert plans.followed == old, "the newer one has gone"
    plans.run(old, 5.0)
    assert not plans.schedule.has_rivals(plans.now_ns)


@pytest.mark.parametrize("late_s", [-100, -2, 2, 100])
def test_a_controller_on_another_clock_is_told(late_s):
    plans = Plans()
    for _ in range(20):
        plans.now_ns += 50 * MS
        plans.say(epoch(0, NOW), late_ns=round(late_s * S))
    assert "another clock" in plans.schedule.controller_silent(plans.now_ns)


def test_a_loop_of_a_recording_with_one_epoch_is_followed_each_time():
    plans = Plans()
    for _ in range(3):
        plans.now_ns = NOW
        assert plans.run(epoch(0, NOW), 3.0).followed == epoch(0, NOW)


def test_a_controller_that_falls_silent_before_the_clock_is_set_back_is_missed():
    plans = Plans().run(epoch(0, NOW))
    assert plans.schedule.controller_silent(plans.now_ns - 3600 * S) is not None


@pytest.mark.parametrize(
    "text", ["", "1@", "@1", "x@1", "9" * 400 + "@1", "1@" + "9" * 400, "1@9999999999999999999", "١@1"]
)
def test_names_that_are_no_epochs_are_refused(text):
    with pytest.raises(BeingHError, match="no epoch") as caught:
        parse_epoch(text)
    assert len(str(caught.value)) < 200


# --- the log ----------------------------------------------------------------------------------------------------


def test_the_log_says_why_there_are_no_chunks_and_when_there_are_again():
    said = []
    log = GateLog(said.append, said.append)
    stale = [("video.a", "stale")]
    for second in range(100):
        log.look(second, stale if second < 30 else [("instruction", "empty"), *stale] if second < 60 else [])
    assert said == ["no chunks are made: video.a: stale"] * (1 + int((29 - PATIENCE_S) // AGAIN_S))
    for second in range(100, 130):
        log.look(second, [("controller/buffer", "silent")] if second < 125 else [])
    assert said[-2:] == ["no chunks are made: controller/buffer: silent", "chunks are made again"]


# --- whatever came before ---------------------------------------------------------------------------------------

OFFSETS_S = st.sampled_from([0.0, 0.01, -0.01, 0.2, -0.2, 0.3, -0.3, 2.0, -2.0, 3600.0, -3600.0, 1e8, -1e8])
NAMES = st.sampled_from([*HOME, "rail", "left_fr3_joint1", ""])
POSITIONS = st.dictionaries(NAMES, st.sampled_from([0.0, 1.0, -1e300, math.nan, math.inf]), max_size=9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(OFFSETS_S, OFFSETS_S, POSITIONS), max_size=12))
def test_whatever_came_before_a_second_of_good_messages_opens_the_gate(steps):
    feed = Feed()
    for clock_s, ahead_s, positions in steps:
        feed.now_ns = max(S, feed.now_ns + round(clock_s * S))
        ahead_ns = max(round(ahead_s * S), -feed.now_ns)
        feed.joints(positions, ahead_ns), list(feed.pictures(ahead_ns)), feed.closed()
    feed.run(1.0)
    assert feed.closed() == {} and feed.inputs.observe().joints == HOME


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(OFFSETS_S, OFFSETS_S, st.integers(0, 3), st.integers(1, 8)), max_size=12))
def test_whatever_came_before_a_controller_that_publishes_alone_is_followed(steps):
    plans = Plans()
    for clock_s, late_s, index, count in steps:
        plans.now_ns += round(clock_s * S)
        for _ in range(count):
            plans.now_ns += 50 * MS
            plans.say(epoch(index, NOW + index * S), late_ns=round(late_s * S))
    new = epoch(0, plans.now_ns)
    plans.run(new, 3.0)
    assert plans.schedule.controller_silent(plans.now_ns) is None and plans.followed == new
