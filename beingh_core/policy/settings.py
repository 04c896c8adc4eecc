"""The released policy's arguments that change the model, and those that it leaves out of account."""

from __future__ import annotations

import logging
from pathlib import Path

from beingh_core.checkpoint_directory import CONFIG
from beingh_core.errors import BeingHError
from beingh_core.files import read_json

log = logging.getLogger(__name__)

_WITHOUT_EFFECT = {"prop_pos": "front", "max_view_num": -1, "use_fixed_view": False, "action_attn_mode": "causal"}


def overrides_of(directory: Path, **settings: object) -> dict[str, object]:
    """What replaces keys of config.json: the settings that are not None.

    Raises:
        BeingHError: Gated passes are asked of a checkpoint that was trained without them.
    """
    overrides = {name: value for name, value in settings.items() if value is not None}
    asked = overrides.get("use_mpg") or overrides.get("mpg_refinement_iters")
    if asked and not read_json(directory / CONFIG).get("use_mpg"):
        raise BeingHError(
            "gated passes are asked of a checkpoint that was trained without MPG",
            where=directory / CONFIG,
            remedy="leave use_mpg and mpg_refinement_iters unset",
        )
    return overrides


def say_what_is_ignored(**settings: object) -> None:
    """One line where a caller asks for what the released policy stores but does not use."""
    asked = [f"{name} {value}" for name, value in settings.items() if value != _WITHOUT_EFFECT[name]]
    if asked:
        log.warning(
            "%s: without effect, as in the released policy; the model is shown all views, the state behind them, and "
            "actions in causal order",
            ", ".join(asked),
        )
