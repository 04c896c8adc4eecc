"""The ticks of the controller: their times, what is sent at each, and how they go on when one comes late.

What the robot was sent goes on being what it does: a tick that comes late finds it under way along the committed ticks.
Those stand, even if a stop has cut them. When they have run out, the robot has held the last one, or, commanded between
the ticks, has braked from there.

Letters: J commanded columns, T committed ticks, M planned ticks.
"""

from __future__ import annotations

import math

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.control.setpoints import Setpoints
from beingh_core.control.tick_output import TickOutput
from beingh_core.realtime.clock import TickClock, epoch_id, exact_period_ns
from beingh_core.realtime.commit_buffer import Command, CommitBuffer
from beingh_core.realtime.cut import PathCheck
from beingh_core.realtime.interpolation import point_velocities

# Time between the announcement of an epoch and its first tick.
START_LEAD_TICKS = 2
# A robot that has less than this part of a period behind it towards a committed tick can still be sent elsewhere.
UNDER_WAY = 0.25
# Drivers whose robot steps to where a trajectory is when that comes after its first point.
ON_GRID = ("joint_trajectory", "follow_joint_trajectory")


def longest_late_ticks(contract: RobotContract) -> float:
    """How many periods late a tick may come without a step: until then the robot is under way by what it was sent."""
    on_grid = any(driver.kind in ON_GRID for driver in contract.drivers)
    return max(contract.uac.commit_margin, UNDER_WAY) if on_grid else math.inf


