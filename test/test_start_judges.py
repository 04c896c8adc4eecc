"""What decides whether a controller may start and go on: joint states that cannot be true, and who says what."""

import math
from dataclasses import replace

import numpy as np
import pytest
import yaml
from ros_support import ROOT
from test_nodes_logic import DT_NS, FR3, HOME, NOW, Robot, measure_at_rest

from beingh_core.contract import load_contract
from beingh_core.control.controller import Controller
from beingh_core.control.estop_sources import EstopSources
from beingh_core.control.joint_continuity import MEMORY_NS
from beingh_core.control.joint_sources import MEMORY_S, JointSources
from beingh_core.control.measured_joints import start_position
from beingh_core.control.stop_causes import (
    DRIVER,
    JOINT_STATES_INVALID,
    RUNNING,
    STOPPED,
    STOPPING,
    TRACKING_ERROR,
    WAITING,
    Status,
)
from beingh_core.control.subscribers import SETTLING, Subscribed, SubscriberWatch
from beingh_core.control.tracking import TrackingWatch
from beingh_core.errors import BeingHError
from beingh_ros.nodes.controller_log import ControllerLog

ARM_ZEROS = HOME | {name: 0.0 for name in FR3.joint_names[:7] if name not in ("fr3_joint4", "fr3_joint6")}
AWAY = HOME | {"fr3_joint1": 0.6, "fr3_joint3": -0.4}
RESTS = dict.fromkeys(HOME, 0.0)


def controller(**more):
    return Controller(FR3, joint_state_timeout_s=1.0, **more)


# --- joint states that contradict each other ------------------------------------------------------------------


@pytest.mark.parametrize("other", [ARM_ZEROS, AWAY | {"fr3_joint1": 0.45}])
@pytest.mark.parametrize("velocities", [None, RESTS])
@pytest.mark.parametrize("every", [1, 3, 50])
def test_two_postures_start_nothing_whatever_their_velocities_say(other, velocities, every):
    waiting, reasons = controller(publishers=lambda: "/driver, /sliders"), set()
    for k in range(300):
        waiting.joint_state(NOW + k * 20_000_000, AWAY, RESTS)
        if k % every == 0:
            waiting.joint_state(NOW + k * 20_000_000 + 3_000_000, other, velocities)
        reasons.add(waiting.status.reason)
        assert waiting.status.state == WAITING
    assert any("contradict each other" in reason and "/driver, /sliders" in reason for reason in reasons)
    assert len(reasons) < 12, "no new reason with every message"


def test_a_start_is_possible_when_the_second_source_has_gone():
    waiting = controller()
    for k in range(10):
        waiting.joint_state(NOW + k * DT_NS, AWAY if k % 2 else ARM_ZEROS)
    with pytest.raises(BeingHError, match="contradict"):
        waiting.reset(NOW + 10 * DT_NS)
    now_ns = measure_at_rest(waiting, NOW + 10 * DT_NS, AWAY)
    assert waiting.status.state == WAITING, "it may come back"
    measure_at_rest(waiting, now_ns + MEMORY_NS, AWAY)
    assert waiting.status.state == RUNNING


def test_a_robot_that_was_put_elsewhere_while_waiting_starts_there():
    waiting = controller()
    for k in range(4):
        waiting.joint_state(NOW + k * DT_NS, AWAY, RESTS)
    measure_at_rest(waiting, NOW + 4 * DT_NS, HOME)
    assert waiting.status.state == RUNNING


@pytest.mark.parametrize("joint", ["fr3_joint2", "fr3_finger_joint1"])
def test_a_second_source_that_joins_stops_a_robot_that_runs(joint):
    robot = Robot()
    robot.run(10)
    away = 0.0 if joint == "fr3_finger_joint1" else HOME[joint] - 0.5
    robot.controller.joint_state(robot.now_ns + 5_000_000, {joint: away})
    assert robot.controller.status.state == RUNNING, "one sample may be the robot's jump"
    robot.controller.joint_state(robot.now_ns + 10_000_000, {joint: HOME[joint]})
    status = robot.controller.status
    assert status.cause == JOINT_STATES_INVALID and joint in status.reason and "and back" in status.reason
    robot.run(20)
    assert robot.controller.status.state == STOPPED
    with pytest.raises(BeingHError, match="contradict"):
        robot.controller.reset(robot.now_ns)


