"""How much of what a model does follows from the instruction: its loss where the actions are those of another one."""

from __future__ import annotations

from dataclasses import replace

import torch

from beingh_core.train.samples import Made


def exchanged(made: Made) -> Made | None:
    """The same batch in which each sample has the actions of another branch of its row; None where no row has another one."""
    if made.batch is None:
        return None
    acting = made.branches[made.acts]
    order, samples = torch.arange(len(acting)), list(zip(made.sources[made.acts], made.rows[made.acts]))
    first = 0
    while first < len(samples):
        last = first
        while last < len(samples) and samples[last] == samples[first]:
            last += 1
        branches = acting[first:last]
        kinds = list(dict.fromkeys(branches))
        after = {kind: kinds[(place + 1) % len(kinds)] for place, kind in enumerate(kinds)}
        place_of = {kind: first + int((branches == kind).argmax()) for kind in kinds}
        order[first:last] = torch.tensor([place_of[after[kind]] for kind in branches])
        first = last
    if (acting[order.numpy()] == acting).all():
        return None
    actions = made.batch["padded_action"]
    changed = actions.view(len(order), -1, actions.shape[-1])[order].reshape(actions.shape)
    return replace(made, batch={**made.batch, "padded_action": changed})
