"""Whether the samples of each joint can be one joint's motion. No ROS here.

A joint moves at most `MARGIN` times its speed limit. What it has moved beyond that is a level, which falls with time at
that speed; one that rises above what the joint may do in `SLACK_S` is a jump, and a jump with a way back that ends
where it began is two sources that contradict each other. A robot that is simulated or read in steps stays below it.

Letters: J joints, C of them in one message.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MARGIN, SLACK_S = 3.0, 0.1
# Steps up to this are noise of the sensor [rad or m].
NOISE_TURNING, NOISE_SLIDING = 0.01, 0.002
# Contradictions keep the robot from a start for this long.
MEMORY_NS = 5_000_000_000
# A jump without a way back: the tracking error, which knows how far the robot is off, may be told first.
JUMP_NS = 250_000_000
# Over this time the smallest delay of joint states counts, which is next to the difference of the clocks.
WINDOW_NS = 2_000_000_000
_FAR = np.iinfo(np.int64).max


class JointContinuity:
    """Follows the samples of all joints. Not thread-safe.

    Samples are dated by their header stamps, so that a burst of late ones is no jump; but never later than they came,
    and a stamp that goes back starts anew: stamps alone can explain no jump.

    Args:
        names: (J) joints.
        speed: (J,) speed limits [rad/s or m/s].
        noise: (J,) steps that do not count [rad or m].

    Attributes:
        noise: As given.
    """

    def __init__(self, names: Sequence[str], speed: np.ndarray, noise: np.ndarray) -> None:
        count = len(names)
        self._names, self._speed, self.noise = tuple(names), MARGIN * np.asarray(speed), np.asarray(noise)
        self._position, self._origin, self._level = np.full(count, np.nan), np.zeros(count), np.zeros(count)
        self._sampled_ns, self._stamp_ns = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self._delay_ns = np.full((2, count), _FAR)  # smallest of this window and of the one before
        self._window_ns = 0
        self._contradiction: tuple[int, str] | None = None
        self._jump: tuple[int, str] | None = None

    def add(self, now_ns: int, stamp_ns: int, columns: np.ndarray, values: np.ndarray) -> None:
        """Note one message.

        Args:
            now_ns: When it came [ns].
            stamp_ns: Its header stamp [ns], 0 for none.
            columns: (C,) which joints it holds.
            values: (C,) their positions, all finite.
        """
        sampled_ns = self._sample_time(now_ns, stamp_ns, columns)
        before = self._position[columns]
        step = np.nan_to_num(values - before)
        passed_s = (sampled_ns - self._sampled_ns[columns]) / 1e9
        self._position[columns], self._sampled_ns[columns] = values, sampled_ns
        left = self._level[columns] - self._speed[columns] * passed_s
        origin = np.where(left <= 0.0, before, self._origin[columns])
        excess = np.maximum(np.abs(step) - self.noise[columns], 0.0)
        allowed = self._speed[columns] * SLACK_S
        level = np.minimum(np.maximum(left, 0.0) + excess, allowed + excess)
        self._origin[columns], self._level[columns] = origin, level
        over = (level > allowed) & (excess > 0.0)
        if over.any():
            back = over & (np.abs(values - origin) < 0.5 * level)
            worst = int(np.argmax(np.where(back if back.any() else over, level, -1.0)))
            text = (
                f"{self._names[columns[worst]]} went from {before[worst]:.3f} to {values[worst]:.3f} within "
                f"{max(0.0, float(passed_s[worst])):.3f} s"
            )
            self._note(now_ns, text, bool(back.any()))

    def settle(self) -> None:
        """The robot rests: where it is counts, not how it came there."""
        self._jump = None

    def forget_times(self) -> None:
        """The clock was set."""
        self._sampled_ns[:] = self._stamp_ns[:] = self._window_ns = 0
        self._delay_ns[:] = _FAR
        self._jump = self._contradiction = None
        self._level[:] = 0.0
        self._position[:] = np.nan

    def contradiction(self, now_ns: int) -> str | None:
        """The newest contradiction of the last `MEMORY_NS`, in words that stay the same while it goes on."""
        if self._contradiction is not None and now_ns - self._contradiction[0] > MEMORY_NS:
            self._contradiction = None
        return None if self._contradiction is None else self._contradiction[1]

    def jump(self, now_ns: int) -> str | None:
        """A jump since `settle` that is older than `JUMP_NS`, in words."""
        jumped = self._jump is not None and now_ns - self._jump[0] >= JUMP_NS
        return self._jump[1] if jumped else None

    def clock_leads_s(self) -> np.ndarray:
        """(J,) how far the stamps are ahead of this clock, next to zero in order, negative behind [s]; NaN unstamped."""
        delay_ns = self._delay_ns.min(axis=0)
        return np.where(delay_ns == _FAR, np.nan, -delay_ns / 1e9)

    def _note(self, now_ns: int, text: str, back: bool) -> None:
        if back:
            self._contradiction = (now_ns, self._contradiction[1] if self._contradiction else text)
        elif self._jump is None:
            self._jump = (now_ns, text)

    def _sample_time(self, now_ns: int, stamp_ns: int, columns: np.ndarray) -> np.ndarray:
        """(C,) when these samples were taken, on this clock [ns]."""
        if not 0 <= now_ns - self._window_ns < WINDOW_NS:
            self._delay_ns[1], self._delay_ns[0] = self._delay_ns[0], _FAR
            self._window_ns = now_ns
        if stamp_ns <= 0:
            return np.full(len(columns), now_ns)
        anew = stamp_ns <= self._stamp_ns[columns]
        self._stamp_ns[columns] = stamp_ns
        delay_ns = np.minimum(self._delay_ns[:, columns], now_ns - stamp_ns)
        delay_ns[:, anew] = now_ns - stamp_ns
        self._delay_ns[0, columns] = delay_ns[0]
        self._delay_ns[1, columns[anew]] = now_ns - stamp_ns
        return np.clip(stamp_ns + delay_ns.min(axis=0), np.minimum(self._sampled_ns[columns], now_ns), now_ns)
