"""What stands beside the rows: counts, statistics of the whole set, modality file, robot contract."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.data.lerobot import columns, publish, statistics, storage, video
from beingh_core.data.lerobot.reader import Dataset, Episode
from beingh_core.data.lerobot.schema import CHUNK, Camera, DatasetSpec
from beingh_core.files import read_json


def update_counts(root: Path) -> None:
    """Writes the counts of info.json from what is published."""
    dataset = Dataset(root)
    info, number = dataset.info, len(dataset.episodes)
    info |= {"total_episodes": number, "total_frames": dataset.frames, "total_tasks": len(dataset.tasks)}
    info["splits"] = {"train": f"0:{number}"}
    if dataset.spec.version == "v2.1":
        info |= {"total_videos": number * len(dataset.spec.cameras), "total_chunks": -(-number // CHUNK)}
    storage.write_json(root / "meta/info.json", info)


def update_statistics(root: Path) -> dict[str, statistics.Statistics]:
    """Writes meta/stats.json, exact over the whole set, and returns it.

    Pictures of episodes that others wrote are counted as their videos show them.
    """
    dataset = Dataset(root)
    if not dataset.episodes:
        return {}
    found: dict[str, statistics.Statistics] = {}
    for key in dataset.spec.columns:
        read = lambda key=key: (columns.rows_of(batch, key) for batch in dataset.blocks([key]))
        found[key] = statistics.of_stream(read)
    for camera in dataset.spec.cameras:
        counts = sum(histogram(dataset, episode, camera) for episode in dataset.episodes)
        found[camera.key] = publish.picture_statistics(camera, counts, dataset.frames)
    storage.write_json(root / "meta/stats.json", statistics.as_json(found))
    return found


def histogram(dataset: Dataset, episode: Episode, camera: Camera) -> np.ndarray:
    """Counts (channels, values) of an episode's pictures: those taken when it was written, else from its video."""
    record = dataset.records.get(episode.index)
    if record is not None and camera.key in record.histograms:
        return record.histograms[camera.key]
    counts = np.zeros(camera.bins, np.int64)
    for picture in dataset.pictures(episode, camera.key):
        if camera.depth:
            counts[0] += np.bincount(camera.depth.codes(picture).ravel(), minlength=4096)
        else:
            counts += video.colour_histogram(picture)
    return counts


def write(
    root: Path,
    spec: DatasetSpec,
    *,
    contract: RobotContract | None = None,
    modality: Mapping[str, Any] | None = None,
) -> None:
    """Writes meta/modality.json (which numbers of a vector mean what), and the contract's file with its hash."""
    storage.write_json(root / "meta/modality.json", dict(modality or _modality(spec)))
    if contract is not None:
        storage.write(root / "meta/contract.yaml", contract.path.read_bytes())
        storage.write_json(root / "meta/contract.json", {"robot": contract.robot, "hash": contract.hash})


def contract_hash(root: Path) -> str | None:
    """Hash of the contract with which a dataset was made; None when it says nothing."""
    path = root / "meta/contract.json"
    return str(read_json(path).get("hash")) if path.exists() else None


def _modality(spec: DatasetSpec) -> dict[str, Any]:
    """Whole vectors and all cameras, for datasets without a contract."""
    parts: dict[str, Any] = {"state": {}, "action": {}}
    for vector in spec.vectors:
        kind = "action" if vector.key.startswith("action") else "state"
        parts[kind][vector.key.split(".")[-1]] = {"start": 0, "end": len(vector.names), "original_key": vector.key}
    cameras = {camera.key.split(".")[-1]: {"original_key": camera.key} for camera in spec.cameras}
    return parts | {"video": cameras, "annotation": {"human.task_description": {"original_key": "task_index"}}}
