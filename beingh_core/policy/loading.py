"""A checkpoint for a robot, checked against its contract. torch is imported when this is called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError
from beingh_core.policy.metadata import check_contract, load_metadata

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

    Raises:
        BeingHError: When the checkpoint is broken or belongs to another robot.
    """
    if dtype not in DTYPES:
        raise BeingHError(f"`{dtype}` is no precision of a model", allowed=DTYPES)
    dataset_name = dataset_name or contract.policy.dataset_name
    if (Path(checkpoint) / "config.json").is_file():
        # Before gigabytes are read for the wrong robot.
        check_contract(load_metadata(checkpoint, dataset_name), contract)
    import torch

    from beingh_core.policy import BeingHPolicy, data_config_for

    if threads:
        torch.set_num_threads(threads)
    if seed >= 0:
        torch.manual_seed(seed)
    policy = BeingHPolicy(
        model_path=checkpoint,
        data_config_name=data_config_for(contract),
        dataset_name=dataset_name,
        embodiment_tag=contract.robot,
        device=device,
        dtype=getattr(torch, dtype),
    )
    policy.check_contract(contract)
    policy.warm_up()
    return policy
