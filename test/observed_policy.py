"""The policy node, which also writes down every observation that it infers on: `OBSERVED_FILE`, one JSON line each."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np

from beingh_core.inference.chunk_maker import ChunkMaker, Observation
from beingh_ros.nodes import policy_node


def digest(observation: Observation) -> dict[str, object]:
    """What two equal observations share."""
    images = {
        view: hashlib.sha256(np.ascontiguousarray(image).tobytes() + str(image.shape).encode()).hexdigest()
        for view, image in observation.images.items()
    }
    return {"stamp_ns": observation.stamp_ns, "images": images, "joints": dict(observation.joints)}


def observe_into(path: Path) -> None:
    """Write every observation of this process to a file from now on."""
    begin = ChunkMaker.begin

    def observed(self, observation, instruction):
        with path.open("a") as file:
            file.write(json.dumps(digest(observation)) + "\n")
        return begin(self, observation, instruction)

    ChunkMaker.begin = observed


if __name__ == "__main__":
    observe_into(Path(os.environ["OBSERVED_FILE"]))
    sys.exit(policy_node.main())
