"""The statistics that a checkpoint carries: one file for each robot, and one over all of them with its parts by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from beingh_core.errors import BeingHError
from beingh_core.policy.metadata import write_metadata
from beingh_core.train.sources import Source
from beingh_core.train.statistics import statistics_of

Files = dict[str, dict[str, Any]]


def describe(sources: Sequence[Source], name: str, chunk_length: int) -> Files:
    """dataset name -> arguments of `write_metadata`.

    A robot's file says what its data were normalised with; its variants are the embodiment and each of its datasets. With
    several embodiments the file `name` has all of them as variants, behind statistics over everything.

    Args:
        sources: With statistics.
        name: of the run.
        chunk_length: H.

    Raises:
        BeingHError: Two embodiments want to be saved under one name.
    """
    by_name: dict[str, list[Source]] = {}
    for source in sources:
        by_name.setdefault(source.modality.dataset_name, []).append(source)
    files: Files = {}
    every: dict[str, Mapping] = {}
    for dataset_name, group in by_name.items():
        embodiments = list(dict.fromkeys(source.modality.name for source in group))
        if len(embodiments) > 1:
            raise BeingHError(
                f"the statistics of {' and '.join(embodiments)} would both be saved as `{dataset_name}`",
                where="data.datasets", remedy="give the datasets of one of them another `dataset_name`",
            )  # fmt: skip
        files[dataset_name] = _robot(group, chunk_length)
        every |= _variants(group, files[dataset_name]["statistics"])
    if len(by_name) > 1:
        if name in files:
            raise BeingHError(
                f"the run and one of its robots are both called `{name}`", where="name", remedy="rename it"
            )
        files[name] = {
            "statistics": statistics_of([(s.modality, s.table) for s in sources], chunk_length),
            "embodiment_tag": name, "modalities": {}, "variants": every,
        }  # fmt: skip
    return files


def write(files: Mapping[str, Mapping[str, Any]], directory: Path) -> None:
    """Writes what `describe` told into a checkpoint."""
    for dataset_name, told in files.items():
        arguments = dict(told)
        write_metadata(directory, dataset_name, arguments.pop("statistics"), **arguments)


def _robot(group: Sequence[Source], chunk_length: int) -> dict[str, Any]:
    modality = group[0].modality
    same = all(source.statistics == group[0].statistics for source in group)
    statistics = group[0].statistics if same else statistics_of([(s.modality, s.table) for s in group], chunk_length)
    told: dict[str, Any] = {
        "statistics": statistics, "embodiment_tag": modality.name, "modalities": _modalities(group[0]),
    }  # fmt: skip
    if modality.contract is not None:
        told |= {"robot": modality.contract.robot, "contract_hash": modality.contract.hash}
    if len(group) > 1:
        told["variants"] = _variants(group, statistics)
    return told


def _variants(group: Sequence[Source], statistics: Mapping) -> dict[str, Mapping]:
    """The embodiment first, where nothing else is asked for, then its datasets."""
    modality, modalities = group[0].modality, _modalities(group[0])
    entry = lambda values, level: {
        "statistics": values, "modalities": modalities, "embodiment_tag": modality.name, "stats_level": level,
    }  # fmt: skip
    found = {modality.name: entry(statistics, "embodiment")}
    return found | {source.title: entry(source.statistics, "task") for source in group if source.title not in found}


def _modalities(source: Source) -> dict[str, Any]:
    config = source.modality.config
    return {
        "video": {view: {"fps": source.fps} for view in config.views},
        **{
            kind: {
                spec.key: {
                    "shape": [spec.data_width(kind)], "normalization": spec.normalization,
                    "rotation": spec.rotation, "padding": spec.padding if kind == "action" else None,
                }
                for spec in specs
            }
            for kind, specs in (("state", config.state), ("action", config.action))
        },
    }  # fmt: skip
