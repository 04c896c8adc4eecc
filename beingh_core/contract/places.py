"""Where a key stands in a contract's file, for mistakes that show only when the contract is used."""

from __future__ import annotations

from pathlib import Path

from beingh_core.contract.schema import Driver, RobotContract
from beingh_core.contract.yaml_text import read_yaml_file
from beingh_core.errors import BeingHError


def place(path: Path, *keys: str | int) -> str:
    """`file:line: key.path` of a key, or of the nearest one above it that is written; the file where it cannot be read.

    Args:
        path: the contract's file.
        keys: path of the key; items of a list by their number.
    """
    try:
        _, lines = read_yaml_file(path)
    except BeingHError:
        return str(path)
    found = lines.place(tuple(map(str, keys)), whole=False)
    return f"{path}:{found}" if found else str(path)


def driver_place(contract: RobotContract, driver: Driver, *keys: str | int) -> str:
    """The place of a key of one of a contract's drivers, see `place`."""
    listed = ("drivers", contract.drivers.index(driver) if driver in contract.drivers else 0)
    alone = place(contract.path, *listed) == str(contract.path)
    return place(contract.path, *(("driver",) if alone else listed), *keys)


def placed(error: BeingHError, where: str) -> BeingHError:
    """The same error at a place, where it has none."""
    return BeingHError(error.what, where=error.where or where, allowed=error.allowed, remedy=error.remedy)
