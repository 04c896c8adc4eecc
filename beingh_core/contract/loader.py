"""From a robot contract's YAML to `RobotContract`; every mistake is one error naming file, key and remedy.

`config/robots/fr3.yaml` shows the format.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from beingh_core.contract import schema
from beingh_core.contract.agreement import check_action_joints, check_agreement, check_coupled_limits
from beingh_core.contract.assumed import read_assumed
from beingh_core.contract.called import check_called
from beingh_core.contract.collision_settings import read_self_collision
from beingh_core.contract.collisions import check_command_names, check_topics
from beingh_core.contract.drivers import check_gripper_commands, command_names, read_drivers
from beingh_core.contract.encodings import IMAGE_ENCODINGS
from beingh_core.contract.frames import check_frames
from beingh_core.contract.keep_out import read_keep_out
from beingh_core.contract.keys import CONTRACT
from beingh_core.contract.limits import read_limits
from beingh_core.contract.meant import meant
from beingh_core.contract.paths import contract_files, find_in_package, is_file
from beingh_core.contract.reader import MAX_TEXT, Section, read_yaml
from beingh_core.contract.signals import read_action, read_state
from beingh_core.contract.simulated import read_sim
from beingh_core.contract.start import read_start_tolerance
from beingh_core.contract.urdf import UrdfFacts, read_urdf
from beingh_core.contract.urdf_path import urdf_path
from beingh_core.contract.views import read_view
from beingh_core.contract.watchdog import read_watchdog
from beingh_core.errors import BeingHError, did_you_mean, shown
from beingh_core.realtime.limits import JointLimits
from beingh_core.realtime.uac import check_plan, delay_steps

MAX_CAMERAS = 16
OLD_FORMAT = (
    "version 1 of the format; it means the same in version 2, which adds units, names, ranges and coupled joints of "
    "messages, measured poses and further action modes; topics that begin with `/` stay the same in every namespace, leave "
    "the `/` out where a namespace shall separate two robots: write `version: 2`"
)
OTHER_FORMAT = "write `version: 2`; a file that needs a newer format needs a newer beingh_ros"


def load_contract(path_or_name: str | Path) -> schema.RobotContract:
    """Reads and checks a robot contract.

    Args:
        path_or_name: a YAML file, or a bare name for `config/robots/NAME.yaml` of this package.

    Raises:
        BeingHError: naming the file, the key with its line, what is allowed and the remedy.
    """
    file = read_yaml(_find(path_or_name), CONTRACT)
    version = file.number("version", kind=int, remedy=OTHER_FORMAT)
    notes = (f"{file.path}: {OLD_FORMAT}",) if version < schema.VERSION else ()
    urdf = read_urdf(urdf_path(file))
    assumed, stale = read_assumed(file)
    frames = (_link(file, "base_frame", urdf), _link(file, "eef_frame", urdf))
    rate_hz = file.number("rate_hz")
    drivers = read_drivers(file, urdf)
    positions, velocities = command_names(drivers)
    joint_names = positions + velocities
    state = read_state(file.section("state"), urdf, frames)
    action = read_action(file.section("action"), urdf, frames, velocities)
    check_action_joints(file, action, drivers)
    check_gripper_commands(file, drivers, action)
    check_agreement(file, drivers, state, action)
    doubts = check_frames(file, urdf, drivers, state, action)
    check_command_names(file, drivers)
    check_called(file, drivers, state)
    _check_relative(file, state, action)
    limits = read_limits(file.section("limits"), urdf, positions, velocities)
    check_coupled_limits(file, action, joint_names, limits)
    policy = _read_policy(file.section("policy"), state, action)
    contract = schema.RobotContract(
        robot=file.name("robot"),
        path=file.path,
        urdf_path=urdf.path,
        rate_hz=rate_hz,
        cameras=_read_cameras(file.section("cameras")),
        state=state,
        action=action,
        joint_names=joint_names,
        limits=limits,
        drivers=drivers,
        uac=_read_uac(file.section("uac"), 1.0 / rate_hz, policy.chunk_length),
        watchdog=read_watchdog(file.section("watchdog", optional=True), urdf, joint_names, action),
        policy=policy,
        start_tolerance=read_start_tolerance(file, joint_names),
        home=_read_home(file, urdf, joint_names, limits),
        estop_topic=file.topic("estop_topic"),
        keep_out=read_keep_out(file, urdf, joint_names),
        self_collision=read_self_collision(file, urdf),
        sim=read_sim(file, urdf),
        assumed=assumed,
        version=version,
        notes=notes + stale + doubts,
    )
    file.finish()
    check_topics(file, contract)
    _check_kinematics(file, contract)
    return contract


def _check_relative(
    file: Section, state: tuple[schema.StateSignal, ...], action: tuple[schema.ActionSignal, ...]
) -> None:
    """What an action is relative to must be measured."""
    measured = {joint for signal in state if signal.wire is not None for joint in signal.wire.joints}
    for signal in action:
        unknown = [joint for joint in signal.joints if joint not in measured]
        if signal.mode == "relative" and unknown:
            raise (
                file.section("action")
                .section(signal.slot)
                .error(
                    "mode", f"no state signal measures `{unknown[0]}`", remedy="add one, or use `absolute` or `delta`"
                )
            )


def _check_kinematics(file: Section, contract: schema.RobotContract) -> None:
    """What computes the poses must take the URDF too, where it is installed."""
    signals: list[schema.StateSignal | schema.ActionSignal] = [*contract.state, *contract.action]
    if find_spec("pinocchio") is None or not any(signal.eef_frame for signal in signals):
        return
    from beingh_core.contract.codec import SignalCodec

    try:
        SignalCodec(contract)
    except BeingHError as error:
        raise file.error("urdf", str(error), remedy=error.remedy) from error


def _find(path_or_name: str | Path) -> Path:
    """The YAML file meant by a path or a bare robot name."""
    path = Path(path_or_name)
    if not (str(path).isprintable() and len(str(path)) <= MAX_TEXT):
        raise BeingHError(f"{shown(str(path))} is no robot contract", allowed="the name of a robot, or a path")
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        if not is_file(path):
            beside = path.with_name(f"{path.name}.yaml")
            raise BeingHError(
                "there is no such robot contract",
                where=path,
                allowed=f"the path of a YAML file, or one of the names {', '.join(sorted(contract_files()))}",
                remedy=f"did you mean `{beside}`?" if is_file(beside) else "correct the path",
            )
        return path
    found = find_in_package(Path("config", "robots", f"{path}.yaml"))
    if found is None:
        names = sorted(contract_files())
        raise BeingHError(
            f"there is no robot contract `{path}`",
            allowed=names,
            remedy=did_you_mean(str(path), names) or "name one of these, or give the path of a YAML file",
        )
    return found


def _link(file: Section, key: str, urdf: UrdfFacts) -> str:
    return file.choice(key, urdf.links)


def _read_cameras(cameras: Section) -> tuple[schema.CameraStream, ...]:
    streams = []
    if len(cameras.names()) > MAX_CAMERAS:
        raise cameras.error(None, f"{len(cameras.names())} cameras are named", allowed=f"1 to {MAX_CAMERAS}")
    for name in cameras.names():
        entry = cameras.section(name)
        kind = entry.choice("type", IMAGE_ENCODINGS)
        stream = schema.CameraStream(
            name=name,
            topic=entry.topic("topic"),
            type=kind,
            encoding=_encoding(entry, kind),
            max_age_s=entry.number("max_age_s", **schema.MAX_AGE_S),
            **read_view(entry),
        )
        entry.finish()
        streams.append(stream)
    if not streams:
        raise cameras.error(None, "no camera is named", remedy="add at least one view")
    if all(stream.optional for stream in streams):
        raise cameras.error(None, "every camera is optional", remedy="a chunk begins with a picture: need one of them")
    return tuple(streams)


def _encoding(entry: Section, kind: str) -> str:
    """The encoding, which must be one of its message type."""
    written = entry.get("encoding", str)
    for other, encodings in IMAGE_ENCODINGS.items():
        match = next((name for name in encodings if name.lower() == written.lower()), None)
        if match is not None and other != kind and match not in IMAGE_ENCODINGS[kind]:
            raise entry.error(
                "encoding",
                f"`{written}` comes in {other}, not in {kind}",
                allowed=IMAGE_ENCODINGS[kind],
                remedy=f"write `type: {other}`, and its topic (`ros2 topic info TOPIC` tells the type), or correct `encoding`",
            )
    return entry.choice("encoding", IMAGE_ENCODINGS[kind])


def _read_uac(uac: Section, dt_s: float, chunk_length: int) -> schema.Uac:
    """Timing, refused where chunks could not take over from each other."""
    budget = uac.number("latency_budget_s")
    margin = uac.number("margin_steps", kind=int)
    settings = schema.Uac(
        latency_budget_s=budget,
        margin_steps=margin,
        commit_margin=uac.number("commit_margin", kind=int),
        execution_steps=uac.number("execution_steps", kind=int),
        blend_steps=uac.number("blend_steps", kind=int),
        delay_steps=delay_steps(budget, dt_s, margin),
    )
    uac.finish()
    check_plan(settings.delay_steps, settings.execution_steps, chunk_length, where=uac.where())
    if settings.delay_steps + settings.commit_margin >= chunk_length:
        raise uac.error(
            "commit_margin",
            f"{settings.commit_margin} ticks behind a prefix of {settings.delay_steps} leave nothing of a chunk to run",
            allowed=f"0 to {chunk_length - settings.delay_steps - 1}",
        )
    if settings.blend_steps > chunk_length - settings.delay_steps:
        raise uac.error(
            "blend_steps",
            f"{settings.blend_steps} steps do not fit behind a prefix of {settings.delay_steps}",
            allowed=f"0 to {chunk_length - settings.delay_steps}",
        )
    return settings


def _read_policy(
    policy: Section, state: tuple[schema.StateSignal, ...], action: tuple[schema.ActionSignal, ...]
) -> schema.PolicySettings:
    keys = [f"state.{s.slot}" for s in state] + [f"action.{a.slot}" for a in action]
    normalization = policy.section("normalization")
    normalization.refuse_unknown(keys, "signal")
    modes = {key: normalization.choice(key, schema.NORMALIZATIONS) for key in keys}
    normalization.finish()
    settings = schema.PolicySettings(
        chunk_length=policy.number("chunk_length", kind=int),
        dataset_name=policy.name("dataset_name"),
        normalization=MappingProxyType(modes),
    )
    policy.finish()
    return settings


def _read_home(file: Section, urdf: UrdfFacts, joint_names: tuple[str, ...], limits: JointLimits) -> tuple[float, ...]:
    """Start posture of every commanded joint, inside the limits; a base starts at rest."""
    joints = [joint for joint, is_velocity in zip(joint_names, limits.is_velocity) if not is_velocity]
    base, section = [joint for joint in joint_names if joint not in joints], file.section("home")
    for name in base:
        if name in section:
            what = f"`{name}` is a velocity of the base, which starts at rest wherever it stands"
            raise section.error(name, what, allowed=joints, remedy="leave it out: `home` has joints only")
    home = dict.fromkeys(base, 0.0) | file.named_numbers("home", joints)
    missing = [joint for joint in joints if joint not in home]
    if missing:
        told = ", ".join(f"`{joint}`" for joint in missing)
        beside = ", and so on for every commanded joint" if missing[1:] else ""
        beside += "; of the base there is none" if base else ""
        raise section.error(
            None,
            f"there is no home position of {told}",
            remedy=f"add `{missing[0]}: <position>`{beside}",
        )
    for index, joint in enumerate(joint_names):
        low, high = limits.lower[index], limits.upper[index]
        if not low <= home[joint] <= high:
            raise section.error(
                joint,
                f"{home[joint]:g} is outside the limits",
                allowed=f"{low:g} to {high:g}",
                remedy=meant([home[joint]], urdf.joints[joint], low, high),
            )
    return tuple(home[joint] for joint in joint_names)
