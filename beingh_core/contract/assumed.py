"""The optional key `assumed` of a contract: its values that no source gives, each with what to measure."""

from __future__ import annotations

from dataclasses import dataclass

from beingh_core.contract.reader import Section
from beingh_core.errors import did_you_mean


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """A value of the file that no source gives.

    Attributes:
        key: dotted path of the key, of a value or of all below it.
        measure: what to measure on the robot, and how.
        line: line of the key in the file.
    """

    key: str
    measure: str
    line: int


def read_assumed(file: Section) -> tuple[tuple[Assumption, ...], tuple[str, ...]]:
    """The assumptions, in the order of the file, and a note on each that names a key which is not there.

    Who takes another driver or camera may leave such an entry behind; it changes nothing that the robot does.

    Args:
        file: the contract.

    Raises:
        BeingHError: no text about what to measure.
    """
    table = file.section("assumed", optional=True)
    lines = {key: line for key, line in file.lines().items() if key.split(".")[0] != "assumed"}
    found, notes = [], []
    for key in table.names():
        measure = table.get(key, str)
        if not measure.strip():
            raise table.error(key, "nothing is said", remedy="say what to measure")
        if key in lines:
            found.append(Assumption(key=key, measure=measure, line=lines[key]))
            continue
        remedy = did_you_mean(key, lines) or "write the path of a key, such as `limits.acceleration`, or remove this"
        notes.append(str(table.error(key, f"this file has no key `{key}`", remedy=remedy)))
    return tuple(found), tuple(notes)
