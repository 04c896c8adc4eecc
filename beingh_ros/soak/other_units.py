"""A checkpoint whose statistics were recorded in other units than the robot measures in."""

from __future__ import annotations

import json
from pathlib import Path

from beingh_core.policy.metadata import METADATA_SUFFIX

MILLIMETRES = 1000.0


def in_other_units(checkpoint: Path, factor: float, out: Path) -> Path:
    """A copy whose first state signal has its statistics multiplied by `factor`, without a word about the robot.

    Args:
        checkpoint: Checkpoint directory.
        factor: 1000 for millimetres in place of metres.
        out: Where the copy goes.
    """
    directory = out / "checkpoint_other_units"
    directory.mkdir(parents=True, exist_ok=True)
    for file in checkpoint.iterdir():
        target = directory / file.name
        target.unlink(missing_ok=True)
        if not file.name.endswith(METADATA_SUFFIX):
            target.symlink_to(file.resolve())
            continue
        metadata = json.loads(file.read_text())
        for entry in metadata.values():
            # A checkpoint that knows its robot is refused before its statistics are looked at.
            entry.pop("contract_hash", None)
            entry.pop("robot", None)
            signal = next(iter(entry["statistics"]["state"].values()))
            for name, row in signal.items():
                signal[name] = [value * factor for value in row]
        target.write_text(json.dumps(metadata))
    return directory
