"""What a controller says of clocks, of names that come instead, and of what it waits for."""

from dataclasses import replace

import numpy as np
import pytest
from control_support import DT_NS, HOME, NOW, Robot
from start_support import controller

from beingh_core.control.stop_causes import (
    DRIVER,
    RUNNING,
    STOPPING,
    TRACKING_ERROR,
    Status,
)
from beingh_core.control.subscribers import SETTLING
from beingh_ros.nodes.controller_log import ControllerLog


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
