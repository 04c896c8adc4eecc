"""Command line: record demonstrations of the scripted expert. `python -m beingh_core.data.record --help`."""

from __future__ import annotations

import argparse
import multiprocessing
import time
from pathlib import Path

from beingh_core.contract import load_contract
from beingh_core.data.demonstrations import SHARD_FRAMES, record_shard


def record(robot: str, out: Path, frames: int, workers: int, seed: int) -> None:
    """Record `frames` frames (rounded up to whole shards) into `out`; shards that exist are kept."""
    load_contract(robot)
    shards = -(-frames // SHARD_FRAMES)
    started = time.monotonic()
    # Every worker process needs an OpenGL context of its own, hence `spawn`.
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        jobs = [pool.apply_async(record_shard, (robot, out, index), {"seed": seed}) for index in range(shards)]
        for done, job in enumerate(jobs, 1):
            job.get()
            print(
                f"recorded {done * SHARD_FRAMES} of {shards * SHARD_FRAMES} frames, {time.monotonic() - started:.0f} s",
                flush=True,
            )


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--robot", default="fr3", help="robot contract, by name or path")
    parser.add_argument("--out", type=Path, required=True, help="directory of the demonstrations")
    parser.add_argument("--frames", type=int, default=100_000, help="number of frames; each shows every instruction")
    parser.add_argument("--workers", type=int, default=multiprocessing.cpu_count(), help="processes")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    record(args.robot, args.out, args.frames, args.workers, args.seed)


if __name__ == "__main__":
    main()
