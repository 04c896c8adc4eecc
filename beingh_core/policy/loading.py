"""A checkpoint for a robot or a benchmark. torch is imported when one is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError
from beingh_core.policy.checkpoint_check import check_checkpoint
from beingh_core.policy.data_configs import DataConfig
from beingh_core.policy.from_contract import data_config_for

if TYPE_CHECKING:
    from beingh_core.policy.policy import BeingHPolicy

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
    **settings: Any,
) -> BeingHPolicy:
    """A warmed-up policy for the robot of a contract, which normalises with the statistics over all of its data.

    Args:
        contract: Robot.
        checkpoint: Checkpoint directory.
        dataset_name: Whose statistics to use; "" takes the contract's.
        device: torch device.
        dtype: Precision of the model, one of `DTYPES`.
        threads: CPU threads of torch; 0 leaves its default.
        seed: Seed of the noise; negative leaves it random.
        robots: Most robots that will be computed in one call.
        settings: Further arguments of `BeingHPolicy`.

    Raises:
        BeingHError: When the checkpoint is broken or belongs to another robot.
    """
    dataset_name = dataset_name or contract.policy.dataset_name
    checkpoint = check_checkpoint(contract, checkpoint, dataset_name)  # before gigabytes are read for the wrong robot
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
        stats_selection_mode="merged",
        **settings,
    )
    policy.check_contract(contract)
    policy.warm_up(robots)
    return policy


def load_for_data_config(
    data_config: str | DataConfig,
    checkpoint: str | Path,
    *,
    dataset_name: str,
    device: str = "cpu",
    dtype: str = "float32",
    threads: int = 0,
    seed: int = -1,
    robots: int = 1,
    **settings: Any,
) -> BeingHPolicy:
    """A policy for an embodiment without a contract, as a benchmark has it.

    Args:
        data_config: Views and keys, or the name of a registered config.
        checkpoint: Checkpoint directory.
        dataset_name: Whose statistics to use.
        device, dtype, threads, seed: See `load_for_contract`.
        robots: Most robots that will be computed in one call; 0 leaves the policy cold.
        settings: Further arguments of `BeingHPolicy`.

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
        device=device,
        dtype=getattr(torch, dtype),
        **settings,
    )
    if robots:
        policy.warm_up(robots)
    return policy
