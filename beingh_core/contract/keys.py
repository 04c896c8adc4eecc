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
    Bounds,
    Key,
    choice,
    flag,
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
from beingh_core.contract.simulated import OBJECTS
from beingh_core.contract.sources import JOINT_STATE
from beingh_core.contract.wire_units import UNITS

MAX_STEPS = 1000
VELOCITY: Bounds = {"above": 1e-4, "at_most": 100.0}
_STEPS: Bounds = {"at_least": 0, "at_most": MAX_STEPS}
_JOINT = "rad, m"

DEPTH = {
    "scale": number("metres a step of 16UC1", "m", default=0.001, above=1e-7, at_most=1.0),
    "near": number("shown as white", "m", at_least=0.0, at_most=1000.0),
    "far": number("shown as black", "m", above=0.0, at_most=1000.0),
}
CAMERA = {
    "topic": topic("topic of the pictures"),
    "type": choice("message type", IMAGE_ENCODINGS),
    "encoding": choice(
        "the only encoding that is accepted; see Pictures in your_robot.md",
        dict.fromkeys(name for encodings in IMAGE_ENCODINGS.values() for name in encodings),
    ),
    "max_age_s": number("an older picture is stale", "s", **schema.MAX_AGE_S),
    "undistort": topic("topic of the camera's CameraInfo; first its distortion is taken out", default=""),
    "rotate": integer("then turned clockwise: 0, 90, 180 or 270", "deg", default=0, at_least=0, at_most=270),
    "crop": Key(type=NUMBERS, help="then cut out: [left, top, width, height]", unit="pixels", absent="all"),
    "depth": mapping("a depth image, shown as grey from near (white) to far (black)", DEPTH, absent="a picture"),
    "optional": flag("the policy goes on without it, and sees black"),
}
WIRE = {
    "unit": choice(
        "of the numbers in messages; `share`, `percent` and `per_mille` count from closed to open",
        UNITS,
        absent="rad, m",
    ),
    "scale": per_joint("factor on the numbers; -1 turns the direction", default=1.0, at_least=-1e6, at_most=1e6),
    "offset": per_joint("added after `scale`", "rad, m or share", default=0.0, at_least=-1e6, at_most=1e6),
    "names": table("name in messages -> joint of the URDF", text("joint"), default={}),
    "add_prefix": text("joint of the URDF = this before the name in messages", default=""),
    "strip_prefix": text("name in messages = this before the joint of the URDF", default=""),
    "range": table(
        "joint -> [closed, open]; the slot has closed as 0 and open as 1",
        Key(type=NUMBERS, help="[closed, open]", unit=_JOINT),
        default={},
    ),
}
COUPLING = {
    "of": text("joint of the slot that it follows"),
    "scale": number("factor on that joint's position", default=1.0, at_least=-1e3, at_most=1e3),
    "offset": number("added to it", _JOINT, default=0.0, **schema.POSITION),
}
_COUPLING = {
    "coupling": table(
        "joints beside those of the slot, each following one of them", mapping("a coupled joint", COUPLING), default={}
    )
}
_ROTATION = {"rotation": choice("how rotations are written in the slot", schema.ROTATIONS, default="axis_angle")}
_GRIPPER = {
    "closed": number("joint position that means gripper 0", _JOINT, absent="grippers only", **schema.POSITION),
    "open": number("joint position that means gripper 1", _JOINT, absent="grippers only", **schema.POSITION),
}
_FRAMES = {
    "base_frame": text("link in whose axes the pose is given", absent="the contract's"),
    "eef_frame": text("link whose pose it is", absent="the contract's"),
}
STATE = {
    "topic": topic("topic of the messages"),
    "type": text("message type", default=JOINT_STATE),
    "source": choice(
        "`position`: the joints' positions; `fk`: the pose of `eef_frame`; `pose`: a measured pose; `field`: numbers as "
        "they are",
        schema.STATE_SOURCES,
    ),
    "joints": names("joints of the URDF, in the order of the slot", absent="poses and fields"),
    "field": text("array of numbers, or `array[].field`, in messages without names", absent="`data` of an array"),
    "fields": names("field of each number, in place of `field`", absent="`field`"),
    "indices": Key(type=NUMBERS, help="place of each number in `field`", absent="0, 1, 2, ..."),
    "max_age_s": number("an older message is stale", "s", **schema.MAX_AGE_S),
    "frame_id": text("the only frame of a measured pose that is accepted", default=""),
    "child_frame_id": text("the only child frame of a measured pose that is accepted", default=""),
    **WIRE,
    **_COUPLING,
    **_ROTATION,
    **_GRIPPER,
    **_FRAMES,
}
ACTION = {
    "mode": choice(
        "`absolute`, `relative` to the measured state at the start of the chunk, or `delta` of the commands",
        schema.ACTION_MODES,
    ),
    "frame": choice("axes of a pose's delta", schema.ACTION_FRAMES, default="world"),
    "joints": names(
        "joints of the URDF (of a base: its velocities), in the order of the slot", absent="`control_mode`"
    ),
    "value": number(
        "what stands in `control_mode`, which moves nothing", "of the slot", default=0.0, at_least=-1e3, at_most=1e3
    ),
    "range": WIRE["range"],
    **_COUPLING,
    **_ROTATION,
    **_GRIPPER,
    **_FRAMES,
}
LIMITS = {
    "velocity_scale": number("factor on the URDF's velocities", default=1.0, above=0.0, at_most=1.0),
    "velocity": table(
        "lower than the URDF's, and required where that is 0 or missing; of a base the largest speed",
        number("limit", "rad/s, m/s", absent="the URDF's, times velocity_scale", **VELOCITY),
        default={},
    ),
    "position": table(
        "narrower than the URDF's", Key(type=NUMBERS, help="[lower, upper]", unit=_JOINT, count=2), default={}
    ),
    "acceleration": table("of every commanded joint", number("limit", "rad/s^2, m/s^2", above=0.001, at_most=1e4)),
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
        "steps behind the prefix in which the last chunk's motion blends into the new one's",
        "steps",
        default=0,
        **_STEPS,
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
    **WIRE,
}
DRIVER_KEYS = {name: kind.options for name, kind in DRIVER_KINDS.items()}
DRIVER = {
    "kind": choice("how it commands", DRIVER_KINDS),
    "groups": listed("command topics or actions; one may stand in the driver itself", GROUP, absent="the driver's own"),
    **GROUP,
    "joints": names("its joints, in message order", absent="`groups`"),
}
KEEP_OUT = {
    "frame": text("link in whose axes the box is; no commanded joint moves it", absent="`base_frame`"),
    "center": Key(type=NUMBERS, help="of the box, [x, y, z]", unit="m", count=3),
    "size": Key(type=NUMBERS, help="of the box along x, y and z", unit="m", count=3),
}
SELF_COLLISION = {
    "check": flag("whether chunks are checked before the robot follows them", default=True),
    "margin": number(
        "distance that shapes keep from each other and from `keep_out`", "m", default=0.01, at_least=0.005, at_most=0.2
    ),
    "allowed": table(
        "link -> links that it may touch, beside its neighbours and what touches at home", names("links"), default={}
    ),
}
SIM_JOINT = {
    "stiffness": number("of its position controller", "N m/rad, N/m", absent="from its effort", above=0.0, at_most=1e6),
    "damping": number("of the joint", "N m s/rad, N s/m", absent="critical", at_least=0.0, at_most=1e5),
    "friction": number("dry friction", "N m, N", default=0.0, at_least=0.0, at_most=1e4),
    "armature": number(
        "inertia of rotor and gears, as the joint feels it",
        "kg m^2, kg",
        absent="from its stiffness",
        at_least=1e-6,
        at_most=100.0,
    ),
    "effort": number("the controller's most", "N m, N", absent="the URDF's", above=1e-3, at_most=1e5),
}
SIM_CAMERA = {
    "link": text("link in whose axes the camera stands", absent="a place that the simulator chooses"),
    "position": Key(type=NUMBERS, help="of the camera, [x, y, z]", unit="m", count=3, absent="without `link`"),
    "look": Key(type=NUMBERS, help="direction in which it looks", count=3, absent="without `link`"),
    "up": Key(type=NUMBERS, help="direction of its pictures' upper edge", count=3, absent="[0, 0, 1]"),
    "fovy_deg": number(
        "seen from the upper edge to the lower", "deg", absent="42, on a hand 80", above=1.0, at_most=150.0
    ),
    "size": Key(type=NUMBERS, help="of its pictures, [width, height]", unit="pixels", count=2, absent="[640, 480]"),
    "rate_hz": number("pictures a second", "Hz", absent="the contract's `rate_hz`", above=0.1, at_most=120.0),
    "noise": number("standard deviation of every value", "of 255", default=0.0, at_least=0.0, at_most=255.0),
}
SIM_FAULTS = {
    "camera_latency_s": number(
        "from the exposure (the stamp) to the message", "s", default=0.0, at_least=0.0, at_most=2.0
    ),
    "camera_jitter_s": number("up to so much is added for each picture", "s", default=0.0, at_least=0.0, at_most=2.0),
    "actuator_delay_s": number("from a reference to the actuators", "s", default=0.0, at_least=0.0, at_most=1.0),
    "joint_friction": number("dry friction of every joint", "of its effort", default=0.0, at_least=0.0, at_most=0.5),
    "joint_noise": number("standard deviation of measured positions", "rad, m", default=0.0, at_least=0.0, at_most=0.1),
}
SIM = {
    "joints": table("joints of the URDF that move by themselves", mapping("a joint", SIM_JOINT), default={}),
    "cameras": table("view -> camera", mapping("a simulated camera", SIM_CAMERA), default={}),
    "faults": mapping("what goes wrong on purpose", SIM_FAULTS, default={}),
    "objects": names(f"things beside the cubes, of {', '.join(OBJECTS)}", absent="none"),
}
CONTRACT = mapping(
    "a robot contract",
    {
        "version": integer("of this format", default=1, at_least=1, at_most=schema.VERSION),
        "robot": text("name of the robot"),
        "urdf": text("the URDF, relative to this file or to the package root"),
        "base_frame": text("link of the URDF in whose axes poses are given"),
        "eef_frame": text("link of the URDF whose pose is the end effector's"),
        "rate_hz": number("action steps per second", "Hz", **RATE),
        "cameras": table("name of the view -> camera, in the order of the prompt", mapping("a camera", CAMERA)),
        "state": table(
            "slot -> where it comes from", mapping("a state signal", STATE), choices=tuple(slots.STATE_SLOTS)
        ),
        "action": table(
            "slot -> what it commands", mapping("an action signal", ACTION), choices=tuple(slots.ACTION_SLOTS)
        ),
        "limits": mapping(
            "limits of what is commanded; the URDF's positions and velocities can only be narrowed", LIMITS
        ),
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
        "home": table(
            "start posture of every commanded joint; of a base there is none",
            number("position", _JOINT, **schema.POSITION),
        ),
        "estop_topic": topic("topic of the emergency stop (std_msgs/msg/Bool)"),
        "keep_out": table(
            "boxes that no part of the robot may enter, such as a wall", mapping("a box", KEEP_OUT), default={}
        ),
        "self_collision": mapping(
            "how chunks are checked for the robot running into itself", SELF_COLLISION, default={}
        ),
        "sim": mapping("the simulated robot and its world", SIM, default={}),
        "assumed": table(
            "values that no source gives: path of the key, such as `limits.acceleration` -> what to measure",
            text("what to measure, and how"),
            default={},
        ),
    },
)