def test_a_jump_that_no_tracking_watches_stops_it_too():
    robot = Robot()
    robot.run(5)
    for k in range(30):
        now_ns = robot.now_ns + k * 20_000_000
        robot.controller.joint_state(now_ns, robot.measured | ({"fr3_finger_joint1": 0.0} if k > 3 else {}))
        if now_ns + 20_000_000 > (robot.controller.next_tick_ns() or 2**63):
            robot.controller.tick(robot.controller.next_tick_ns())
    status = robot.controller.status
    assert status.cause == JOINT_STATES_INVALID and "fr3_finger_joint1 went from 0.04 to 0 within" in status.reason


def test_alternating_good_and_bad_samples_are_bad():
    for pattern in ((1, 0), (1, 1, 0), (1, 0, 0)):
        watch, home = TrackingWatch(FR3), np.array(FR3.home)
        watch.begin(home)
        away = home + np.array([0.25, 0, 0, 0, 0, 0, 0, 0])
        told = next(
            k
            for k in range(100)
            if watch.problem(NOW + k * 10**7, NOW, away if pattern[k % len(pattern)] else home) is not None
        )
        assert told * 0.01 <= FR3.watchdog.tracking_time_s + 0.03
    watch.begin(home)
    for k in range(300):  # a stroke of 50 ms out of order, then as long as it may take in order
        away_now = k % 20 < 5
        assert watch.problem(NOW + k * 10**7, NOW, away if away_now else home) is None


def test_a_reported_rest_covers_the_noise_of_a_sensor_and_no_more():
    for swing, state in ((0.018, RUNNING), (0.05, WAITING)):
        waiting = controller()
        for k in range(12):
            waiting.joint_state(NOW + k * DT_NS, HOME | {"fr3_joint2": HOME["fr3_joint2"] + swing * (k % 2)}, RESTS)
        assert waiting.status.state == state


# --- who publishes ---------------------------------------------------------------------------------------------


def test_the_numbers_of_one_publisher_rise_and_those_of_two_fall_again_and_again():
    arm, hand = FR3.joint_names[:7], FR3.joint_names[7:]
    alone = JointSources(FR3.joint_names)
    for k in range(100):
        alone.received("/joint_states", arm, 500 + 2 * k, 0.02 * k)
        alone.received("/joint_states", hand, 3 + k, 0.02 * k)  # the gripper's driver
        alone.received("/joint_states", ["somebody_elses"], 100 - k, 0.02 * k)
        alone.received("/other", arm, None, 0.02 * k)
    assert alone.doubled(2.0) == {}
    alone.received("/joint_states", arm, 1, 2.1)  # started anew
    assert alone.doubled(2.2) == {}
    for number in (700, 2):
        alone.received("/joint_states", arm, number, 2.3)
    found = alone.doubled(2.4)
    assert list(found) == ["/joint_states"] and set(found["/joint_states"]) == set(arm)
    assert alone.doubled(2.1 + MEMORY_S + 0.1) == {}
    alone.forget("/joint_states")
    assert alone.doubled(2.4) == {}


def test_rivals_stop_and_doubled_joints_only_keep_from_a_start():
    subscribers = SubscriberWatch(0.0)
    assert subscribers.look(9.0, {"/a": 1}, None, "a rival", "two") == Subscribed("a rival", lost=True)
    assert subscribers.look(9.0, {"/a": 1}, None, "", "two") == Subscribed("two")
    assert subscribers.look(9.0, {"/a": 1}, None) == Subscribed()


# --- emergency stop --------------------------------------------------------------------------------------------


def test_samples_of_which_every_second_is_not_a_number_never_rest():
    robot = controller()
    for step in range(200):
        now_ns = NOW + step * 20_000_000
        joints = dict(HOME) if step % 2 else dict.fromkeys(HOME, math.nan)
        robot.joint_state(now_ns, joints, dict.fromkeys(HOME, 0.0))
        assert robot.status.state == WAITING


def test_a_publisher_that_has_not_spoken_is_known_to_be_silent_since_the_newest_came():
    panels = Panels("ab")
    assert panels.sources.silent_s(panels.now_s) == pytest.approx(0.1, abs=0.11)
    panels.say("a", False)
    panels.wait(2.0)
    assert panels.sources.silent_s(panels.now_s) > 2.0
    panels.say("b", True)
    assert panels.sources.silent_s(panels.now_s) is None
    panels.present.add("c")
    panels.wait(0.3)
    assert panels.sources.silent_s(panels.now_s) < 0.5


