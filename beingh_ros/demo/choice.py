"""Which policy a demo runs: the checkpoint that a robot has, another one, or the scripted expert."""

from __future__ import annotations

from pathlib import Path

from beingh_core.contract.paths import find_in_package
from beingh_core.errors import BeingHError

# The robot of the shipped checkpoint.
ROBOT, CHECKPOINT = "fr3", "checkpoints/fr3_cubes"
POLICIES = ("auto", "checkpoint", "expert")


def checkpoint_directory(text: str) -> Path:
    """The checkpoint directory that a user names, the demo's own for "".

    Raises:
        BeingHError: When there is none.
    """
    path = Path(text) if text else (find_in_package(CHECKPOINT) or Path(CHECKPOINT))
    if not (path / "config.json").is_file():
        raise BeingHError(
            "there is no checkpoint",
            where=path,
            remedy="give --checkpoint DIR (make demo CHECKPOINT=DIR), or train one: make checkpoint",
        )
    return path


def policy_of(robot: str, policy: str, checkpoint: str) -> Path | None:
    """The checkpoint directory that a demo runs, None for the scripted expert.

    Args:
        robot: Name of the contract.
        policy: One of POLICIES; auto is the checkpoint that is given or that the robot has, else the expert.
        checkpoint: Checkpoint directory; "" for the demo's own.

    Raises:
        BeingHError: There is no such checkpoint, or one beside the expert.
    """
    if policy == "expert" and checkpoint:
        raise BeingHError("the expert takes no checkpoint", where="--policy expert", remedy="leave --checkpoint out")
    if policy == "expert" or (policy == "auto" and robot != ROBOT and not checkpoint):
        return None
    if robot != ROBOT and not checkpoint:
        raise BeingHError(
            f"`{robot}` has no checkpoint of its own",
            where="--policy checkpoint",
            remedy="give --checkpoint DIR (make demo CHECKPOINT=DIR), or take --policy expert",
        )
    return checkpoint_directory(checkpoint)
