"""Dataset statistics: computing them, and `<dataset_name>_metadata.json`; `statistics_choice` chooses among variants.

    {"<name>": {"statistics": {"state": {key: {min, max, mean, std, q01, q99}}, "action": {...}},
                "modalities": {...}, "embodiment_tag": ..., "stats_level": "merged",
                "robot": ..., "contract_hash": ...},
     "<name>_variants": {"<task or embodiment>": {..., "stats_level": "task" or "embodiment"}}}

The released trainer also writes {"<name>": {"<sub-dataset>": {"statistics": ...}, ...}}, without an entry over all data.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pydantic
from pydantic import Field, model_validator

from beingh_core.errors import BeingHError, did_you_mean
from beingh_core.files import read_json
from beingh_core.validation import Schema, at_most, check, real, text

if TYPE_CHECKING:
    from beingh_core.contract import RobotContract

METADATA_SUFFIX = "_metadata.json"


_REMEDY = "copy the file with the statistics of this checkpoint again, or compute them again"
_Name = text(200)
_Row = Annotated[list[real(-1e9, 1e9)], at_most(1000)]
_Keys = Annotated[dict[_Name, "_Statistics"], at_most(1000)]


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """One dataset's metadata file.

    Attributes:
        name: dataset name.
        path: the file it came from.
        merged: the entry over all data; the first one of a nested file.
        variants: entries of tasks and embodiments, by name, in the file's order.
        nested: whether the file has these entries only, and none over all data.
    """

    name: str
    path: Path
    merged: Mapping
    variants: Mapping[str, Mapping] = field(default_factory=dict)
    nested: bool = False


class _Statistics(Schema):
    """Statistics of one key; one value for each dimension of the signal."""

    min: _Row | None = None
    max: _Row | None = None
    mean: _Row | None = None
    std: _Row | None = None
    q01: _Row | None = None
    q99: _Row | None = None

    @model_validator(mode="after")
    def _rows_fit(self) -> _Statistics:
        rows = {name: row for name, row in self if row is not None}
        for name, row in rows.items():
            first, width = next((other, len(values)) for other, values in rows.items())
            if len(row) != width:
                raise ValueError(f"statistic `{name}` must hold {width} finite values like `{first}`, not {len(row)}")
        for low, high in (("min", "max"), ("q01", "q99")):
            for index, (least, most) in enumerate(zip(rows.get(low, ()), rows.get(high, ()))):
                if least > most:
                    raise ValueError(
                        f"statistics `{low}` and `{high}` are in the wrong order: {least} and {most} at index {index}"
                    )
        if any(value < 0 for value in rows.get("std", ())):
            raise ValueError("statistic `std` is negative")
        return self


class _Signals(Schema):
    """Statistics of all keys."""

    state: _Keys | None = None
    action: _Keys | None = None


class _Entry(Schema):
    """What the file holds of a dataset, or of one of its tasks or embodiments."""

    statistics: _Signals
    embodiment_tag: _Name | None = None
    stats_level: _Name | None = None
    robot: _Name | None = None
    contract_hash: _Name | None = None
    modalities: dict[str, Any] | None = None


_Entries = Annotated[dict[_Name, _Entry], at_most(10_000)]


def compute_statistics(values: np.ndarray) -> dict[str, list[float]]:
    """Statistics of one key.

    Args:
        values: (N, W) slot values (rotations already axis-angle), physical units.

    Returns:
        min, max, mean, std (population), q01 and q99, each of length W.

    Raises:
        BeingHError: no rows, or a value that is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or len(values) == 0:
        raise BeingHError(f"statistics need (N, W) values with N > 0, not {values.shape}")
    if not np.all(np.isfinite(values)):
        bad = int((~np.isfinite(values).all(axis=1)).sum())
        raise BeingHError(f"{bad} of {len(values)} rows hold NaN or infinity")
    q01, q99 = np.quantile(values, [0.01, 0.99], axis=0)
    rows = {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "q01": q01,
        "q99": q99,
    }
    return {name: row.tolist() for name, row in rows.items()}


