"""The judge of fault runs: silent on a healthy recording, loud on everything that is planted in one."""

import numpy as np
import pytest
from scipy.optimize import linprog
from soak_support import (
    EPOCH,
    GROUPS,
    JOINTS,
    LIMITS,
    PERIOD_NS,
    RATE_HZ,
    healthy,
    sent_at,
    stamp,
    stopped,
    swing,
)

from beingh_core.evaluate.motion import Touch, check_limits, sent_path
from beingh_core.evaluate.seams import SeamFigures, jumps_of
from beingh_core.evaluate.soak import FaultNote, judge, timing_problems
from beingh_core.evaluate.stops import StopReport, deceleration_time
from beingh_core.evaluate.ticks import count_ticks


def figures(recording, **changes):
    return judge(recording.record(**changes)).figures


def test_a_healthy_recording_has_no_problem():
    verdict = judge(healthy().record())
    assert verdict.problems == () and verdict.comparisons > 1000
    assert verdict.figures["ticks"] == 120 and verdict.figures["tick_period_ms"]["p99"] == pytest.approx(50.0)
    assert set(verdict.figures) == {
        "ticks", "prefix_violations", "limit_violations", "ticks_missed", "ticks_doubled", "faults", "stops",
        "tick_period_ms", "empty_timer_period_ms", "seam", "jumps_of_the_robot", "jumps_after_contact",
    }  # fmt: skip


def test_a_committed_tick_that_was_changed():
    recording = healthy()
    recording.commands[0][40][1] = recording.commands[0][40][1] + [[0.0, 0.0], [1e-6, 0.0]]
    assert figures(recording)["prefix_violations"] == 1
    assert "broken commitments" in judge(recording.record()).problems[0]


def test_a_locked_prefix_that_was_not_kept():
    recording = healthy()
    rows = recording.chunks[3][1].copy()
    rows[1, 0] += 1e-6
    recording.chunks[3][1] = rows
    assert figures(recording)["prefix_violations"] == 1


def test_a_tick_that_was_never_sent():
    recording = healthy()
    for topic in recording.commands:
        del topic[40]
        for command in topic[40:]:
            command[3] -= 1  # the publisher has numbered on without it
    verdict = judge(recording.record())
    assert verdict.figures["ticks_missed"] == 2 and verdict.ticks.unwitnessed == 0  # on both topics
    assert verdict.problems == ("2 ticks that were never sent",)


def test_a_tick_that_only_the_onlooker_lost():
    recording = healthy()
    for topic in recording.commands:
        del topic[40]  # its number is missing too
    verdict = judge(recording.record())
    assert verdict.problems == () and verdict.ticks.unwitnessed == 2


def test_ticks_lost_and_ticks_not_sent_at_the_same_place():
    recording = healthy()
    del recording.commands[0][40:43]
    for command in recording.commands[0][40:]:
        command[3] -= 1  # two messages were lost, one tick never became a message
    verdict = judge(recording.record())
    assert (verdict.figures["ticks_missed"], verdict.ticks.unwitnessed) == (1, 2)


def test_ticks_that_were_reported_as_sent_and_never_seen():
    recording = healthy()
    late = f"1@{stamp(200)}"
    record = recording.record()
    record.wire.buffer(EPOCH, stamp(123), JOINTS, swing(8), sent_ns=stamp(123))
    record.wire.buffer(late, stamp(200), JOINTS, swing(8), sent_ns=stamp(199))
    assert judge(record).figures["ticks_missed"] == 6  # ticks 120 to 122 on both topics


@pytest.mark.parametrize("moved", [0.0, 1e-3])
def test_a_tick_that_was_sent_twice(moved):
    recording = healthy()
    tick, rows, sent_ns, _ = recording.commands[0][40]
    recording.commands[0].insert(41, [tick, rows + moved, sent_ns + 1_000_000, 42])
    for command in recording.commands[0][42:]:
        command[3] += 1
    assert figures(recording)["ticks_doubled"] == 1


def test_the_braking_path_of_a_controller_that_ends_is_no_second_tick():
    recording = healthy()
    tick, rows, sent_ns, number = recording.commands[0][-1]
    recording.commands[0].append([tick, rows, sent_ns + 1_000_000, number + 1])
    assert figures(recording)["ticks_doubled"] == 0
    recording.commands[0][-1][1] = rows + 1e-6
    assert figures(recording)["ticks_doubled"] == 1


