"""What one inference does, checked; together with the shape it decides which graph can run it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from beingh_core.errors import BeingHError

if TYPE_CHECKING:
    from beingh_core.model.network import BeingHNetwork


class Options(NamedTuple):
    """Passes (the first without MPG), Euler steps of each, lambda, number of directions, use of `active_slots`, and of gates."""

    passes: int
    steps: int
    strength: float
    directions: int
    project_inactive: bool
    observe_gates: bool


def read_options(
    model: BeingHNetwork,
    refinement_iters: int | None,
    num_steps: int | None,
    mpg_lambda: float | None,
    project_inactive: bool,
    projections: Any,
    observe_gates: bool,
) -> Options:
    """The options of an inference; None stands for the checkpoint's value.

    Raises:
        BeingHError: A number is out of range, or MPG is asked of a model without it.
    """
    config = model.config
    refinements = refinement_iters
    if refinements is None:
        refinements = config.mpg_refinement_iters if config.use_mpg else 0
    steps = config.num_inference_steps if num_steps is None else num_steps
    if refinements < 0 or steps < 1:
        raise BeingHError(
            f"{refinements} refinement passes of {steps} Euler steps", allowed="0 or more passes, 1 or more steps"
        )
    strength = float(config.mpg_lambda if mpg_lambda is None else mpg_lambda)
    if refinements:
        model.need_mpg()
    refinements = refinements if strength else 0  # as released: without strength the first pass is the answer
    directions = config.mpg_num_projections if projections is None else (len(projections[0]) if len(projections) else 0)
    return Options(refinements + 1, steps, strength, directions if refinements else 0, project_inactive, observe_gates)
