"""A policy without a model for tests of the server: real checks of its inputs, zeros as its chunks."""

from __future__ import annotations

import time

import numpy as np

from beingh_core.policy.data_configs import get_data_config
from beingh_core.policy.observations import check_observation
from beingh_core.policy.transforms import UnifiedTransform
from beingh_core.slots import WIDTH
from beingh_core.state_history import ONE_STATE


class StubPolicy:
    """What a server asks of a policy; each call takes `seconds` for each robot."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.data_config = get_data_config("libero_nonorm")
        self.transform = UnifiedTransform(self.data_config)
        self.views, self.chunk_length, self.trained_delay = self.data_config.views, 16, 8
        self.image_size, self.model_facts, self.state_history = 224, {"mpg": False}, ONE_STATE
        self.last_timing_ms = {"total": 0.0}
        self.seconds = seconds

    def get_action(self, observations, noise=None, projections=None):
        return self.get_actions([observations])[0]

    def get_actions(self, observations):
        for one in observations:
            checked = check_observation(one, self.data_config, self.chunk_length)
            self.transform.state_to_unified(checked.state)
            time.sleep(self.seconds)
        self.last_timing_ms = {"total": 1e3 * self.seconds * len(observations)}
        unified = np.zeros((1, self.chunk_length, WIDTH), dtype=np.float32)
        actions = {f"action.{key}": value for key, value in self.transform.action_from_unified(unified).items()}
        return [actions | {"action_unified": unified} for _ in observations]
