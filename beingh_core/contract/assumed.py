"""The optional key `assumed` of a contract: its values that no source gives, each with what to measure."""

from __future__ import annotations

from beingh_core.contract.reader import Section
from beingh_core.contract.schema import Assumption
from beingh_core.errors import did_you_mean


def read_assumed(file: Section) -> tuple[Assumption, ...]:
    """The assumptions, in the order of the file.

    Args:
        file: the contract.

    Raises:
        BeingHError: the path of a key that the file does not have, or no text about what to measure.
    """
    table = file.section("assumed", optional=True)
    lines = {key: line for key, line in file.lines().items() if key.split(".")[0] != "assumed"}
    found = []
    for key in table.names():
        if key not in lines:
            raise table.error(
                key,
                f"this file has no key `{key}`",
                remedy=did_you_mean(key, lines)
                or "write the path of a key, such as `limits.acceleration`, or remove this",
            )
        measure = table.get(key, str)
        if not measure.strip():
            raise table.error(key, "nothing is said", remedy="say what to measure")
        found.append(Assumption(key=key, measure=measure, line=lines[key]))
    return tuple(found)
