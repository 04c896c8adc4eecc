"""LeRobot's own loader, timed; run with a Python that has lerobot, as a file: it needs nothing of ours.

Command line: ROOT WORKERS BATCH STEPS. Prints a line of JSON when it is ready. Then answers each line of standard input: an
empty one when it has thrown away what was made while nobody asked, a number of seconds with the samples that came in that time.
"""

import json
import logging
import sys
import time
from importlib.metadata import version
from pathlib import Path

PREFETCH = 2  # batches that each worker makes ahead


def main(root: str, workers: int, batch: int, steps: int) -> None:
    """Loads rows in random order: pictures, state, and the actions of the next steps."""
    import torch

    # The torchvision wheel is a CUDA build whose operators are not there on other machines.
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import warnings

    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    fps = json.loads((Path(root) / "meta/info.json").read_text())["fps"]
    ahead = {"action": [step / fps for step in range(steps)]}
    dataset = LeRobotDataset("bench/bench", root=root, delta_timestamps=ahead, video_backend="pyav")
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=batch, shuffle=True, num_workers=workers, prefetch_factor=PREFETCH if workers else None,
        persistent_workers=workers > 0, drop_last=True,
    )  # fmt: skip
    batches = _endless(loader)
    shapes = {key: list(value.shape) for key, value in next(batches).items() if hasattr(value, "shape")}
    print(json.dumps({"version": version("lerobot"), "shapes": shapes}), flush=True)
    for line in sys.stdin:
        if not line.strip():
            for _ in range(PREFETCH * workers + 1):
                next(batches)
            print("{}", flush=True)
            continue
        samples, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < float(line):
            samples += len(next(batches)["index"])
        print(json.dumps({"samples": samples, "seconds": time.perf_counter() - begin}), flush=True)


def _endless(loader):
    while True:
        yield from loader


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