def write_metadata(
    directory: str | Path,
    dataset_name: str,
    statistics: Mapping,
    *,
    embodiment_tag: str,
    robot: str | None = None,
    contract_hash: str | None = None,
    modalities: Mapping | None = None,
    variants: Mapping[str, Mapping] | None = None,
) -> Path:
    """Writes `<dataset_name>_metadata.json` and returns its path.

    Args:
        directory: checkpoint or dataset directory.
        dataset_name: name it is loaded by.
        statistics: {"state": {key: compute_statistics(...)}, "action": {...}} over all data.
        embodiment_tag: name of the embodiment.
        robot, contract_hash: of the robot contract the data follows.
        modalities: description of views, states and actions, kept as given.
        variants: entries for tasks and embodiments, {"statistics", "embodiment_tag", "stats_level"}.
    """
    entry = {
        "statistics": statistics,
        "modalities": modalities or {},
        "embodiment_tag": embodiment_tag,
        "stats_level": "merged",
    }
    if robot is not None:
        entry["robot"] = robot
    if contract_hash is not None:
        entry["contract_hash"] = contract_hash
    content: dict[str, object] = {dataset_name: entry}
    if variants:
        content[f"{dataset_name}_variants"] = variants
    path = Path(directory) / f"{dataset_name}{METADATA_SUFFIX}"
    path.write_text(json.dumps(content, indent=1))
    return path


def load_metadata(directory: str | Path, dataset_name: str) -> Metadata:
    """Reads `<dataset_name>_metadata.json` of a checkpoint directory.

    Raises:
        BeingHError: no such file (lists the datasets there are), it lacks the dataset's entry, or something in it has
            another type, width or order than statistics have.
    """
    directory = Path(directory)
    path = directory / f"{dataset_name}{METADATA_SUFFIX}"
    if not os.path.lexists(path):
        known = sorted(p.name[: -len(METADATA_SUFFIX)] for p in directory.glob(f"*{METADATA_SUFFIX}"))
        raise BeingHError(
            f"there is no metadata of dataset `{dataset_name}`",
            where=directory,
            allowed=known or "nothing: the directory holds no metadata",
            remedy=did_you_mean(dataset_name, known) or "set policy.dataset_name of the contract to one that is there",
        )
    content = read_json(path, remedy=_REMEDY)
    key = f"{dataset_name}_variants"
    entry = content.get(dataset_name) if isinstance(content, dict) else None
    nested = isinstance(entry, dict) and _is_nested(entry)
    if nested and content.get(key):
        raise BeingHError(
            f"`{dataset_name}` holds sub-datasets ({', '.join(map(str, list(entry)[:4]))}) in place of statistics, and there is "
            f"`{key}` too: nothing says which of the two is meant",
            where=path,
            allowed=f"statistics in `{dataset_name}` beside `{key}`, or sub-datasets alone",
            remedy=f"take `{key}` out, or put the statistics over all data into `{dataset_name}`",
        )
    schema = pydantic.create_model(
        "MetadataFile",
        __base__=Schema,
        merged=(_Entries if nested else _Entry, Field(alias=dataset_name)),
        variants=(_Entries | None, Field(None, alias=key)),
    )
    check(schema, content, where=path, remedy=_REMEDY)
    if nested:
        return Metadata(name=dataset_name, path=path, merged=next(iter(entry.values())), variants=entry, nested=True)
    return Metadata(name=dataset_name, path=path, merged=entry, variants=content.get(key) or {})


def _is_nested(entry: Mapping) -> bool:
    """Whether an entry has sub-datasets in place of statistics."""
    subs = entry.values()
    return "statistics" not in entry and any(isinstance(sub, dict) and "statistics" in sub for sub in subs)


def check_contract(metadata: Metadata, contract: RobotContract) -> None:
    """Refuses metadata that was written for another robot contract.

    Metadata without a robot or hash (the released ones) passes.

    Raises:
        BeingHError: another robot, or the same robot with other slots, joints, rate or chunk.
    """
    robot = metadata.merged.get("robot")
    if robot is not None and robot != contract.robot:
        raise BeingHError(
            f"this checkpoint was trained for robot `{robot}`, the contract is of `{contract.robot}`",
            where=metadata.path,
            remedy=f"load the contract of `{robot}`, or a checkpoint of `{contract.robot}`",
        )
    known = metadata.merged.get("contract_hash")
    if known is not None and known != contract.hash:
        raise BeingHError(
            f"the contract of `{contract.robot}` (hash {contract.hash[:12]}) is not the one that the "
            f"checkpoint was trained with (hash {known[:12]}): slots, joint order, rate, cameras, "
            "normalisation or chunk length differ",
            where=metadata.path,
            remedy="restore the contract it was trained with, or train again with the new one",
        )