class Panels:
    """Publishers of an emergency stop that come, speak and go, and the controller that receives them.

    Args:
        present: Names of those that are there at first.
    """

    def __init__(self, present=""):
        self.sources, self.present, self.now_s, self._sent, self.numbers = EstopSources(), set(present), 10.0, 0, {}
        self.wait(0.1)

    def wait(self, seconds=1.0):
        for _ in range(round(seconds * 10)):
            self.now_s += 0.1
            self.sources.look(self.present, self.now_s)

    def say(self, name, active, *, lost=0, times=1):
        """One that is not there yet comes."""
        if name not in self.present:
            self.present.add(name)
            self.wait(0.1)
        self.numbers[name] = self.numbers.get(name, 0) + lost
        for _ in range(times):
            self.numbers[name] += 1
            self.receive(active, self.numbers[name])
            self.wait(0.1)

    def receive(self, active, number, sent=None, replayed=False):
        self._sent += 1
        sent = self._sent if sent is None else sent
        self.sources.received(active, number, sent, self.present, self.now_s, replayed=replayed)

    def go(self, *names):
        self.present -= set(names)
        self.wait()

    @property
    def held(self):
        return self.sources.active


@pytest.mark.parametrize(
    "present, messages, held",
    [
        ("A", [(True, 1, 10)], True),
        ("A", [(True, 1, 10), (True, 1, 10), (False, 2, 20), (True, 1, 10)], False),  # the press comes again
        ("A", [(False, 1, 5, True), (True, 2, 10, True)], True),
        ("A", [(True, 4, 5, True), (False, 5, 10, True)], False),
        ("AB", [(True, 1, 10), (False, 1, 5, True)], True),  # another's latched release comes late
        ("AB", [(True, 1, 10, True), (False, 1, 20, True)], True),  # two latched publishers
        ("AB", [(False, 1, 20, True), (True, 1, 10, True)], True),
        ("AB", [(True, 7, 10), (False, 100, 11), (False, 101, 12)], True),  # another's heartbeat
        ("AB", [(True, 7, 10), (False, 100, 11), (False, 8, 12)], False),
        ("AB", [(True, 7, 10), (False, 100, 11), (False, 10, 12)], False),  # two were lost
        ("AB", [(True, None, 10), (False, None, 20)], False),  # no numbers: the newest holds
        ("AB", [(True, None, 10), (False, None, 5, True)], True),
        ("", [(True, None, 0), (False, None, 0)], False),
    ],
)
def test_a_press_holds_until_its_own_release(present, messages, held):
    panels = Panels(present)
    for message in messages:
        panels.receive(*message)
    assert panels.held == held


@pytest.mark.parametrize("times", [1, 2, 5, 40])
@pytest.mark.parametrize("there", ["A", "AB"])
def test_others_that_restart_release_no_panel_that_is_there(there, times):
    panels = Panels(there)
    panels.say("A", True, times=times)
    panels.say("B", False, times=20)
    for n, (lost, wait_s) in enumerate([(0, 0.1), (1, 0.1), (4, 10.0), (45, 0.1), (0, 0.0)]):
        panels.go(*panels.present - {"A"})
        panels.wait(wait_s)
        panels.say(f"B{n}", False, lost=lost, times=30)
        assert panels.held, f"restart {n}"
    panels.say("A", True)
    panels.say("A", False)
    assert not panels.held


def test_a_loss_makes_no_second_publisher_of_one():
    panels = Panels("AB")
    panels.say("A", True)
    for lost in (0, 20, 30, 15):
        panels.say("B", False, lost=lost, times=5)
        assert panels.held
    panels.say("A", False, lost=2)
    assert not panels.held


def test_a_panel_that_has_gone_is_released_by_anybody():
    for others in ("B", "", "BC"):
        panels = Panels("A")
        for name in others:
            panels.say(name, False, times=2)
        panels.say("A", True)
        panels.say("B", False, times=3)
        assert panels.held, "killed: for a while the graph still shows it"
        panels.wait(20)
        panels.go("A")
        panels.wait(5)
        assert panels.held, "nothing releases it by itself"
        for name in others or "B":
            panels.say(name, False)
        assert not panels.held


def test_a_panel_that_was_there_with_others_and_has_gone_is_released_once_they_speak():
    for silent in (False, True):
        panels = Panels("AB")
        panels.say("A", True)
        if not silent:
            panels.say("B", False)
        panels.go("A")
        panels.wait(5)
        panels.say("C", False)
        assert panels.held, "B may be the one that pressed"
        panels.say("B", False)
        panels.say("C", False)
        assert not panels.held


