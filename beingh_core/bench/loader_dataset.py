"""The dataset of `beingh bench loader`: a robot that sways, seen by its cameras."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from beingh_core.bench.export_bag import SIZE, pictures
from beingh_core.bench.lerobot_writer import to_and_fro
from beingh_core.contract import load_contract
from beingh_core.data import contract_rows
from beingh_core.data.lerobot import DatasetWriter, Frame, VideoSettings
from beingh_core.errors import BeingHError

EPISODES, ROWS = 20, 150


def write_dataset(root: Path, robot: str, side: int, seed: int) -> None:
    """Writes `EPISODES` episodes of `ROWS` rows.

    Args:
        root: folder that is not there yet.
        robot: contract, by name or path.
        side: height of the pictures [pixels], of 4:3.
        seed: of the pictures.

    Raises:
        BeingHError: No such robot, or none of which a file names a contract.
    """
    if not robot:
        raise BeingHError("the bench can make a dataset for a `robot` only", remedy="give --dataset")
    contract = load_contract(robot)
    size = side, side * SIZE[1] // SIZE[0]
    shown = {
        contract_rows.IMAGES + camera.name: [
            cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA) for image in pictures(seed + view)
        ]
        for view, camera in enumerate(contract.cameras)
    }
    sizes = {camera.name: size for camera in contract.cameras}
    spec = contract_rows.dataset_spec(contract, sizes, VideoSettings(encoder="software"), "v3.0", in_charge=False)
    with DatasetWriter(root, spec) as writer:
        for episode in range(EPISODES):
            writer.add(list(_frames(contract, shown, episode)), source=f"episode {episode}")


def _frames(contract, shown: dict[str, list[np.ndarray]], episode: int):
    encoder, limits = contract_rows.RowEncoder(contract), contract.limits
    home, joints = np.asarray(contract.home), np.arange(len(contract.home))
    postures = [
        np.clip(home + 0.1 * np.sin(0.1 * row + joints + episode), limits.lower, limits.upper)
        for row in range(ROWS + 1)
    ]
    for row in range(ROWS):
        before, after = postures[row : row + 2]
        vectors = {
            contract_rows.STATE: encoder.state(dict(zip(contract.joint_names, before))),
            contract_rows.ACTION: encoder.action(before, after),
        }
        images = {key: views[to_and_fro(row + 7 * episode, len(views))] for key, views in shown.items()}
        yield Frame(vectors=vectors, images=images, task=f"sway {'slowly' if episode % 2 else 'a little'}")
