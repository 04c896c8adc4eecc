"""`beingh suite slots`: what bodies share in the model: unused slots, slots of arms, experts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError, did_you_mean
from beingh_core.policy.checkpoint_check import check_checkpoint, robots_of
from beingh_core.suite.experiment import Case, Experiment
from beingh_core.suite.experiment import run as run_experiment
from beingh_core.suite.experiment_report import Effect, write
from beingh_core.suite.fingerprint import fingerprint
from beingh_core.suite.moved_slots import moved
from beingh_core.suite.plan import each_once
from beingh_core.suite.trial import Trial, loaded

INACTIVE, SEPARATE, EXPERTS = PARTS = ("inactive", "separate", "experts")
SHARED = "shared"
_MEANINGS = {
    INACTIVE: "projected, released: unused slots follow their exact path (project_inactive), or the model's untrained velocity, as released.",
    SEPARATE: "shared, separate: one model of two bodies; the second body's arm and hand in the slots of the first, or in those of a left arm.",
    EXPERTS: "experts: as shared, with a mixture of flow experts (top 1) in the upper half of the layers.",
}


@dataclass(frozen=True, kw_only=True)
class Slots(Trial):
    """The plan.

    Attributes:
        robots: Contracts: names or paths; two where something is trained.
        checkpoint: That plays with and without `project_inactive`; "" where that is not asked.
        experts: How many.
        parts: Of `PARTS`.
    """

    robots: tuple[str, ...]
    checkpoint: str
    experts: int
    parts: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        for part in self.parts:
            if part not in PARTS:
                raise BeingHError(
                    f"there is no part `{part}`", where="--parts", allowed=PARTS, remedy=did_you_mean(part, PARTS)
                )
        each_once("--parts", self.parts)
        each_once("--robots", self.robots)
        if self.is_trained and len(self.robots) != 2:
            raise BeingHError(
                f"{len(self.robots)} robots: {SEPARATE} and {EXPERTS} train a model of two", where="--robots", allowed="2 robots",
                remedy=f"--parts {INACTIVE} takes any number",
            )  # fmt: skip
        if INACTIVE in self.parts and not self.checkpoint:
            raise BeingHError("no checkpoint", where="--checkpoint", remedy=f"give one, or --parts without {INACTIVE}")
        if not 2 <= self.experts <= 64:
            raise BeingHError(f"--experts {self.experts}", allowed="2 to 64")

    @property
    def is_trained(self) -> bool:
        """Whether anything is."""
        return bool({SEPARATE, EXPERTS} & set(self.parts))


def experiment(given: Slots) -> tuple[Experiment, list[Effect]]:
    """What is recorded, trained and played, and which cases are compared.

    Raises:
        BeingHError: Two contracts are of one robot; the checkpoint knows none of the robots; two robots have other chunk
            lengths; see `Trial` and `moved`.
    """
    contracts = [loaded(robot) for robot in given.robots]
    each_once("--robots", tuple(contract.robot for contract in contracts))
    each_once("--robots", tuple(contract.path.stem for contract in contracts))  # which name folders and rows
    cases: list[Case] = []
    effects: list[Effect] = []
    settings = {"checkpoint": {}, "experts": {}, "robots": list(given.robots)}
    if INACTIVE in given.parts:
        settings["checkpoint"] = {"inactive": fingerprint(Path(given.checkpoint))}
        for contract in _known(given.checkpoint, contracts):
            released, projected = f"released {contract.path.stem}", f"projected {contract.path.stem}"
            cases += [
                Case(name=name, robot=str(contract.path), checkpoint=given.checkpoint, project_inactive=on, compared=True)
                for name, on in ((released, False), (projected, True))
            ]  # fmt: skip
            effects.append(Effect(first=projected, second=released))
    if not given.is_trained:
        return given.experiment(contracts, [], cases, settings), effects
    trainings = _trainings(given, contracts)
    for name, (training, bodies) in trainings.items():
        cases += [given.case(f"{name} {body.path.stem}", body, training) for body in bodies]
        if name != SHARED:
            effects += [
                Effect(first=f"{name} {body.path.stem}", second=f"{SHARED} {body.path.stem}") for body in bodies
            ]
    if EXPERTS in given.parts:
        settings["experts"] = {EXPERTS: given.experts}
    return given.experiment(contracts, [training for training, _ in trainings.values()], cases, settings), effects


def _trainings(given: Slots, contracts: Sequence[RobotContract]) -> dict:
    """Name -> configuration, and the contracts as which the bodies are taught and played."""
    first, second = contracts
    if first.policy.chunk_length != second.policy.chunk_length:
        raise BeingHError(
            f"chunks of {first.policy.chunk_length} and {second.policy.chunk_length} steps, and a model has one length",
            where=f"{first.path.stem}, {second.path.stem}",
        )
    bodies = dict(zip(map(given.dataset, contracts), contracts))
    found = {SHARED: (given.training(SHARED, bodies), contracts)}
    if SEPARATE in given.parts:
        apart = [first, moved(second, given.out / "contracts")]
        taught = dict(zip(bodies, apart))
        # The second dataset was recorded under the names of the first body's slots; its numbers are the same.
        found[SEPARATE] = (given.training(SEPARATE, taught, accept=("contract", "names")), apart)
    if EXPERTS in given.parts:
        layers = int(given.base().get("model", {}).get("decoder", {}).get("layers", 0))
        mof = {"experts": given.experts, "top_k": 1, "shared_layers": layers // 2}
        found[EXPERTS] = (given.training(EXPERTS, bodies, mof=mof), contracts)
    return found


def _known(checkpoint: str, contracts: Sequence[RobotContract]) -> list[RobotContract]:
    """The robots that a checkpoint was taught; each must fit it."""
    taught = robots_of(checkpoint)
    known = [contract for contract in contracts if contract.policy.dataset_name in taught]
    if not known:
        raise BeingHError(
            f"it was taught {', '.join(taught) or 'nothing with statistics'}, none of {', '.join(c.path.stem for c in contracts)}",
            where=checkpoint, remedy="give --robots that it was taught",
        )  # fmt: skip
    for contract in known:
        check_checkpoint(contract, checkpoint)
    return known


def run(given: Slots) -> Path:
    """Records, trains and plays what is missing and writes the report; returns its folder.

    Raises:
        BeingHError: See `experiment` and `experiment.run`.
    """
    planned, effects = experiment(given)
    results = run_experiment(planned)
    trained = f"; {given.demonstrations} demonstrations of each, {given.steps} steps" if given.is_trained else ""
    told = [
        f"Robots {', '.join(given.robots)}{trained}; told picks in the scenes {given.seed} to {given.seed + given.episodes - 1}, at most "
        f"{given.seconds:g} s each.",
        *(_MEANINGS[part] for part in given.parts),
    ]
    write("Slots", planned, results, told, effects, {})
    return given.out