@pytest.mark.parametrize("ends", ["speaks", "goes"])
def test_a_publisher_that_never_spoke_may_be_the_one_that_pressed(ends):
    panels = Panels("AQ")
    panels.say("A", True)
    panels.go("A")
    panels.wait(5)
    panels.say("B", False, times=30)
    assert panels.held
    if ends == "goes":
        panels.go("Q")
        panels.say("B", False)
    else:
        panels.say("Q", False)
    assert not panels.held


def test_a_relay_with_a_publisher_for_every_message_presses_and_releases():
    for panel in ("", "P"):
        panels = Panels(panel)
        for name in panel:
            panels.say(name, False)
        panels.wait()
        for n in range(100):
            panels.say(f"R{n}", True)
            panels.go(f"R{n}")
            panels.wait(n % 3)
            assert panels.held
            panels.say(f"S{n}", False)
            assert not panels.held, n
            panels.go(f"S{n}")


def test_two_panels_release_each_its_own_press():
    panels = Panels("AB")
    panels.say("A", False)
    panels.say("B", False)
    panels.say("A", True)
    panels.say("B", True)
    panels.say("B", False, times=3)
    assert panels.held
    panels.say("A", False)
    assert not panels.held


def test_a_message_that_is_read_when_its_publisher_has_gone_releases_nobody_else():
    panels = Panels("A")
    panels.say("A", True)
    panels.present.add("R")
    panels.wait(0.1)
    panels.go("R")
    panels.receive(False, 1)
    panels.receive(False, 2)
    assert panels.held
    panels.receive(False, 1)  # of one that was never seen
    assert panels.held


def test_any_number_of_publishers_is_bounded():
    panels = Panels("A")
    panels.say("A", True)
    for k in range(500):
        panels.present = {"A", f"B{k}"}
        panels.sources.look(panels.present, panels.now_s)
        panels.receive(False, 1)
        panels.now_s += 0.1
    assert panels.held and len(panels.sources._sources) < 100 and len(panels.sources._publishers) < 300
    panels.go("A")
    panels.receive(False, 1)
    assert not panels.held


# --- what is told ----------------------------------------------------------------------------------------------


def test_clocks_that_differ_are_told_with_the_tracking_error():
    robot = Robot()
    for _ in range(60):
        due = robot.controller.next_tick_ns()
        robot.controller.merge(robot.chunk(0.03, base=len(robot.sent)))
        robot.controller.joint_state(due, HOME, stamp_ns=due + 150_000_000)
        robot.sent.append(robot.controller.tick(due))
        if robot.controller.status.state != RUNNING:
            break
    status = robot.controller.status
    assert status.cause == TRACKING_ERROR and "0.150 s ahead of this computer's clock" in status.reason
    assert robot.controller.clock_difference[0] == pytest.approx(0.15)


@pytest.mark.parametrize(
    "lead_s, word", [(0.0, ""), (0.02, ""), (-0.1, ""), (0.05, "ahead"), (-0.4, "behind"), (-1.7e9, "use_sim_time")]
)
def test_the_clock_of_the_joint_states_is_measured_whatever_their_delay(lead_s, word):
    waiting, rng = controller(), np.random.default_rng(1)
    for k in range(200):
        stamp_ns = NOW + k * 20_000_000
        late_ns = round(rng.uniform(0, 0.06) * 1e9) + (stamp_ns - NOW > 10**9) * 200_000
        waiting.joint_state(stamp_ns + late_ns, HOME, stamp_ns=max(1, stamp_ns + round(lead_s * 1e9)))
    lead, text = waiting.clock_difference
    assert word in text and bool(text) == bool(word)
    assert lead == pytest.approx(lead_s if word else 0.0, abs=0.01, rel=1e-3)


def test_names_that_come_instead_are_told_with_the_nearest():
    waiting = controller(topics=["/cell_3/joint_states"])
    assert waiting.status.reason == "waiting for joint states on /cell_3/joint_states"
    foreign = {f"left_{name}": value for name, value in HOME.items()}
    waiting.joint_state(NOW, foreign | {"x\ny" * 1000: 0.0})
    reason = waiting.status.reason
    assert "left_fr3_joint1, left_fr3_joint2" in reason and "the names have the prefix 'left_'. To fix" in reason
    assert len(reason) < 500 and "\n" not in reason
    for k in range(200):
        waiting.joint_state(NOW + k, {f"{k}_{i}": 0.0 for i in range(50)})
    assert len(waiting.status.reason) < 500
    waiting.joint_state(NOW + DT_NS, HOME)
    assert "instead" not in waiting.status.reason


class Lines:
    """A logger that keeps what it gets."""

    def __init__(self):
        self.lines = []

    def __getattr__(self, level):
        return lambda text, **_: self.lines.append((level, text))


