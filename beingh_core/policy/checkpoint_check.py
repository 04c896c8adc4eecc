"""Whether a checkpoint is there and belongs to a robot; quick, without torch, for whoever starts the processes."""

from __future__ import annotations

import json
from pathlib import Path

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError
from beingh_core.policy.metadata import Metadata, check_contract, load_metadata

SUFFIX = "_metadata.json"
MAX_METADATA_BYTES = 50_000_000


def check_checkpoint(contract: RobotContract, checkpoint: str | Path, dataset_name: str = "") -> None:
    """Refuses a checkpoint that the policy of this robot could not use.

    Args:
        contract: Robot.
        checkpoint: Checkpoint directory.
        dataset_name: Whose statistics will be used; "" takes the contract's.

    Raises:
        BeingHError: No checkpoint there, one of another robot, or one without the statistics.
    """
    directory, dataset_name = Path(checkpoint).expanduser(), dataset_name or contract.policy.dataset_name
    try:
        has_config = (directory / "config.json").is_file()
        others = sorted(directory.glob(f"*{SUFFIX}"))
    except (OSError, ValueError):
        has_config, others = False, []
    if not has_config:
        raise BeingHError(
            "there is no checkpoint", where=checkpoint, remedy="give the directory that holds config.json"
        )
    if directory / f"{dataset_name}{SUFFIX}" not in others:
        for path in others:
            _refuse_other_robot(contract, path)
        raise BeingHError(
            f"this checkpoint has no statistics of `{dataset_name}`, which policy.dataset_name of `{contract.robot}` names",
            where=checkpoint,
            allowed=[path.name[: -len(SUFFIX)] for path in others] or "nothing: the directory holds no metadata",
            remedy=f"give a checkpoint of `{contract.robot}`, or name other statistics in {contract.path}",
        )
    check_contract(load_metadata(directory, dataset_name), contract)


def _refuse_other_robot(contract: RobotContract, path: Path) -> None:
    """Statistics of another name may say that they are of another robot; what cannot be read says nothing."""
    name = path.name[: -len(SUFFIX)]
    try:
        if path.stat().st_size > MAX_METADATA_BYTES:
            return
        entry = json.loads(path.read_bytes())[name]
        robot = entry["robot"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return
    if isinstance(robot, str) and robot != contract.robot:
        check_contract(Metadata(name=name, path=path, merged={"robot": robot}), contract)
