"""The optional key `keep_out` of a contract: boxes that no part of the robot may enter."""

from __future__ import annotations

from dataclasses import dataclass

from beingh_core.contract.reader import Section
from beingh_core.contract.urdf import UrdfFacts

MIN_SIDE_M, MAX_M = 0.001, 100.0


@dataclass(frozen=True, kw_only=True)
class KeepOut:
    """A box that no part of the robot may enter.

    Attributes:
        name: of the box.
        frame: link in whose axes it is, which no commanded joint moves.
        center: (3,) [m].
        size: (3,) whole lengths along x, y and z [m].
    """

    name: str
    frame: str
    center: tuple[float, ...]
    size: tuple[float, ...]


def read_keep_out(file: Section, urdf: UrdfFacts, joint_names: tuple[str, ...]) -> tuple[KeepOut, ...]:
    """The boxes, in the order of the file.

    Args:
        file: the contract.
        urdf: links of the robot.
        joint_names: what is commanded.

    Raises:
        BeingHError: an unknown frame or one that the robot moves, or numbers that are no box.
    """
    table, found = file.section("keep_out", optional=True), []
    for name in table.names():
        entry = table.section(name)
        frame = entry.choice("frame", urdf.links, file.choice("base_frame", urdf.links))
        moved = [joint for joint in urdf.movers(frame) if joint in joint_names]
        if moved:
            raise entry.error("frame", f"`{frame}` moves with `{moved[0]}`", remedy="name a link that stands still")
        center, size = entry.numbers("center", 3), entry.numbers("size", 3)
        if not all(abs(value) <= MAX_M for value in center):
            raise entry.error("center", f"{list(center)} is far from the robot", allowed=f"up to {MAX_M:g} m")
        if not all(MIN_SIDE_M <= value <= MAX_M for value in size):
            raise entry.error("size", f"{list(size)} is no size", allowed=f"from {MIN_SIDE_M:g} to {MAX_M:g} m each")
        entry.finish()
        found.append(KeepOut(name=name, frame=frame, center=center, size=size))
    return tuple(found)
