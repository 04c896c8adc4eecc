"""Numbers that no hand has: degrees, millimetres, the frame of another camera."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from beingh_core.train.hand_layout import CAMERA_POSE, EXTRINSICS, HandLayout
from beingh_core.train.hands import POSITION, ROTATION, SIDES, THETA
from beingh_core.train.rows import RowTable

# What 99 of 100 values keep below.
MOST_ANGLE = 2.0 * np.pi + 0.1  # of a rotation's vector [rad]
MOST_BEND = 3.3  # of a joint [rad]
MOST_REACH_M = 3.0  # from a camera on the head, or on a table, to a hand
MOST_SPEED_M_PER_S = 15.0  # the fastest throws
USUAL_REACH_M, USUAL_SPEED_M_PER_S = 0.5, 0.3  # by which a unit is guessed
_SHARE = 0.99
_ANGLE_KINDS = ("axis_angle", "euler_xyz")
_UNITS = {"rad": ((57.29578, "degrees"),), "m": ((39.37, "inches"), (100.0, "centimetres"), (1000.0, "millimetres"))}
_ROWS = 1 << 16  # of each dataset that are looked at


def unlikely(layout: HandLayout, table: RowTable, fps: int) -> Iterator[str]:
    """What of a dataset of hands cannot be in metres and radians, a sentence each.

    Args:
        layout: What its numbers are.
        table: Its rows.
        fps: Rows per second.
    """
    last = next((e for e, end in enumerate(table.starts[1:], 1) if end >= _ROWS), len(table.starts) - 1)
    rows = np.asarray(table.state[: table.starts[last]], np.float64)
    known = layout.known(rows)
    for s in range(len(SIDES)):
        for name, at, most in ((ROTATION[s], 0, MOST_ANGLE), (THETA[s], 1, MOST_BEND)):
            part = layout.parts.get(name)
            if part is not None and part.rotation in _ANGLE_KINDS:
                yield from _told(f"state.{name}", abs(rows[known[:, s, at], part.first : part.last]), most, "rad")
    # Turned wrongly or not, a place stays as far away: rotations in degrees are told above.
    hands = layout.hands(rows)
    same = np.ones(len(rows) - 1, bool)
    same[table.starts[1:last] - 1] = False
    cameras = layout.cameras(rows).position if {CAMERA_POSE, EXTRINSICS} & layout.parts.keys() else None
    for s in range(len(SIDES)):
        there, position = known[:, s, 0], hands.position[:, s]
        if cameras is not None:
            far = np.linalg.norm(position - cameras, axis=1)[there]
            yield from _told(
                f"the distance of state.{POSITION[s]} from the camera", far, MOST_REACH_M, "m", USUAL_REACH_M
            )
        both = there[1:] & there[:-1] & same
        speed = np.linalg.norm(np.diff(position, axis=0), axis=1)[both] * fps
        yield from _told(
            f"the speed of state.{POSITION[s]} in the world", speed, MOST_SPEED_M_PER_S, "m", USUAL_SPEED_M_PER_S
        )


def _told(what: str, values: np.ndarray, most: float, unit: str, usual: float = 1.0) -> Iterator[str]:
    if not values.size:
        return
    found = float(np.quantile(values, _SHARE))
    if found <= most:
        return
    fits = [
        (abs(np.log((np.median(values) + 1e-9) / factor / usual)), word)
        for factor, word in _UNITS[unit]
        if found / factor <= most
    ]
    cause = f"; it looks like {min(fits)[1]}" if fits else ""
    per = "/s" if "speed" in what else ""
    yield f"{what} is up to {found:.4g} {unit}{per} (99 %), of a hand at most {most:.3g}{cause}"
