"""The append-only promise, checked on what was seen on the wire (DESIGN 4.4).

1. Every tick of an epoch is sent exactly once and in order.
2. What is sent for a tick is what every earlier message had shown as committed for it: the commands before it
   (all their rows) and the publications of controller/buffer (their first `commit_margin` rows).
3. No publication of controller/buffer shows another value for a tick that was committed or sent.
4. The locked prefix of an accepted chunk, its first d points, is what is sent at those ticks.

A stop cuts an epoch once: what was promised before it for the ticks after it is void. What is promised after it holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from beingh_core.evaluate.wire import EpochLog

TOLERANCE_RAD = 1e-9


@dataclass(frozen=True, kw_only=True)
class Violation:
    """One broken promise: the rule, the epoch, the tick and what happened."""

    rule: str
    epoch: str
    tick: int
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what} (tick {self.tick} of epoch {self.epoch})"


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Result of a check.

    Attributes:
        violations: broken promises.
        ticks: ticks that were seen being sent.
        comparisons: promised values that were compared with what was sent.
    """

    violations: tuple[Violation, ...]
    ticks: int
    comparisons: int


class CommitmentAudit:
    """Checks one epoch.

    Args:
        log: what was seen of it.
        joints, groups: all joints, and those of each driver topic.
        commit_margin: rows of a buffer publication that cannot change any more.
        delay_steps: d, points of a chunk that are locked.
        cut: first tick that was sent after a stop; None without one.
    """

    def __init__(
        self,
        log: EpochLog,
        joints: tuple[str, ...],
        groups: tuple[tuple[str, ...], ...],
        *,
        commit_margin: int,
        delay_steps: int,
        cut: int | None = None,
    ) -> None:
        self._log, self._margin, self._delay = log, commit_margin, delay_steps
        self._cut = cut
        self._columns = [[joints.index(name) for name in group] for group in groups]
        self._topics = [f"commands of {group[0]}.." for group in groups]
        self._violations: list[Violation] = []
        self._comparisons = 0
        self._sent: dict[int, np.ndarray] = {}  # tick -> (J,); see _known
        self._known: dict[int, np.ndarray] = {}  # tick -> (J,) whether that joint's command was seen
        self._width = len(joints)

    def run(self) -> Audit:
        """The result."""
        for group, commands in enumerate(self._log.commands):
            self._check_order(group, [rows.first for rows in commands])
        self._collect_sent()
        self._check_commands()
        self._check_buffers()
        self._check_prefixes()
        return Audit(violations=tuple(self._violations), ticks=len(self._sent), comparisons=self._comparisons)

    def _break(self, rule: str, tick: int, what: str) -> None:
        self._violations.append(Violation(rule=rule, epoch=self._log.name, tick=tick, what=what))

    def _check_order(self, group: int, ticks: list[int]) -> None:
        """Rule 1."""
        topic = self._topics[group]
        for stamp_ns in self._log.off_grid if group == 0 else ():
            self._break("order", -1, f"a command's stamp {stamp_ns} is no tick's time")
        expected = 0 if self._log.seen_from_start or not ticks else ticks[0]
        first = expected
        for tick in ticks:
            if tick > expected:
                self._break("order", expected, f"{topic}: {tick - expected} ticks were not sent before tick {tick}")
            elif tick < expected:
                self._break("order", tick, f"{topic}: sent again or out of order, after tick {expected - 1}")
            expected = max(expected, tick + 1)
        # A publication whose first tick is f is made after tick f - 1 was sent.
        promised = max((rows.first for rows in self._log.buffers), default=0)
        if promised > expected and promised > first:
            self._break("order", expected, f"{topic}: ticks up to {promised - 1} were reported as sent and never seen")

    def _collect_sent(self) -> None:
        for columns, commands in zip(self._columns, self._log.commands):
            for rows in commands:
                if len(rows.positions) == 0:
                    self._break("order", rows.first, "an empty command")
                    continue
                sent = self._sent.setdefault(rows.first, np.full(self._width, np.nan))
                known = self._known.setdefault(rows.first, np.zeros(self._width, dtype=bool))
                if not known[columns].any():  # what the robot got first stands
                    sent[columns], known[columns] = rows.positions[0], True

    def _void(self, tick: int, next_tick: int) -> bool:
        """Whether a stop cut what was promised for a tick when `next_tick` was the next one to be sent."""
        return self._cut is not None and next_tick <= self._cut <= tick

    def _compare(self, rule: str, tick: int, columns: list[int] | slice, promised: np.ndarray, what: str) -> None:
        """A promise for a tick against what was sent at it, if it was; a value that is not a number is never equal."""
        if tick not in self._sent:
            return
        known, sent = self._known[tick][columns], self._sent[tick][columns]
        self._comparisons += int(known.sum())
        error = np.abs(promised - sent)[known]
        if not (error <= TOLERANCE_RAD).all():
            self._break(rule, tick, f"{what} by up to {np.nanmax(np.append(error, 0.0)):.3g}")

    def _check_commands(self) -> None:
        """Rule 2, within the commands themselves."""
        for topic, columns, commands in zip(self._topics, self._columns, self._log.commands):
            for rows in commands:
                for index, row in enumerate(rows.positions):
                    if self._void(rows.first + index, rows.first + 1):
                        continue
                    self._compare(
                        "command",
                        rows.first + index,
                        columns,
                        row,
                        f"{topic}: row {index} of the command of tick {rows.first} differs from what was sent",
                    )

    def _check_buffers(self) -> None:
        """Rules 2 and 3."""
        shown: dict[int, np.ndarray] = {}
        committed = 0
        for rows in self._log.buffers:
            committed = max(committed, rows.first + self._margin)
            for index, row in enumerate(rows.positions[: max(0, committed - rows.first)]):
                tick = rows.first + index
                if self._void(tick, rows.first):
                    continue
                self._compare(
                    "buffer",
                    tick,
                    slice(None),
                    row,
                    f"controller/buffer from tick {rows.first} differs from what was sent",
                )
                before = shown.setdefault(tick, row)
                if not (np.abs(before - row) <= TOLERANCE_RAD).all():
                    self._break("buffer", tick, f"controller/buffer from tick {rows.first} changes a committed tick")

    def _check_prefixes(self) -> None:
        """Rule 4."""
        accepted = set(self._log.accepted)
        for rows in self._log.chunks:
            if rows.first in accepted:
                for index, row in enumerate(rows.positions[: self._delay]):
                    if self._void(rows.first + index, rows.first):
                        continue
                    self._compare(
                        "prefix",
                        rows.first + index,
                        slice(None),
                        row,
                        f"point {index} of the chunk of tick {rows.first} differs from what was sent",
                    )


def audit(
    logs: list[EpochLog],
    joints: tuple[str, ...],
    groups: tuple[tuple[str, ...], ...],
    *,
    commit_margin: int,
    delay_steps: int,
    cuts: Mapping[str, Sequence[int]] | None = None,
) -> Audit:
    """Check every epoch and add the results up.

    `cuts` gives, by epoch, the ticks of which one is the first after a stop: the one that breaks the fewest promises.
    """
    results = []
    for log in logs:
        tries = [
            CommitmentAudit(log, joints, groups, commit_margin=commit_margin, delay_steps=delay_steps, cut=cut).run()
            for cut in (cuts or {}).get(log.name) or (None,)
        ]
        results.append(min(tries, key=lambda result: len(result.violations)))
    return Audit(
        violations=tuple(violation for result in results for violation in result.violations),
        ticks=sum(result.ticks for result in results),
        comparisons=sum(result.comparisons for result in results),
    )
