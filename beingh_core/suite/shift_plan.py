"""What `beingh suite shift` is to play."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beingh_core.checkpoint_directory import CONFIG, checkpoint_directory
from beingh_core.contract import RobotContract
from beingh_core.data.disturb import Disturbance
from beingh_core.errors import BeingHError
from beingh_core.files import read_json
from beingh_core.model.config import BeingHConfig
from beingh_core.policy.settings import overrides_of
from beingh_core.suite.plan import Experiment, check_delays, each_once
from beingh_core.suite.shifts import Shift

OFF = "off"


@dataclass(frozen=True, kw_only=True)
class Shifted(Experiment):
    """An experiment; every variant of the policy has the same shifts in the same scenes.

    Attributes:
        shifts: What happens to the pictures.
        mpg: `off`, or a number of refinement passes.
        steps: Euler steps of a pass.
        cameras: Views to which the shifts happen; () for all.
        delay: From the picture to the chunk's arrival [ticks]; None for the contract's.
    """

    shifts: tuple[Shift, ...]
    mpg: tuple[str, ...]
    steps: tuple[int, ...]
    cameras: tuple[str, ...] = ()
    delay: int | None = None

    def __post_init__(self) -> None:
        for name, values in (("--shifts", self.shifts), ("--mpg", self.mpg), ("--steps", self.steps)):
            each_once(name, values)
        if self.cameras:
            each_once("--cameras", self.cameras)
        for passes in self.mpg:
            if passes != OFF and not (passes.isascii() and passes.isdigit() and passes[0] != "0"):
                raise BeingHError(f"`{passes}` is no number of passes", where="--mpg", allowed="off, or 1 and more")
        super().__post_init__()

    def refuse(self, contract: RobotContract) -> None:
        """See `Experiment`.

        Raises:
            BeingHError: Views that there are not, a delay without a chunk, variants that a checkpoint does not have.
        """
        Disturbance(views=self.cameras).check(tuple(camera.name for camera in contract.cameras))
        check_delays(contract, (self.ticks(contract),), 0, "--delay")
        for place in self.checkpoints.values():
            for mpg, steps in itertools.product(self.mpg, self.steps):
                _check_variant(checkpoint_directory(place), variant(mpg, steps))

    def ticks(self, contract: RobotContract) -> int:
        """The delay [ticks]."""
        return contract.uac.delay_steps if self.delay is None else self.delay

    def points(self) -> Iterable[tuple[str, str, int, str]]:
        """(checkpoint, passes, steps, shift)."""
        return itertools.product(self.checkpoints, self.mpg, self.steps, map(str, self.shifts))

    def settings(self) -> dict[str, Any]:
        """See `Experiment`."""
        return {"cameras": list(self.cameras), "delay": self.delay}


def variant(mpg: str, steps: int) -> dict[str, Any]:
    """What `BeingHPolicy` is to be loaded with."""
    gated = {"use_mpg": False} if mpg == OFF else {"use_mpg": True, "mpg_refinement_iters": int(mpg)}
    return {**gated, "num_inference_timesteps": steps}


def _check_variant(directory: Path, settings: dict[str, Any]) -> None:
    """Refuses passes or steps that a checkpoint cannot have, or that would do nothing."""
    raw = read_json(directory / CONFIG) | overrides_of(directory, **settings)
    config = BeingHConfig.from_dict(raw, directory / CONFIG, "ask for fewer steps (--steps) or passes (--mpg)")
    if config.use_mpg and not config.mpg_lambda:
        raise BeingHError(
            "gated passes are asked of a checkpoint whose mpg_lambda is 0: they would change nothing",
            where=directory / CONFIG,
            remedy="--mpg off",
        )
