"""A camera of a dataset whose pictures stand in the rows themselves, as PNG or JPEG files."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from beingh_core.data.doctor.facts import FAULT, Finding, View
from beingh_core.data.doctor.looks import Looker
from beingh_core.data.lerobot.reader import Dataset, Episode
from beingh_core.data.pixels import compressed_pixels

IMAGE = "image"  # their dtype in info.json


def image_keys(dataset: Dataset) -> list[str]:
    """Columns of pictures."""
    features = dataset.info["features"].items()
    return [key for key, feature in features if isinstance(feature, dict) and feature.get("dtype") == IMAGE]


def read_images(dataset: Dataset, episode: Episode, key: str, label: str, findings: list[Finding]) -> View:
    """What the camera saw in an episode; rows without a picture, and those that cannot be decoded, are found."""
    looker, missing = Looker(key, label, exact=True), 0
    try:
        table = pq.read_table(
            episode.data, columns=[key], filters=[("episode_index", "==", episode.index)], partitioning=None
        )
        for number, row in enumerate(table.column(key)):
            data = row.as_py()
            data = data.get("bytes") if isinstance(data, dict) else None
            if not data:
                missing += 1
                continue
            decode = lambda data=data: compressed_pixels(data, text="")
            looker.message(number / dataset.spec.fps, memoryview(data), decode, plain=False)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        text = f"its pictures cannot be read ({str(error).splitlines()[0]})"
        findings.append(Finding(kind="pictures", weight=FAULT, text=text, topic=key))
    view = looker.finish()
    view.tell_unreadable(findings)
    if missing:
        text = f"{missing} rows have no picture in them"
        findings.append(Finding(kind="pictures", weight=FAULT, text=text, topic=key))
    return view
