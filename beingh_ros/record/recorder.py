"""What a recorder does: episodes that begin, get marks and end. The node gives it messages and commands. No ROS here."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beingh_core.contract.schema import RobotContract
from beingh_core.data.bags.message import text_data
from beingh_core.data.bags.topic import BagTopic
from beingh_core.data.bags.writer import BagWriter
from beingh_core.errors import BeingHError
from beingh_ros.record.buffers import Item, PreRoll
from beingh_ros.record.commands import FAILURE, SUCCESS, Command
from beingh_ros.record.episode import Episode, free_mb

IDLE, RECORDING = "idle", "recording"
# So many bags may still be on their way to the disk when another one begins.
MOST_UNFINISHED = 2


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to record.

    Attributes:
        out: Folder of the bags.
        storage, distribution: See `BagWriter`.
        preroll_s, preroll_mb: Longest and largest pre-roll [s], [MB].
        buffer_mb: Most that waits for the disk [MB].
        min_free_mb: An episode ends, and none begins, when less than this is free [MB].
        max_s: Longest episode [s], 0 for no bound.
    """

    out: Path
    storage: str
    distribution: str
    preroll_s: float = 1.0
    preroll_mb: float = 256.0
    buffer_mb: float = 512.0
    min_free_mb: float = 500.0
    max_s: float = 0.0


