"""What names of joints and links say: which part of a robot they belong to, and which side."""

from __future__ import annotations

import re

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
# In the order in which a joint's own name is looked through; the first that fits wins.
_PARTS = {
    "finger": "finger fingers gripper knuckle jaw thumb index middle ring pinky little claw digit".split(),
    "leg": "hip knee ankle leg legs foot".split(),
    "wheel": "wheel wheels caster casters steering".split(),
    "head": "head neck".split(),
    "waist": "waist torso trunk spine".split(),
}
# Links are often called after what hangs on them, so only these tell of their joint.
_FINGER_LINKS = "finger fingers knuckle jaw thumb claw".split()
_ARM_WORDS = "shoulder elbow wrist arm forearm upperarm".split()
_SIDES = {"left": ("left", "l"), "right": ("right", "r")}


def words(name: str) -> list[str]:
    """The words of a name, in small letters: `shoulderPitch_Left` -> shoulder, pitch, left."""
    return [word.lower() for word in _WORDS.findall(name)]


def part_of(joint: str, child: str) -> str:
    """`finger`, `leg`, `wheel`, `head`, `waist` or, where nothing else fits, `arm`."""
    own = words(joint)
    for part, known in _PARTS.items():
        if any(word in known for word in own):
            return part
    if not any(word in _ARM_WORDS for word in own) and any(word in _FINGER_LINKS for word in words(child)):
        return "finger"
    return "arm"


def side_of(names: tuple[str, ...]) -> str | None:
    """`left` or `right` where most of the names say so."""
    counts = {side: sum(any(word in known for word in words(name)) for name in names) for side, known in _SIDES.items()}
    side = max(counts, key=lambda name: counts[name])
    return side if counts[side] * 2 > len(names) else None
