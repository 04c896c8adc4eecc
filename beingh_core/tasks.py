"""The tasks that a robot is told: their words, what their scenes need, and from what it is seen that they are done.

Places are in the robot's own frame: x forward, y to its left, z up (REP-103). How the expert does them: `sim/ways.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from beingh_core.colours import colour_named
from beingh_core.errors import BeingHError

# Sides in the robot's own view, along y.
SIDES = {"left": 1.0, "right": -1.0}
BOWL = "bowl"
BOWL_RADIUS_M = 0.055
# A cube is lifted from so high on; pushed from so far to its side on, if it has never risen by more than this: one that turns over
# an edge rises by a fifth of it [m].
LIFT_M, PUSH_M, FLAT_M = 0.05, 0.05, 0.004
# In the bowl a cube's middle stands no higher than on the table and this [m].
_LOW_M = 0.02


@dataclass(frozen=True, kw_only=True, eq=False)
class Motion:
    """What has become of a cube.

    Attributes:
        start, place: (3,) its middle at the beginning and now [m].
        highest_m: the most that it has risen so far [m].
        touched: whether the robot touches it.
        bowl: (3,) middle of the bowl now [m], None where there is none.
    """

    start: np.ndarray
    place: np.ndarray
    highest_m: float = 0.0
    touched: bool = False
    bowl: np.ndarray | None = None


def _lifted(motion: Motion, _side: str) -> bool:
    return bool(motion.place[2] - motion.start[2] >= LIFT_M)


def _in_bowl(motion: Motion, _side: str) -> bool:
    if motion.bowl is None or motion.touched:
        return False
    aside = float(np.linalg.norm(motion.place[:2] - motion.bowl[:2]))
    return bool(aside < BOWL_RADIUS_M and motion.place[2] - motion.start[2] < _LOW_M)


def _displaced(motion: Motion, side: str) -> bool:
    ahead, aside = (motion.place - motion.start)[:2] * [1.0, SIDES[side]]
    return bool(aside >= PUSH_M and aside >= abs(ahead))


def _pushed(motion: Motion, side: str) -> bool:
    return _displaced(motion, side) and motion.highest_m < FLAT_M


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """Something to be told.

    Attributes:
        name: word of the command line.
        instruction: with `{colour}`, and `{side}` where there are sides.
        words: an instruction of this task has one word of each of these groups.
        sides: of `SIDES`; one empty text where it has none.
        things: beside the cubes, which its scenes hold.
        clears: whether its scenes leave room for every cube to go to both sides.
        chosen: whether that a cube has moved so shows that this one was meant.
        reached: whether it is done to a cube.
        hold_s: for how long it must be so [s].
        done, began, missed: the result in words, also of an attempt.
    """

    name: str
    instruction: str
    words: tuple[tuple[str, ...], ...]
    chosen: Callable[[Motion, str], bool]
    reached: Callable[[Motion, str], bool]
    done: str
    began: str
    missed: str
    sides: tuple[str, ...] = ("",)
    things: tuple[str, ...] = ()
    clears: bool = False
    hold_s: float = 1.0

    @property
    def fields(self) -> tuple[str, ...]:
        """What its instructions leave open."""
        return ("{colour}",) if self.sides == ("",) else ("{colour}", "{side}")


PICK = Task(
    name="pick", instruction="pick up the {colour} cube", words=(("pick", "grasp", "lift", "grab", "take"),),
    chosen=_lifted, reached=_lifted, done="picked", began="lifted", missed="not held",
)  # fmt: skip
PUT = Task(
    name="put", instruction="put the {colour} cube into the bowl", words=(("put", "place", "drop"), (BOWL,)),
    things=(BOWL,), chosen=_lifted, reached=_in_bowl, done="put into the bowl", began="lifted", missed="not put into the bowl",
)  # fmt: skip
PUSH = Task(
    name="push", instruction="push the {colour} cube to the {side}", words=(("push", "slide", "shove"),),
    sides=tuple(SIDES), clears=True, hold_s=0.5, chosen=_displaced, reached=_pushed,
    done="pushed", began="pushed", missed="not kept flat on the table",
)  # fmt: skip
TASKS = {task.name: task for task in (PICK, PUT, PUSH)}


@dataclass(frozen=True)
class Told:
    """One instruction understood: a task, the colour of a cube, and a side or ""."""

    task: Task
    colour: str
    side: str = ""

    def text(self, template: str = "") -> str:
        """In words, those of a template with the task's fields or its own."""
        return (template or self.task.instruction).format(colour=self.colour, side=self.side)


def tasks_named(text: str) -> tuple[Task, ...]:
    """The tasks of a text such as "put" or "pick,push".

    Raises:
        BeingHError: one is unknown, or there twice.
    """
    names = [name.strip() for name in text.split(",")]
    if (odd := [name for name in names if name not in TASKS]) or len(set(names)) < len(names):
        what = f"there is no task '{odd[0]}'" if odd else f"a task stands twice in '{text}'"
        raise BeingHError(what, allowed=tuple(TASKS), remedy='name one, or several as in "pick,push"')
    return tuple(TASKS[name] for name in names)


def task_of(instruction: str) -> Task | None:
    """The task whose words an instruction has; None where it has those of none, or of several."""
    words = set(re.findall(r"[a-z]+", instruction.lower()))
    fits = [task for task in TASKS.values() if all(words.intersection(group) for group in task.words)]
    if PUT in fits and PICK in fits:  # "pick it up and put it into the bowl"
        fits.remove(PICK)
    return fits[0] if len(fits) == 1 else None


def told(instruction: str, colours: Iterable[str]) -> Told:
    """What an instruction means.

    Raises:
        BeingHError: it names no task, not one colour, or not the side that its task needs.
    """
    colour, task = colour_named(instruction, colours), task_of(instruction)
    if task is None:
        raise BeingHError(
            f"the instruction '{instruction}' names no task, or several",
            allowed=tuple(task.instruction for task in TASKS.values()),
        )
    if task.sides == ("",):
        return Told(task, colour)
    sides = [side for side in task.sides if side in re.findall(r"[a-z]+", instruction.lower())]
    if len(sides) != 1:
        raise BeingHError(f"the instruction '{instruction}' does not name one side", allowed=task.sides)
    return Told(task, colour, sides[0])


def every_told(tasks: Sequence[Task], colours: Iterable[str]) -> Iterator[Told]:
    """All that can be told of some tasks; those in a row name one colour after the other."""
    colours = tuple(colours)
    return (Told(task, colour, side) for task in tasks for side in task.sides for colour in colours)
