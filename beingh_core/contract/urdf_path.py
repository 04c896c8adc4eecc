"""Which file the key `urdf` of a contract names."""

from __future__ import annotations

import re
from pathlib import Path

from beingh_core.contract.paths import find_in_package, is_file, package_roots
from beingh_core.contract.reader import Section
from beingh_core.contract.written import quoted
from beingh_core.errors import BeingHError, nearest

_OF_PACKAGE = re.compile(r"(?:package://|\$\((?:find|find-pkg-share)\s+)(\w+)\)?/?(.*)")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://")


def urdf_path(file: Section) -> Path:
    """The URDF: absolute, beside the YAML file, or below the package root.

    Raises:
        BeingHError: there is no such file; with the path that is meant where that can be told.
    """
    text = file.get("urdf", str)
    written = Path(text)
    beside = file.path.parent / written
    found = beside if is_file(beside) else find_in_package(written)
    if found is None or not is_file(found):
        raise _not_found(file, text)
    return found


def _not_found(file: Section, text: str) -> BeingHError:
    roots = ", ".join(map(str, package_roots()))
    allowed = f"a path: absolute, or relative to {file.path.parent.absolute()} or to {roots}"
    of_package = _OF_PACKAGE.fullmatch(text)
    if of_package:
        name, rest = of_package.groups()
        what = f"{quoted(text)} names a ROS package, which is not looked for here"
        remedy = f"write the path that `ros2 pkg prefix --share {name}` prints, followed by `/{rest}`"
    elif _SCHEME.match(text):
        what, path = f"{quoted(text)} is a URL, not a path", text.removeprefix("file://")
        remedy = f"write `{path}`" if path != text else "download the file and write where it is"
    elif text.startswith(("~", "$")):
        what = f"{quoted(text)}: neither `~` nor `$` is replaced in a contract"
        remedy = "write the whole path, or put the file beside this contract"
    else:
        what = f"there is no file {quoted(text)} beside this contract or in the package"
        close = [] if Path(text).is_absolute() else nearest(text, _urdfs(file.path.parent))
        remedy = "did you mean " + " or ".join(f"`{path}`" for path in close) + "?" if close else "correct the path"
    return file.error("urdf", what, allowed=allowed, remedy=remedy)


def _urdfs(beside: Path) -> list[str]:
    """The URDFs that the key could name, as it would."""
    found = [path.name for path in beside.glob("*.urdf")]
    return found + [f"urdf/{path.name}" for root in package_roots() for path in (root / "urdf").glob("*.urdf")]
