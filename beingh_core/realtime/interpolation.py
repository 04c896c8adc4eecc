"""The commanded path between ticks: cubic pieces through the committed points, continuous with its derivative.

Piece n leads from the point of tick n to that of tick n + 1 and needs four numbers a column: the two points and the
velocities at them. All four are fixed when tick n is sent, and never change afterwards:

* q_n is sent and q_{n+1} is committed, if the commit margin is at least 1 and the tick under way stands although a stop
  has cut it (`CommitBuffer.uphold`).
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

import numpy as np

from beingh_core.realtime.limits import JointLimits


def point_velocities(
    before: np.ndarray, point: np.ndarray, after: np.ndarray, limits: JointLimits, dt_s: float
) -> np.ndarray:
    """Velocity (.., J) of the path at a point between two others, all (.., J)."""
    room = np.minimum(limits.upper - point, point - limits.lower)
    most = np.maximum(3.0 / dt_s * room, 0.0)
    return np.clip((after - before) / (2.0 * dt_s), -most, most)


def cubic(
    times_s: float | np.ndarray,
    dt_s: float | np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    start_velocity: np.ndarray,
    end_velocity: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Cubic Hermite pieces at times after their start; earlier ones count as 0, later ones as dt.

    Args:
        times_s: one time, or (N,) [s].
        dt_s: length of the piece, or (N,) of the piece of each time [s].
        start, end: (J,) points that it joins, or (N, J).
        start_velocity, end_velocity: (J,) or (N, J) of the path there.

    Returns:
        positions and velocities, (J,) or (N, J); at 0 and dt the positions are the points, bit by bit.
    """
    s = np.clip(np.asarray(times_s, dtype=np.float64) / dt_s, 0.0, 1.0)[..., None]
    dt_s = np.asarray(dt_s, dtype=np.float64)[..., None]
    chord = end - start
    rise, fall = start_velocity * dt_s - chord, chord - end_velocity * dt_s
    # q + s (chord + (1 - s) (rise (1 - s) + fall s)), from the nearer end.
    bend = s * (1.0 - s) * (rise * (1.0 - s) + fall * s)
    positions = np.where(s < 0.5, start + s * chord, end - (1.0 - s) * chord) + bend
    slope = chord + rise * (1.0 - s) * (1.0 - 3.0 * s) + fall * s * (2.0 - 3.0 * s)
    return positions, slope / dt_s