class Recorder:
    """The episodes of one session; one thread.

    Args:
        contract: Robot.
        settings: How to record.
        topics: Everything that is recorded (`RecordedTopic`).
        events: Topic of the events.
        now_ns: The node's clock [ns].
        tell: Called with a line for people and whether it is bad news.
        publish_event: Called with the text of every event.

    Attributes:
        task: What the robot shall do: what a person or an instruction has said last.
        operator: Who is there.
        episode: The running one.
    """

    def __init__(
        self,
        contract: RobotContract,
        settings: Settings,
        topics: list,
        events: BagTopic,
        *,
        now_ns: Callable[[], int],
        tell: Callable[[str, bool], None],
        publish_event: Callable[[str], None],
    ) -> None:
        self._contract, self._settings, self._topics, self._events = contract, settings, topics, events
        self._now_ns, self._tell, self._publish_event = now_ns, tell, publish_event
        self._preroll = PreRoll(settings.preroll_s, round(settings.preroll_mb * 1e6))
        self.task = self.operator = self._instruction = ""
        self.episode: Episode | None = None
        self._ending: list[Episode] = []
        self._verdict = ""
        self._begun_s = self._looked_s = 0.0
        self.last = ""

    @property
    def state(self) -> str:
        """`idle` or `recording`."""
        return RECORDING if self.episode else IDLE

    def take(self, topic, item: Item) -> None:
        """A message of a topic."""
        if self.episode is None:
            self._preroll.add(item)
        elif not self.episode.put(item):
            topic.dropped += 1

    def take_own(self, item: Item) -> None:
        """A message of the recorder itself, which is never refused."""
        if self.episode is None:
            self._preroll.add(item)
        else:
            self.episode.put_all([item])

    def obey(self, command: Command, by: str) -> str:
        """Carry out a command; what has been done, in words.

        Args:
            command: What to do.
            by: Where it came from, such as "keyboard"; the reason for an end.

        Raises:
            BeingHError: It cannot be done now.
        """
        verb, rest = command.verb, command.rest
        if verb == "toggle":
            verb = "stop" if self.episode else "start"
        if verb in (SUCCESS, FAILURE):
            return self._judge(verb)
        stop = lambda verdict: self._stop(verdict, by)
        act = {"start": self._start, "stop": stop, "mark": self._mark, "task": self._set_task,
               "operator": self._set_operator}.get(verb)  # fmt: skip
        return act(rest) if act else self._discard()

    def instructed(self, text: str) -> None:
        """An instruction to the policy; the same one again says nothing new."""
        if text != self._instruction:
            self._instruction = self.task = text

    def event(self, kind: str, **values: Any) -> None:
        """Put an event into the bag and on the wire."""
        text = json.dumps({"event": kind, "stamp_ns": self._now_ns(), **values}, ensure_ascii=False)
        self._publish_event(text)
        if self.episode is not None:
            now_ns = self._now_ns()
            self.episode.put_all([Item(self._events, now_ns, now_ns, 0, text_data(text))])

    def look(self) -> None:
        """Often: end what must end, and tell what has ended."""
        for episode in [episode for episode in self._ending if episode.ended]:
            self._ending.remove(episode)
            self._told_end(episode)
        if self.episode is None:
            return
        if self.episode.failure:
            self._stop("", self.episode.failure, whole=False)
        elif self._settings.max_s and time.monotonic() - self._begun_s > self._settings.max_s:
            self._stop("", f"max_s: {self._settings.max_s:g} s have passed")
        elif self._is_nearly_full():
            self._stop("", f"less than {self._settings.min_free_mb:g} MB were free on the disk", whole=False)

    def _is_nearly_full(self) -> bool:
        """Looked at once a second: on a network's disk it may take a while."""
        now_s = time.monotonic()
        if now_s - self._looked_s < 1.0:
            return False
        self._looked_s = now_s
        return free_mb(self._settings.out) < self._settings.min_free_mb

    def close(self, timeout_s: float, reason: str) -> None:
        """End the running episode for a reason, and wait for the disk."""
        if self.episode is not None:
            self._stop("", reason)
        end_s = time.monotonic() + timeout_s
        for episode in self._ending:
            if not episode.wait(max(0.1, end_s - time.monotonic())):
                self._tell(
                    f"{episode.name} is not on the disk yet: what is, can be read in {episode.name}.recording", True
                )
        self.look()

    def counts(self) -> dict[str, dict[str, int]]:
        """By topic: messages received, lost by the middleware, and dropped since the disk was too slow."""
        return {
            topic.name: {"received": topic.received, "lost": topic.lost, "dropped": topic.dropped}
            for topic in self._topics
            if topic.received or topic.lost or topic.dropped
        }

    def _start(self, task: str) -> str:
        if self.episode is not None:
            raise BeingHError(f"{self.episode.name} is being recorded", remedy="stop it first")
        if len(self._ending) >= MOST_UNFINISHED:
            raise BeingHError(f"{len(self._ending)} bags are still on their way to the disk", remedy="wait for it")
        settings = self._settings
        if free_mb(settings.out) < settings.min_free_mb:
            raise BeingHError(
                f"{free_mb(settings.out):.0f} MB are free", where=settings.out, remedy="make room, or lower min_free_mb"
            )
        self._preroll.cut(self._now_ns())
        before = self._preroll.take()
        begin_ns = before[0].log_ns if before else self._now_ns()
        bag = BagWriter(self._free_name(), storage=settings.storage, distribution=settings.distribution)
        self.episode = Episode(bag, self._events, round(settings.buffer_mb * 1e6))
        self._begun_s, self._verdict = time.monotonic(), ""
        present = {item.topic.name for item in before}
        held = [t.newest for t in self._topics if t.newest is not None and t.name not in present]
        self.episode.put_all([item._replace(log_ns=begin_ns) for item in held])
        self.episode.put_all(before)
        for topic in self._topics:
            topic.reset()
        self.task = task or self.task
        self.event("start", task=self.task, operator=self.operator, held=[i.topic.name for i in held],
                   preroll_ns=self._now_ns() - begin_ns, **self._robot())  # fmt: skip
        for topic in self._topics:
            if topic.trouble or (topic.required and topic.bag_topic is None):
                self._tell(f"{topic.name} is not recorded: {topic.trouble or 'nobody publishes it'}", True)
        return f"recording {self.episode.name}"

    def _robot(self) -> Mapping[str, str]:
        contract = self._contract
        return {"robot": contract.robot, "contract_hash": contract.hash, "contract": contract.path.read_text("utf-8")}

    def _stop(self, verdict: str, reason: str, *, whole: bool = True) -> str:
        """End the episode; `whole` is whether it may be called complete."""
        episode = self._running()
        self._verdict = verdict or self._verdict
        counts = self.counts()
        last = {"event": "end", "stamp_ns": self._now_ns(), "success": {SUCCESS: True, FAILURE: False}.get(self._verdict),
                "reason": reason, "complete": whole, "topics": counts}  # fmt: skip
        self._publish_event(json.dumps(last, ensure_ascii=False))
        missing = {name: c["lost"] + c["dropped"] for name, c in counts.items() if c["lost"] + c["dropped"]}
        custom = {
            "beingh_task": self.task,
            "beingh_operator": self.operator,
            "beingh_success": {SUCCESS: "true", FAILURE: "false"}.get(self._verdict, ""),
            "beingh_lost": json.dumps(missing),
            "beingh_contract_hash": self._contract.hash,
        }
        episode.close(last, custom)
        self._ending.append(episode)
        self.episode = None
        if not whole:
            self._tell(f"{episode.name} has ended: {reason}", True)
        if missing:
            self._tell(f"{episode.name} lacks messages that were lost or dropped: {missing}", True)
        return f"stopped {episode.name}"

    def _discard(self) -> str:
        episode = self._running()
        episode.discard()
        self._ending.append(episode)
        self.episode = None
        self._publish_event(json.dumps({"event": "discard", "stamp_ns": self._now_ns()}))
        return f"discarded {episode.name}"

    def _judge(self, verdict: str) -> str:
        self._running()
        self._verdict = verdict
        self.event("success", success=verdict == SUCCESS)
        return f"{verdict} of {self.episode.name}"

    def _mark(self, name: str) -> str:
        self._running()
        self.event("mark", name=name)
        return f"marked {name}"

    def _set_task(self, text: str) -> str:
        self.task = text
        self.event("task", task=text)
        return f"the task is: {text}"

    def _set_operator(self, text: str) -> str:
        self.operator = text
        self.event("operator", operator=text)
        return f"the operator is {text}"

    def _running(self) -> Episode:
        if self.episode is None:
            raise BeingHError("nothing is being recorded", remedy="start an episode first")
        return self.episode

    def _told_end(self, episode: Episode) -> None:
        if episode.discarded:
            self._tell(f"{episode.name}: removed", False)
            return
        self.last = f"{episode.name}: {sum(episode.written.values())} messages" + (
            f", not complete: {episode.outcome}" if episode.outcome else ""
        )
        self._tell(self.last, bool(episode.outcome))

    def _free_name(self) -> Path:
        base = f"{time.strftime('%Y%m%d_%H%M%S')}_{self._contract.robot}"
        names = [base, *(f"{base}_{number}" for number in range(2, 100))]
        taken = {path.name.removesuffix(".recording") for path in self._settings.out.glob(f"{base}*")}
        return self._settings.out / next(name for name in names if name not in taken)
