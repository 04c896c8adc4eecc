"""Whether a gripper whose goal ended badly holds something or has failed: judged by where its fingers are. No ROS here.

A server that meets an object may end a goal as aborted, stalled, cancelled or without success, and a gripper that is
broken ends it just so. What the fingers did tells them apart:

    stand still at the goal                      it was reached
    stand still between start and goal           it holds something; a warning, unless the server says so too
    have not moved; move away; never come to rest   it has failed: the robot stops
    have not moved, but the server says stalled, or the next goal comes before they stand still
                                                 a warning; the third in a row is a failure

The start is where the fingers were when goals in that direction began, not where they were at the newest of them: a
gripper that holds an object does not move at the next goal to close. After a new start of the controller nobody knows
that; a gripper that is neither open nor moves at its first goal to close counts as one that holds.
"""

from __future__ import annotations

import math
import threading
from collections import deque

# Standing still: for so long [s], within so much of the gripper's range.
STILL_S, STILL = 0.3, 0.02
# Fingers that have not come to rest so long after the end of their goal never do [s].
REST_S = 5.0
# Bad ends in a row without any motion, of which none was a proof.
IN_A_ROW = 3


class GripWatch:
    """Watches one gripper. From any thread; times are monotonic [s], positions those of its joint.

    Args:
        closed, opened: Ends of its range.
    """

    def __init__(self, closed: float, opened: float) -> None:
        self._opened, self._closing = opened, math.copysign(1.0, closed - opened)
        self._same = STILL * abs(opened - closed)
        self._lock = threading.Lock()
        self._recent: deque[tuple[float, float]] = deque()
        self._direction = 0.0  # of the goals, as seen from the fingers
        self._start: float | None = None  # where the fingers were when goals in that direction began
        self._goal: float | None = None
        self._bad_end: tuple[float, str, bool] | None = None  # time, words and whether it stalled; not judged yet
        self._in_a_row = 0
        self._problem: str | None = None
        self._counts = {"gripper_goals_failed": 0, "gripper_ended_short": 0}

    @property
    def counts(self) -> dict[str, int]:
        """Goals that ended badly, and those of them where nothing but the fingers speaks for an object between them."""
        with self._lock:
            return dict(self._counts)

    def measured(self, now_s: float, position: float) -> None:
        """Note where the fingers are."""
        if math.isfinite(position):
            with self._lock:
                self._recent.append((now_s, position))
                while len(self._recent) > 1 and self._recent[1][0] <= now_s - STILL_S:
                    self._recent.popleft()

    def begin(self, goal: float) -> None:
        """Note a goal that is sent."""
        with self._lock:
            if self._bad_end is not None:
                self._replaced()
            self._goal = goal
            if not self._recent:
                return
            position = self._recent[-1][1]
            if abs(goal - position) <= self._same:
                return
            direction = math.copysign(1.0, goal - position)
            if direction != self._direction:
                first, self._direction, self._start = not self._direction, direction, position
                if first and direction == self._closing:
                    self._start = self._opened

    def ended(self, goal: float, now_s: float, text: str, stalled: bool) -> None:
        """Note the end of a goal: what went wrong in words, "" for nothing. Only that of the newest goal counts."""
        with self._lock:
            if goal != self._goal:
                return
            if not text:
                self._in_a_row = 0
                return
            self._counts["gripper_goals_failed"] += 1
            if self._recent:
                self._bad_end = now_s, text, stalled
            elif not stalled:
                self._problem = text

    def forget(self) -> None:
        """A new start: what happened before it stops nothing. What the gripper holds, it goes on holding."""
        with self._lock:
            self._bad_end = self._problem = None
            self._in_a_row = 0

    def problem(self, now_s: float) -> str | None:
        """A failure, told once."""
        with self._lock:
            if self._bad_end is not None:
                self._judge(now_s)
            problem, self._problem = self._problem, None
            return problem

    def _judge(self, now_s: float) -> None:
        """Settle a bad end once the fingers stand still."""
        ended_s, text, stalled = self._bad_end
        positions = [position for _, position in self._recent]
        still = max(positions) - min(positions) <= self._same
        if self._recent[-1][0] - ended_s < STILL_S or not still:
            if now_s - ended_s > REST_S:
                self._fail(text, "does not come to rest")
            return
        moved, gap = self._moved(), self._direction * (self._goal - positions[-1])
        if abs(gap) <= self._same:
            self._fine()
        elif moved > self._same and gap > 0.0:
            self._counts["gripper_ended_short"] += not stalled
            self._fine()
        elif moved > self._same:
            self._fail(text, "has gone beyond its goal")
        elif moved < -self._same:
            self._fail(text, "has moved away from its goal")
        elif stalled:
            self._suspect(text)
        else:
            self._fail(text, "has not moved")

    def _replaced(self) -> None:
        """Settle a bad end whose fingers nobody could wait for."""
        text = self._bad_end[1]
        near = abs(self._goal - self._recent[-1][1]) <= self._same
        if near or self._moved() > self._same:
            self._fine()
        else:
            self._suspect(text)

    def _moved(self) -> float:
        """How far the fingers are from where goals in the present direction began, positive towards the goals."""
        position = self._recent[-1][1]
        return self._direction * (position - (position if self._start is None else self._start))

    def _fine(self) -> None:
        self._bad_end, self._in_a_row = None, 0

    def _suspect(self, text: str) -> None:
        self._bad_end = None
        self._counts["gripper_ended_short"] += 1
        self._in_a_row += 1
        if self._in_a_row >= IN_A_ROW:
            self._fail(text, f"has not moved at {IN_A_ROW} goals in a row")

    def _fail(self, text: str, why: str) -> None:
        self._bad_end, self._in_a_row = None, 0
        where, goal = self._recent[-1][1], self._goal
        self._problem = f"{text}, and the gripper {why}: it is at {where:.4g}, its goal was {goal:.4g}"
