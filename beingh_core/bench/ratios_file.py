"""The committed ratios that `beingh bench ratios` compares with."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import torch

from beingh_core.errors import BeingHError, did_you_mean
from beingh_core.files import read_json
from beingh_core.validation import Schema, at_most, check, only, positive, real, text

VERSION = 1
UPDATE = "write the file anew with --update (make bench UPDATE=1)"


class Machine(Schema):
    """Where ratios were measured: what they may depend on, and nothing that names the machine."""

    architecture: text(40)
    processors: Annotated[int, positive(4096)]
    python: text(40)
    torch: text(40)


class Ratio(Schema):
    """A ratio, and by which share it may get worse."""

    value: positive(1e9)
    tolerance: real(0.01, 0.95)


class Committed(Schema):
    """The whole file."""

    version: only(VERSION)
    machine: Machine
    ratios: Annotated[dict[str, Ratio], at_most(100)]


def this_machine() -> Machine:
    """What is at hand."""
    return Machine(
        architecture=platform.machine(),
        processors=len(os.sched_getaffinity(0)),
        python=".".join(platform.python_version_tuple()[:2]),
        torch=torch.__version__.partition("+")[0],
    )


def read(path: Path, names: Iterable[str]) -> Committed:
    """The file, which has exactly the ratios of these names.

    Raises:
        BeingHError: No such file, damaged, of another version, or with other ratios.
    """
    found, names = check(Committed, read_json(path, remedy=UPDATE), where=path, remedy=UPDATE), list(names)
    for name in names:
        if name not in found.ratios:
            raise BeingHError(f"the ratio `{name}` is missing", where=path, remedy=UPDATE)
    for name in found.ratios:
        if name not in names:
            remedy = did_you_mean(name, names) or UPDATE
            raise BeingHError(f"no ratio `{name}` is measured", where=path, allowed=names, remedy=remedy)
    return found


def write(path: Path, values: Mapping[str, float], tolerances: Mapping[str, float]) -> None:
    """Writes the file for the machine at hand."""
    ratios = {
        name: Ratio(value=float(f"{value:.3g}"), tolerance=tolerances[name]).model_dump()
        for name, value in values.items()
    }
    content = {"version": VERSION, "machine": this_machine().model_dump(), "ratios": ratios}
    path.write_text(json.dumps(content, indent=2) + "\n")
