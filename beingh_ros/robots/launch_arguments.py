"""What a user typed behind `ros2 launch`, against the arguments that the launch file has. No ROS here.

`ros2 launch` passes any `name:=value` on and ignores what nobody reads, so a misspelled `dry_run` would let the robot
move. A launch file that includes ours hands all its own configurations down, and those are none of our business.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from beingh_core.contract.paths import contract_files, find_in_package, package_roots
from beingh_core.errors import BeingHError, did_you_mean, misspelled, shown

NO_POLICY, EXPERT = "none", "expert"
# Name -> default and description, of a launch file that starts one robot.
ARGUMENTS = {
    "robot": ("fr3", "robot contract: name in config/robots or path of a YAML file"),
    "checkpoint": ("", "checkpoint for a policy on this computer: its directory, or the name of one in checkpoints/ of this "
                       f"package; `{EXPERT}` is the scripted expert of the simulator, `{NO_POLICY}` starts no policy"),
    "dataset_name": ("", "whose statistics of the checkpoint; empty: policy.dataset_name of the contract"),
    "device": ("cpu", "torch device of the policy on this computer, such as cuda"),
    "torch_threads": ("0", "CPU threads of the policy on this computer; 0: the default of torch"),
    "policy_url": ("", "policy server as tcp://HOST:PORT, in place of a checkpoint"),
    "policy_token_file": ("", "file with the token that the policy server asks for"),
    "policy_jpeg_quality": ("0", "of pictures sent to the policy server: 1 to 100, or 0 for pixels"),
    "instruction": ("", "first instruction; empty: wait for one on policy/instruction"),
    "simulate": ("false", "true starts the simulator in place of the drivers of the robot"),
    "seed": ("0", "seed of the simulated scene and of the noise of the policy"),
    "dry_run": ("false", "true: everything runs, and no command is sent to the robot"),
    "lifecycle": ("auto", "auto: the nodes configure and activate themselves; manual: they wait for a lifecycle manager"),
    "namespace": ("", "ROS namespace of all nodes, their topics and the frames that are published here"),
    "estop": ("", "topic of the emergency stop; empty: that of the contract, in the namespace; /estop is one for all"),
    "use_sim_time": ("false", "true: all nodes follow /clock"),
    "robot_state_publisher": ("auto", "true, false, or auto: with the simulator only, since drivers bring theirs"),
    "rviz": ("auto", "true, false, or auto: when RViz is installed and there is a display"),
    "record": ("false", "true starts a recorder, which waits for its pedals, services or topic; see docs/record.md"),
    "record_out": ("out/episodes", "folder of the bags of the recorder"),
}  # fmt: skip
_TOPIC = re.compile(r"/?[A-Za-z_]\w*(?:/[A-Za-z_]\w*)*", re.ASCII)
_NAMESPACE = re.compile(r"/?(?:[A-Za-z_]\w*(?:/[A-Za-z_]\w*)*)?/?", re.ASCII)
MAX_NAMESPACE = 100
_OPTIONS_WITH_VALUE = ("--launch-prefix", "--launch-prefix-filter")  # of `ros2 launch`


def check_names(
    words: Sequence[str], inherited: Collection[str], arguments: Collection[str], package: str, launch_file: Path
) -> None:
    """Refuses a misspelled argument.

    Of a launch file that was started by its name, every `name:=value` that was typed must be an argument. Where another
    one includes it, a configuration that looks like an argument of ours is refused, unless that argument is given too.

    Args:
        words: The command line.
        inherited: Names of the configurations that are set before the launch file's defaults are.
        arguments: Those of the launch file.
        package: Package of the launch file.
        launch_file: The launch file.

    Raises:
        BeingHError: Naming the argument that is meant, or all of them.
    """
    if _is_started_by_name(words, package, launch_file):
        _check_typed([tuple(word.split(":=", 1)) for word in words if ":=" in word], arguments)
    for name in inherited:
        meant = None if name in arguments else misspelled(name, arguments)
        if meant is not None and meant not in inherited:
            raise _unknown(name, arguments, f"did you mean `{meant}`? If `{name}` is something else, give {meant} too")


def family(launch_file: Path) -> tuple[str, ...]:
    """The contracts that a launch file is for, its default first; empty for one that takes every robot.

    `g1.launch.py` is for the contract `g1` and for those that begin with `g1_`, except where another launch file beside it
    has more of their name.

    Args:
        launch_file: The launch file; others are looked for in its folder.
    """
    stems = [path.name.partition(".")[0] for path in launch_file.parent.glob("*.launch.py")]
    own, names = launch_file.name.partition(".")[0], contract_files()
    found = [name for name in names if max((s for s in stems if _is_of(name, s)), key=len, default="") == own]
    return tuple(sorted(found, key=lambda name: (name != own, name)))


def _is_of(name: str, stem: str) -> bool:
    return name == stem or name.startswith(f"{stem}_")


def arguments_of(launch_file: Path) -> dict[str, tuple[str, str]]:
    """Name -> default and description, for a launch file of one robot."""
    robots = family(launch_file)
    if not robots:
        return dict(ARGUMENTS)
    return ARGUMENTS | {"robot": (robots[0], f"which of its contracts: {', '.join(robots)}")}


def check_family(robot: str, launch_file: Path) -> None:
    """Refuses the contract of another robot than a launch file is for."""
    robots = family(launch_file)
    if robots and robot not in robots:
        raise BeingHError(
            f"`{_short(robot)}` is none of {launch_file.name}",
            where="argument robot",
            allowed=robots,
            remedy=did_you_mean(robot[:50], robots) or "robot.launch.py takes every robot, and the path of a contract",
        )


def source_of_chunks(values: Mapping[str, str]) -> str:
    """The directory of the checkpoint, "" where a server, the expert or nobody takes its place.

    Raises:
        BeingHError: Neither a checkpoint nor a server is given.
    """
    checkpoint = values["checkpoint"]
    shipped = sorted({path.parent.name for root in package_roots() for path in root.glob("checkpoints/*/config.json")})
    if not checkpoint and not values["policy_url"]:
        raise BeingHError(
            "there is nothing to start the policy from: neither checkpoint nor policy_url is given",
            where="argument checkpoint",
            allowed=f"{', '.join(['a directory', *shipped])} (of this package), `{EXPERT}` (with simulate), or `{NO_POLICY}`",
            remedy=f"give one of them; with checkpoint:={NO_POLICY} no policy is started, and the robot holds its posture "
            "until somebody publishes policy/chunk",
        )
    if checkpoint in ("", NO_POLICY, EXPERT):
        return ""
    path, meant = in_package("checkpoints", checkpoint), did_you_mean(checkpoint[:50], shipped)
    if path == checkpoint and meant and not os.path.lexists(path):
        raise BeingHError(
            f"there is no directory `{_short(checkpoint)}`, nor a checkpoint of this package with that name",
            where="argument checkpoint",
            remedy=meant,
        )
    return path


def in_package(folder: str, name: str) -> str:
    """What a word names: a path of the user, `~` expanded, or where there is none a file or folder of this package."""
    path = os.path.expanduser(name)
    found = (
        find_in_package(Path(folder, name)) if re.fullmatch(r"\w[\w.]*", name) and not os.path.lexists(path) else None
    )
    return str(found or path)


def choice(values: Mapping[str, str], name: str, allowed: Sequence[str]) -> str:
    """The value of an argument that is one of a few words."""
    if values[name] not in allowed:
        raise BeingHError(f"`{_short(values[name])}` is no choice", where=f"argument {name}", allowed=allowed)
    return values[name]


def topic(values: Mapping[str, str], name: str) -> str:
    """The value of an argument that is a topic, or empty."""
    text = values[name]
    if text and (len(text) > MAX_NAMESPACE or not _TOPIC.fullmatch(text)):
        raise BeingHError(
            f"`{_short(text)}` is no topic", where=f"argument {name}", allowed="such as /estop or cell/estop"
        )
    return text


def flag(values: Mapping[str, str], name: str, automatic: bool | None = None) -> bool:
    """The value of a yes-or-no argument; `automatic` is what auto means, None where it is not allowed."""
    allowed = {"true": True, "false": False} | ({} if automatic is None else {"auto": automatic})
    if values[name].lower() not in allowed:
        raise BeingHError(f"`{_short(values[name])}` is no choice", where=f"argument {name}", allowed=allowed)
    return allowed[values[name].lower()]


def number(values: Mapping[str, str], name: str, most: int) -> int:
    """The value of a count, from 0 on."""
    text = values[name]
    if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) > most:
        raise BeingHError(f"`{_short(text)}` is no whole number from 0 to {most}", where=f"argument {name}")
    return int(text)


def namespace(values: Mapping[str, str]) -> str:
    """The value of the argument `namespace`."""
    text = values["namespace"]
    if len(text) > MAX_NAMESPACE or not _NAMESPACE.fullmatch(text):
        raise BeingHError(
            f"`{_short(text)}` is no namespace",
            where="argument namespace",
            allowed=f"up to {MAX_NAMESPACE} letters, digits, `_` and `/`, such as `left`",
        )
    return text


def _is_started_by_name(words: Sequence[str], package: str, launch_file: Path) -> bool:
    """As `ros2 launch` takes them, the words are a launch file's path, or a package and the name of its launch file.

    Without a slash, only the first word is a path: the second may be the name of a file of another package.
    """
    with_value = {at + 1 for at, word in enumerate(words) if word in _OPTIONS_WITH_VALUE}
    places = [w for at, w in enumerate(words) if at and not (w.startswith("-") or ":=" in w or at in with_value)]
    places = places[1:] if places[:1] == ["launch"] else places
    paths = {*places[:1], *(word for word in places if "/" in word)}
    return places[:2] == [package, launch_file.name] or any(Path(path).resolve() == launch_file for path in paths)


def _check_typed(typed: Sequence[tuple[str, str]], arguments: Collection[str]) -> None:
    known: dict[str, str] = {}
    for name, value in typed:
        if name not in arguments:
            meant = misspelled(name, arguments)
            raise _unknown(name, arguments, f"did you mean `{meant}`?" if meant else did_you_mean(name[:50], arguments))
        if known.setdefault(name, value) != value:
            raise BeingHError(
                f"it is given twice, as `{_short(known[name])}` and `{_short(value)}`",
                where=f"argument {name}",
                remedy="give it once",
            )


def _unknown(name: str, arguments: Collection[str], remedy: str | None) -> BeingHError:
    return BeingHError(f"there is no argument `{_short(name)}`", allowed=arguments, remedy=remedy)


def _short(text: str) -> str:
    return shown(text)[1:-1]
