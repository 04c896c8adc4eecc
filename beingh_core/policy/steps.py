"""The way from a raw observation to the model's inputs, and back from its prediction to actions: two lists that run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from beingh_core.errors import BeingHError
from beingh_core.policy.data_configs import DataConfig
from beingh_core.policy.image import eval_transform
from beingh_core.policy.observations import CheckedObservation, check_observation
from beingh_core.policy.prompt import PromptBuilder
from beingh_core.policy.transforms import UnifiedTransform
from beingh_core.slots import WIDTH

Inputs = dict[str, torch.Tensor | int]


class PolicySteps:
    """What the policy does around its model, in order.

    Args:
        data_config: views and keys.
        transform: normalisation into the 200 slots and out of them.
        prompts: words to tokens, and the layout of the sequence.

    Attributes:
        inputs: each adds to the model's inputs what it makes of a checked observation.
        outputs: each takes what the one before it gave, the first a (1, H, 200) prediction.
    """

    def __init__(self, data_config: DataConfig, transform: UnifiedTransform, prompts: PromptBuilder) -> None:
        self._data_config, self._transform, self._prompts = data_config, transform, prompts
        self.inputs: tuple[Callable[[CheckedObservation], Inputs], ...] = (
            self.words_to_sequence,  # template, tokens, positions of text, views, state, actions
            self.images_to_pixels,  # resize, crop, scale
            self.state_to_slots,  # rotation, slots, normalise
        )
        self.outputs: tuple[Callable, ...] = (
            self.finite,
            self.slots_to_actions,  # denormalise, slots, rotation
            self.named,
        )

    def check(self, observation: Mapping) -> CheckedObservation:
        """The raw mapping, checked; see `observations`."""
        config = self._prompts.config
        return check_observation(observation, self._data_config, config.chunk_length, config.history)

    def encode(self, observation: CheckedObservation) -> Inputs:
        """The packed inputs of the model for one checked observation."""
        inputs: Inputs = {}
        for step in self.inputs:
            inputs |= step(observation)
        return inputs

    def decode(self, unified: np.ndarray) -> dict[str, np.ndarray]:
        """`action.<key>` (1, H, dim) in physical units of a (1, H, 200) prediction.

        Raises:
            BeingHError: the prediction holds NaN or infinity.
        """
        value: Any = unified
        for step in self.outputs:
            value = step(value)
        return value

    def words_to_sequence(self, observation: CheckedObservation) -> Inputs:
        """Tokens of the instruction in its template, and where in the sequence everything goes."""
        return self._prompts.pack([self._prompts.build(observation.instruction, len(self._data_config.views))])

    def images_to_pixels(self, observation: CheckedObservation) -> Inputs:
        """(views, 3, S, S) float32."""
        size = self._prompts.config.image_size
        return {"packed_vit_tokens": torch.stack([eval_transform(image, size) for image in observation.images])}

    def state_to_slots(self, observation: CheckedObservation) -> Inputs:
        """(R, 200) float32, normalised; one row without a history."""
        state = self._transform.state_to_unified(observation.state)
        return {"padded_state": torch.from_numpy(state).reshape(-1, WIDTH)}

    def finite(self, unified: np.ndarray) -> np.ndarray:
        """The prediction, if every used slot of it is a number."""
        if not np.all(np.isfinite(unified[..., self._transform.action_mask])):
            raise BeingHError("the model predicted NaN or infinity", remedy="check the checkpoint; try dtype float32")
        return unified

    def slots_to_actions(self, unified: np.ndarray) -> dict[str, np.ndarray]:
        """Action arrays by key, physical units."""
        return self._transform.action_from_unified(unified)

    def named(self, actions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The actions under the released names."""
        return {f"action.{key}": value for key, value in actions.items()}