def test_a_new_publisher_counts_from_one():
    first, second = healthy(40), healthy(40)
    record = first.record()
    start = stamp(100)
    for tick, rows, sent_ns, number in second.commands[0]:
        later = 100 * PERIOD_NS
        record.wire.command(
            0, start + tick * PERIOD_NS, GROUPS[0], rows, sent_ns + later, sent_ns=sent_ns + later, sequence=number
        )
    record.wire.buffer(f"0@{start}", start, JOINTS, swing(8), sent_ns=start)
    count = count_ticks(record.wire.epochs())
    assert (count.sent, count.missed, count.unwitnessed) == (80, 0, 0)


def limit_rules(path, limits=LIMITS):
    recording = healthy(len(path) - 8, path)
    return [(v.rule, v.tick) for v in judge(recording.record(limits)).limit]


def test_every_limit_is_found_where_it_is_exceeded():
    path = swing(108)
    assert limit_rules(path) == []
    jump = path.copy()
    jump[50:, 0] += 0.02  # 0.4 rad/s more in one tick: 8 rad/s^2 and a jerk beyond the limit
    assert {rule for rule, _ in limit_rules(jump)} == {"acceleration", "jerk"}
    assert min(limit_rules(jump))[1] == 50
    assert {rule for rule, _ in limit_rules(np.tile([[2.0 + 1e-8, 0.0, 0.0]], (60, 1)))} == {"position"}
    fast = np.zeros((108, 3))
    fast[:, 1] = np.cumsum(np.clip(np.arange(108) * 0.15, 0, 1.001)) / RATE_HZ - 1.5
    assert ("velocity", 8) in limit_rules(fast)
    assert all(tick >= 7 for rule, tick in limit_rules(fast) if rule == "velocity")


def test_a_first_tick_that_already_moves():
    moving = healthy(60, swing(108)[30:])
    assert ("acceleration", 1) in [(v.rule, v.tick) for v in judge(moving.record()).limit]
    del moving.buffers[0]  # whoever has not received the epoch begin does not know that it began at rest
    assert judge(moving.record()).limit == ()


def test_a_velocity_column_is_limited_one_derivative_lower():
    limits = type(LIMITS)(**vars(LIMITS), is_velocity=np.array([True, False, False]))
    path = np.zeros((60, 3))
    path[:, 0] = np.clip(np.arange(60) * 0.1, 0, 1.5)  # a velocity that rises by 2 a second
    path[:, 0] = np.convolve(path[:, 0], np.ones(5) / 5, mode="full")[:60]
    assert limit_rules(path, limits) == []
    path[30:, 0] += 0.3
    assert ("velocity", 30) in limit_rules(path, limits)


def test_a_tick_that_was_not_received_is_known_from_its_neighbour():
    recording = healthy()
    del recording.commands[0][40]
    first, path = sent_path(recording.record().wire.epochs()[0], JOINTS, GROUPS)
    assert first == 0 and np.allclose(path[:120], swing(120))


def test_a_stop_that_was_kept():
    verdict = judge(stopped().record())
    assert verdict.problems == ()
    ((note, stop),) = verdict.stops
    assert stop.speed > 0.4 and 0 < stop.latency_ms < 100 and stop.deceleration_ms > 100


def test_what_a_stop_cuts_is_void_only_after_the_stop_was_told():
    assert figures(stopped())["prefix_violations"] == 0
    silent = stopped(tell=False)
    assert figures(silent)["prefix_violations"] > 0


@pytest.mark.parametrize("noticed_ms, told_ms", [(-1, 4), (-1, 60), (1, 4), (1, 60)])
def test_a_stop_takes_effect_between_its_cause_and_its_report(noticed_ms, told_ms):
    """A cause just before or after a tick is sent cuts that tick or the next one, and only one of them."""
    recording = stopped()
    stamp_ns = sent_at(21) + noticed_ms * 1_000_000
    told = [StopReport(epoch=EPOCH, stamp_ns=stamp_ns, sent_ns=stamp_ns + told_ms * 1_000_000)]
    recording.reports = told
    assert figures(recording)["prefix_violations"] == 0
    twice = stopped(at=23)
    twice.commands[0][20][1] = twice.commands[0][20][1] + [[0.0, 0.0], [1e-6, 0.0]]
    twice.reports = told
    assert figures(twice)["prefix_violations"] > 0


def test_after_the_cut_every_promise_holds_again():
    recording = stopped()
    recording.commands[0][23][1] = recording.commands[0][23][1] + [[0.0, 0.0], [1e-6, 0.0]]
    assert figures(recording)["prefix_violations"] == 1


def test_a_stop_that_came_late():
    verdict = judge(stopped(wait=4).record())
    assert verdict.stops[0][1].latency_ms > 100
    assert any("a stop by estop took" in problem for problem in verdict.problems)


