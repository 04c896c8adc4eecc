"""The arms, hands, head and waist that the tree of a URDF seems to have."""

from __future__ import annotations

from dataclasses import dataclass, field

from beingh_core.contract.draft.words import part_of, side_of, words
from beingh_core.contract.keys import VELOCITY
from beingh_core.contract.schema import MIN_RANGE
from beingh_core.contract.urdf import SINGLE_TYPES, UrdfFacts
from beingh_core.contract.urdf_doubts import WIDEST

ARM_JOINTS, HAND_JOINTS, HEAD_JOINTS, WAIST_JOINTS = 7, 6, 2, 3
# Where a URDF leaves a joint practically open (ends beyond WIDEST) a contract takes so much either way [rad, m].
OPEN_TURN, OPEN_SLIDE = 3.1416, 0.1
# Of links at the end of an arm: names of the one whose pose is meant, best first.
_TIPS = ("tcp", "ee", "eef", "tool", "tool0", "tip", "grasp", "palm", "hand", "flange")


@dataclass(frozen=True, kw_only=True)
class Hand:
    """The fingers at the end of an arm.

    Attributes:
        joints: that the slot has, in the order of the URDF.
        coupled: further joints -> the joint of the slot that each follows.
    """

    joints: tuple[str, ...]
    coupled: dict[str, str] = field(default_factory=dict)

    @property
    def is_gripper(self) -> bool:
        """Whether one number describes it."""
        return len(self.joints) == 1


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One arm: its joints from the base to the tip, and the links at both ends."""

    joints: tuple[str, ...]
    base: str
    tip: str


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a contract can command.

    Attributes:
        arms: prefix of the slots ("" or "left_") -> arm.
        hands: prefix of the slots -> hand or gripper.
        head, waist: their joints.
        left_out: joint -> why it is not commanded.
    """

    arms: dict[str, Arm]
    hands: dict[str, Hand]
    head: tuple[str, ...]
    waist: tuple[str, ...]
    left_out: dict[str, str]


def find_parts(urdf: UrdfFacts) -> Parts:
    """The parts of a robot, by the names and the tree of its joints."""
    tree = _Tree(urdf)
    left_out = {name: why for name in urdf.joints if (why := _not_commanded(urdf, name))}
    kinds: dict[str, list[str]] = {"arm": [], "finger": [], "head": [], "waist": [], "leg": [], "wheel": []}
    for name in urdf.joints:
        if name not in left_out:
            kinds[part_of(name, tree.child[name])].append(name)
    # A single arm's first joint is called waist by some; a waist carries two.
    arms, shared = tree.chains([*kinds["arm"], *kinds["waist"]])
    for joint in [joint for joint in shared if joint not in kinds["waist"]][WAIST_JOINTS:]:
        left_out[joint] = "it carries several arms"
    waist = [joint for joint in shared if joint not in left_out]
    named, extra = _sides(arms)
    for chain in extra:
        left_out |= dict.fromkeys(chain, "a contract has slots for two arms")
    found = {}
    for prefix, chain in named.items():
        kept = chain[-ARM_JOINTS:]
        carriers = chain[: len(chain) - len(kept)]
        if carriers and all(joint in kinds["waist"] for joint in carriers) and not waist:
            waist = carriers
        else:
            left_out |= dict.fromkeys(carriers, f"an arm has up to {ARM_JOINTS} joints in its slot")
        found[prefix] = Arm(joints=tuple(kept), base=tree.parent[kept[0]], tip=tree.tip(kept[-1]))
    for name, most, joints in (("head", HEAD_JOINTS, kinds["head"]), ("waist", WAIST_JOINTS, waist)):
        left_out |= dict.fromkeys(joints[most:], f"a {name} has up to {most} joints in its slot")
    left_out |= dict.fromkeys(kinds["leg"], "legs are the robot's own")
    left_out |= dict.fromkeys(kinds["wheel"], "wheels: see twist_base")
    hands = {
        prefix: _hand(tree, fingers, left_out) for prefix, fingers in _fingers(tree, found, kinds["finger"]).items()
    }
    return Parts(
        arms=found,
        hands=hands,
        head=tuple(kinds["head"][:HEAD_JOINTS]),
        waist=tuple(waist[:WAIST_JOINTS]),
        left_out=left_out,
    )


def _fingers(tree: _Tree, arms: dict[str, Arm], fingers: list[str]) -> dict[str, list[str]]:
    """Prefix of the slots -> joints of that hand: at the end of an arm, or on their side where no arm carries them."""
    found: dict[str, list[str]] = {}
    for finger in fingers:
        above = tree.above(finger)
        carried = [prefix for prefix, arm in arms.items() if arm.joints[-1] in above]
        alone = "left_" if side_of((finger,)) == "left" and set(arms) != {""} else ""
        found.setdefault(carried[0] if carried else alone, []).append(finger)
    return found


