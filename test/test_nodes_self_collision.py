"""controller_node as a process, over real DDS: a chunk that would fold the arm into itself is cut, told and held."""

import numpy as np
from path_check_support import folded, straight, touching
from ros_support import wait_until
from stand_in_robot import FR3, controller_beside_robot

from beingh_core.contract.self_collision import collisions_of
from beingh_core.control.stop_causes import COLLISION, RUNNING
from beingh_ros.messages.controller_state import read_state
from beingh_ros.messages.conversions import read_trajectory


def is_told(status):
    """Whether diagnostics tell a cut; a late chunk whose few steps are free may come between."""
    cut = "a chunk was cut" in status["message"] and int(status["cuts"]) > 0
    return cut and (status["cause"], status["self_collision_check"]) == (COLLISION, "on")


def test_a_chunk_towards_the_robot_itself_is_cut_and_told_and_the_next_one_moves_on(tmp_path):
    with controller_beside_robot(tmp_path) as start:
        near = just_before_it_touches()
        robot, process = start(before=lambda robot: robot.positions.update(zip(FR3.joint_names, near)))
        clock, goal = robot.start(), [folded(FR3)]

        def infer():
            first, planned = robot.next_tick()
            robot.send_chunk(straight(FR3, planned, goal[0], 0.8), first)

        robot.node.create_timer(0.2, infer)
        told = robot.wait_for_state(RUNNING, COLLISION)
        assert "fr3_" in told.reason and "would come too near to" in told.reason
        wait_until(lambda: is_told(robot.status()), what="the diagnostics")
        wait_until(lambda: "a chunk was cut, the joints brake and hold: `fr3_" in process.output, what="the log")
        wait_until(lambda: holds(robot), what="the robot to hold")
        since, goal[0] = len(robot.state.messages), near
        robot.wait_for_state(RUNNING, since=since)
        wait_until(lambda: np.allclose(robot.arm.messages[-1].points[0].positions, near[:7]), what="its way back")
        promised, rows = {}, {}
        for message in robot.arm.messages:
            read = read_trajectory(message)
            first = clock.nearest_tick(read.stamp_ns)
            rows[first] = [*read.positions[0], near[7]]
            for tick, row in enumerate(read.positions, first):
                assert promised.setdefault(tick, tuple(row)) == tuple(row), "a committed tick was changed"
        assert sorted(rows) == list(range(len(rows)))
        assert touching(FR3, [rows[tick] for tick in sorted(rows)]) is None
        assert all(read_state(message).state != "stopping" for message in robot.state.messages)


def just_before_it_touches():
    """A posture on the way to the folded one, a quarter of a second at full speed before the first that is too near."""
    way = np.array(FR3.home) + np.linspace(0.0, 1.0, 101)[:, None] * (folded(FR3) - np.array(FR3.home))
    return way[collisions_of(FR3).first_hit(way).row - 15]


def holds(robot):
    newest = [tuple(message.points[0].positions) for message in robot.arm.messages[-4:]]
    return len(set(newest)) == 1
