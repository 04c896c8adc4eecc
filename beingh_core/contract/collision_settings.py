"""The optional key `self_collision` of a contract: how chunks are checked before the robot follows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from beingh_core.contract.reader import Section
from beingh_core.contract.urdf import UrdfFacts


@dataclass(frozen=True, kw_only=True)
class SelfCollision:
    """How chunks are checked.

    Attributes:
        check: whether they are.
        margin: distance that shapes keep from each other and from the boxes of `keep_out` [m].
        allowed: link -> links that it may touch, beside its neighbours.
    """

    check: bool = True
    margin: float = 0.01
    allowed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_self_collision(file: Section, urdf: UrdfFacts) -> SelfCollision:
    """How chunks are checked.

    Args:
        file: the contract.
        urdf: links of the robot.

    Raises:
        BeingHError: an unknown link, a number out of range, or boxes that nobody would check.
    """
    section = file.section("self_collision", optional=True)
    table = section.section("allowed", optional=True)
    table.refuse_unknown(urdf.links, "link")
    allowed = {}
    for link in table.names():
        others = table.strings(link)
        for other in others:
            if other not in urdf.links:
                raise table.error(link, f"the URDF has no link `{other}`", allowed=sorted(urdf.links))
        allowed[link] = others
    settings = SelfCollision(check=section.flag("check", True), margin=section.number("margin"), allowed=allowed)
    section.finish()
    if not settings.check and "keep_out" in file:
        raise section.error(
            "check", "`false` leaves `keep_out` without a check", remedy="remove this key, or the boxes of `keep_out`"
        )
    return settings
