"""Every key of a contract, declared once: readers take bounds and defaults here, `reference` and `editor_schema` the rest.

A new key is one line here and the line that reads it; `test_contract_keys.py` fails where one is missing or they differ.
"""

from __future__ import annotations

from beingh_core import slots
from beingh_core.contract import schema
from beingh_core.contract.driver_options import DRIVER_KINDS, RATE, SECONDS
from beingh_core.contract.encodings import IMAGE_ENCODINGS
from beingh_core.contract.key import (
    NUMBERS,
    Key,
    choice,
    integer,
    listed,
    mapping,
    names,
    number,
    per_joint,
    table,
    text,
    topic,
)

MAX_STEPS = 1000
VELOCITY = {"above": 1e-4, "at_most": 100.0}
_STEPS = {"at_least": 0, "at_most": MAX_STEPS}
_JOINT = "rad, m"

CAMERA = {
    "topic": topic("topic of the pictures"),
    "type": choice("message type", IMAGE_ENCODINGS),
    "encoding": choice(
        "the only encoding that is accepted; see Pictures in your_robot.md",
        dict.fromkeys(name for encodings in IMAGE_ENCODINGS.values() for name in encodings),
    ),
    "max_age_s": number("an older picture is stale", "s", **schema.MAX_AGE_S),
}
_GRIPPER = {
    "closed": number("joint position that means gripper 0", _JOINT, absent="grippers only", **schema.POSITION),
    "open": number("joint position that means gripper 1", _JOINT, absent="grippers only", **schema.POSITION),
}
_FRAMES = {
    "base_frame": text("link in whose axes the pose is given", absent="the contract's"),
    "eef_frame": text("link whose pose it is", absent="the contract's"),
}
STATE = {
    "topic": topic("topic of the joint states"),
    "source": choice("`position`: the joints' positions; `fk`: the pose of `eef_frame`", schema.STATE_SOURCES),
    "joints": names("joints of the URDF, in the order of the slot"),
    "max_age_s": number("an older message is stale", "s", **schema.MAX_AGE_S),
    **_GRIPPER,
    **_FRAMES,
}
ACTION = {
    "mode": choice("`absolute` positions, or `delta` of the commanded pose", schema.ACTION_MODES),
    "frame": choice("axes of a delta", schema.ACTION_FRAMES, default="world"),
    "joints": names("joints of the URDF (of a base: its velocities), in the order of the slot"),
    **_GRIPPER,
    **_FRAMES,
}
LIMITS = {
    "velocity_scale": number("factor on the URDF's velocities", default=1.0, above=0.0, at_most=1.0),
    "velocity": table(
        "lower than the URDF's; of a base the largest speed",
        number("limit", "rad/s, m/s", absent="the URDF's, times velocity_scale", **VELOCITY),
        default={},
    ),
    "position": table("narrower than the URDF's", Key(type=NUMBERS, help="[lower, upper]", unit=_JOINT, count=2), default={}),
    "acceleration": table(
        "of every commanded joint", number("limit", "rad/s^2, m/s^2", above=0.001, at_most=1e4)
    ),
    "jerk": table(
        "of every commanded joint; without it there is no limit",
        number("limit", "rad/s^3, m/s^3", above=0.001, at_most=1e6),
        default={},
    ),
}
UAC = {
    "latency_budget_s": number("L, from the picture to the merged chunk", "s", **SECONDS),
    "margin_steps": integer("added to the locked prefix, d = ceil(L x rate_hz) + margin_steps", "steps", **_STEPS),
    "commit_margin": integer("ticks ahead of the next one that no chunk can change", "ticks", **_STEPS),
    "execution_steps": integer(
        "steps between starts of inference; d <= execution_steps <= H - d", "steps", at_least=1, at_most=MAX_STEPS
    ),
    "blend_steps": integer(
        "steps behind the prefix in which the last chunk's motion blends into the new one's", "steps", default=0, **_STEPS
    ),
}
WATCHDOG = {
    "joint_states_s": number("stops without joint states for longer", "s", default=0.5, **SECONDS),
    "tracking_error": per_joint(
        "stops when a joint is further from its commands; `.inf` switches that off",
        _JOINT,
        absent="0.2 rad, 0.05 m; grippers, hands and a base are not watched",
        above=0.0001,
        at_most=1000.0,
        or_infinite=True,
    ),
    "tracking_delay_s": number("the robot may follow so much later", "s", default=0.2, above=0.001, at_most=10.0),
    "tracking_time_s": number("and be further away for so long", "s", default=0.1, above=0.001, at_most=10.0),
}
POLICY = {
    "chunk_length": integer("H, steps of one chunk", "steps", at_least=1, at_most=MAX_STEPS),
    "dataset_name": text("statistics are in `<dataset_name>_metadata.json` of the checkpoint"),
    "normalization": table(
        "`state.<slot>` and `action.<slot>` -> how it is normalised", choice("normalisation", schema.NORMALIZATIONS)
    ),
}
GROUP = {
    "topic": topic("topic of the commands", absent="drivers with an action"),
    "action": topic("name of the action", absent="drivers with a topic"),
    "joints": names("its joints, in message order"),
}
DRIVER_KEYS = {name: kind.options for name, kind in DRIVER_KINDS.items()}
DRIVER = {
    "kind": choice("how it commands", DRIVER_KINDS),
    "groups": listed("command topics or actions; one may stand in the driver itself", GROUP, absent="the driver's own"),
    **GROUP,
    "joints": names("its joints, in message order", absent="`groups`"),
}
CONTRACT = mapping(
    "a robot contract",
    {
        "robot": text("name of the robot"),
        "urdf": text("the URDF, relative to this file or to the package root"),
        "base_frame": text("link of the URDF in whose axes poses are given"),
        "eef_frame": text("link of the URDF whose pose is the end effector's"),
        "rate_hz": number("action steps per second", "Hz", **RATE),
        "cameras": table("name of the view -> camera, in the order of the prompt", mapping("a camera", CAMERA)),
        "state": table("slot -> where it comes from", mapping("a state signal", STATE), choices=tuple(slots.STATE_SLOTS)),
        "action": table("slot -> what it commands", mapping("an action signal", ACTION), choices=tuple(slots.ACTION_SLOTS)),
        "limits": mapping("limits of what is commanded; the URDF's positions and velocities can only be narrowed", LIMITS),
        "driver": mapping("the driver of a robot that has one", DRIVER, by_kind=DRIVER_KEYS, absent="`drivers`"),
        "drivers": listed("drivers; each joint goes out exactly once", DRIVER, by_kind=DRIVER_KEYS, absent="`driver`"),
        "uac": mapping("timing of chunks; H is the chunk's length, d the locked prefix", UAC),
        "watchdog": mapping("when the controller stops by itself", WATCHDOG, default={}),
        "policy": mapping("what the checkpoint must agree with", POLICY),
        # The default is the noise of a sensor at an end stop. The first command is the limit itself, so the most is the
        # largest step that a start can make.
        "start_tolerance": per_joint(
            "how far outside its limits a joint may be at the start", _JOINT, default=0.01, at_least=0.0, at_most=0.1
        ),
        "home": table("start posture of every commanded joint", number("position", _JOINT, **schema.POSITION)),
        "estop_topic": topic("topic of the emergency stop (std_msgs/msg/Bool)"),
        "assumed": table(
            "values that no source gives: path of the key, such as `limits.acceleration` -> what to measure",
            text("what to measure, and how"),
            default={},
        ),
    },
)
