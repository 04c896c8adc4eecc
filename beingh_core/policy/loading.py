"""A checkpoint for a robot or a benchmark. torch is imported when one is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError
from beingh_core.policy.data_configs import DataConfig
from beingh_core.policy.from_contract import data_config_for
from beingh_core.policy.metadata import check_contract, load_metadata
from beingh_core.validation import shown

if TYPE_CHECKING:
    from beingh_core.policy.policy import BeingHPolicy

METADATA_SUFFIX = "_metadata.json"
DTYPES = ("float32", "bfloat16")


def load_for_contract(
    contract: RobotContract,
    checkpoint: str | Path,
    *,
    dataset_name: str = "",
    device: str = "cpu",
    dtype: str = "float32",
    threads: int = 0,
    seed: int = -1,
    robots: int = 1,
) -> BeingHPolicy:
    """A warmed-up policy for the robot of a contract.

    Args:
        contract: Robot.
        checkpoint: Checkpoint directory.
        dataset_name: Whose statistics to use; "" takes the contract's.
        device: torch device.
        dtype: Precision of the model, one of `DTYPES`.
        threads: CPU threads of torch; 0 leaves its default.
        seed: Seed of the noise; negative leaves it random.
        robots: Most robots that will be computed in one call.

    Raises:
        BeingHError: When the checkpoint is broken or belongs to another robot.
    """
    dataset_name = dataset_name or contract.policy.dataset_name
    check_robot(contract, checkpoint, dataset_name)  # before gigabytes are read for the wrong robot
    policy = load_for_data_config(
        data_config_for(contract),
        checkpoint,
        dataset_name=dataset_name,
        embodiment_tag=contract.robot,
        device=device,
        dtype=dtype,
        threads=threads,
        seed=seed,
        robots=0,
    )
    policy.check_contract(contract)
    policy.warm_up(robots)
    return policy


def check_robot(contract: RobotContract, checkpoint: str | Path, dataset_name: str = "") -> None:
    """Refuses a checkpoint of another robot by its metadata alone, without torch; one without config.json passes.

    Raises:
        BeingHError: the checkpoint is for another robot, which is named, or lacks the contract's statistics.
    """
    directory, dataset_name = Path(checkpoint), dataset_name or contract.policy.dataset_name
    if not (directory / "config.json").is_file():
        return
    if not (directory / f"{dataset_name}{METADATA_SUFFIX}").is_file():
        _refuse_other_robots(contract, directory)
    check_contract(load_metadata(directory, dataset_name), contract)


def _refuse_other_robots(contract: RobotContract, directory: Path) -> None:
    """Names the robots of a checkpoint that has no statistics of the contract's data set.

    Raises:
        BeingHError: all its data sets that name a robot name another one.
    """
    robots = {}
    for path in sorted(directory.glob(f"*{METADATA_SUFFIX}")):
        name = path.name[: -len(METADATA_SUFFIX)]
        try:
            robot = load_metadata(directory, name).merged.get("robot")
        except BeingHError:
            continue
        if isinstance(robot, str):
            robots[name] = robot
    if not robots or contract.robot in robots.values():
        return
    others = ", ".join(dict.fromkeys(shown(robot).strip("'") for robot in robots.values()))
    raise BeingHError(
        f"this checkpoint is for robot {others} (data set {', '.join(robots)}), the contract is of `{contract.robot}`",
        where=directory,
        remedy=f"use the contract of {others}, or a checkpoint that was trained for `{contract.robot}`",
    )


def load_for_data_config(
    data_config: str | DataConfig,
    checkpoint: str | Path,
    *,
    dataset_name: str,
    embodiment_tag: str | None = None,
    metadata_variant: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    threads: int = 0,
    seed: int = -1,
    robots: int = 1,
) -> BeingHPolicy:
    """A policy for an embodiment without a contract, as a benchmark has it.

    Args:
        data_config: Views and keys, or the name of a registered config.
        checkpoint: Checkpoint directory.
        dataset_name: Whose statistics to use.
        embodiment_tag, metadata_variant: See `BeingHPolicy`.
        device, dtype, threads, seed: See `load_for_contract`.
        robots: Most robots that will be computed in one call; 0 leaves the policy cold.

    Raises:
        BeingHError: When the checkpoint is broken or does not fit.
    """
    if dtype not in DTYPES:
        raise BeingHError(f"`{dtype}` is no precision of a model", allowed=DTYPES)
    import torch

    from beingh_core.policy import BeingHPolicy

    if threads:
        torch.set_num_threads(threads)
    if seed >= 0:
        torch.manual_seed(seed)
    policy = BeingHPolicy(
        model_path=checkpoint,
        data_config_name=data_config,
        dataset_name=dataset_name,
        embodiment_tag=embodiment_tag,
        metadata_variant=metadata_variant,
        device=device,
        dtype=getattr(torch, dtype),
    )
    if robots:
        policy.warm_up(robots)
    return policy
