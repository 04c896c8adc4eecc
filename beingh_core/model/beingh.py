"""The Being-H model: the network together with inference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from beingh_core.model.engine import Engine
from beingh_core.model.network import BeingHNetwork


class BeingH(BeingHNetwork):
    """Packed batch in, losses or an action chunk out; see `BeingHNetwork`."""

    @torch.inference_mode()
    def get_action(self, batch: Mapping[str, Any], **options: Any) -> Tensor:
        """One normalised unified action chunk (H, 200), float32, with the weights as they are now.

        Whoever infers again and again keeps an `Engine`; `options` are those of `Engine.finish`.
        """
        return Engine(self, pack=False).get_action(batch, **options)