def test_a_stop_that_was_told_late_by_a_robot_at_rest():
    recording = stopped()
    recording.stops[0] = type(recording.stops[0])(
        **{**vars(recording.stops[0]), "reported_ns": recording.stops[0].cause_ns + 150_000_000}
    )
    assert not judge(recording.record()).stops[0][1].kept


def test_a_robot_that_goes_on_after_it_has_stopped():
    recording = stopped(ticks=110)
    for topic in recording.commands:
        for command in topic[90:]:
            command[1] = command[1] + 0.01 * (command[0] - 89)
    assert not judge(recording.record()).stops[0][1].kept


def measured(path, until, **moved):
    """Joint states of a robot that follows its commands every tick; `by` is added to joint a, `since` a tick."""
    rows = [(stamp(tick) + 5_000_000, path[tick].copy()) for tick in range(until)]
    for tick, row in enumerate(row for _, row in rows):
        row[0] += moved.get("by", 0.0) * max(0, tick - moved.get("since", 0))
    return rows


def test_a_robot_that_moves_on_though_nothing_is_sent():
    recording = stopped(ticks=80)
    first, path = sent_path(recording.record().wire.epochs()[0], JOINTS, GROUPS)
    record = recording.record()
    record.joint_states = measured(path, 80)
    assert judge(record).problems == ()
    record.joint_states = measured(path, 80, by=0.002, since=40)
    assert "still moved" in judge(record).problems[0]


def test_a_robot_that_jumps_though_what_is_sent_does_not():
    record = healthy().record()
    path = swing(120)
    late = path.copy()
    late[20:45] = late[20]  # it received nothing for a while, and then everything
    record.joint_states = measured(path, 120)
    assert judge(record).problems == ()
    record.joint_states = measured(late, 120)
    assert "jumped" in judge(record).problems[0]
    record.moved_by_others = [(stamp(44), stamp(47))]
    assert judge(record).problems == ()
    record.moved_by_others = []
    record.joint_states = [one for tick, one in enumerate(measured(late, 120)) if not 40 < tick < 45]
    assert judge(record).problems == ()  # for 0.25 s nothing is known of it
    record.joint_states = [one for tick, one in enumerate(measured(late, 120)) if not 30 < tick < 35]
    assert "jumped" in judge(record).problems[0]


def test_a_contact_excuses_a_jump_only_when_it_was_hard_and_just_before():
    record = healthy().record()
    late = swing(120)
    late[20:45] = late[20]
    record.joint_states = measured(late, 120)

    def press(tick, force_n):
        record.touches = [Touch(stamp_ns=stamp(tick), pair="hand|table", force_n=force_n)]
        return judge(record)

    excused = press(42, 200.0)
    assert excused.problems == () and excused.figures["jumps_after_contact"] == 1
    assert excused.figures["jumps_of_the_robot"] == 0
    assert "hand pressed against table with 200 N" in excused.excused[0]
    for tick, force_n in ((42, 25.0), (30, 200.0), (60, 200.0)):  # a grasp, long before, after it
        verdict = press(tick, force_n)
        assert "jumped" in verdict.problems[0] and verdict.excused == ()
        assert verdict.figures["jumps_of_the_robot"] == 1


def test_an_epoch_begins_where_the_robot_is():
    record = healthy().record()
    record.joint_states = [(stamp(-5), np.array([0.02, 0.0, 0.0]))]
    assert judge(record).limit == ()
    record.joint_states = [(stamp(-5), np.array([0.6, 0.0, 0.0]))]
    assert [v.rule for v in judge(record).limit] == ["start"]


def test_the_time_without_a_processor_is_taken_off_a_stop():
    recording = stopped()
    own = judge(recording.record()).stops[0][1].latency_ms
    note = recording.stops[0]
    recording.stops[0] = type(note)(**{**vars(note), "held_up_ms": own / 2})
    assert own > 1.0
    assert judge(recording.record()).stops[0][1].latency_ms == pytest.approx(own / 2)


def test_no_recovery_and_unexpected_outcomes_are_problems():
    recording = stopped()
    recording.stops[0] = type(recording.stops[0])(**{**vars(recording.stops[0]), "recovered": False})
    record = recording.record()
    record.faults.append(FaultNote(kind="nan", at_s=3.0, expected="keeps running", problem="it stopped"))
    verdict = judge(record)
    assert verdict.problems == ("no recovery from a stop by estop", "nan at 3 s: it stopped")
    assert verdict.figures["faults"] == {"nan": 1}
    assert verdict.figures["stops"][0]["recovered"] is False


