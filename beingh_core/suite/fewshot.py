"""`beingh suite fewshot`: a new body from a few demonstrations, by what the model was before and how much of it is frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beingh_core.checkpoint_directory import CONFIG as MODEL_CONFIG
from beingh_core.checkpoint_directory import checkpoint_directory
from beingh_core.errors import BeingHError
from beingh_core.files import read_json
from beingh_core.model import BeingHConfig
from beingh_core.suite.experiment import run as run_experiment
from beingh_core.suite.experiment_report import Effect, write
from beingh_core.suite.fingerprint import fingerprint
from beingh_core.suite.trial import Trial, loaded

NOTHING = "nothing"
_MEANING = (
    "Each start is trained for the same number of steps on the same demonstrations, with so many of the lowest act layers frozen "
    "as they were. `nothing` starts from random weights with the sizes of the training file; frozen layers stay random there."
)


@dataclass(frozen=True, kw_only=True)
class Fewshot(Trial):
    """The plan.

    Attributes:
        robot: The new body's contract: name or path.
        starts: Name -> checkpoint directory; `NOTHING` stands for none.
        freeze: Numbers of frozen act layers.
    """

    robot: str
    starts: Mapping[str, str]
    freeze: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.freeze or len(set(self.freeze)) < len(self.freeze) or min(self.freeze) < 0:
            raise BeingHError(
                f"{', '.join(map(str, self.freeze)) or 'nothing'}: each once, one at least, none negative", where="--freeze"
            )  # fmt: skip

        for name, place in self.starts.items():
            if Path(name).name != name or (name == NOTHING) != (place == NOTHING):
                raise BeingHError(
                    f"`{name}={place}` names no start", where="--from",
                    allowed=f"NAME=DIR with a name that can be a folder's, or `{NOTHING}`",
                )  # fmt: skip

    def checkpoint(self, start: str) -> str:
        """Directory of a start; "" for none."""
        place = self.starts[start]
        return "" if place == NOTHING else str(checkpoint_directory(place))

    def layers(self, start: str) -> int:
        """Act layers of the model of a start."""
        place = self.checkpoint(start)
        if place:
            path = Path(place) / MODEL_CONFIG
            return BeingHConfig.from_dict(read_json(path), path).decoder.num_layers
        return int(self.base().get("model", {}).get("decoder", {}).get("layers", 0))


def experiment(given: Fewshot):
    """What is recorded, trained and played.

    Raises:
        BeingHError: A start is no checkpoint or has fewer layers than are to be frozen; see `Trial`.
    """
    contract = loaded(given.robot)
    for start in given.starts:
        if max(given.freeze) > (have := given.layers(start)):
            raise BeingHError(
                f"`{start}` has {have} act layers, {max(given.freeze)} are to be frozen", where="--freeze", allowed=f"0 to {have}"
            )  # fmt: skip
    bodies = {given.dataset(contract): contract}
    trainings = {
        name_of(start, depth): given.training(
            name_of(start, depth), bodies, checkpoint=given.checkpoint(start), freeze=depth
        )
        for start in given.starts
        for depth in given.freeze
    }
    cases = [given.case(name, contract, training) for name, training in trainings.items()]
    prints = {
        start: fingerprint(Path(place)) if (place := given.checkpoint(start)) else NOTHING for start in given.starts
    }
    return given.experiment([contract], list(trainings.values()), cases, {"robot": contract.path.stem, "from": prints})


def name_of(start: str, depth: int) -> str:
    """Of a training, and of what it plays."""
    return f"{start}_frozen{depth}"


def run(given: Fewshot) -> Path:
    """Records, trains and plays what is missing and writes the report; returns its folder.

    Raises:
        BeingHError: See `experiment` and `experiment.run`.
    """
    from beingh_core.suite.depth_plot import depths

    planned = experiment(given)
    results = run_experiment(planned)
    least = min(given.freeze)
    effects = [
        Effect(first=name_of(start, depth), second=name_of(NOTHING, depth))
        for start in given.starts for depth in given.freeze if NOTHING in given.starts and start != NOTHING
    ]  # fmt: skip
    effects += [
        Effect(first=name_of(start, depth), second=name_of(start, least))
        for start in given.starts for depth in given.freeze if depth != least
    ]  # fmt: skip
    told = [
        f"Robot {given.robot}, {given.demonstrations} demonstrations, {given.steps} steps; told picks in the scenes {given.seed} to "
        f"{given.seed + given.episodes - 1}, at most {given.seconds:g} s each.",
        _MEANING.replace("`", ""),
    ]
    lines: dict[str, dict[int, Any]] = {
        start: {depth: name_of(start, depth) for depth in given.freeze} for start in given.starts
    }
    write(
        "Few demonstrations",
        planned,
        results,
        told,
        effects,
        {"success": ("Share of picks", depths(results.rows, lines))},
    )
    return given.out
