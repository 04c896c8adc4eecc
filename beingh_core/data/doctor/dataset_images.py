"""A camera of a dataset whose pictures stand in the rows themselves, as PNG or JPEG files."""

from __future__ import annotations

from beingh_core.data.doctor.facts import FAULT, Finding, View
from beingh_core.data.doctor.looks import Looker
from beingh_core.data.lerobot.images import files_of
from beingh_core.data.lerobot.reader import Dataset, Episode
from beingh_core.data.pixels import compressed_pixels
from beingh_core.errors import BeingHError


def read_images(dataset: Dataset, episode: Episode, key: str, label: str, findings: list[Finding]) -> View:
    """What the camera saw in an episode; rows without a picture, and those that cannot be decoded, are found."""
    looker, missing = Looker(key, label, exact=True), 0
    try:
        for number, data in enumerate(files_of(episode.data, episode.index, key)):
            if data is None:
                missing += 1
                continue
            decode = lambda data=data: compressed_pixels(data, text="")
            looker.message(number / dataset.spec.fps, memoryview(data), decode, plain=False)
    except BeingHError as error:
        findings.append(Finding(kind="pictures", weight=FAULT, text=error.what, topic=key))
    view = looker.finish()
    view.tell_unreadable(findings)
    if missing:
        text = f"{missing} rows have no picture in them"
        findings.append(Finding(kind="pictures", weight=FAULT, text=text, topic=key))
    return view