def test_what_it_waits_for_is_warned_of_again_and_again(monkeypatch):
    now_s, logger = [100.0], Lines()
    monkeypatch.setattr("beingh_ros.nodes.controller_log.time.monotonic", lambda: now_s[0])
    log, waiting = ControllerLog(logger, "/controller/reset"), controller(topics=["/cell/joint_states"])

    def pass_time(seconds):
        for _ in range(round(seconds / 0.1)):
            now_s[0] += 0.1
            log.look()

    log.state(waiting.status)
    pass_time(0.5)
    assert [level for level, _ in logger.lines] == ["info"], "a robot may come"
    pass_time(21)
    warnings = [text for level, text in logger.lines if level == "warning"]
    assert len(warnings) == 3 and all("joint states on /cell/joint_states. The robot" in text for text in warnings)
    log.state(replace(waiting.status, reason=SETTLING))
    pass_time(9.5)
    assert len(logger.lines) == 5, "settling is no fault"
    log.state(replace(waiting.status, state=RUNNING, reason=""))
    pass_time(60)
    assert len(logger.lines) == 6


def test_a_robot_that_goes_is_an_error_unless_this_node_is_ended_as_well(monkeypatch):
    now_s = [100.0]
    monkeypatch.setattr("beingh_ros.nodes.controller_log.time.monotonic", lambda: now_s[0])
    gone = Status(state=STOPPING, cause=DRIVER, reason="nobody subscribes to /arm", stamp_ns=5)
    for ended, passed_s, levels in ((False, 1.0, ["error"]), (True, 0.2, ["info"]), (True, 1.0, ["error"])):
        log = ControllerLog(Lines(), "/controller/reset")
        log.state(gone)
        now_s[0] += passed_s
        log.look()
        if ended:
            log.end()
        assert [level for level, _ in log._log.lines] == levels
    log = ControllerLog(Lines(), "/controller/reset")
    log.state(replace(gone, reason="another node publishes commands"))
    assert [level for level, _ in log._log.lines] == ["error"], "nothing to wait for"


# --- a start outside the limits --------------------------------------------------------------------------------


def contract_with(tmp_path, **keys):
    document = yaml.safe_load((ROOT / "config" / "robots" / "fr3.yaml").read_text()) | keys
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return load_contract(path)


def test_a_start_outside_the_limits_says_how_far_and_what_to_do():
    row = np.array(FR3.home)
    row[1], row[4] = FR3.limits.lower[1] - 0.02, FR3.limits.upper[4] + 0.05
    start, problem = start_position(FR3, row)
    assert "fr3_joint5" in problem and "0.05 outside" in problem and "1 more" in problem and "move it back" in problem
    row[4] = FR3.home[4]
    assert "fr3_joint2" in start_position(FR3, row)[1]
    row[1] = FR3.limits.lower[1] - 0.009
    start, problem = start_position(FR3, row)
    assert not problem and start[1] == FR3.limits.lower[1]


def test_the_tolerance_stands_in_the_contract(tmp_path):
    assert FR3.start_tolerance == (0.01,) * 8
    assert contract_with(tmp_path, start_tolerance=0.03).start_tolerance == (0.03,) * 8
    contract = contract_with(tmp_path, start_tolerance={"fr3_joint2": 0.05, "fr3_finger_joint1": 0.0})
    assert contract.start_tolerance == (0.01, 0.05, 0.01, 0.01, 0.01, 0.01, 0.01, 0.0)
    assert contract.hash == FR3.hash, "a checkpoint does not depend on it"
    row = np.array(FR3.home)
    row[1] = FR3.limits.lower[1] - 0.04
    assert start_position(contract, row)[1] == ""
    assert "0.04 outside" in start_position(replace(contract, start_tolerance=FR3.start_tolerance), row)[1]


@pytest.mark.parametrize(
    "value, word",
    [
        (-0.1, "at least 0, at most 0.1"),
        (0.2, "at least 0, at most 0.1"),
        (math.nan, "start_tolerance"),
        (math.inf, "finite"),
        ("much", "not a number"),
        (True, "not a number"),
        ({"joint2": 0.02}, "fr3_joint2"),
        ({"fr3_joint2": 1}, "at least 0, at most 0.1"),
        ([0.1], "not a number"),
    ],
)
def test_mistakes_in_the_tolerance_name_the_key(tmp_path, value, word):
    with pytest.raises(BeingHError, match="start_tolerance") as error:
        contract_with(tmp_path, start_tolerance=value)
    assert word in str(error.value)
