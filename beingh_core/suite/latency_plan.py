"""What `beingh suite latency` is to play."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from beingh_core.checkpoint_directory import checkpoint_directory
from beingh_core.contract import RobotContract, load_contract
from beingh_core.errors import BeingHError, did_you_mean
from beingh_core.policy.checkpoint_check import check_checkpoint
from beingh_core.suite.joining import WAYS

MOST_EPISODES = 100_000
MOST_SEED = 2**31


@dataclass(frozen=True, kw_only=True)
class Latency:
    """An experiment; every method and delay has the same scenes.

    Attributes:
        robot: Contract: name or path.
        checkpoints: Name -> directory.
        methods: Of `WAYS`.
        delays: From the picture to the chunk's arrival [ticks].
        jitter: A chunk comes up to so many ticks later, drawn anew for each.
        episodes, seed: How many a point, and the scene of the first.
        seconds: Longest time of an episode [s].
        workers: Processes; 0 for one on each processor.
        out: Folder.
    """

    robot: str
    checkpoints: Mapping[str, str]
    methods: tuple[str, ...]
    delays: tuple[int, ...]
    jitter: int
    episodes: int
    seed: int
    seconds: float
    workers: int
    out: Path

    def __post_init__(self) -> None:
        for method in self.methods:
            if method not in WAYS:
                raise BeingHError(
                    f"there is no method `{method}`", where="--methods", allowed=WAYS, remedy=did_you_mean(method, WAYS)
                )
        for name, values in (("--methods", self.methods), ("--delays", self.delays)):
            if len(set(values)) < len(values) or not values:
                raise BeingHError(
                    f"{', '.join(map(str, values)) or 'nothing'}: each once, and one at least", where=name
                )
        most = MOST_EPISODES
        if not 1 <= self.episodes <= most or not 0 <= self.seed <= MOST_SEED or not 1.0 <= self.seconds <= 3600.0:
            raise BeingHError(
                f"{self.episodes} episodes of {self.seconds:g} s from seed {self.seed}",
                allowed=f"1 to {most} episodes of 1 to 3600 s, seed 0 to {MOST_SEED}",
            )
        if not 0 <= self.workers <= 1024:
            raise BeingHError(f"--workers {self.workers}", allowed="0 to 1024")

    def check(self) -> RobotContract:
        """The contract, after everything that can be refused before a model is loaded.

        Raises:
            BeingHError: A delay that no chunk is long enough for, or a checkpoint that is none of the robot's.
        """
        contract = load_contract(self.robot)
        length = contract.policy.chunk_length
        if min(self.delays) < 0 or self.jitter < 0 or max(self.delays) + self.jitter > length:
            raise BeingHError(
                f"delays {', '.join(map(str, self.delays))} with jitter {self.jitter}",
                where="--delays, --jitter",
                allowed=f"0 to {length} steps, the chunk of `{contract.robot}`",
            )
        counted = [s for s in contract.action if s.mode == "relative" or s.frame == "chunk_start"]
        if counted and "guided_rtc" in self.methods:
            raise BeingHError(
                f"the action `{counted[0].slot}` counts from where a chunk begins, so two chunks' numbers cannot be compared",
                where=f"{contract.path}, --methods guided_rtc",
                remedy="leave guided_rtc out for this robot",
            )
        for directory in self.checkpoints.values():
            check_checkpoint(contract, checkpoint_directory(directory), contract.policy.dataset_name)
        return contract

    def jobs(self) -> Iterator[tuple[str, str, int, int]]:
        """(checkpoint, method, delay, seed) of every episode, scene by scene, so that all points grow together."""
        for seed in range(self.seed, self.seed + self.episodes):
            yield from ((*point, seed) for point in itertools.product(self.checkpoints, self.methods, self.delays))
