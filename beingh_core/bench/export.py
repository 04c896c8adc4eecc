"""`beingh bench export`: frames per second from a bag to a LeRobot dataset, against LeRobot's own writer.

Ours reads an MCAP bag, resamples it and writes videos, rows and exact statistics; LeRobot's writer is handed the
decoded pictures. Each in a process of its own, one after another, on the same processors, with the same codec, quality
setting and spacing of key frames. A frame is one row with two pictures of 640x480.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from beingh_core.bench import lerobot_writer
from beingh_core.bench.export_bag import FPS, contract_file, pictures, write_bag
from beingh_core.contract import load_contract
from beingh_core.data.lerobot import Dataset, VideoSettings
from beingh_core.data.lerobot.video import count as count_pictures
from beingh_core.errors import BeingHError

INSTALL = (
    "python3.11 -m venv lerobot && lerobot/bin/pip install --no-deps lerobot==0.4.4 torchvision==0.25.0 && "
    "lerobot/bin/pip install torch==2.13.0 datasets==4.8.5 huggingface-hub==0.35.3 av==15.1.0 jsonlines "
    'packaging==25.0 einops accelerate draccus==0.10.0 deepdiff termcolor pandas pyarrow pillow "setuptools<81", then '
    "--lerobot-python lerobot/bin/python; or --without-lerobot"
)
_JUDGED = 60  # pictures of each camera whose PSNR is taken
_CODECS = {"h264": "h264", "av1": "libsvtav1"}


@dataclass(frozen=True, kw_only=True)
class ExportBench:
    """What to measure; checked on construction.

    Attributes:
        seconds: length of the bag [s].
        codec: of both writers.
        lerobot_seconds: how much LeRobot's default mode writes [s]; its streaming mode writes three times that.
        lerobot_python: Python that has lerobot; "" for this one.
        without_lerobot: measure only ours.
        seed: of the pictures.
    """

    seconds: float = 60.0
    codec: str = "h264"
    lerobot_seconds: float = 10.0
    lerobot_python: str = ""
    without_lerobot: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.codec not in _CODECS:
            raise BeingHError(f"--codec {self.codec}", allowed=_CODECS)
        if not 1.0 <= self.seconds <= 3600.0 or not 1.0 <= self.lerobot_seconds <= 600.0:
            raise BeingHError("--seconds or --lerobot-seconds is out of range", allowed="1 to 3600, and 1 to 600")


def run(bench: ExportBench) -> dict[str, Any]:
    """The report."""
    python = bench.lerobot_python or sys.executable
    if not bench.without_lerobot:
        check_lerobot(python)
    with tempfile.TemporaryDirectory(prefix="beingh_bench_") as name:
        folder = Path(name)
        robot = contract_file(folder)
        contract = load_contract(str(robot))
        views = [pictures(bench.seed + index) for index in range(2)]
        count = write_bag(folder / "bag.mcap", contract, views, bench.seconds)
        ours = _in_process(_export, folder / "bag.mcap", robot, folder / "ours", bench.codec)
        (folder / "bag.mcap").unlink()
        names = [camera.name for camera in contract.cameras]
        lerobot = None if bench.without_lerobot else _lerobot(bench, python, folder, dict(zip(names, views)))
        keys = [f"observation.images.{name}" for name in names]
        report = {
            "frames_per_s": ours["frames"] / ours["seconds"],
            "lerobot_default_frames_per_s": lerobot and lerobot["default"]["frames_per_s"],
            "lerobot_streaming_frames_per_s": lerobot and lerobot["streaming"]["frames_per_s"],
            "lerobot_version": lerobot and lerobot["default"]["version"],
            # The action of a row begins at the command before it, so that the first picture makes no row.
            "frames_dropped": count - 1 - ours["frames"],
            "psnr_db": _psnr(folder / "ours", keys, views, first=1),
            # Its streaming mode leaves out what does not fit into its queue, so that later pictures stand in wrong places.
            "lerobot_psnr_db": lerobot and _psnr(folder / "default", keys, views),
            "peak_rss_mb": ours["peak_rss_mb"],
        }  # fmt: skip
        videos = [_video_mb(folder / "ours", ours["frames"])]
        videos += [_video_mb(folder / "default", lerobot["default"]["frames"])] if lerobot else []
        print(
            f"{bench.codec} by {ours['encoder']}, {bench.seconds:g} s, {len(os.sched_getaffinity(0))} processors; video, "
            f"ours{' and LeRobot' * bool(lerobot)}: {', '.join(f'{size:.3g}' for size in videos)} MB per 1000 frames"
            + (f"; LeRobot's streaming mode dropped {_dropped(folder, lerobot)} pictures" if lerobot else ""),
            file=sys.stderr,
        )
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in report.items()}


def _export(pipe, bag: Path, robot: Path, out: Path, codec: str) -> None:
    """Runs in a process of its own, so that its peak memory is its own."""
    from beingh_core.data.bag_files import open_bag
    from beingh_core.data.export import Export, export
    from beingh_core.data.lerobot import encoders

    video = VideoSettings(codec=codec, encoder="software")
    settings = Export(contract=str(robot), out=out, task="bench", video=video, workers=1)
    began = time.perf_counter()
    [outcome] = export([bag], settings, open_bag)
    seconds = time.perf_counter() - began
    if outcome.state != "exported":
        raise BeingHError(f"the bench's own bag was {outcome.state}: {'; '.join(outcome.findings)}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pipe.send(
        {"frames": outcome.frames, "seconds": seconds, "peak_rss_mb": peak / 1024, "encoder": encoders.choose(video)}
    )


def _in_process(target, *arguments) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(sender, *arguments))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise BeingHError("the export of the bench's bag failed; its own error is above") from None
    finally:
        process.join()


def check_lerobot(python: str) -> None:
    ask = [python, "-c", "import importlib.metadata as m; m.version('lerobot')"]
    if not os.path.exists(python) or subprocess.run(ask, capture_output=True).returncode:
        raise BeingHError(f"lerobot is not installed for {python}", where="--lerobot-python", remedy=INSTALL)


def _lerobot(bench: ExportBench, python: str, folder: Path, views: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Both modes of LeRobot's writer."""
    source = folder / "pictures.npz"
    np.savez(source, views=np.array(list(views)), **views)
    found = {}
    for mode, seconds in (("default", bench.lerobot_seconds), ("streaming", 3 * bench.lerobot_seconds)):
        frames = round(seconds * FPS)
        arguments = [source, folder / mode, _CODECS[bench.codec], frames, mode]
        done = subprocess.run(
            [python, lerobot_writer.__file__, *map(str, arguments)], capture_output=True, text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}, cwd=folder,
        )  # fmt: skip
        try:
            found[mode] = json.loads(done.stdout.splitlines()[-1]) | {"frames": frames}
        except (ValueError, IndexError):
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise BeingHError(f"LeRobot's writer failed: {last}", where=python, remedy=INSTALL) from None
    return found


def _psnr(root: Path, keys: list[str], views: list[np.ndarray], first: int = 0) -> float:
    """Mean PSNR of the first pictures [dB]; the dataset begins with picture `first` of the recording."""
    dataset = Dataset(root)
    found = []
    for key, view in zip(keys, views):
        for index, shown in zip(range(first, first + _JUDGED), dataset.pictures(dataset.episodes[0], key)):
            source = view[lerobot_writer.to_and_fro(index, len(view))]
            error = np.mean((shown.astype(np.float64) - source) ** 2)
            found.append(10.0 * np.log10(255.0**2 / error))
    return float(np.mean(found))


def _dropped(folder: Path, lerobot: dict[str, dict[str, Any]]) -> int:
    """Pictures that LeRobot's streaming mode was given and that are in none of its videos."""
    videos = list((folder / "streaming").rglob("*.mp4"))
    return len(videos) * lerobot["streaming"]["frames"] - sum(count_pictures(path) for path in videos)


def _video_mb(root: Path, frames: int) -> float:
    return sum(path.stat().st_size for path in root.rglob("*.mp4")) / 1e6 / frames * 1000
