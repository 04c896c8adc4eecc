"""A xacro file as URDF, through the package xacrodoc where it is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from beingh_core.errors import BeingHError


def expanded(path: Path) -> str:
    """The URDF that a xacro file expands to.

    Raises:
        BeingHError: xacrodoc is not installed, or cannot expand the file.
    """
    if find_spec("xacrodoc") is None:
        raise BeingHError(
            "this is a xacro file, which xacrodoc expands, and that is not installed",
            where=path,
            remedy=f"`pip install xacrodoc`, or run `xacro {path.name} > {path.name.split('.')[0]}.urdf` and name that file",
        )
    from xacrodoc import XacroDoc

    try:
        return XacroDoc.from_file(str(path)).to_urdf_string()
    except Exception as error:  # xacro raises what its macros raise: expressions are Python
        raise BeingHError(
            f"xacro cannot expand this: {error}", where=path, remedy="correct the file, or its arguments"
        ) from error
