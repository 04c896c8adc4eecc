"""controller_node over real DDS while a chunk is checked, which takes as long as it takes: everything else goes on."""

from pathlib import Path

import numpy as np
import pytest
from ros_support import wait_matched, wait_until
from stand_in_robot import FR3, controller_beside_robot
from std_msgs.msg import Bool, String

FAULTY = str(Path(__file__).with_name("faulty_controller.py"))
STOPS = {
    "estop": lambda robot: robot.estop.publish(Bool(data=True)),
    "stop_service": lambda robot: robot.call("stop"),
}


@pytest.fixture
def bench(tmp_path):
    with controller_beside_robot(tmp_path) as start:
        robot, process = start(FAULTY)
        fault = robot.node.create_publisher(String, "/fault", 10)
        robot.start()
        wait_matched(robot.node, fault)
        yield robot, process, lambda word: fault.publish(String(data=word))


def slow(process, say, times=1):
    """Let every check wait from now on."""
    say("slow check")
    wait_until(lambda: process.output.count("checks are slow") == times, what="slow checks")


def wait_for_check(process, times=1):
    wait_until(lambda: process.output.count("a check has begun") == times, what="a check")


def test_a_stop_during_a_check_brakes_to_rest_before_that_ends(bench):
    robot, process, say = bench
    for times, (cause, stop) in enumerate(STOPS.items(), 1):
        robot.move()
        slow(process, say, times)
        wait_for_check(process, times)
        told = len(robot.state.messages)
        stop(robot)
        robot.wait_for_state("stopping", cause, since=told)
        robot.wait_for_state("stopped", cause, since=told)
        robot.driving = 0.0
        path = np.array([point.positions[0] for point in robot.arm.messages[-1].points])
        assert np.abs(np.diff(path)).max() <= FR3.limits.acceleration[0] * FR3.dt_s**2 + 1e-9, "it has braked to rest"
        assert process.output.count("a check has ended") == times - 1, "all that while the chunk was checked"
        say("check goes on")
        wait_until(lambda: int(robot.status()["stopped"]) >= times, what="the chunk to be refused")
        robot.estop.publish(Bool(data=False))
        wait_until(lambda: robot.call("reset").success, what="reset")
        robot.wait_for_state("running", since=told + 2)


def test_ticks_go_on_during_a_check_without_the_chunk_and_one_with_a_defect_ends_the_node_with_its_code(bench):
    robot, process, say = bench
    slow(process, say)
    base, _ = robot.next_tick()
    robot.send_chunk(robot.wave(base), base)
    wait_for_check(process)
    robot.buffer.wait_for(before := len(robot.buffer.messages) + FR3.uac.delay_steps + 2)
    assert not robot.accepted.messages
    plans = [point.positions for message in robot.buffer.messages[:before] for point in message.points]
    assert np.ptp(plans, axis=0).max() == 0.0, "nothing is in the plan unchecked"
    say("check goes on")
    robot.move()
    told = len(robot.state.messages)
    say("check")
    assert process.wait() == 1
    robot.wait_for_state("stopped", "exception", since=told)
    assert "injected fault" in process.output