@pytest.mark.parametrize(
    "velocity, acceleration", [(0.8, 0.0), (0.8, 3.0), (0.8, -3.0), (0.05, 0.0), (0.02, -3.5), (-0.5, 2.0)]
)
def test_deceleration_time_against_a_linear_programme(velocity, acceleration):
    """The least time of a jerk-limited stop, found by feasibility on a fine grid instead of by its formula."""
    found = deceleration_time(np.array([velocity]), np.array([acceleration]), limits_of_one())
    assert stops_within(velocity, acceleration, found + 0.01) and not stops_within(velocity, acceleration, found - 0.01)


def limits_of_one():
    return type(LIMITS)(acceleration=np.array([4.0]), jerk=np.array([60.0]))


def stops_within(velocity, acceleration, time_s, steps=300):
    """Whether jerks within 60 bring v and a to 0 with |a| <= 4 in a time."""
    if time_s <= 0:
        return False
    dt = time_s / steps
    ramp = np.tril(np.ones((steps, steps))) * dt  # acceleration after each step
    to_velocity = np.full(steps, dt) @ ramp - dt * dt / 2
    equal = np.vstack([ramp[-1], to_velocity])
    result = linprog(
        np.zeros(steps),
        A_eq=equal,
        b_eq=[-acceleration, -velocity - acceleration * time_s],
        A_ub=np.vstack([ramp, -ramp]),
        b_ub=np.concatenate([np.full(steps, 4.0 - acceleration), np.full(steps, 4.0 + acceleration)]),
        bounds=(-60.0, 60.0),
    )
    return result.status == 0


def test_without_a_jerk_limit_the_deceleration_time_is_speed_by_acceleration():
    limits = type(LIMITS)(acceleration=np.array([4.0, 2.0]))
    assert deceleration_time(np.array([1.0, -0.8]), np.array([3.0, 0.0]), limits) == pytest.approx(0.4)


def test_timing_is_judged_against_target_and_empty_timer():
    good = {"tick_period_ms": {"p50": 20.0, "p99": 21.5}, "empty_timer_period_ms": {"p50": 20.0, "p99": 21.0}}
    assert timing_problems(good, 50.0) == []
    slow = {"tick_period_ms": {"p50": 20.0, "p99": 25.5}, "empty_timer_period_ms": {"p50": 20.0, "p99": 20.5}}
    assert len(timing_problems(slow, 50.0)) == 2
    assert timing_problems({"tick_period_ms": {"p99": None}, "empty_timer_period_ms": {"p99": None}}, 50.0)


def test_jumps_at_seams_and_inside_by_hand():
    path = np.zeros((12, 2))
    path[4:, 0] = 0.1  # a step of the position at tick 4
    path[:, 1] = np.r_[np.zeros(8), 0.0, 0.01, 0.02, 0.03]  # a step of the velocity at tick 9
    at, inside = jumps_of(path, [4], [6], 10.0)
    assert at == pytest.approx([1.0])
    assert inside == pytest.approx([0, 0, 0, 0, 0.1, 0, 0])  # ticks 2, 3, 7, 8, 9, 10, 11


def test_a_seam_that_is_rougher_than_the_chunks_is_a_problem():
    record = healthy().record()
    values = {"sent_p95_rad_s": 0.1, "sent_inside_p95_rad_s": 0.1, "episodes": 1, "successes": 1, "success_s": 1.0}
    record.seam = {"prefix_lock": SeamFigures(p95_rad_s=0.2, inside_p95_rad_s=0.1, **values)}
    assert "seams" in judge(record).problems[0]
    record.seam = {"naive": SeamFigures(p95_rad_s=0.2, inside_p95_rad_s=0.1, **values)}
    assert judge(record).problems == ()
    assert judge(record).figures["seam"] == {"naive": {"p95_rad_s": 0.2, "inside_p95_rad_s": 0.1}}


def test_a_clock_that_goes_back_does_not_mix_epochs():
    """Commands belong to the epoch that was announced last when they were sent, whatever their stamps say."""
    record = healthy(40).record()
    back = stamp(20)  # the new epoch's stamps lie amid the old one's
    name = f"1@{back}"
    record.wire.buffer(name, back, JOINTS, swing(8), sent_ns=stamp(60))
    for tick in range(10):
        sent_ns = stamp(61 + tick)
        for group, columns in enumerate(([0, 1], [2])):
            record.wire.command(
                group, back + tick * PERIOD_NS, GROUPS[group], swing(12)[tick : tick + 2, columns], sent_ns,
                sent_ns=sent_ns, sequence=41 + tick,
            )  # fmt: skip
    old, new = record.wire.epochs()
    assert [rows.first for rows in new.commands[0]] == list(range(10)) and len(old.commands[0]) == 40
    assert judge(record).figures["ticks_missed"] == 0 and check_limits(new, JOINTS, GROUPS, RATE_HZ, LIMITS) == []
