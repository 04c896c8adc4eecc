"""What experiments with small models have in common: demonstrations, the manner of training, the episodes."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beingh_core.contract import RobotContract, load_contract
from beingh_core.contract.paths import find_in_package
from beingh_core.contract.reader import read_yaml
from beingh_core.data.rollouts_recording import Wanted, most_failures
from beingh_core.errors import BeingHError
from beingh_core.suite.experiment import Case, Experiment
from beingh_core.suite.fingerprint import digest
from beingh_core.suite.plan import MOST_EPISODES, MOST_SEED, Scenes
from beingh_core.suite.trained import checkpoint_of
from beingh_core.train.overrides import blamed, overridden
from beingh_core.train.settings import RunConfig

INSTRUCTIONS = ("pick up the {colour} cube", "grasp the {colour} cube", "lift the {colour} cube")
_HELD_OUT = 5  # one episode beside each so many is only measured with
_MOST_STEPS = 1_000_000_000
# What `training` sets -> how else it is asked for.
_PLANNED = {
    "out": "; --out DIR", "name": "", "checkpoint": "", "start": "", "data.datasets": "", "data.held_out": "; --demonstrations N",
    "data.cache": "", "model.action_chunk_length": "", "training.steps": "; --steps N", "training.freeze_act_layers": "",
    "evaluate.every": "",
}  # fmt: skip
_NOISE, _CRF = 0.02, 20  # as the demonstrations of the committed checkpoints were recorded


@dataclass(frozen=True, kw_only=True)
class Trial(Scenes):
    """The common part of a plan; the scenes were not demonstrated. Beside `Scenes`:

    Attributes:
        demonstrations: Episodes of each body that are taught; a fifth as many, one at least, are held out beside them.
        steps: Of each training.
        config: Training file: manner, and sizes of a model from nothing.
        changes: `key=value` in place of what it says.
    """

    demonstrations: int
    steps: int
    config: str
    changes: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.demonstrations <= MOST_EPISODES or not 1 <= self.steps <= _MOST_STEPS:
            raise BeingHError(
                f"{self.demonstrations} demonstrations, {self.steps} steps",
                where="--demonstrations, --steps",
                allowed=f"1 to {MOST_EPISODES} demonstrations, 1 step or more",
            )
        super().__post_init__()
        tried = self.recorded + most_failures(self.recorded)
        if self.seed < tried:
            raise BeingHError(
                f"the scenes 0 to {tried - 1} may be demonstrated, failed attempts counted", where=f"--seed {self.seed}",
                allowed=f"{tried} to {MOST_SEED}",
            )  # fmt: skip

    @property
    def recorded(self) -> int:
        """Episodes of a dataset, with those that are held out."""
        return self.demonstrations + max(1, self.demonstrations // _HELD_OUT)

    def base(self) -> dict[str, Any]:
        """What the training file says, with the changes.

        Raises:
            BeingHError: It cannot be read, makes no run, or a change names a key that is unknown or that the plan decides.
        """
        for change in self.changes:
            if (key := change.partition("=")[0].strip()) in _PLANNED:
                raise BeingHError(
                    f"`{key}` follows from the plan",
                    where=f"command line: {change}",
                    remedy=f"leave it out{_PLANNED[key]}",
                )
        path = Path(self.config)
        if not path.exists():
            path = find_in_package(self.config) or path
        raw = overridden(read_yaml(path).data, self.changes, RunConfig)
        training = raw.get("training", {})
        long = {"training": {**training, "steps": _MOST_STEPS}} if isinstance(training, dict) else {}  # for any warm-up
        try:
            RunConfig.from_dict(raw | long, path)
        except BeingHError as error:
            raise blamed(error, path, self.changes) from None
        return raw

    def dataset(self, contract: RobotContract) -> Path:
        """Folder of a body's demonstrations."""
        return self.out / "demonstrations" / contract.path.stem

    def recordings(self, contracts: Sequence[RobotContract]) -> dict[Path, tuple[Wanted, int]]:
        """What is recorded of each body, led about as for the committed checkpoints."""
        wanted = lambda contract: Wanted(
            robot=str(contract.path), noise=_NOISE, branches=True, instructions=INSTRUCTIONS, crf=_CRF
        )
        return {self.dataset(contract): (wanted(contract), self.recorded) for contract in contracts}

    def training(
        self,
        name: str,
        bodies: Mapping[Path, RobotContract],
        *,
        checkpoint: str = "",
        freeze: int = 0,
        mof: Mapping[str, int] | None = None,
        accept: Sequence[str] = (),
    ) -> RunConfig:
        """The configuration of a training in the folder of this name.

        Args:
            name: Folder.
            bodies: Dataset -> the contract as which it is taught.
            checkpoint: Where it starts; "" from nothing, with the sizes of the training file.
            freeze: Lowest act layers that stay as they are.
            mof: Experts; see `MofSection`.
            accept: See `DatasetSection`.

        Raises:
            BeingHError: The training file and the changes make no run.
        """
        raw, own = copy.deepcopy(self.base()), self.out / "trainings" / name
        like = dict(next(iter(raw.get("data", {}).get("datasets", ())), {}))
        branches = like.get("branches", {})
        raw.pop("start", None)
        raw["out"], raw["name"], raw["checkpoint"] = str(own), "suite", checkpoint
        raw["data"] = {
            **raw.get("data", {}), "held_out": (self.recorded - self.demonstrations) / self.recorded, "cache": str(own / "cache"),
            "datasets": [
                {"path": str(folder), "robot": str(contract.path), "branches": branches, "accept": list(accept)}
                for folder, contract in bodies.items()
            ],
        }  # fmt: skip
        model = raw["model"] = dict(raw.get("model", {}))
        model["action_chunk_length"] = next(iter(bodies.values())).policy.chunk_length
        for sizes in ("vision", "decoder") if checkpoint else ():
            model.pop(sizes, None)
        if mof:
            model["mof"] = dict(mof)
        raw["training"] = {**raw.get("training", {}), "steps": self.steps, "freeze_act_layers": freeze}
        raw["evaluate"] = {**raw.get("evaluate", {}), "every": self.steps}
        warmup = raw.get("optimiser", {}).get("warmup_steps", 0)
        if warmup > self.steps // 10:  # a file for long runs
            raw["optimiser"] = {**raw["optimiser"], "warmup_steps": self.steps // 10}
        return RunConfig.from_dict(raw, self.config)

    def case(self, name: str, contract: RobotContract, training: RunConfig) -> Case:
        """What a training has made, playing a body."""
        out = Path(training.out)
        return Case(name=name, robot=str(contract.path), checkpoint=str(checkpoint_of(out)), training=out.name)

    def experiment(
        self,
        contracts: Sequence[RobotContract],
        trainings: Sequence[RunConfig],
        cases: Sequence[Case],
        settings: Mapping[str, Any],
    ) -> Experiment:
        """Everything; `settings` are those of the plan beside the common ones."""
        common = {
            "contracts": {c.path.stem: digest(c.path) for c in contracts},
            "urdfs": {c.path.stem: digest(c.urdf_path) for c in contracts},
            "training_file": hashlib.sha256(repr(self.base()).encode()).hexdigest(),
            "demonstrations": self.demonstrations,
            "steps": self.steps,
            "seconds": self.seconds,
        }
        return Experiment(
            out=self.out, settings=common | dict(settings), recordings=self.recordings(contracts),
            trainings={Path(config.out).name: config for config in trainings}, cases=tuple(cases), episodes=self.episodes,
            seed=self.seed, seconds=self.seconds, workers=self.workers,
        )  # fmt: skip


def loaded(robot: str) -> RobotContract:
    """The contract of a body that can be recorded and played.

    Raises:
        BeingHError: It is none, or the simulator does not play it.
    """
    from beingh_core.contract.simulation import check_simulation

    contract = load_contract(robot)
    check_simulation(contract)
    return contract
