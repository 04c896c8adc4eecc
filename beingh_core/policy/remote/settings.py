"""The options of `beingh serve` that set up the policy, as arguments of `BeingHPolicy`."""

from __future__ import annotations

import argparse

from beingh_core.errors import BeingHError

_SHORT_PROMPT = "{task_description}"
_OF_BENCHMARK = {
    "variant": "",
    "embodiment": "",
    "stats_selection_mode": "auto",
    "allow_unknown_variant": False,
    "prompt_template": "long",
    "max_view_num": -1,
    "use_fixed_view": False,
    "prop_pos": "front",
    "no_prefix_lock": False,
}


def check(options: argparse.Namespace) -> None:
    """Refuses options that say something of a benchmark to who serves a robot.

    Raises:
        BeingHError: Names them.
    """
    given = [name for name, default in _OF_BENCHMARK.items() if getattr(options, name) != default]
    if options.contract and given:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        raise BeingHError(
            f"{flags} belong to --data-config",
            where="--contract",
            remedy="leave out what the contract says already",
        )
    if options.no_prefix_lock and not options.compat:
        raise BeingHError(
            "robots need the prefix lock",
            where="--no-prefix-lock",
            remedy="give it together with --compat, or leave it out",
        )


def of_model(options: argparse.Namespace) -> dict:
    """What replaces the checkpoint's own values; None where nothing does."""
    names = (
        "num_inference_timesteps",
        "mpg_lambda",
        "mpg_num_projections",
        "mpg_refinement_iters",
        "mpg_gate_temperature",
    )
    gating = {"on": True, "off": False}.get(options.use_mpg)
    return {name: getattr(options, name) for name in names} | {"use_mpg": gating}


def of_benchmark(options: argparse.Namespace) -> dict:
    """What a served data config needs beside."""
    same = ("stats_selection_mode", "allow_unknown_variant", "max_view_num", "use_fixed_view", "prop_pos")
    arguments = {name: getattr(options, name) for name in same}
    if options.prompt_template == "short":
        arguments["instruction_template"] = _SHORT_PROMPT
    return arguments | {
        "embodiment_tag": options.embodiment or None,
        "metadata_variant": options.variant or None,
        "enable_rtc": not options.no_prefix_lock,
    }
