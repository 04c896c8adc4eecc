"""Writes a first contract beside nothing that is there already."""

from __future__ import annotations

import os
import re
from pathlib import Path

from beingh_core.contract.draft.parts import find_parts
from beingh_core.contract.draft.srdf import read_srdf
from beingh_core.contract.draft.text import contract_text
from beingh_core.contract.draft.xacro import expanded
from beingh_core.contract.paths import is_file
from beingh_core.contract.urdf import read_urdf
from beingh_core.errors import BeingHError, shown

_NAME = re.compile(r"[A-Za-z]\w{0,63}", re.ASCII)


def write_draft(urdf: Path, srdf: Path | None, out: Path | None, robot: str = "") -> Path:
    """Writes a contract from a URDF (or xacro) and an SRDF.

    Args:
        urdf: description of the robot.
        srdf: MoveIt's description, for the start posture and the links that may touch; None for none.
        out: the contract; None for `ROBOT.yaml` in the working directory.
        robot: name; "" for that of the file.

    Returns:
        the contract's path.

    Raises:
        BeingHError: unreadable files, nothing to command, or a file that is there already.
    """
    if not is_file(urdf):
        raise BeingHError("there is no such URDF", where=urdf, remedy="correct the path")
    robot = robot or re.sub(r"\W+", "_", urdf.name.split(".")[0], flags=re.ASCII).strip("_")
    if not _NAME.fullmatch(robot):
        raise BeingHError(
            f"{shown(robot)} is no name of a robot", allowed="letters, digits and _", remedy="add `--robot NAME`"
        )
    out = out if out is not None else Path(f"{robot}.yaml")
    _refuse_existing(out)
    if urdf.suffix == ".xacro":
        text, urdf = expanded(urdf), out.with_suffix(".urdf")
        _write(urdf, text)
    facts = read_urdf(urdf)
    described = read_srdf(srdf, facts) if srdf is not None else None
    key = os.path.relpath(urdf.resolve(), out.resolve().parent)
    key = str(urdf.resolve()) if key.startswith("..") else key
    _write(out, contract_text(robot, key, facts, find_parts(facts), described))
    return out


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise BeingHError(
            "this file is there already", where=path, remedy="name another with `--out FILE`, or move it away"
        )


def _write(path: Path, text: str) -> None:
    """A new file; never over one that is there."""
    _refuse_existing(path)
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except (OSError, ValueError) as error:
        raise BeingHError(
            f"cannot be written: {error}", where=path, remedy="name a file in a folder of yours with `--out FILE`"
        ) from error
