"""Proposed segments of signals whose motions are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beingh_core.data.annotate.gripper import gripper_moves
from beingh_core.data.annotate.proposal import propose
from beingh_core.data.annotate.signals import Mark, Signals, on_grid, smoothed, spans, speed
from beingh_core.data.annotate.wording import text_of, words_of

RATE = 50.0


def course(seconds, *steps, start=0.0):
    """(N,) a value that goes to `target` between two times, with minimum jerk (Flash and Hogan 1985)."""
    times_s = np.arange(0.0, seconds, 1 / RATE)
    values, now = np.full(len(times_s), float(start)), start
    for begin_s, end_s, target in steps:
        u = np.clip((times_s - begin_s) / (end_s - begin_s), 0.0, 1.0)
        values += (target - now) * (10 * u**3 - 15 * u**4 + 6 * u**5)
        now = target
    return times_s, values


def pick_and_place(**more):
    """Rest to 1 s, reach to 3, close to 3.5, lift to 5, carry to 7, lower to 8.5, open to 9, away to 11, rest to 13."""
    times_s, x = course(13, (1, 3, 0.3), (5, 7, 0.6), (9.2, 11, 0.4))
    _, z = course(13, (1, 3, 0.05), (3.6, 5, 0.35), (7, 8.5, 0.05), (9.2, 11, 0.3), start=0.3)
    _, grip = course(13, (3, 3.5, 0.4), (8.5, 9, 1.0), start=1.0)
    tool = np.stack([x, np.zeros_like(x), z], axis=1)
    given = {"times_s": times_s, "joints": {"a": x}, "tools": {"right": tool}, "grippers": {"right": grip}}
    return Signals(**{**given, "task": "pick up the red cube and put it into the bowl", **more})


def told(proposal):
    return [segment.text for segment in proposal.segments]


def begins(proposal):
    return [segment.start_s for segment in proposal.segments]


def test_a_pick_and_place_is_cut_where_its_motions_begin():
    proposal = propose(pick_and_place())
    assert told(proposal) == [
        "wait", "reach for the red cube", "grasp the red cube", "lift the red cube", "carry the red cube to the bowl",
        "lower the red cube into the bowl", "release the red cube", "move away", "wait",
    ]  # fmt: skip
    np.testing.assert_allclose(begins(proposal), [0, 1, 3, 3.6, 5, 7, 8.5, 9.2, 11], atol=0.35)
    grasp = proposal.segments[2]
    assert grasp.because == ("the gripper closes from 1.00 to 0.40",)
    assert "slows down" in proposal.segments[4].because[0]


def test_segments_follow_one_another_without_gaps():
    proposal = propose(pick_and_place())
    assert proposal.segments[0].start_s == 0.0
    for one, following in zip(proposal.segments, proposal.segments[1:]):
        assert one.end_s == following.start_s > one.start_s
    assert proposal.segments[-1].end_s == pick_and_place().duration_s


def test_noise_and_another_rate_change_nothing():
    clean, rng = pick_and_place(), np.random.default_rng(0)
    keep = np.sort(rng.choice(len(clean.times_s), 500, replace=False))
    keep[0], keep[-1] = 0, len(clean.times_s) - 1
    noisy = Signals(
        times_s=clean.times_s[keep], joints={"a": clean.joints["a"][keep]}, task=clean.task,
        tools={"right": clean.tools["right"][keep] + rng.normal(0, 2e-4, (500, 3))},
        grippers={"right": clean.grippers["right"][keep] + rng.normal(0, 2e-3, 500)},
    )  # fmt: skip
    assert told(propose(noisy)) == told(propose(clean))
    np.testing.assert_allclose(begins(propose(noisy)), begins(propose(clean)), atol=0.2)


def test_a_second_try_is_a_reach_of_its_own():
    times_s, z = course(12, (1, 3, 0.0), (3.6, 5, 0.2), (6, 8, 0.0), (8.6, 10, 0.2), start=0.3)
    _, grip = course(12, (3, 3.5, 0.4), (5, 5.5, 1.0), (8, 8.5, 0.4), start=1.0)
    tool = np.stack([0 * z, 0 * z, z], axis=1)
    signals = Signals(times_s=times_s, joints={"a": z}, tools={"r": tool}, grippers={"r": grip}, task="grab the cup")
    assert told(propose(signals)) == [
        "wait", "reach for the cup", "grasp the cup", "lift the cup", "release the cup", "reach for the cup",
        "grasp the cup", "lift the cup", "hold the cup",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "marks, expected",
    [
        ((Mark(time_s=3.2, name="contact"),), []),  # the gripper says the same
        ((Mark(time_s=8.7, name="release"),), []),
        ((Mark(time_s=3.2, name="correction"),), [3.2]),
        ((Mark(time_s=6.0, name="contact"),), [6.0]),
        ((Mark(time_s=2.0, name="half way"), Mark(time_s=10.0, name="done")), [2.0, 10.0]),
    ],
)
def test_marks_cut_or_confirm_what_the_gripper_did(marks, expected):
    plain, marked = propose(pick_and_place()), propose(pick_and_place(marks=marks))
    more = [segment.start_s for segment in marked.segments if segment.start_s not in begins(plain)]
    np.testing.assert_allclose(more, expected)
    reasons = [reason for segment in marked.segments for reason in segment.because if reason.startswith("mark")]
    assert reasons == [f"mark {mark.name}" for mark in marks]


def test_a_person_who_takes_over_begins_a_segment_and_ends_it():
    proposal = propose(pick_and_place(person=((5.5, 6.5),)))
    found = {segment.start_s: segment.because for segment in proposal.segments}
    assert found[5.5] == ("a person takes over",) and found[6.5] == ("the policy is in charge again",)


def test_without_tools_and_grippers_the_joints_are_looked_at():
    times_s, angle = course(10, (1, 3, 1.0), (6, 8, 0.0))
    proposal = propose(Signals(times_s=times_s, joints={"a": angle, "b": 0 * angle}))
    assert told(proposal) == ["wait", "move", "wait", "move", "wait"] and proposal.success is None
    np.testing.assert_allclose(begins(proposal), [0, 1, 3, 6, 8], atol=0.3)
    assert "rad/s" == speed(Signals(times_s=times_s, joints={"a": angle}))[2]


def test_a_robot_that_does_nothing_waits():
    times_s = np.arange(0, 5, 0.02)
    still = Signals(times_s=times_s, joints={"a": 0 * times_s}, grippers={"r": 0 * times_s + 0.5})
    assert told(propose(still)) == ["wait"]
    blink = Signals(
        times_s=np.array([0.0, 0.01]), joints={"a": np.array([0.0, 1.0])}, grippers={"r": np.array([0, 1.0])}
    )
    assert len(propose(blink).segments) == 1


def test_two_hands_have_names():
    times_s, x = course(8, (1, 3, 0.3), (5, 7, 0.0))
    grips = {"right": course(8, (3, 3.5, 0.4), start=1.0)[1], "left": course(8, (4, 4.5, 0.4), start=1.0)[1]}
    proposal = propose(Signals(times_s=times_s, joints={"a": x}, grippers=grips, task="lift the box"))
    texts = told(proposal)
    assert "grasp the box with the right hand" in texts and "grasp the box with the left hand" in texts
    assert "the left gripper closes from 1.00 to 0.40" in [r for s in proposal.segments for r in s.because]


def test_success_is_the_recorders_word_else_what_the_gripper_holds():
    def of(after, opened=False, success=None):
        moves = [(2, 2.5, after)] + [(4, 4.5, 1.0)] * opened
        times_s, grip = course(6, *moves, start=1.0)
        return propose(Signals(times_s=times_s, joints={"a": 0 * grip}, grippers={"r": grip}, success=success))

    assert of(0.4).success is True and "holds something" in of(0.4).because
    assert of(0.0).success is False and "holds nothing" in of(0.0).because
    assert of(0.4, opened=True).success is None
    assert of(0.0, success=True).success is True and of(0.4, success=False).success is False


def test_an_object_that_slips_out_is_no_success():
    times_s, grip = course(8, (2, 2.5, 0.5), start=1.0)
    grip = np.where(times_s > 5, np.maximum(0.0, 0.5 - 0.1 * (times_s - 5)), grip)  # too slow to be a closing
    assert propose(Signals(times_s=times_s, joints={"a": 0 * grip}, grippers={"r": grip})).success is False


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(0.2, 3.0), st.floats(0.0, 1.0)), max_size=12), st.floats(1.0, 30.0))
def test_whatever_a_gripper_does_the_segments_fill_the_episode(steps, seconds):
    now, found = 0.0, []
    for length, target in steps:
        found.append((now, now + length, target))
        now += length
    times_s, grip = course(seconds, *found, start=1.0)
    proposal = propose(Signals(times_s=times_s, joints={"a": np.sin(grip)}, grippers={"r": grip}))
    edges = [s.start_s for s in proposal.segments] + [proposal.segments[-1].end_s]
    assert edges[0] == 0.0 and edges[-1] == times_s[-1] and all(a < b for a, b in zip(edges, edges[1:]))
    assert all(segment.text and segment.because for segment in proposal.segments)


def test_gripper_moves_of_a_course_with_a_pause_are_one():
    times_s, grip = course(6, (1, 1.4, 0.7), (1.6, 2.0, 0.3), (4, 4.5, 1.0), start=1.0)
    closing, opening = gripper_moves(times_s, grip, "right")
    assert closing.closes and closing.holds and not opening.closes and closing.hand == "right"
    np.testing.assert_allclose(
        [closing.start_s, closing.end_s, opening.start_s, opening.end_s], [1, 2, 4, 4.5], atol=0.12
    )
    np.testing.assert_allclose([closing.before, closing.after, opening.after], [1, 0.3, 1], atol=0.03)
    trembling = 0.5 + 0.05 * np.sin(20 * times_s)
    assert gripper_moves(times_s, trembling) == []


def test_signals_on_a_grid():
    grid_s, values = on_grid(np.array([0.0, 0.1]), np.array([[0.0, 1.0], [1.0, 3.0]]))
    np.testing.assert_allclose(grid_s, np.arange(6) * 0.02)
    np.testing.assert_allclose(values[3], [0.6, 2.2])
    ramp = np.arange(20.0)
    np.testing.assert_allclose(smoothed(ramp, 0.1)[5:-5], ramp[5:-5])
    assert smoothed(np.ones(3), 10).tolist() == [1, 1, 1]
    assert spans(np.array([True, False, True, True])) == [(0, 1), (2, 4)] and spans(np.zeros(3, bool)) == []


@pytest.mark.parametrize(
    "task, thing, target",
    [
        ("pick up the red cube", "the red cube", ""),
        ("Put the cup on the shelf.", "the cup", "on the shelf"),
        ("pick the block up and place it in the blue box", "the block", "in the blue box"),
        ("take the towel from the drawer", "the towel", ""),
        ("please grasp  a   screw", "a screw", ""),
        ("fold the shirt", "", ""),
        ("", "", ""),
        ("pick up " + 200 * "x", "", ""),
    ],
)
def test_words_of_a_task(task, thing, target):
    words = words_of(task)
    assert (words.thing, words.target) == (thing, target)
    assert text_of("grasp", words) == (f"grasp {thing}" if thing else "grasp")
