"""LeRobot's own writer, timed; run with a Python that has lerobot, as a file: it needs nothing of ours.

Command line: FRAMES.npz OUT CODEC FRAMES MODE; the file holds `views` (names) and one array (n, H, W, 3) for each,
shown to and fro, and MODE is default or streaming. Prints one line of JSON.
"""

import json
import logging
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

FPS = 30


def main(source: str, out: str, codec: str, frames: int, mode: str) -> None:
    """Writes one episode and prints how fast."""
    import torch

    # The torchvision wheel is a CUDA build whose operators are not there on other machines.
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    logging.disable(logging.WARNING)
    pictures = np.load(source)
    views = [str(name) for name in pictures["views"]]
    arrays = {view: pictures[view] for view in views}
    shape = next(iter(arrays.values())).shape[1:]
    features = {
        f"observation.images.{view}": {"dtype": "video", "shape": shape, "names": ["height", "width", "channels"]}
        for view in views
    }
    features["observation.state"] = features["action"] = {"dtype": "float32", "shape": (4,), "names": list("xyzg")}
    options = {"streaming_encoding": True} if mode == "streaming" else {}
    dataset = LeRobotDataset.create(
        "bench/bench", FPS, features, root=Path(out), use_videos=True, vcodec=codec, **options
    )
    row = np.zeros(4, np.float32)
    began = time.perf_counter()
    for index in range(frames):
        frame = {f"observation.images.{view}": array[to_and_fro(index, len(array))] for view, array in arrays.items()}
        dataset.add_frame({**frame, "observation.state": row, "action": row, "task": "bench"})
    dataset.save_episode()
    dataset.finalize()
    seconds = time.perf_counter() - began
    print(json.dumps({"frames_per_s": frames / seconds, "version": version("lerobot")}))


def to_and_fro(index: int, count: int) -> int:
    """0, 1, ... count - 1, count - 2, ... 0, 1, ..."""
    index %= 2 * (count - 1)
    return min(index, 2 * (count - 1) - index)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
