"""What is worth a curve beside the losses: gradients by part, and how far MPG's gate is open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from beingh_core.model import BeingH
from beingh_core.train.parts import PARTS, part_of
from beingh_core.train.ranks import Ranks
from beingh_core.train.shards import is_sharded, local
from beingh_core.train.weighing import GROUPS


class Watcher:
    """Looks at the gradients and the gate of the steps that are told.

    Args:
        model: Whose gate is looked at, if it has one.
        ranks: Who hold its weights.
    """

    def __init__(self, model: BeingH, ranks: Ranks) -> None:
        self._ranks, self._gates, self._squares = ranks, [], {}
        if hasattr(model, "mpg"):
            gate = model.mpg.gate

            def seen(*features: Tensor) -> Tensor:
                found = gate(*features)
                self._gates = [found.detach().float().mean()]  # of the newest pack
                return found

            model.mpg.gate = seen

    def look(self, gradients: Mapping[str, Tensor | None]) -> None:
        """Takes the gradients of a step, before they are clipped; all ranks look together."""
        squares, sharded = dict.fromkeys(PARTS, 0.0), False
        for name, gradient in gradients.items():
            if gradient is not None:
                sharded |= is_sharded(gradient)
                squares[part_of(name)] += float(local(gradient).double().square().sum())
        sums = self._ranks.sums(list(squares.values())) if sharded else list(squares.values())
        self._squares = dict(zip(squares, sums))

    def take(self) -> dict[str, float]:
        """`gradient_<part>`: norms of the parts that have a gradient; `mpg_gate`: the newest gate, 0 closed and 1 open."""
        found = {f"gradient_{part}": square**0.5 for part, square in self._squares.items() if square}
        if self._gates:
            found["mpg_gate"] = float(self._gates[0])
        self._gates, self._squares = [], {}
        return found


def loss_shares(by_group: Sequence[float]) -> dict[str, float]:
    """`loss_share_<who>`: share of the action loss by who was in charge, of those to whom some belongs."""
    total = sum(by_group)
    return {f"loss_share_{who}": part / total for who, part in zip(GROUPS, by_group) if part}
