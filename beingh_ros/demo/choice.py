"""Which policy a demo runs: the checkpoint that a robot has, another one, or the scripted expert."""

from __future__ import annotations

from pathlib import Path

from beingh_core.contract.paths import find_in_package
from beingh_core.errors import BeingHError

ROBOT = "fr3"
POLICIES = ("auto", "checkpoint", "expert")


def own_checkpoint(robot: str) -> Path | None:
    """The checkpoint that comes with the package, or that `make checkpoint` left, for a contract of this name."""
    path = find_in_package(f"checkpoints/{robot}_cubes")
    return path if path is not None and (path / "config.json").is_file() else None


def policy_of(robot: str, policy: str, checkpoint: str) -> Path | None:
    """The checkpoint directory that a demo runs, None for the scripted expert.

    Args:
        robot: Name of the contract.
        policy: One of POLICIES; auto is the checkpoint that is given or that the robot has, else the expert.
        checkpoint: Checkpoint directory; "" for the robot's own.

    Raises:
        BeingHError: There is no such checkpoint, or one beside the expert.
    """
    if policy == "expert":
        if checkpoint:
            raise BeingHError(
                "the expert takes no checkpoint", where="--policy expert", remedy="leave --checkpoint out"
            )
        return None
    if checkpoint:
        if not (Path(checkpoint) / "config.json").is_file():
            raise BeingHError(
                "there is no checkpoint",
                where=checkpoint,
                remedy="give --checkpoint DIR (make demo CHECKPOINT=DIR), or train one: make checkpoint",
            )
        return Path(checkpoint)
    own = own_checkpoint(robot)
    if own is None and policy == "checkpoint":
        raise BeingHError(
            f"`{robot}` has no checkpoint of its own",
            where="--policy checkpoint",
            remedy="give --checkpoint DIR (make demo CHECKPOINT=DIR), or take --policy expert",
        )
    return own
