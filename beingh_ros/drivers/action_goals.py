"""Goals for action servers, sent without ever blocking the tick thread."""

from __future__ import annotations

import atexit
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

SUCCEEDED, CANCELED = GoalStatus.STATUS_SUCCEEDED, GoalStatus.STATUS_CANCELED
# A server that is just starting, or not discovered yet, is no problem for this long after the driver was made [s].
DISCOVERY_S = 1.0
# A server takes a goal or refuses it within this time [s].
ANSWER_S = 1.0
# A goal that was cancelled ends within this time, or its server has been started anew and knows nothing of it [s].
ENDS_S = 3.0
SPIN_S = 0.05
JOIN_S = 1.0
# (key of the server, status, result, whether a newer goal has replaced it) -> what went wrong, or None.
Judge = Callable[[str, int, Any, bool], str | None]


@dataclass(eq=False)
class _Goal:
    """One goal on its way: which server, what, and how far it has come."""

    server: str
    message: Any
    judge: Judge
    number: int = 0
    sent_s: float = 0.0
    kept: bool = False  # neither overwritten nor cancelled by a newer one; no more once it is to be sent again
    given_up: bool = False  # not answered in time, or from before a new start
    handle: Any = None
    cancelled_s: float = 0.0  # 0 for never
    taken: threading.Event = field(default_factory=threading.Event)  # accepted, refused or given up


