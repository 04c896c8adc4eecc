"""Writes a small dataset until it is killed: `lerobot_victim.py ROOT VERSION|export|export2` prints `ready`, then begins."""

import sys
from pathlib import Path

from lerobot_support import frames, spec
from recording_support import open_fake

from beingh_core.data.export import Export, export
from beingh_core.data.lerobot import DatasetWriter, VideoSettings
from beingh_core.data.lerobot import writer as writer_module

EPISODES = 8
writer_module.VIDEO_MB = 0.01  # several groups, so that kills meet publications too


def lengths():
    """Rows of each episode."""
    return [5 + 3 * (episode % 4) for episode in range(EPISODES)]


BAGS = ("whole", "no_wrist", "gap", "long")


if __name__ == "__main__":
    root, version = Path(sys.argv[1]), sys.argv[2]
    if version.startswith("export"):
        print("ready", flush=True)
        settings = Export(
            contract="fr3", out=root, video=VideoSettings(encoder="software"), workers=1 + (version == "export2")
        )
        export([Path("/bags") / name for name in BAGS], settings, open_fake)
        sys.exit()
    of = spec(version)
    print("ready", flush=True)
    with DatasetWriter(root, of) as writer:
        for episode, count in enumerate(lengths()):
            if f"s{episode}" not in writer.sources:
                writer.add(frames(of, episode, count), source=f"s{episode}")
