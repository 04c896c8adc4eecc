"""The judge of a pick, against hand-made cube motions."""

import pytest

from beingh_core.colours import colour_named
from beingh_core.errors import BeingHError
from beingh_core.evaluate.episodes import EpisodeResult, instruction_counts
from beingh_core.evaluate.judge import PickJudge

TABLE = 0.02


def run(judge, heights, period_s=0.05, start_s=100.0):
    """Feed {colour: height above the table's cube height} at a fixed period."""
    for k, lifted in enumerate(heights):
        judge.update(
            start_s + k * period_s, {c: (0.5, 0.0, TABLE + lifted.get(c, 0.0)) for c in ("red", "green", "blue")}
        )
    return judge


def test_lifted_and_held_for_a_second_is_a_success():
    # At rest for 10 updates, then 51 mm up: 1 s later is update 30, 1.5 s after the start.
    judge = run(PickJudge("red"), [{}] * 10 + [{"red": 0.051}] * 25)
    assert judge.success and judge.success_s == pytest.approx(1.5)
    assert judge.first_lifted == "red" and not judge.wrong_cube


@pytest.mark.parametrize(
    "heights",
    [
        [{}] * 5 + [{"red": 0.049}] * 60,  # too low
        [{}] * 5 + [{"red": 0.08}] * 19 + [{}] * 40,  # dropped after 0.9 s
        [{}] * 5 + ([{"red": 0.08}] * 15 + [{"red": 0.01}]) * 4,  # never a whole second
        [{}] * 5 + [{"green": 0.08}] * 60,  # another cube
    ],
)
def test_not_a_success(heights):
    assert not run(PickJudge("red"), heights).success


def test_the_first_cube_that_is_lifted_counts_as_the_choice():
    judge = run(PickJudge("red"), [{}] * 5 + [{"green": 0.06}] * 5 + [{}] * 5 + [{"red": 0.1}] * 30)
    assert judge.success and judge.first_lifted == "green" and judge.wrong_cube


def test_a_hold_cannot_be_seen_through_a_gap_in_the_news():
    judge = run(PickJudge("red"), [{}, {"red": 0.1}])
    judge.update(105.0, {"red": (0.5, 0.0, TABLE + 0.1)})
    assert not judge.success
    judge.update(104.0, {"red": (0.5, 0.0, TABLE)})  # late message, ignored
    for k in range(21):
        judge.update(105.0 + 0.05 * k, {"red": (0.5, 0.0, TABLE + 0.1)})
    assert judge.success and judge.success_s == pytest.approx(6.0)


def test_the_wanted_cube_must_be_in_the_scene():
    with pytest.raises(BeingHError, match="no red cube"):
        PickJudge("red").update(0.0, {"green": (0, 0, 0)})


def test_colour_named():
    assert colour_named("Pick up the Red cube.", ("red", "green")) == "red"
    with pytest.raises(BeingHError, match="no colour"):
        colour_named("pick up the reddish cube", ("red", "green"))
    with pytest.raises(BeingHError, match="red and green"):
        colour_named("put the red cube on the green cube", ("red", "green"))


def test_instruction_counts():
    def result(text, wanted, success, first):
        return EpisodeResult(
            index=0, seed=0, instruction=text, wanted=wanted, success=success, time_s=1.0, first_lifted=first
        )

    rows = [result("a", "red", True, "red"), result("a", "red", False, "green"), result("b", "blue", False, None)]
    assert instruction_counts(rows) == {
        "a": {"episodes": 2, "successes": 1, "wrong_cube": 1},
        "b": {"episodes": 1, "successes": 0, "wrong_cube": 0},
    }
    assert rows[1].outcome == "lifted the green cube first"
