"""`beingh suite bodies`: told picks of one checkpoint on several robots, with controls that must fail."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from beingh_core.checkpoint_directory import checkpoint_directory
from beingh_core.contract import RobotContract, load_contract
from beingh_core.errors import BeingHError
from beingh_core.policy.checkpoint_check import check_checkpoint, robots_of
from beingh_core.policy.metadata import load_metadata
from beingh_core.suite.bodies_report import write
from beingh_core.suite.fingerprint import digest, fingerprint
from beingh_core.suite.joining import Timing, Uac
from beingh_core.suite.journal import Journal
from beingh_core.suite.plan import Scenes, each_once
from beingh_core.suite.running import kept, played, player_of

KEYS = ("robot", "kind", "seed")
TOLD, INSTRUCTION, STATISTICS = "told", "wrong_instruction", "wrong_statistics"


@dataclass(frozen=True, kw_only=True)
class Bodies(Scenes):
    """An experiment; every robot has the scenes of the same seeds. Beside `Scenes`:

    Attributes:
        checkpoint: Directory.
        robots: Contracts: names or paths.
        wrong_instruction: Whether to play the control that is told another cube than the one that is judged.
        wrong_statistics: Whether to play the control that normalises with another robot's statistics.
    """

    checkpoint: str
    robots: tuple[str, ...]
    wrong_instruction: bool
    wrong_statistics: bool

    def __post_init__(self) -> None:
        each_once("--robots", self.robots)
        super().__post_init__()

    def check(self) -> dict[str, RobotContract]:
        """Robot -> contract, after everything that can be refused before a model is loaded.

        Raises:
            BeingHError: A contract that cannot be read, or whose robot the checkpoint does not know; two of one robot.
        """
        contracts: dict[str, RobotContract] = {}
        for name in self.robots:
            contract = load_contract(name)
            if contract.robot in contracts:
                raise BeingHError(f"`{name}` is robot `{contract.robot}` once more", where="--robots")
            check_checkpoint(contract, self.checkpoint)
            contracts[contract.robot] = contract
        return contracts

    def jobs(self, robots: Iterable[str], lent: Container[str]) -> Iterator[tuple[str, str, int]]:
        """(robot, kind, seed) of every episode, scene by scene.

        Args:
            robots: Names of the robots.
            lent: Those of which `lenders` has one; the control of statistics leaves the others out.
        """
        kinds = [TOLD] + [INSTRUCTION] * self.wrong_instruction + [STATISTICS] * self.wrong_statistics
        seeds = range(self.seed, self.seed + self.episodes)
        for seed, robot, kind in itertools.product(seeds, list(robots), kinds):
            if kind != STATISTICS or robot in lent:
                yield robot, kind, seed


def lenders(checkpoint: str, contracts: dict[str, RobotContract]) -> dict[str, str]:
    """Robot -> a data set of another robot in the checkpoint that has statistics, as wide, of every signal that it normalises."""
    directory = checkpoint_directory(checkpoint)
    statistics_of = lambda name: load_metadata(directory, name).merged["statistics"]
    found: dict[str, str] = {}
    for robot, contract in contracts.items():
        own = statistics_of(contract.policy.dataset_name)
        keys = [key for key, way in contract.policy.normalization.items() if way != "none"]
        for name, other in robots_of(checkpoint).items():
            if other != robot and keys and all(_are_alike(own, statistics_of(name), key) for key in keys):
                found.setdefault(robot, name)
    return found


def _are_alike(first: Mapping, second: Mapping, key: str) -> bool:
    """Whether both have statistics of `state.SLOT` or `action.SLOT`, of the same kinds and widths."""
    side, _, slot = key.partition(".")
    one, two = ((of.get(side) or {}).get(slot) for of in (first, second))
    widths = lambda rows: {name: len(row) for name, row in rows.items() if row is not None}
    return bool(one) and bool(two) and widths(one) == widths(two)


def run(given: Bodies) -> Path:
    """Plays what is missing and writes the report; returns its folder.

    Raises:
        BeingHError: See `Bodies` and `Journal`.
    """
    contracts = given.check()
    lent = lenders(given.checkpoint, contracts)
    settings = {
        "checkpoint": fingerprint(Path(given.checkpoint)),
        "contracts": {robot: digest(contract.path) for robot, contract in contracts.items()},
        "urdfs": {robot: digest(contract.urdf_path) for robot, contract in contracts.items()},
        "seconds": given.seconds,
    }
    places = dict(zip(contracts, given.robots))
    wanted = list(given.jobs(contracts, lent))
    with Journal(given.out, settings, KEYS) as journal:
        missing = [job for job in wanted if not journal.has(*job)]
        begin_s = time.monotonic()
        jobs = [(given, places[robot], kind, seed, lent.get(robot, "")) for robot, kind, seed in missing]
        for done, row in enumerate(played(play, jobs, given.workers), start=1):
            journal.add(row)
            if done % 20 == 0 or done == len(missing):
                print(f"{done} of {len(missing)} episodes, {time.monotonic() - begin_s:.0f} s", flush=True)
        keys = set(wanted)
        rows = [row for row in journal.rows if journal.key(row) in keys]
    without = [robot for robot in contracts if robot not in lent] if given.wrong_statistics else []
    write(given.out, given.checkpoint, rows, without)
    return given.out


def play(given: Bodies, robot: str, kind: str, seed: int, lender: str) -> dict[str, object]:
    """One row; simulators and models stay in memory. A chunk takes the contract's delay."""
    player = player_of(robot)
    dataset = lender if kind == STATISTICS else player.contract.policy.dataset_name
    policy = kept((given.checkpoint, robot, dataset), lambda: _policy(player.contract, given.checkpoint, dataset))
    timing = Timing.of(player.contract, player.contract.uac.delay_steps, 0, policy.trained_delay)
    episode = player.play(policy, Uac, timing, seed, given.seconds, another=kind == INSTRUCTION)
    told = {"robot": player.contract.robot, "kind": kind, "seed": seed, "statistics": dataset}
    return told | {"delay": timing.delay, "lock": timing.lock} | dataclasses.asdict(episode)


def _policy(contract: RobotContract, checkpoint: str, dataset: str):
    from beingh_core.policy.from_contract import data_config_for
    from beingh_core.policy.loading import load_for_contract, load_for_data_config

    if dataset == contract.policy.dataset_name:
        return load_for_contract(contract, checkpoint, threads=1)
    # `load_for_contract` refuses another robot's statistics, which is what this control is about.
    return load_for_data_config(
        data_config_for(contract), checkpoint, dataset_name=dataset, embodiment_tag=contract.robot, threads=1,
        stats_selection_mode="merged",
    )  # fmt: skip
