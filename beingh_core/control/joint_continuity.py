"""Whether the samples of each joint can be one joint's motion.

A joint moves at most `MARGIN` times its speed limit. What it has moved beyond that is a level, which falls with time at
that speed. A level above what the joint may do in `SLACK_S` is a jump, so a robot that is simulated or read in steps
makes none. A way that leads back to where it began is allowed less, `BACK_S`: beyond that, two sources contradict each
other.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from beingh_core.contract.turns import way

MARGIN, SLACK_S, BACK_S = 3.0, 0.1, 0.03
# Steps up to this are noise of the sensor [rad or m].
NOISE_TURNING, NOISE_SLIDING = 0.01, 0.002
# Contradictions keep the robot from a start for this long.
MEMORY_NS = 5_000_000_000
# A jump without a way back: the tracking error, which knows how far the robot is off, may be told first.
JUMP_NS = 250_000_000
# Over this time the smallest delay of joint states counts, which is next to the difference of the clocks.
WINDOW_NS = 2_000_000_000


class JointContinuity:
    """Follows the samples of all joints. Not thread-safe.

    Args:
        bounds: Joint -> (speed limit [rad/s or m/s], steps that do not count [rad or m]).
        endless: Those of the joints that turn without end: steps of whole turns are none.
    """

    def __init__(self, bounds: Mapping[str, tuple[float, float]], endless: Collection[str] = ()) -> None:
        self._bounds, self._endless = dict(bounds), frozenset(endless)
        self._joints: dict[str, _Joint] = {}
        self._contradiction: tuple[int, str] | None = None
        self._jump: tuple[int, str] | None = None

    def add(self, name: str, now_ns: int, stamp_ns: int, position: float) -> None:
        """Note one sample.

        Args:
            name: One of the joints.
            now_ns: When it came [ns].
            stamp_ns: Its header stamp [ns], 0 for none.
            position: Finite.
        """
        joint = self._joints.get(name)
        if joint is None:
            self._joints[name] = _Joint(*self._bounds[name], name in self._endless, now_ns, stamp_ns, position)
            return
        before, before_ns = joint.position, joint.sampled_ns
        if not joint.add(now_ns, stamp_ns, position):
            return
        text = (
            f"{name} went from {before:.4g} to {position:.4g} within {max(0, joint.sampled_ns - before_ns) / 1e9:.3f} s"
        )
        if joint.is_back:
            # The first words stand while it goes on.
            self._contradiction = (now_ns, self.contradiction(now_ns) or text)
        elif self._jump is None:
            self._jump = (now_ns, text)

    def settle(self) -> None:
        """The robot rests: where it is counts, not how it came there."""
        self._jump = None

    def forget(self) -> None:
        """The clock was set."""
        self._joints.clear()
        self._jump = self._contradiction = None

    def contradiction(self, now_ns: int) -> str | None:
        """What began the contradictions, in words; None without any in the last `MEMORY_NS`."""
        if self._contradiction is None or now_ns - self._contradiction[0] > MEMORY_NS:
            return None
        return self._contradiction[1]

    def jump(self, now_ns: int) -> str | None:
        """A jump since `settle` that is older than `JUMP_NS`, in words."""
        if self._jump is None or now_ns - self._jump[0] < JUMP_NS:
            return None
        return self._jump[1]

    def noise(self, name: str) -> float:
        """Steps of a joint that do not count [rad or m]."""
        return self._bounds[name][1]

    def is_endless(self, name: str) -> bool:
        """Whether a joint turns without end."""
        return name in self._endless

    def clock_leads_s(self) -> dict[str, float]:
        """How far the stamps of each joint are ahead of this clock, next to 0 in order, negative behind [s]."""
        delays = {name: joint.delay_ns for name, joint in self._joints.items()}
        return {name: -delay_ns / 1e9 for name, delay_ns in delays.items() if math.isfinite(delay_ns)}


class _Joint:
    """One joint.

    Its samples are dated by their header stamps, so that a burst of late ones is no jump; but never later than they
    came, and a stamp that goes back starts anew: stamps alone can explain no jump.
    """

    def __init__(self, speed: float, noise: float, endless: bool, now_ns: int, stamp_ns: int, position: float) -> None:
        self._speed, self._noise, self._endless = MARGIN * speed, noise, endless
        self.position = self._origin = position
        self._level, self.is_back = 0.0, False
        self._window_ns = now_ns
        self._stamp_ns = 0
        self._delays_ns: list[float] = [math.inf, math.inf]  # smallest of this window and of the one before
        self.sampled_ns = 0
        self.sampled_ns = self._sample_time(now_ns, stamp_ns)

    @property
    def delay_ns(self) -> float:
        """Smallest time from stamp to receipt of the last while [ns]; infinite without stamps."""
        return min(self._delays_ns)

    def add(self, now_ns: int, stamp_ns: int, position: float) -> bool:
        """Note a sample; whether it came by a jump, and `is_back` then tells whether that led back."""
        sampled_ns = self._sample_time(now_ns, stamp_ns)
        if self._level <= 0.0:
            self._level, self._origin = 0.0, self.position
        excess = max(0.0, abs(way(position, self.position, self._endless)) - self._noise)
        # Bounded, so that it falls soon once there is only one source.
        self._level = min(self._level, self._speed * SLACK_S) + excess
        self._level -= self._speed * (sampled_ns - self.sampled_ns) / 1e9
        self.position, self.sampled_ns = position, sampled_ns
        self.is_back = abs(way(position, self._origin, self._endless)) < 0.5 * self._level
        return excess > 0.0 and self._level > self._speed * (BACK_S if self.is_back else SLACK_S)

    def _sample_time(self, now_ns: int, stamp_ns: int) -> int:
        """When a sample was taken, on this clock [ns]."""
        if not 0 <= now_ns - self._window_ns < WINDOW_NS:
            self._window_ns, self._delays_ns = now_ns, [math.inf, self._delays_ns[0]]
        if stamp_ns <= 0 or now_ns <= 0:  # unstamped, or no simulated time yet
            return now_ns
        delay_ns = now_ns - stamp_ns
        if stamp_ns <= self._stamp_ns:
            self._delays_ns = [delay_ns, delay_ns]
        elif delay_ns < self._delays_ns[0]:
            self._delays_ns[0] = delay_ns
        self._stamp_ns = stamp_ns
        return max(min(stamp_ns + round(self.delay_ns), now_ns), min(self.sampled_ns, now_ns))
