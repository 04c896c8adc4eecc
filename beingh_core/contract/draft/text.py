"""A contract as YAML, written from the parts that were found in a URDF."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from beingh_core.contract.draft.parts import Hand, Parts, ends, practical_range
from beingh_core.contract.draft.srdf import POSTURES, Srdf
from beingh_core.contract.urdf import UrdfFacts
from beingh_core.errors import BeingHError

# Careful starts: speeds [rad/s, m/s] that are taken where the URDF's are missing or higher, and accelerations.
SPEED = {"prismatic": 0.1, "revolute": 1.0, "continuous": 1.0}
ACCELERATION = {"prismatic": 0.5, "revolute": 3.0, "continuous": 3.0}
_ASSUMED = {
    "cameras": "names, topics, types and encodings of your cameras, and their order in the prompt",
    "limits.velocity": "at most 1 rad/s and 0.1 m/s, a careful start: raise it in steps, while the robot follows",
    "limits.acceleration": "a URDF has none: raise or lower it until the robot follows when it starts and stops",
    "driver": "kind, topics and units of your robot's controllers: `ros2 control list_controllers`, docs/your_robot.md",
    "rate_hz": "the rate that your data was, or will be, recorded with",
    "uac.latency_budget_s": "longest way from picture to chunk on your computer, as `beingh monitor` shows it",
}


@dataclass(frozen=True, kw_only=True)
class Signal:
    """One slot of the draft: its key anchors, joints, and what else stands in its state and in its action."""

    slot: str
    anchor: str
    joints: tuple[str, ...]
    more: str = ""
    coupled: tuple[str, ...] = ()


def contract_text(
    robot: str,
    urdf_key: str,
    urdf: UrdfFacts,
    parts: Parts,
    srdf: Srdf | None,
) -> str:
    """The YAML of a contract with everything that the URDF tells; what it does not tell stands under `assumed`.

    Args:
        robot: name.
        urdf_key: what the file says under `urdf`.
        urdf: joints and links.
        parts: what is commanded.
        srdf: start posture and links that may touch; None without one.

    Raises:
        BeingHError: there is nothing to command.
    """
    signals = _signals(urdf, parts)
    if not signals:
        raise _nothing(urdf, parts)
    joints = [joint for signal in signals for joint in (*signal.joints, *signal.coupled)]
    ranges = {joint: practical_range(urdf, joint) for joint in joints}
    positions = {j: r for j, r in ranges.items() if urdf.joints[j].type != "continuous" and r != _ends(urdf, j)}
    postures = srdf.postures if srdf is not None else {}
    home = {joint: _home(joint, postures, *ranges[joint]) for joint in joints}
    assumed = _ASSUMED | _assumed_parts(signals, parts)
    if unlimited := [joint for joint in joints if not urdf.joints[joint].velocity]:
        guess = f"; the URDF has no speed (velocity 0) for {', '.join(unlimited)}: theirs is a guess"
        assumed["limits.velocity"] += guess
    if positions:
        assumed["limits.position"] = "the URDF leaves these joints practically open: how far they may turn or slide"
    if any(urdf.joints[joint].type == "continuous" for joint in joints):
        assumed["limits"] = "some joints turn without end: that no cable winds up, or bound them in `limits.position`"
    if srdf is not None and srdf.unknown_links:
        assumed["urdf"] = f"the SRDF names links that the URDF does not have: {', '.join(srdf.unknown_links)}"
    if home_told := _home_told(joints, srdf):
        assumed["home"] = home_told
    lines = [
        *_head(robot, urdf_key, parts, urdf),
        *_signal_lines(signals),
        *_limits(urdf, joints, positions),
        *_driver_and_policy(robot, signals),
        "home:",
        *(f"  {_quoted(joint)}: {_number(value)}" for joint, value in home.items()),
        "",
        *_touching(srdf.allowed if srdf is not None else {}),
        "estop_topic: estop",
        "",
        f"assumed:  # what the URDF does not tell: key -> what to fill in; `beingh robots check {robot}.yaml` prints it",
        *(f"  {key}: {_text(text)}" for key, text in assumed.items()),
    ]
    return "\n".join(lines) + "\n"


def _nothing(urdf: UrdfFacts, parts: Parts) -> BeingHError:
    reasons = "; ".join([f"{joint}: {why}" for joint, why in parts.left_out.items()][:5])
    return BeingHError(
        "no joint of this URDF can be commanded" + (f" ({reasons})" if reasons else ""),
        where=urdf.path,
        remedy="add joints with limits, or write the contract by hand: docs/your_robot.md",
    )


def _assumed_parts(signals: list[Signal], parts: Parts) -> dict[str, str]:
    """What was only guessed of hands and sides."""
    found = {}
    for signal in signals:
        if signal.more:
            found[f"state.{signal.slot}"] = (
                "which end is closed and which open, and the order in the slot: move it and look"
            )
        if signal.coupled:
            found[f"state.{signal.slot}.coupling"] = "how the joints that share one number move together"
    if len(parts.arms) == 2:
        found["state.left_arm_joint_position"] = "that this is the left arm"
    return found


def _signal_lines(signals: list[Signal]) -> list[str]:
    state = "{{topic: joint_states, source: position, joints: &{0.anchor} {1}{0.more}, max_age_s: 0.2}}"
    return [
        "state:",
        *(f"  {signal.slot}: {state.format(signal, _list(signal.joints))}" for signal in signals),
        "",
        "action:",
        *(f"  {signal.slot}: {{mode: absolute, joints: *{signal.anchor}{signal.more}}}" for signal in signals),
        "",
    ]


def _driver_and_policy(robot: str, signals: list[Signal]) -> list[str]:
    group = "    - {{topic: {0.anchor}_controller/joint_trajectory, joints: {1}}}"
    return [
        "driver:",
        "  kind: joint_trajectory",
        "  groups:",
        *(group.format(signal, _list((*signal.joints, *signal.coupled))) for signal in signals),
        "",
        "uac: {latency_budget_s: 0.2, margin_steps: 1, commit_margin: 1, execution_steps: 6, blend_steps: 1}",
        "",
        "policy:",
        "  chunk_length: 16",
        f"  dataset_name: {robot}",
        "  normalization:",
        *(f"    {side}.{s.slot}: {'none' if s.more else 'q99'}" for side in ("state", "action") for s in signals),
        "",
    ]


def _head(robot: str, urdf_key: str, parts: Parts, urdf: UrdfFacts) -> list[str]:
    arm = next(iter(parts.arms.values()), None)
    root = next(link for link in urdf.links if link not in urdf.carriers)
    base, tip = (arm.base, arm.tip) if arm else (root, root)
    endless = [joint for joint, one in urdf.joints.items() if one.type == "continuous" and one.mimics is None]
    notes = [f"#   {joint}: {why}" for joint, why in sorted(parts.left_out.items())]
    return [
        f"# {robot}, drafted from its URDF by `beingh robots new`. Fill in what stands under `assumed`, and take it out there.",
        "# Keys: docs/contract.md; how to go on: docs/your_robot.md. For Cartesian actions: eef_position and eef_rotation with mode: delta.",
        *([f"# Joints that turn without end: {', '.join(endless)}"] if endless else []),
        *(["# Not commanded:", *notes] if notes else []),
        "version: 2",
        f"robot: {robot}",
        f"urdf: {_quoted(urdf_key)}",
        f"base_frame: {_quoted(base)}",
        f"eef_frame: {_quoted(tip)}",
        "rate_hz: 20",
        "",
        "cameras:",
        "  front: {topic: camera/image_raw, type: sensor_msgs/msg/Image, encoding: rgb8, max_age_s: 0.25}",
        "",
    ]


def _limits(urdf: UrdfFacts, joints: list[str], positions: Mapping[str, tuple[float, float]]) -> list[str]:
    speeds, rises = {}, {}
    for joint in joints:
        one = urdf.joints[joint]
        most = SPEED[one.type]
        speeds[joint] = min(one.velocity, most) if one.velocity > 0.0 else most
        rises[joint] = ACCELERATION[one.type]
    lines = ["limits:", "  velocity:", *(f"    {_quoted(j)}: {_number(v)}" for j, v in speeds.items())]
    if positions:
        lines += ["  position:", *(f"    {_quoted(j)}: [{a}, {b}]" for j, (a, b) in positions.items())]
    return [*lines, "  acceleration:", *(f"    {_quoted(j)}: {_number(v)}" for j, v in rises.items()), ""]


def _touching(allowed: Mapping[str, tuple[str, ...]]) -> list[str]:
    if not allowed:
        return []
    pairs = (f"    {_quoted(link)}: {_list(others)}" for link, others in allowed.items())
    return ["self_collision:", "  allowed:  # links that may touch, of the SRDF", *pairs, ""]


def _signals(urdf: UrdfFacts, parts: Parts) -> list[Signal]:
    found = []
    for prefix, arm in parts.arms.items():
        found.append(Signal(slot=f"{prefix}arm_joint_position", anchor=f"{prefix}arm", joints=arm.joints))
    found += [_hand(urdf, prefix, hand) for prefix, hand in parts.hands.items()]
    if parts.head:
        found.append(Signal(slot="head_position", anchor="head", joints=parts.head))
    if parts.waist:
        found.append(Signal(slot="waist_position", anchor="waist", joints=parts.waist))
    return found


def _hand(urdf: UrdfFacts, prefix: str, hand: Hand) -> Signal:
    both = {joint: ends(urdf, joint, fingers=not hand.is_gripper) for joint in (*hand.joints, *hand.coupled)}
    follows = []
    for joint, of in hand.coupled.items():
        (closed, opened), (of_closed, of_opened) = both[joint], both[of]
        scale = (opened - closed) / (of_opened - of_closed)
        follows.append(
            f"{_quoted(joint)}: {{of: {_quoted(of)}, scale: {scale:.6g}, offset: {closed - scale * of_closed:.6g}}}"
        )
    more = f", coupling: {{{', '.join(follows)}}}" if follows else ""
    if hand.is_gripper:
        closed, opened = both[hand.joints[0]]
        more = f", closed: {_number(closed)}, open: {_number(opened)}{more}"
    else:
        ranges = ", ".join(f"{_quoted(j)}: [{_number(both[j][0])}, {_number(both[j][1])}]" for j in hand.joints)
        more = f", range: {{{ranges}}}{more}"
    kind = "gripper" if hand.is_gripper else "dexhand"
    return Signal(
        slot=f"{prefix}{kind}_position",
        anchor=f"{prefix}hand",
        joints=hand.joints,
        more=more,
        coupled=tuple(hand.coupled),
    )


def _ends(urdf: UrdfFacts, joint: str) -> tuple[float, float]:
    return urdf.joints[joint].lower, urdf.joints[joint].upper


def _home(joint: str, postures: Mapping[str, float], lower: float, upper: float) -> float:
    value = postures.get(joint, 0.0 if lower <= 0.0 <= upper else (lower + upper) / 2.0)
    return min(max(value, lower), upper)


def _home_told(joints: list[str], srdf: Srdf | None) -> str:
    """What is to be looked at in the start posture; "" where an SRDF gives all of it."""
    told = []
    missing = [joint for joint in joints if srdf is None or joint not in srdf.postures]
    if srdf is not None and missing:
        where = "has no posture called " + ", ".join(POSTURES) if not srdf.postures else "does not say"
        told.append(f"the SRDF {where}: 0, or the middle of the range, is taken for {', '.join(missing)}")
    if srdf is not None and srdf.unknown_joints:
        told.append(f"the SRDF's postures have joints that the URDF does not have: {', '.join(srdf.unknown_joints)}")
    if missing:
        told.append("that the robot can stand there, and reach it, without touching anything")
    return "; ".join(told)


def _list(names: tuple[str, ...]) -> str:
    return "[" + ", ".join(map(_quoted, names)) + "]"


def _quoted(name: str) -> str:
    """A name as YAML takes it for text."""
    plain = name.replace("_", "").replace("/", "").replace(".", "").replace("-", "")
    safe = (
        plain.isalnum()
        and plain.isascii()
        and name[0].isalpha()
        and name.lower() not in ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
    )
    return name if safe else _text(name)


def _text(text: str) -> str:
    """Text in the quotation marks of YAML."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _number(value: float) -> str:
    """As many digits as it has, so that it is never outside the range it is from."""
    return repr(float(value))
