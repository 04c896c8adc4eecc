"""Tasks that are told: their words, and from which motions of a cube it is seen that they are done."""

import numpy as np
import pytest

from beingh_core.data.rollouts import sentences_of
from beingh_core.errors import BeingHError
from beingh_core.evaluate.episodes import EpisodeResult
from beingh_core.evaluate.judge import TaskJudge
from beingh_core.tasks import PICK, PUSH, PUT, TASKS, every_told, task_of, tasks_named, told

COLOURS = ("red", "green", "blue")
START = {"red": (0.5, 0.0, 0.02), "green": (0.4, 0.1, 0.02), "bowl": (0.6, 0.2, 0.022)}


def judged(text, places, seconds=2.0, touched=()):
    """A judge who has seen START, then each of `places` (changes of START) for so long."""
    judge, time_s = TaskJudge(told(text, COLOURS)), 0.0
    judge.update(time_s, START)
    for place in places:
        for _ in range(round(seconds / 0.05)):
            time_s += 0.05
            judge.update(time_s, START | place, touched)
    return judge


def test_every_instruction_of_every_task_is_understood_as_that():
    for one in every_told(tuple(TASKS.values()), COLOURS):
        again = told(one.text().capitalize() + ".", COLOURS)
        assert (again.task, again.colour, again.side) == (one.task, one.colour, one.side)
    assert task_of("pick up the red cube and put it into the bowl") is PUT
    assert {one.colour for one in list(every_told((PUSH,), COLOURS))[:3]} == set(COLOURS)


@pytest.mark.parametrize(
    ("text", "match"),
    (
        ("dance with the red cube", "names no task, or several. Allowed: pick up the {colour} cube"),
        ("push the red cube, then lift it", "names no task, or several"),
        ("put the red cube on the table", "names no task"),
        ("push the purple cube to the left", "no colour"),
        ("push the red cube", "does not name one side. Allowed: left, right"),
        ("push the red cube to the left, no, right", "does not name one side"),
    ),
)
def test_what_is_not_understood_is_refused_with_what_is(text, match):
    with pytest.raises(BeingHError, match=match):
        told(text, COLOURS)


def test_tasks_are_named_once_each():
    assert tasks_named("put, push") == (PUT, PUSH)
    for text in ("dance", "", "put,put", "pick,"):
        with pytest.raises(BeingHError, match="pick, put, push"):
            tasks_named(text)


def test_sentences_belong_to_their_tasks():
    found = sentences_of((PICK, PUSH), ("lift the {colour} cube", "slide the {colour} cube to the {side}"))
    assert found == {"pick": ("lift the {colour} cube",), "push": ("slide the {colour} cube to the {side}",)}
    assert sentences_of((PUT,), ()) == {"put": (PUT.instruction,)}
    assert sentences_of((PICK,), ("nimm den Würfel {colour}",))["pick"] == ("nimm den Würfel {colour}",)
    for tasks, text in (((PICK,), PUT.instruction), ((PICK, PUT), "dance, {colour}")):
        with pytest.raises(BeingHError, match="belongs to none of the tasks"):
            sentences_of(tasks, (text,))
    with pytest.raises(BeingHError, match="one field {colour} and one {side}"):
        sentences_of((PUSH,), ("push the {colour} cube",))


def test_put_is_done_in_the_bowl_and_released():
    put, inside, up = "put the red cube into the bowl", {"red": (0.61, 0.18, 0.025)}, {"red": (0.6, 0.2, 0.09)}
    judge = judged(put, [up, inside])
    assert judge.success and judge.first_lifted == "red" and judge.success_s == pytest.approx(3.05, abs=0.06)
    assert not judged(put, [inside], touched={"red"}).success
    assert judged(put, [inside], touched={"green"}).success
    assert not judged(put, [up]).success, "over the bowl"
    assert not judged(put, [{"red": (0.6, 0.26, 0.02)}]).success, "beside the bowl"
    assert not judged(put, [{"green": (0.6, 0.2, 0.025)}]).success, "another cube"
    moved = {"bowl": (0.3, 0.0, 0.022), "red": (0.3, 0.0, 0.025)}
    assert judged(put, [moved]).success, "the bowl has been moved"
    with pytest.raises(BeingHError, match="no bowl in the scene.*the task `put`"):
        TaskJudge(told(put, COLOURS)).update(0.0, {"red": START["red"]})


@pytest.mark.parametrize(("side", "sign"), (("left", 1.0), ("right", -1.0)))
def test_push_is_done_aside_and_flat_on_the_table(side, sign):
    """Left is +y (REP-103)."""
    push = f"push the red cube to the {side}"
    aside = lambda y, x=0.0, z=0.0: {"red": np.array(START["red"]) + [x, sign * y, z]}
    judge = judged(push, [aside(0.06)])
    assert judge.success and judge.first_lifted == "red"
    assert not judged(push, [aside(0.04)]).success and not judged(push, [aside(-0.2)]).success
    assert not judged(push, [aside(0.06, x=0.08)]).success, "rather forward"
    assert not judged(push, [aside(0.0, z=0.05), aside(0.06)]).success, "carried there"
    edge = 0.04
    turned = edge / 2 * (np.sqrt(2.0) - 1.0)  # how much the middle of a cube rises that turns over an edge
    assert not judged(push, [aside(0.04, z=turned), aside(0.06)]).success
    other = judged(push, [{"green": np.array(START["green"]) + [0.0, sign * 0.06, 0.0]}, aside(0.06)])
    assert other.success and other.wrong_cube


def test_results_in_words():
    result = lambda task, success, first: (
        EpisodeResult(
            index=0, seed=0, instruction="", wanted="red", success=success, time_s=1.0, first_lifted=first, task=task
        ).outcome
    )
    assert result("put", True, "red") == "put into the bowl" and result("push", True, "red") == "pushed"
    assert (
        result("put", False, "red") == "lifted, not put into the bowl" and result("push", False, None) == "not pushed"
    )
    assert result("push", False, "blue") == "pushed the blue cube first"
