"""Which policy a demo runs (the checkpoint that a robot has, another one, or the scripted expert), and what it is told."""

from __future__ import annotations

from pathlib import Path

from beingh_core.contract import RobotContract
from beingh_core.contract.paths import find_in_package
from beingh_core.errors import BeingHError
from beingh_core.sim import CUBE_COLOURS
from beingh_core.tasks import PICK, every_told, tasks_named, told

ROBOT = "fr3"
REFERENCE = "follow the reference path"
POLICIES = ("auto", "checkpoint", "expert")


def own_checkpoint(contract: RobotContract) -> Path | None:
    """The checkpoint that comes with the package for a contract, or that `make checkpoint` left."""
    path = find_in_package(f"checkpoints/{contract.path.stem}_cubes")
    return path if path is not None and (path / "config.json").is_file() else None


def policy_of(contract: RobotContract, policy: str, checkpoint: str, task: str = PICK.name) -> Path | None:
    """The checkpoint directory that a demo runs, None for the scripted expert.

    Args:
        contract: Of the robot.
        policy: One of POLICIES; auto is the checkpoint that is given or that the robot has for the task, else the expert.
        checkpoint: Checkpoint directory; "" for the robot's own.
        task: Tasks that are told; a robot's own checkpoint picks.

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
    if policy == "auto" and task != PICK.name:
        return None
    if task != PICK.name:
        raise BeingHError(
            f"the checkpoint that `{contract.path.stem}` has only picks",
            where=f"--policy checkpoint --task {task}",
            remedy="give --checkpoint DIR (make demo CHECKPOINT=DIR), or take --policy expert",
        )
    own = own_checkpoint(contract)
    if own is None and policy == "checkpoint":
        raise BeingHError(
            f"`{contract.path.stem}` has no checkpoint of its own",
            where="--policy checkpoint",
            remedy="give --checkpoint DIR (make demo CHECKPOINT=DIR), or take --policy expert",
        )
    return own


def instruction_of(seed: int, task: str = PICK.name) -> str:
    """What is told for a seed; seeds in a row name every colour in turn."""
    found = list(every_told(tasks_named(task), CUBE_COLOURS))
    return found[seed % len(found)].text()


def plan_of(seed: int, episodes: int, instruction: str, task: str) -> list[tuple[int, str]]:
    """Seed and instruction of every episode.

    Args:
        seed: Of the first.
        episodes: How many.
        instruction: Of all; "" for what their seeds choose.
        task: Tasks to choose among, as in `tasks_named`.

    Raises:
        BeingHError: An unknown task, or an instruction that is of none of them.
    """
    tasks = tasks_named(task)
    if instruction and (meant := told(instruction, CUBE_COLOURS).task) not in tasks:
        raise BeingHError(
            f"the instruction '{instruction}' is not of the task `{task}`",
            where="--instruction",
            remedy=f"make demo TASK={meant.name}",
        )
    return [(seed + i, instruction or instruction_of(seed + i, task)) for i in range(episodes)]


def untold(seed: int, episodes: int, task: str) -> list[tuple[int, str]]:
    """The same for a robot with nothing to grasp with.

    Raises:
        BeingHError: A task that needs a hand.
    """
    if tasks_named(task) != (PICK,):
        raise BeingHError(f"the task `{task}` needs a hand", where="--task", remedy="take a robot with a hand")
    return [(seed + i, REFERENCE) for i in range(episodes)]
