"""From raw observations to robot actions: prompt, images, unified slots, statistics, `BeingHPolicy`.

Everything but `BeingHPolicy` itself is shared with training and dataset export, and only `image`,
`prompt` and `policy` import torch: names are loaded when they are first used.
"""

from __future__ import annotations

import importlib

_HOMES = {
    "BeingHPolicy": "policy",
    "DataConfig": "data_configs",
    "KeySpec": "data_configs",
    "get_data_config": "data_configs",
    "register_data_config": "data_configs",
    "data_config_for": "from_contract",
    "PromptBuilder": "prompt",
    "PromptConfig": "prompt",
    "UnifiedTransform": "transforms",
}
__all__ = list(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
