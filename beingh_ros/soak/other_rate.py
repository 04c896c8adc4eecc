"""A robot at another tick rate than its checkpoint was trained for: only to measure timing, never to judge the task."""

from __future__ import annotations

from pathlib import Path

import yaml

from beingh_core.contract import RobotContract, load_contract
from beingh_core.policy.metadata import METADATA_SUFFIX


def at_rate(contract: RobotContract, checkpoint: Path, rate_hz: float, out: Path) -> tuple[RobotContract, Path]:
    """Copies of a contract and its checkpoint that fit each other at another rate.

    The latency budget shrinks with the tick, so that d and everything else that is counted in ticks stays.

    Args:
        contract: Robot.
        checkpoint: Its checkpoint directory.
        rate_hz: Ticks per second.
        out: Where the copies go.
    """
    settings = yaml.safe_load(contract.path.read_text())
    share = contract.rate_hz / rate_hz
    settings["rate_hz"] = float(rate_hz)
    settings["urdf"] = str(contract.urdf_path)
    settings["uac"]["latency_budget_s"] *= share
    path = out / f"{contract.path.stem}_{rate_hz:g}hz.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    copy = load_contract(path)
    directory = out / f"checkpoint_{rate_hz:g}hz"
    directory.mkdir(parents=True, exist_ok=True)
    for file in checkpoint.iterdir():
        target = directory / file.name
        target.unlink(missing_ok=True)
        if file.name.endswith(METADATA_SUFFIX):
            target.write_text(file.read_text().replace(contract.hash, copy.hash))
        else:
            target.symlink_to(file.resolve())
    return copy, directory
