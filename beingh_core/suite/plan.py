"""What every experiment of `beingh suite` in our own simulator has: checkpoints, scenes, workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beingh_core.checkpoint_directory import checkpoint_directory
from beingh_core.contract import RobotContract, load_contract
from beingh_core.errors import BeingHError
from beingh_core.policy.checkpoint_check import check_checkpoint

MOST_EPISODES = 100_000
MOST_SEED = 2**31


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """What is played, whatever is compared.

    Attributes:
        episodes, seed: How many a point, and the scene of the first.
        seconds: Longest time of an episode [s].
        workers: Processes; 0 for one on each processor.
        out: Folder.
    """

    episodes: int
    seed: int
    seconds: float
    workers: int
    out: Path

    def __post_init__(self) -> None:
        most = MOST_EPISODES
        if not 1 <= self.episodes <= most or not 0 <= self.seed <= MOST_SEED or not 1.0 <= self.seconds <= 3600.0:
            raise BeingHError(
                f"{self.episodes} episodes of {self.seconds:g} s from seed {self.seed}",
                allowed=f"1 to {most} episodes of 1 to 3600 s, seed 0 to {MOST_SEED}",
            )
        if not 0 <= self.workers <= 1024:
            raise BeingHError(f"--workers {self.workers}", allowed="0 to 1024")


@dataclass(frozen=True, kw_only=True)
class Experiment(Scenes):
    """Points that all play the same scenes; beside `Scenes`:

    Attributes:
        robot: Contract: name or path.
        checkpoints: Name -> directory.
    """

    robot: str
    checkpoints: Mapping[str, str]

    def check(self) -> RobotContract:
        """The contract, after everything that can be refused before a model is loaded.

        Raises:
            BeingHError: What `refuse` refuses, or a checkpoint that is none of the robot's.
        """
        contract = load_contract(self.robot)
        self.refuse(contract)
        for directory in self.checkpoints.values():
            check_checkpoint(contract, checkpoint_directory(directory), contract.policy.dataset_name)
        return contract

    def refuse(self, contract: RobotContract) -> None:
        """Refuses what a robot or a checkpoint cannot play.

        Raises:
            BeingHError: Saying what.
        """
        raise NotImplementedError

    def points(self) -> Iterable[tuple]:
        """What tells a point from another."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """What else must be the same for rows to go together."""
        raise NotImplementedError

    def jobs(self) -> Iterator[tuple]:
        """(*point, seed) of every episode, scene by scene, so that all points grow together."""
        for seed in range(self.seed, self.seed + self.episodes):
            yield from ((*point, seed) for point in self.points())


def each_once(option: str, values: tuple) -> None:
    """Refuses a list that is empty or names something twice.

    Raises:
        BeingHError: Naming the option.
    """
    if len(set(values)) < len(values) or not values:
        raise BeingHError(f"{', '.join(map(str, values)) or 'nothing'}: each once, and one at least", where=option)


def check_delays(contract: RobotContract, delays: tuple[int, ...], jitter: int, where: str) -> None:
    """Refuses delays for which no chunk is long enough.

    Raises:
        BeingHError: Naming the options, `where`.
    """
    length = contract.policy.chunk_length
    if min(delays) < 0 or jitter < 0 or max(delays) + jitter > length:
        more = f" with jitter {jitter}" if jitter else ""
        raise BeingHError(
            f"delays {', '.join(map(str, delays))}{more}",
            where=where,
            allowed=f"0 to {length} steps, the chunk of `{contract.robot}`",
        )
