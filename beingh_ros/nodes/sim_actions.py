"""The action servers of the simulator.

Goals begin and are judged in the simulation thread (see `sim_jobs`); here, in the executor's thread, they are taken or refused,
and ended at the rate at which ros2_control monitors its actions.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from typing import Any

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.node import Node
from rclpy.task import Future

from beingh_core.errors import BeingHError

MONITOR_S = 0.05
# Ended goals are kept for this time; every status message lists them [s].
RESULT_S = 10
SUCCEED, ABORT, CANCELED = "succeed", "abort", "canceled"
PREEMPTED, CANCELLED = "Current goal preempted by new incoming action.", "the goal was cancelled"
# What the numbers and names of a goal can bring about; anything else is a defect.
BAD = (BeingHError, ValueError, TypeError, ArithmeticError, LookupError)


class SimActions:
    """The servers of one controller, which has at most one goal at a time.

    Args:
        node: owner.
        queues: goals wait for each other, as those of libfranka do, in place of the newest replacing the one before.
    """

    def __init__(self, node: Node, *, queues: bool = False) -> None:
        self._node, self._queues = node, queues
        self._numbers = itertools.count(1)
        self._goals: list[_Goal] = []
        self._servers: list[ActionServer] = []
        self._timer = node.create_timer(MONITOR_S, self._monitor)

    def serve(self, kind: type, name: str, job: Job) -> None:
        """Add a server."""
        self._servers.append(
            ActionServer(
                self._node,
                kind,
                name,
                lambda _: None,  # `_accept` names another
                goal_callback=partial(self._judge, name, job),
                handle_accepted_callback=partial(self._accept, name, job),
                cancel_callback=lambda _: CancelResponse.ACCEPT,
                result_timeout=RESULT_S,
            )
        )

    def abort(self, reason: str) -> bool:
        """Executor thread, or another one after it: break off every goal, also those that have not begun.

        Returns:
            Whether there were any.
        """
        goals, self._goals = self._goals, []
        for goal in goals:
            goal.finish(ABORT, goal.job.unfinished(reason))
        return bool(goals)

    def destroy(self) -> None:
        """Executor thread, or another one after it: end the servers."""
        self._timer.destroy()
        for server in self._servers:
            server.destroy()

    def _judge(self, name: str, job: Job, request: Any) -> GoalResponse:
        try:
            why = job.refusal(request)
        except BAD as error:
            why = _in_words(error)
        if why is None:
            return GoalResponse.ACCEPT
        self._node.get_logger().error(f"{name}: refused a goal: {why}", throttle_duration_sec=1.0)
        return GoalResponse.REJECT

    def _accept(self, name: str, job: Job, handle: Any) -> None:
        """Take a goal at once: rclpy runs an execute callback later, and hides what that raises."""
        goal = _Goal(name=name, handle=handle, job=job, number=next(self._numbers), end=Future())
        handle.execute(goal.result)
        if not self._queues:
            self.abort(PREEMPTED)
        self._goals.append(goal)
        if self._goals[0] is goal:
            self._begin()

    def _begin(self) -> None:
        """Begin the first goal that can."""
        while self._goals:
            goal = self._goals[0]
            if goal.handle.is_cancel_requested:
                self._break_off(goal, CANCELED, CANCELLED)
                continue
            try:
                return goal.job.begin(goal.number, goal.handle.request)
            except BAD as error:
                self._fail(goal, error)

    def _monitor(self) -> None:
        """Feedback and ends of goals."""
        if not self._goals:
            return
        goal = self._goals[0]
        try:
            ended = self._end_of(goal)
        except BAD as error:
            self._fail(goal, error)
        else:
            if ended is None:
                return
            self._goals.pop(0)
            goal.finish(*ended)
        self._begin()

    def _end_of(self, goal: _Goal) -> tuple[str, Any] | None:
        """How a goal has ended and its result; None while it runs, which is told."""
        if goal.handle.is_cancel_requested:
            goal.job.cancel(goal.number)
            return CANCELED, goal.job.unfinished(CANCELLED)
        ended = goal.job.ended(goal.number, goal.handle.request)
        if ended is None and (feedback := goal.job.feedback()) is not None:
            goal.handle.publish_feedback(feedback)
        return ended

    def _fail(self, goal: _Goal, error: Exception) -> None:
        """A goal cannot be dealt with: abort it, and go on."""
        why = _in_words(error)
        self._node.get_logger().error(f"{goal.name}: aborted a goal: {why}")
        self._break_off(goal, ABORT, why)

    def _break_off(self, goal: _Goal, how: str, why: str) -> None:
        self._goals.remove(goal)
        goal.job.cancel(goal.number)
        goal.finish(how, goal.job.unfinished(why))


@dataclass(eq=False, kw_only=True)
class _Goal:
    """A goal that was accepted."""

    name: str
    handle: Any
    job: Job
    number: int
    end: Future

    def finish(self, how: str, result: Any) -> None:
        getattr(self.handle, how)()
        self.end.set_result(result)

    async def result(self, _handle: Any) -> Any:
        """What rclpy awaits."""
        return await self.end


class Job:
    """What one action does. All methods are called in the executor's thread; one of `BAD` ends their goal, others the node."""

    def refusal(self, request: Any) -> str | None:
        """Why a goal is refused, None where it is taken."""
        raise NotImplementedError

    def begin(self, number: int, request: Any) -> None:
        """Begin a goal."""
        raise NotImplementedError

    def cancel(self, number: int) -> None:
        """Stay where it is: a goal, also one that has not begun, is broken off."""
        raise NotImplementedError

    def ended(self, number: int, request: Any) -> tuple[str, Any] | None:
        """How a goal has ended and its result, None while it runs."""
        raise NotImplementedError

    def unfinished(self, reason: str) -> Any:
        """The result of a goal that was broken off, with the reason where the message has a place for it."""
        raise NotImplementedError

    def feedback(self) -> Any:
        """Of the running goal, None for none."""
        raise NotImplementedError


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, BeingHError) else f"{type(error).__name__}: {error}"
