"""The policy of a node: a model of its own, or a server's."""

from __future__ import annotations

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError
from beingh_core.policy.loading import load_for_contract


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
        checkpoint: Checkpoint directory; "" together with a URL.
        dataset_name, device, threads, seed: See `load_for_contract`; a server has its own.
        url: Policy server.
        token_file: File with the token that the server asks for; "" for none.
        jpeg_quality: Of the pictures sent to the server; 0 sends pixels.

    Raises:
        BeingHError: Both or neither of checkpoint and URL; the checkpoint is broken or belongs to another robot; the
            server does not answer or refuses.
    """
    check_one_source(checkpoint, url)
    if url:
        return _connect(contract, url, token_file, jpeg_quality)
    if not checkpoint:
        raise BeingHError(
            "no checkpoint is given",
            where="parameter checkpoint",
            remedy="set it to a checkpoint directory, or policy_url to a policy server",
        )
    return load_for_contract(contract, checkpoint, dataset_name=dataset_name, device=device, threads=threads, seed=seed)


def check_one_source(checkpoint: str, url: str) -> None:
    """Refuses a checkpoint together with a server.

    Raises:
        BeingHError: Both are given.
    """
    if checkpoint and url:
        raise BeingHError(
            f"both a checkpoint ({checkpoint}) and a policy server ({url}) are given",
            where="parameters checkpoint and policy_url",
            remedy="leave one empty: the model runs either in the policy node or on the server",
        )


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
