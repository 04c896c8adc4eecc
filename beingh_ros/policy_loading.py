"""A checkpoint for a robot, checked against its contract. No ROS here; torch is imported when called."""

from __future__ import annotations

from pathlib import Path

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError
from beingh_core.policy.metadata import check_contract, load_metadata


def load_policy(
    contract: RobotContract,
    checkpoint: str,
    *,
    dataset_name: str = "",
    device: str = "cpu",
    threads: int = 0,
    seed: int = -1,
    url: str = "",
    token_file: str = "",
    jpeg_quality: int = 0,
):
    """A warmed-up `BeingHPolicy` for a contract, or a `RemotePolicy` when a server's URL is given.

    Args:
        contract: Robot.
        checkpoint: Checkpoint directory.
        dataset_name: Whose statistics to use; "" takes the contract's.
        device: torch device.
        threads: CPU threads of torch; 0 leaves its default.
        seed: Seed of the noise; negative leaves it random.
        url: Policy server; the arguments above are its own affair then.
        token_file: File with the token that the server asks for; "" for none.
        jpeg_quality: Of the pictures sent to the server; 0 sends pixels.

    Raises:
        BeingHError: When the checkpoint is broken or belongs to another robot, or the server refuses.
    """
    if url:
        return _connect(contract, url, token_file, jpeg_quality)
    if not checkpoint:
        raise BeingHError(
            "no checkpoint is given", where="parameter checkpoint", remedy="set it to a checkpoint directory"
        )
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
    )
    policy.check_contract(contract)
    policy.warm_up()
    return policy


def _connect(contract: RobotContract, url: str, token_file: str, jpeg_quality: int):
    from beingh_core.policy.remote.client import RemotePolicy
    from beingh_core.policy.remote.protocol import read_token

    policy = RemotePolicy(
        url,
        contract,
        token=read_token(token_file) if token_file else None,
        deadline_s=contract.policy.chunk_length * contract.dt_s,  # later, nothing of a chunk is left to run
        jpeg_quality=jpeg_quality,
    )
    policy.check_contract(contract)
    return policy
