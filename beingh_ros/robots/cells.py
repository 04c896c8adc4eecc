"""Several robots that start together: a YAML file with the launch arguments of each. No ROS here.

`config/cells/two_fr3.yaml` shows the format.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from beingh_core.contract.paths import package_roots
from beingh_core.contract.reader import Section, read_yaml
from beingh_core.errors import BeingHError, shown
from beingh_ros.robots.launch_arguments import ARGUMENTS, in_package, namespace

# Name -> default and description, of the launch file that starts a cell.
CELL_ARGUMENTS = {
    "cell": ("two_fr3", "the robots: name of a file in config/cells, or path of a YAML file"),
    "simulate": ("", "true or false for all robots; empty: as the file says"),
    "dry_run": ("", "true or false for all robots; empty: as the file says"),
    "lifecycle": ("", "auto or manual for all robots; empty: as the file says"),
    "rviz": ("", "true, false or auto for all robots, a window each; empty: as the file says"),
}
MOST_ROBOTS = 16


def read_cell(name: str, common: Mapping[str, str]) -> list[dict[str, str]]:
    """The launch arguments of every robot of a cell, all of them, as texts.

    Args:
        name: A file in config/cells without `.yaml`, or the path of a file.
        common: Arguments that are the same for all robots; those that are empty stay as in the file.

    Raises:
        BeingHError: No such file, an argument that there is not, or two robots in one namespace.
    """
    path = Path(in_package("config/cells", name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"))
    if not path.is_file():
        names = sorted({file.stem for root in package_roots() for file in root.glob("config/cells/*.yaml")})
        raise BeingHError("there is no such cell", where=name, allowed=[*names, "the path of a YAML file"])
    file = read_yaml(path)
    robots = file.section("robots")
    file.finish()
    if not 1 <= len(robots.names()) <= MOST_ROBOTS:
        raise robots.error(None, f"{len(robots.names())} robots are named", allowed=f"1 to {MOST_ROBOTS}")
    found = {}
    for space in robots.names():
        try:
            key = namespace({"namespace": space}).strip("/")
        except BeingHError as error:
            raise robots.error(space, error.what, allowed=error.allowed) from None
        if key in found:
            raise robots.error(space, f"two robots are in the namespace `{key}`", remedy="give each one of its own")
        found[key] = _arguments(robots.section(space)) | {"namespace": space}
    return [values | {key: text for key, text in common.items() if text} for values in found.values()]


def _arguments(robot: Section) -> dict[str, str]:
    values = {name: default for name, (default, _) in ARGUMENTS.items() if name != "namespace"}
    robot.refuse_unknown(values, "argument")
    for name, value in robot.data.items():
        if not isinstance(value, (str, bool, int)):
            raise robot.error(
                name, f"{shown(value)} is no value of an argument", allowed="text, a count, true or false"
            )
        values[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return values
