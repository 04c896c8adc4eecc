"""Whether a checkpoint is there and belongs to a robot; quick, without torch, before gigabytes are read."""

from __future__ import annotations

from pathlib import Path

from beingh_core.checkpoint_directory import checkpoint_directory
from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError, shown
from beingh_core.policy.from_contract import data_config_for
from beingh_core.policy.metadata import METADATA_SUFFIX, check_contract, load_metadata
from beingh_core.policy.motion import still_values
from beingh_core.policy.statistics_choice import choose_statistics


def check_checkpoint(contract: RobotContract, checkpoint: str | Path, dataset_name: str = "") -> Path:
    """Refuses a checkpoint that the policy of this robot could not use.

    Args:
        contract: Robot.
        checkpoint: Checkpoint directory.
        dataset_name: Whose statistics will be used; "" takes the contract's.

    Returns:
        Its directory.

    Raises:
        BeingHError: No checkpoint there, one of another robot, which is named, one without the statistics, or
            with those of a robot that never moved.
    """
    directory, dataset_name = checkpoint_directory(checkpoint), dataset_name or contract.policy.dataset_name
    names = sorted(path.name[: -len(METADATA_SUFFIX)] for path in directory.glob(f"*{METADATA_SUFFIX}"))
    if dataset_name not in names:
        _refuse_other_robots(contract, directory)
        raise BeingHError(
            f"no metadata of dataset `{dataset_name}`, which policy.dataset_name of `{contract.robot}` names",
            where=directory,
            allowed=names or "nothing: the directory holds no metadata",
            remedy=f"give a checkpoint of `{contract.robot}`, or name other statistics in {contract.path}",
        )
    metadata = load_metadata(directory, dataset_name)
    check_contract(metadata, contract)
    choice = choose_statistics(metadata, embodiment_tag=contract.robot, mode="merged")
    still_values(data_config_for(contract), choice.statistics, metadata.path)
    return directory


def robots_of(checkpoint: str | Path) -> dict[str, str]:
    """Data set -> the robot that it says it is of; metadata that cannot be read say nothing.

    Raises:
        BeingHError: No checkpoint there.
    """
    robots, directory = {}, checkpoint_directory(checkpoint)
    for path in sorted(directory.glob(f"*{METADATA_SUFFIX}")):
        name = path.name[: -len(METADATA_SUFFIX)]
        try:
            robot = load_metadata(directory, name).merged.get("robot")
        except BeingHError:
            continue
        if isinstance(robot, str):
            robots[name] = robot
    return robots


def _refuse_other_robots(contract: RobotContract, directory: Path) -> None:
    """Names the robots of a checkpoint.

    Raises:
        BeingHError: all its data sets that name a robot name another one.
    """
    robots = robots_of(directory)
    if not robots or contract.robot in robots.values():
        return
    others = ", ".join(dict.fromkeys(shown(robot).strip("'") for robot in robots.values()))
    raise BeingHError(
        f"this checkpoint is for robot {others} (data set {', '.join(robots)}), the contract is of `{contract.robot}`",
        where=directory,
        remedy=f"use the contract of {others}, or a checkpoint that was trained for `{contract.robot}`",
    )
