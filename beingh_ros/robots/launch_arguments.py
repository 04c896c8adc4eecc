"""What a user typed behind `ros2 launch`, against the arguments that the launch file has. No ROS here.

`ros2 launch` passes any `name:=value` on and ignores what nobody reads, so a misspelled `dry_run` would let the robot
move. A launch file that includes ours hands all its own configurations down, and those are none of our business.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from beingh_core.errors import BeingHError, did_you_mean, misspelled, shown

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


def flag(values: dict[str, str], name: str, automatic: bool | None = None) -> bool:
    """The value of a yes-or-no argument; `automatic` is what auto means, None where it is not allowed."""
    allowed = {"true": True, "false": False} | ({} if automatic is None else {"auto": automatic})
    if values[name].lower() not in allowed:
        raise BeingHError(f"`{_short(values[name])}` is no choice", where=f"argument {name}", allowed=allowed)
    return allowed[values[name].lower()]


def number(values: dict[str, str], name: str, most: int) -> int:
    """The value of a count, from 0 on."""
    text = values[name]
    if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) > most:
        raise BeingHError(f"`{_short(text)}` is no whole number from 0 to {most}", where=f"argument {name}")
    return int(text)


def namespace(values: dict[str, str]) -> str:
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