class ActionGoals:
    """Newest-wins goals for one or several action servers.

    A goal that waits is overwritten by the next one. While the server has not answered one goal, none is sent; one that is
    taken after it was given up is cancelled, unless a newer one replaces it. A goal is never kept for a server that is
    not there: by the time it came, it would be far from where the robot is. That it was dropped, or that a server has
    gone with its goal, is an event, also when the server has come back since.
    A node and a thread of their own do all that, so that replies are received while the owner is being closed, too.

    Args:
        node: Its context and namespace are used; action names are resolved as this node's.
        servers: key -> (action type, action name).
        judge: Says what went wrong with a goal that has ended. Status as in action_msgs/GoalStatus.
        one_at_a_time: Cancel the running goal and wait for its end before the next one; else the server replaces it.
    """

    def __init__(
        self,
        node: Node,
        servers: Mapping[str, tuple[type, str]],
        judge: Judge,
        *,
        one_at_a_time: bool = False,
    ) -> None:
        self._judge, self._one_at_a_time = judge, one_at_a_time
        names = {key: node.resolve_topic_name(name) for key, (_, name) in servers.items()}
        slug = re.sub(r"\W", "_", next(iter(names.values())).strip("/"))
        self._node = Node(
            f"{node.get_name()}_{slug}",
            context=node.context,
            namespace=node.get_namespace(),
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._clients = {key: ActionClient(self._node, kind, names[key]) for key, (kind, _) in servers.items()}
        self._names = names
        self._lock = threading.Lock()
        self._waiting: _Goal | None = None  # not sent yet
        self._kept: deque[_Goal] = deque()  # sent before that, each until its end
        self._again: list[_Goal] = []  # kept ones that came to no good end: sent again at the next start
        self._unanswered: _Goal | None = None
        self._late: list[_Goal] = []  # taken after they were given up; the next one may replace them
        self._running: _Goal | None = None  # newest accepted one that has not ended
        self._numbers = 0
        self._events: deque[str] = deque(maxlen=8)
        self._ready = dict.fromkeys(names.values(), 0)
        self._missing: str | None = _absent(next(iter(self._ready)))
        self._patience_s = time.monotonic() + DISCOVERY_S
        self._wake = self._node.create_guard_condition(self._work)
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name=slug, daemon=True)
        self._thread.start()
        atexit.register(self._thread.join, JOIN_S)  # it must not be in the middleware when the interpreter ends

    def send(
        self,
        message: Any,
        server: str | None = None,
        *,
        judge: Judge | None = None,
        keep: bool = False,
    ) -> threading.Event:
        """Hand over a goal. Returns at once; from any thread.

        Args:
            message: The goal.
            server: Key of its server; by default the only one.
            judge: Judges the end of this goal, in place of the one for all.
            keep: Newer goals wait until this one has ended, instead of replacing it. Where it was not taken or failed, it is sent
                again at the next start.

        Returns:
            Set when the server has taken or refused the goal, or it was given up.
        """
        server = next(iter(self._clients)) if server is None else server
        goal = _Goal(server=server, message=message, judge=judge or self._judge, kept=keep)
        with self._lock:
            if keep:
                self._kept.append(goal)
            else:
                replaced, self._waiting = self._waiting, goal
                if replaced is not None:
                    replaced.taken.set()
        self._wake.trigger()
        return goal.taken

    def problem(self) -> str | None:
        """A server that is missing or does not answer, or the first event since this was asked last."""
        with self._lock:
            if self._missing is not None and time.monotonic() > self._patience_s:
                return self._missing
            if self._unanswered is not None and not self._in_time():
                return f"the action server {self._names[self._unanswered.server]} does not answer"
            event = self._events[0] if self._events else None
            self._events.clear()
            return event

    def subscribers(self) -> dict[str, int]:
        """1 for each action server that is ready, 0 for each that is not."""
        with self._lock:
            return self._ready

    def name(self, server: str) -> str:
        """Resolved name of a server by its key."""
        return self._names[server]

    def unsubscribed(self) -> str | None:
        """A server that is missing, in words."""
        with self._lock:
            return self._missing

    def forget(self) -> None:
        """Forget the events before a new start, and goals that were not taken: their server may have been started anew.

        Goals that are kept stay on their way; those that came to no good end are sent again.
        """
        with self._lock:
            self._events.clear()
            if self._unanswered is not None and not (self._unanswered.kept and self._in_time()):
                self._give_up()
            waiting, self._waiting = self._waiting, None
            self._kept.extend(self._again)
            self._again.clear()
        if waiting is not None:
            waiting.taken.set()
        self._wake.trigger()

    def _spin(self) -> None:
        """Own thread."""
        try:
            while self._node.context.ok():
                self._look_for_servers()
                self._work()
                self._executor.spin_once(timeout_sec=SPIN_S)
        except Exception as error:
            if isinstance(error, ExternalShutdownException) or not self._node.context.ok():
                return
            with self._lock:
                self._missing = f"the action client of {', '.join(self._names.values())} has failed: {error}"

    def _look_for_servers(self) -> None:
        ready = {self._names[key]: int(client.server_is_ready()) for key, client in self._clients.items()}
        missing = [name for name, there in ready.items() if not there]
        with self._lock:
            self._ready, self._missing = ready, _absent(missing[0]) if missing else None
            if self._running is not None and (name := self._names[self._running.server]) in missing:
                self._events.append(f"the action server {name} has gone while it had a goal")
                self._repeat(self._running)
                self._running = None  # its end will never be received

    def _work(self) -> None:
        """Own thread: send the next goal, if it is its turn."""
        goal = self._next()
        if goal is None:
            self._cancel_late()
            return
        client = self._clients[goal.server]
        ready = client.server_is_ready()
        with self._lock:
            if goal.given_up:  # by a new start, since it was taken
                return
            if not ready:
                self._unanswered = None
                self._events.append(f"a goal was dropped: {_absent(self._names[goal.server])}")
                self._repeat(goal)
        if not ready:
            goal.taken.set()
            return
        client.send_goal_async(goal.message).add_done_callback(lambda future: self._answered(goal, future))

    def _next(self) -> _Goal | None:
        """Take the goal that may be sent now, unanswered from here on; a running one that is in its way is cancelled."""
        with self._lock:
            if self._waiting is None and not self._kept:
                return None
            if self._unanswered is not None:
                if self._in_time():
                    return None
                self._events.append(f"{self._names[self._unanswered.server]} has not answered to a goal")
                self._give_up()
            running = self._running
            if running is not None and (running.kept or self._one_at_a_time):
                if running.kept or not running.cancelled_s or time.monotonic() < running.cancelled_s + ENDS_S:
                    if not running.kept and not running.cancelled_s:
                        running.cancelled_s = time.monotonic()
                        running.handle.cancel_goal_async()
                    return None
                self._running = None
            if self._kept:
                goal = self._kept.popleft()
            else:
                goal, self._waiting = self._waiting, None
            self._numbers += 1
            goal.number, goal.sent_s = self._numbers, time.monotonic()
            self._unanswered = goal
            return goal

    def _in_time(self) -> bool:
        """With the lock: whether the goal that is unanswered may still be."""
        return time.monotonic() <= self._unanswered.sent_s + ANSWER_S

    def _give_up(self) -> None:
        """With the lock: expect no answer any more."""
        goal, self._unanswered = self._unanswered, None
        if goal is not None:
            goal.given_up = True
            self._repeat(goal)
            goal.taken.set()

    def _repeat(self, goal: _Goal) -> None:
        """With the lock: a goal came to no good end; one that is kept is sent again at the next start."""
        if goal.kept:
            goal.kept = False
            self._again.append(_Goal(server=goal.server, message=goal.message, judge=goal.judge, kept=True))

    def _cancel_late(self) -> None:
        """Own thread: cancel goals that were taken after they were given up, where no newer one is on its way to replace them."""
        with self._lock:
            if self._unanswered is not None or self._waiting is not None or self._kept:
                return
            late, self._late = self._late, []
            for goal in late:
                goal.cancelled_s = time.monotonic()
        for goal in late:
            goal.handle.cancel_goal_async()

    def _answered(self, goal: _Goal, future: Any) -> None:
        """Own thread: the server has taken or refused a goal."""
        handle = future.result()
        with self._lock:
            if self._unanswered is goal:
                self._unanswered = None
            if handle is not None and handle.accepted:
                goal.handle = handle
                if not goal.given_up:
                    self._late.clear()  # it has replaced them
                elif self._one_at_a_time:
                    goal.cancelled_s = time.monotonic()
                else:
                    self._late.append(goal)
                if goal.number == self._numbers or self._running is None:
                    self._running = goal
            elif not goal.given_up:
                self._events.append(f"{self._names[goal.server]} has refused a goal: is its controller active?")
                self._repeat(goal)
        goal.taken.set()
        if goal.handle is not None:
            if goal.cancelled_s:
                handle.cancel_goal_async()
            handle.get_result_async().add_done_callback(lambda done: self._ended(goal, done))
        self._work()

    def _ended(self, goal: _Goal, future: Any) -> None:
        """Own thread: a goal has come to its end."""
        response = future.result()
        with self._lock:
            replaced = goal.cancelled_s > 0.0 or goal.number != self._numbers
            if self._running is goal:
                self._running = None
        text = None
        if response is not None:
            text = goal.judge(goal.server, response.status, response.result, replaced)
        with self._lock:
            if text is not None:
                self._events.append(f"{self._names[goal.server]}: {text}")
            if text is not None or response is None:
                self._repeat(goal)
        self._work()


def _absent(name: str) -> str:
    return f"there is no action server {name}: start its controller, and see `ros2 action list`"