class TickPlan:
    """Tick clock, commit buffer and what was sent last. Not thread-safe.

    Args:
        contract: Robot.
        check: Says which rows of a chunk must not be commanded.

    Attributes:
        buffer: The commit buffer; None before the first epoch.
        epoch: Name of the present epoch, "" before the first.
        last_sent: (T, J) the newest tick and the committed ones after it; None before the first tick of an epoch.
    """

    def __init__(self, contract: RobotContract, check: PathCheck | None = None) -> None:
        self._contract, self._check = contract, check
        self._dt_ns = exact_period_ns(contract.rate_hz)
        streamed = {
            name for driver in contract.drivers if driver.options.get("rate_hz") is not None for name in driver.joints
        }
        self._streamed = np.array([name in streamed for name in contract.joint_names])  # commanded between the ticks
        self._clock = TickClock(contract.rate_hz, 0)
        self.buffer: CommitBuffer | None = None
        self._epochs = 0
        self.epoch = ""
        self._announced, self._fresh = True, True
        self.last_sent: np.ndarray | None = None
        self._before: np.ndarray = np.zeros(0)  # (J,) command of the tick before the next one

    def begin(self, now_ns: int, start_J: np.ndarray, *, fresh: bool) -> None:
        """Begin an epoch at rest.

        Args:
            now_ns: Present time [ns].
            start_J: (J,) where the robot rests or comes to rest.
            fresh: Whether nothing was sent to it before.
        """
        contract = self._contract
        self._name(now_ns, -START_LEAD_TICKS)
        if self.buffer is None:
            self.buffer = CommitBuffer(
                joints=contract.joint_names,
                start_positions=start_J,
                limits=contract.limits,
                dt_s=contract.dt_s,
                chunk_length=contract.policy.chunk_length,
                delay_steps=contract.uac.delay_steps,
                commit_margin=contract.uac.commit_margin,
                epoch=self.epoch,
                check=self._check,
            )
        else:
            self.buffer.restart(start_J, self.epoch)
        self._fresh, self.last_sent, self._before = fresh, None, start_J

    def begin_again(self, now_ns: int) -> np.ndarray:
        """Begin an epoch where the robot was left by a tick that did not come in time; returns that posture (J,)."""
        start = self._before
        if self.last_sent is not None:
            start = np.where(self._streamed, self._begun.rest_after(len(self.last_sent) - 1), self.last_sent[-1])
        self.begin(now_ns, start, fresh=self._fresh)
        return start

    def next_ns(self) -> int:
        """Time of the next tick [ns]."""
        return self._clock.stamp_ns(self._begun.next_tick)

    def announcement(self) -> Setpoints | None:
        """The plan of an epoch before its first tick, once an epoch."""
        if self._announced:
            return None
        self._announced = True
        first, planned = self._begun.planned()
        return self._setpoints(first, planned, self._slopes(self._before, planned))

    def advance(self, now_ns: int, *, stopping: bool) -> tuple[Command, TickOutput]:
        """Commit the next tick, which is due."""
        self._uphold(now_ns)
        command = self._begun.advance()
        first, planned = self._begun.planned()
        committed = min(1 + self._begun.committed_until - first, len(planned))
        rows = np.vstack([command.positions, planned])
        slopes = self._slopes(self._before, rows)
        output = TickOutput(
            before=self._before,
            points=self._setpoints(command.tick, rows[:committed], slopes[:committed]),
            plan=self._setpoints(first, planned, slopes[1:]),
            fresh=self._fresh,
            stopping=stopping,
        )
        self._before, self.last_sent, self._fresh = command.positions, output.points.positions, False
        return command, output

    def rests(self) -> bool:
        """Whether the plan holds for ever what was sent last, and nothing else was sent ahead."""
        if self.last_sent is None:
            return True
        rows = np.vstack([self.last_sent, self._begun.planned()[1]])
        return bool(np.all(rows == rows[0]))

    def retime(self, due_ns: int, late_ns: int) -> None:
        """Let the next tick be due at another time, and those after it accordingly.

        They keep their numbers; a name of the epoch with another start tells everybody their times.

        Args:
            due_ns: New time of the next tick [ns].
            late_ns: How much later than promised that is to the robot [ns].
        """
        self._uphold(self.next_ns() + late_ns)
        self._name(due_ns, self._begun.next_tick)

    def braking_path(self, now_ns: int, longest_late_ns: float) -> Setpoints | None:
        """The newest tick and what comes after it up to rest; None when nothing was sent.

        Args:
            now_ns: Present time [ns].
            longest_late_ns: When the next tick is later than this [ns], the path begins now.
        """
        if self.last_sent is None:
            return None
        late_ns = now_ns - self.next_ns()
        if late_ns > longest_late_ns:
            self.retime(now_ns, late_ns)
        else:
            self._uphold(now_ns)
        first, planned = self._begun.planned()
        rows = np.vstack([self.last_sent[:1], planned])
        moving = np.any(rows != rows[-1], axis=1).sum()
        rows = rows[: moving + 1]
        slopes = np.gradient(rows, self._contract.dt_s, axis=0) if len(rows) > 1 else np.zeros_like(rows)
        slopes[-1] = 0.0
        return self._setpoints(first - 1, rows, slopes)

    @property
    def _begun(self) -> CommitBuffer:
        """The buffer, once an epoch has begun."""
        assert self.buffer is not None, "no epoch has begun"
        return self.buffer

    def _slopes(self, before_J: np.ndarray, rows_MJ: np.ndarray) -> np.ndarray:
        """(M, J) velocities along rows that follow `before_J` and end held."""
        rows = np.vstack([before_J, rows_MJ, rows_MJ[-1]])
        return point_velocities(rows[:-2], rows[1:-1], rows[2:], self._contract.limits, self._contract.dt_s)

    def _setpoints(self, tick: int, rows_MJ: np.ndarray, slopes_MJ: np.ndarray) -> Setpoints:
        """Rows from a tick on, in the present epoch."""
        return Setpoints.by_tick(self._clock.stamp_ns(tick), self._contract.dt_s, rows_MJ, slopes_MJ, self.epoch)

    def _uphold(self, now_ns: int) -> None:
        """What the robot is under way to stands."""
        if self.last_sent is not None:
            under_way = max(0, math.ceil((now_ns - self.next_ns()) / self._dt_ns - UNDER_WAY))
            self._begun.uphold(self.last_sent[1 : 1 + under_way])

    def _name(self, stamp_ns: int, tick: int) -> None:
        """Begin an epoch in which a tick is at a stamp [ns]."""
        start_ns = TickClock(self._contract.rate_hz, stamp_ns).stamp_ns(-tick)
        self._clock = TickClock(self._contract.rate_hz, start_ns)
        self.epoch = epoch_id(self._epochs, start_ns)
        self._epochs += 1
        self._announced = False
