"""The commanded path between ticks: cubic pieces through the committed points, continuous with its derivative.

Piece n leads from the point of tick n to that of tick n + 1 and needs four numbers a column: the two points and the
velocities at them. All four are fixed when tick n is sent, and never change afterwards:

* q_n is sent and q_{n+1} is committed, if the commit margin is at least 1 and a stop keeps the tick under way
  (`CommitBuffer(stop_keeps=1)`). With a margin of 0 no piece is certain: a driver then gets the points themselves.
* v_{n+1} = (q_{n+2} - q_n) / 2 dt, with q_{n+2} as planned at that moment (a chunk or a stop may still change it; v_{n+1}
  stays). It is the end of piece n and the start of piece n + 1. v_0 = 0.

So nothing behind q_{n+1} need be committed, the path is append-only, and it is evaluated for t_n <= t <= t_{n+1} from
the moment tick n is sent. Each v is kept so small that the piece before and after it cannot pass a position limit:
the control points q + v dt / 3 and q - v dt / 3 of a cubic lie inside them, hence all of it does.

Between points that keep the limits A and J by finite differences, the path's acceleration stays below A + J dt, and
its speed below V + 3 J dt^2 / 8, where the plan was not changed meanwhile; where the motion begins or ends on a
position limit and v is cut, its acceleration may be 3 A + J dt for a tick.

Letters: J columns, N times, M ticks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from beingh_core.realtime.limits import JointLimits


def point_velocities(before: np.ndarray, point: np.ndarray, after: np.ndarray, limits: JointLimits, dt_s: float):
    """Velocity (.., J) of the path at a point between two others, all (.., J)."""
    room = np.minimum(limits.upper - point, point - limits.lower)
    most = np.maximum(3.0 / dt_s * room, 0.0)
    return np.clip((after - before) / (2.0 * dt_s), -most, most)


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """The path from one tick to the next.

    Attributes:
        tick: n; the piece holds for 0 to dt after its time.
        epoch: the epoch in which n counts.
        dt_s: one tick [s].
        start, end: (J,) points of ticks n and n + 1.
        start_velocity, end_velocity: (J,) of the path there.
    """

    tick: int
    epoch: str
    dt_s: float
    start: np.ndarray
    end: np.ndarray
    start_velocity: np.ndarray
    end_velocity: np.ndarray

    def at(self, times_s: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The path at times after tick n; earlier ones count as 0, later ones as dt.

        Args:
            times_s: one time, or (N,) [s].

        Returns:
            positions and velocities, (J,) or (N, J); at 0 and dt the positions are the points, bit by bit.
        """
        s = np.clip(np.asarray(times_s, dtype=np.float64) / self.dt_s, 0.0, 1.0)[..., None]
        chord = self.end - self.start
        rise, fall = self.start_velocity * self.dt_s - chord, chord - self.end_velocity * self.dt_s
        # q + s (chord + (1 - s) (rise (1 - s) + fall s)), from the nearer end.
        bend = s * (1.0 - s) * (rise * (1.0 - s) + fall * s)
        positions = np.where(s < 0.5, self.start + s * chord, self.end - (1.0 - s) * chord) + bend
        slope = chord + rise * (1.0 - s) * (1.0 - 3.0 * s) + fall * s * (2.0 - 3.0 * s)
        return positions, slope / self.dt_s
