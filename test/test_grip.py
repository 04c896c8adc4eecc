"""What the end of a gripper's goal means, by where the fingers are. A virtual clock; 0.04 is open, 0 closed."""

import pytest

from beingh_ros.drivers.grip import IN_A_ROW, REST_S, STILL_S, GripWatch

ABORTED = "/gripper: goal was aborted"


class Gripper:
    """A watch and the fingers that it watches, told of 50 times a second."""

    def __init__(self, position=0.04, closed=0.0, opened=0.04):
        self.watch, self.now_s, self.position = GripWatch(closed, opened), 100.0, position
        self.rest(0.5)

    def rest(self, seconds=STILL_S + 0.1, speed=0.0):
        """Time goes on; the problem that came up, if one did."""
        problem = None
        for _ in range(round(50 * seconds)):
            self.now_s += 0.02
            self.position += 0.02 * speed
            self.watch.measured(self.now_s, self.position)
            problem = self.watch.problem(self.now_s) or problem
        return problem

    def goal(self, goal, *, to=None, text=ABORTED, stalled=False):
        """Send a goal, let the fingers go to a position, end the goal; the problem after a while."""
        self.watch.begin(goal)
        self.position = self.position if to is None else to
        self.rest(0.1)
        self.watch.ended(goal, self.now_s, text, stalled)
        return self.rest()

    @property
    def short(self):
        return self.watch.counts["gripper_ended_short"]


@pytest.mark.parametrize("text", [ABORTED, "goal was cancelled by somebody else", "grasp failed: no object"])
def test_fingers_that_stand_before_the_goal_hold_something(text):
    gripper = Gripper()
    assert gripper.goal(0.0, to=0.02, text=text) is None
    assert gripper.watch.counts == {"gripper_goals_failed": 1, "gripper_ended_short": 1}
    assert gripper.goal(0.0, text=text) is None, "it holds it still and cannot close any further"
    assert gripper.goal(0.005, text=text) is None and gripper.short == 3


def test_what_the_server_says_too_is_no_warning():
    gripper = Gripper()
    assert gripper.goal(0.0, to=0.02, stalled=True) is None
    assert gripper.watch.counts == {"gripper_goals_failed": 1, "gripper_ended_short": 0}


def test_fingers_at_the_goal_have_reached_it():
    gripper = Gripper()
    assert gripper.goal(0.01, to=0.0105) is None and gripper.short == 0


@pytest.mark.parametrize(
    ("goal", "to", "why"),
    [(0.0, 0.035, "has not moved"), (0.0, 0.038, "has moved away"), (0.02, 0.01, "beyond its goal")],
)
def test_fingers_elsewhere_have_failed_and_it_is_told_once(goal, to, why):
    gripper = Gripper()
    gripper.goal(0.03, to=0.03, text="")
    gripper.goal(0.035, to=0.035, text="")
    problem = gripper.goal(goal, to=to)
    assert problem.startswith(ABORTED) and why in problem and f"its goal was {goal:.4g}" in problem
    assert gripper.rest() is None


def test_a_gripper_that_opened_and_does_not_close_has_failed():
    gripper = Gripper()
    assert gripper.goal(0.01, to=0.01, text="") is None
    assert gripper.goal(0.04, to=0.04, text="") is None
    assert "has not moved" in gripper.goal(0.0)


def test_one_that_holds_something_and_does_not_open_has_failed():
    gripper = Gripper()
    gripper.goal(0.0, to=0.02)
    assert "has not moved: it is at 0.02, its goal was 0.04" in gripper.goal(0.04)


def test_what_is_held_stays_known_over_a_reset_but_not_the_failure():
    gripper = Gripper()
    gripper.goal(0.0, to=0.02)
    gripper.watch.begin(0.04)
    gripper.watch.ended(0.04, gripper.now_s, ABORTED, False)
    gripper.watch.forget()
    assert gripper.rest() is None
    gripper = Gripper()
    gripper.goal(0.0, to=0.02)
    gripper.watch.forget()
    assert gripper.goal(0.0) is None


def test_after_a_start_with_an_object_in_hand_it_may_not_move():
    assert Gripper(position=0.02).goal(0.0) is None
    assert "has not moved" in Gripper(position=0.04).goal(0.0), "nothing can be between open fingers"
    assert "has not moved" in Gripper(position=0.02).goal(0.04)


def test_a_gripper_that_counts_the_other_way():
    """The xArm: 0.85 is closed."""
    assert Gripper(position=0.0, closed=0.85, opened=0.0).goal(0.85, to=0.4) is None
    assert Gripper(position=0.4, closed=0.85, opened=0.0).goal(0.85) is None
    assert "has not moved" in Gripper(position=0.0, closed=0.85, opened=0.0).goal(0.85)


def test_a_server_that_gives_up_while_the_fingers_move_is_judged_when_they_rest():
    gripper = Gripper()
    gripper.watch.begin(0.0)
    gripper.watch.ended(0.0, gripper.now_s, ABORTED, False)
    assert gripper.rest(0.8, speed=-0.03) is None and gripper.short == 0, "they still move"
    assert gripper.rest() is None and gripper.short == 1
    gripper.watch.begin(0.0)
    gripper.watch.ended(0.0, gripper.now_s, ABORTED, False)
    problem = None
    for n in range(round(REST_S) + 1):
        problem = problem or gripper.rest(1.0, speed=0.01 * (-1) ** n)
    assert "does not come to rest" in problem


@pytest.mark.parametrize("stalled", [True, False])
def test_goals_that_follow_too_fast_hide_no_failure(stalled):
    """Each is replaced before the fingers could be judged, or the server says stalled: the third in a row is enough."""
    gripper, problems = Gripper(), []
    for n in range(IN_A_ROW + 1):
        gripper.watch.begin(0.01 + 0.002 * n)
        gripper.watch.ended(0.01 + 0.002 * n, gripper.now_s, ABORTED, stalled)
        problems.append(gripper.rest(STILL_S + 0.1 if stalled else 0.1))
    assert problems[: IN_A_ROW - 1] == [None] * (IN_A_ROW - 1) and gripper.short >= IN_A_ROW - 1
    assert f"{IN_A_ROW} goals in a row" in next(filter(None, problems))
    gripper = Gripper()
    for n in range(2 * IN_A_ROW):  # a success between them: it lives
        assert gripper.goal(0.01, stalled=True) is None
        assert gripper.goal(0.04, text="") is None


def test_an_older_goals_end_and_positions_that_are_none_say_nothing():
    gripper = Gripper()
    gripper.watch.begin(0.02)
    gripper.watch.begin(0.0)
    gripper.watch.ended(0.02, gripper.now_s, ABORTED, False)
    assert gripper.rest() is None and gripper.watch.counts["gripper_goals_failed"] == 0
    gripper.watch.measured(gripper.now_s, float("nan"))
    gripper.watch.ended(0.0, gripper.now_s, "", False)
    assert gripper.rest() is None


def test_without_joint_states_the_servers_word_counts():
    watch = GripWatch(0.0, 0.04)
    watch.begin(0.0)
    watch.ended(0.0, 1.0, ABORTED, True)
    assert watch.problem(1.0) is None
    watch.begin(0.04)
    watch.ended(0.04, 2.0, ABORTED, False)
    assert watch.problem(2.0) == ABORTED and watch.problem(2.0) is None


def test_stale_joint_states_judge_nothing():
    """Still by the only positions there are, all from before the end."""
    gripper = Gripper()
    gripper.watch.begin(0.0)
    gripper.watch.ended(0.0, gripper.now_s, ABORTED, False)
    assert gripper.watch.problem(gripper.now_s + 1.0) is None