def _not_commanded(urdf: UrdfFacts, name: str) -> str | None:
    joint = urdf.joints[name]
    if joint.mimics is not None:
        return f"it mimics {joint.mimics}"
    if joint.type not in SINGLE_TYPES:
        return f"no single number describes a {joint.type} joint"
    lower, upper = practical_range(urdf, name)
    if upper - lower < MIN_RANGE:
        return "the URDF gives it no range of positions, or one out of reach"
    if 0.0 < joint.velocity <= VELOCITY["above"]:
        return "the URDF lets it move too slowly"
    return None


class _Tree:
    """Who hangs on whom, by joints."""

    def __init__(self, urdf: UrdfFacts) -> None:
        self.urdf = urdf
        self.child = {joint: link for link, (joint, _) in urdf.carriers.items()}
        self.parent = {joint: parent for joint, parent in urdf.carriers.values()}

    def above(self, joint: str) -> list[str]:
        """The movable joints that carry a joint, the nearest first."""
        return self.urdf.movers(self.parent[joint])

    def chains(self, joints: list[str]) -> tuple[list[list[str]], list[str]]:
        """The serial chains of some joints, base first, and the joints that carry several of them."""
        above = {joint: [other for other in self.above(joint) if other in joints] for joint in joints}
        leaves = [joint for joint in joints if not any(joint in others for others in above.values())]
        carried = {joint: sum(joint in above[leaf] for leaf in leaves) for joint in joints}
        chains = [[*(j for j in reversed(above[leaf]) if carried[j] == 1), leaf] for leaf in leaves]
        return chains, [joint for joint in joints if carried[joint] > 1]

    def tip(self, joint: str) -> str:
        """The link that stands for the end of an arm: of those fixed to its last one the best named, or the last."""
        fixed = [self.child[joint]]
        for link in self.urdf.links:
            movers = self.urdf.movers(link)
            if link not in fixed and movers and movers[0] == joint:
                fixed.append(link)
        ranks = {link: [rank for rank, word in enumerate(_TIPS) if word in words(link)] for link in fixed}
        named = [link for link in fixed if ranks[link]]
        return min(named, key=lambda link: (ranks[link][0], -fixed.index(link))) if named else fixed[0]


def _sides(chains: list[list[str]]) -> tuple[dict[str, list[str]], list[list[str]]]:
    """Prefix of the slots -> chain, for the two longest, and the others."""
    ordered = sorted(chains, key=len, reverse=True)
    chosen, extra = ordered[:2], ordered[2:]
    if len(chosen) == 2 and len(chosen[1]) == 1 and len(chosen[0]) > 2:
        chosen, extra = chosen[:1], [chosen[1], *extra]  # a single joint beside an arm is no arm
    sides = [side_of(tuple(chain)) for chain in chosen]
    if sides == ["left"]:
        return {"left_": chosen[0]}, extra
    if len(chosen) == 2 and (sides[0] == "left" or sides[1] == "right"):
        chosen.reverse()
    return dict(zip(("", "left_"), chosen)), extra


def _hand(tree: _Tree, mine: list[str], left_out: dict[str, str]) -> Hand:
    """What a slot can have of the joints of one hand."""
    if len(mine) == 2:
        return Hand(joints=(mine[0],), coupled={mine[1]: mine[0]})
    # Of more than the slot holds those that hang on another finger joint follow it.
    coupled: dict[str, str] = {}
    for finger in reversed(mine):
        above = [other for other in tree.above(finger) if other in mine]
        if len(mine) - len(coupled) > HAND_JOINTS and above:
            coupled[finger] = above[0]
    kept = [finger for finger in mine if finger not in coupled]
    left_out |= dict.fromkeys(kept[HAND_JOINTS:], f"a hand has up to {HAND_JOINTS} joints in its slot")
    kept = kept[:HAND_JOINTS]
    followers = {joint: of for joint, of in coupled.items() if of in kept}
    left_out |= dict.fromkeys(coupled.keys() - followers.keys(), "what it would follow is not in the slot")
    return Hand(joints=tuple(kept), coupled=followers)


def practical_range(urdf: UrdfFacts, joint: str) -> tuple[float, float]:
    """(lower, upper) that a contract can have: the URDF's, narrowed where it leaves the joint practically open [rad or m]."""
    one = urdf.joints[joint]
    if one.type != "continuous" and abs(one.lower) <= WIDEST and abs(one.upper) <= WIDEST:
        return one.lower, one.upper
    most = OPEN_SLIDE if one.type == "prismatic" else OPEN_TURN
    return max(one.lower, -most), min(one.upper, most)


def ends(urdf: UrdfFacts, joint: str, *, fingers: bool) -> tuple[float, float]:
    """(closed, open) positions that seem likely: fingers of a hand and turning jaws are open at 0, sliding ones closed."""
    near, far = sorted(practical_range(urdf, joint), key=abs)
    if abs(near) == abs(far):
        near, far = 0.0, far
    return (near, far) if urdf.joints[joint].type == "prismatic" and not fingers else (far, near)
