"""`beingh quantize`: a checkpoint in fewer bits, and what that costs and saves on recorded observations."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from beingh_core.contract import RobotContract, load_contract
from beingh_core.data.lerobot import Dataset
from beingh_core.errors import BeingHError
from beingh_core.evaluate.evaluated import Evaluated
from beingh_core.evaluate.openloop import SLOT
from beingh_core.model.engine import Engine
from beingh_core.model.quantise_checkpoint import check_source, write_quantised
from beingh_core.model.quantised import GROUP, quantised_config
from beingh_core.openloop.command import bar, contract_named
from beingh_core.openloop.dataset_run import DatasetRun, evaluate_dataset
from beingh_core.policy.loading import load_for_contract

CALIBRATION = 32
"""Observations from which int4 learns which columns of its matrices matter."""
OF_EPISODE = 10
"""Observations of an episode, where there are enough episodes."""


def quantize(chosen: argparse.Namespace) -> int:
    """Runs the command.

    Args:
        chosen: See `beingh quantize --help`.

    Raises:
        BeingHError: Checkpoint, data, scheme or folder cannot be used.
    """
    config = quantised_config(chosen.scheme, chosen.towers, chosen.group_size)
    if chosen.scheme != "int4" and chosen.group_size != GROUP:
        raise BeingHError(f"--group-size with {chosen.scheme}", allowed="with --scheme int4", remedy="leave it out")
    if chosen.observations < 1:
        raise BeingHError(f"--observations {chosen.observations}", allowed="1 or more")
    source = check_source(chosen.checkpoint, chosen.out, config)
    with _dataset(chosen.data, chosen.contract, source, chosen.task) as (dataset, contract):
        load = lambda path: load_for_contract(
            contract, path, dataset_name=chosen.dataset_name, dtype=chosen.dtype, threads=chosen.threads
        )
        plain = load(source)
        settings = _some(dataset, chosen.observations, DatasetRun(task=chosen.task, seed=chosen.seed))
        importance = {}
        if config.scheme == "int4":
            few = _some(dataset, min(CALIBRATION, chosen.observations), settings)
            with _importance(plain.engine) as importance:
                evaluate_dataset(dataset, contract, {chosen.dtype: plain}, {}, few)
        write_quantised(source, chosen.out, config, importance)
        try:
            policies = {chosen.dtype: plain, config.scheme: load(chosen.out)}
            found = evaluate_dataset(dataset, contract, policies, {}, settings, bar)
        except BaseException:
            shutil.rmtree(chosen.out, ignore_errors=True)
            raise
    report = {"quantised": config.text, "dtype": chosen.dtype, **_report(found, chosen.dtype, config.scheme)}
    report["weights_mb"] = {name: policy.engine.weight_bytes / 2**20 for name, policy in policies.items()}
    print(_table(report))
    print(f"wrote {chosen.out}")
    (chosen.out / "quantised.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def _some(dataset: Dataset, count: int, settings: DatasetRun) -> DatasetRun:
    """At most about `count` rows: of episodes all over the dataset, several of each, from all over it."""
    every = dataset.episodes
    wanted = min(len(every), -(-count // OF_EPISODE))
    chosen = [every[place * len(every) // wanted] for place in range(wanted)]
    rows = sum(episode.frames for episode in chosen)
    return replace(settings, episodes=tuple(one.index for one in chosen), stride=max(1, -(-rows // count)))


@contextmanager
def _dataset(data: Path, named: str, checkpoint: Path, task: str) -> Iterator[tuple[Dataset, RobotContract]]:
    """The dataset, that of a bag for as long as it is needed, and its robot."""
    if (data / "meta").is_dir():
        contract = load_contract(contract_named(named, str(checkpoint), data))
        yield Dataset(data, skip_unknown=True), contract
        return
    from beingh_core.data.bag_files import open_bag
    from beingh_core.data.export import GOOD, SALVAGED, Export, export
    from beingh_core.data.export_command import find_bags

    name = str(contract_named(named, str(checkpoint)))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "data"
        outcomes = export(find_bags([data]), Export(contract=name, out=out, task=task or None, workers=1), open_bag)
        refused = [one for one in outcomes if one.state not in (*GOOD, SALVAGED)]
        if refused:
            raise BeingHError(f"cannot be used: {'; '.join(refused[0].findings)}", where=refused[0].bag)
        yield Dataset(out), load_contract(name)


@contextmanager
def _importance(engine: Engine) -> Iterator[dict[str, Tensor]]:
    """Name of each linear layer -> (K,) sum of the squares of what it was given in the block."""
    names = {module: name for name, module in engine.model.named_modules()}
    sums: dict[torch.nn.Module, Tensor] = {}

    def add(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        squares = inputs[0].detach().float().flatten(0, -2).square().sum(0)
        sums[module] = squares if module not in sums else sums[module] + squares

    handles = [made.register_forward_pre_hook(add) for made in set(engine.linear_layers.values())]
    found: dict[str, Tensor] = {}
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
    found |= {names[layer]: sums[made] for layer, made in engine.linear_layers.items() if made in sums}


def _report(found: Evaluated, dtype: str, scheme: str) -> dict[str, object]:
    """Distances between the actions of both, beside how far the recorded ones move, and times."""
    comparison = found.comparison
    errors = {}
    for quantity in comparison.quantities:
        if quantity.kind != SLOT:
            continue
        distance = quantity.spread(dtype, scheme)
        by_step = {
            label: {"mean": float(distance[:, index].mean()), "p95": float(np.percentile(distance[:, index], 95))}
            for label, index in comparison.steps.items()
        }
        errors[quantity.name] = {"unit": quantity.unit, "steps": by_step}
    return {
        "observations": len(comparison.ticks),
        "errors": errors,
        "chunk_ms": {name: float(np.median(times)) for name, times in found.inference_ms.items()},
    }


def _table(report: Mapping) -> str:
    """The report in lines of text."""
    lines = [
        f"{report['quantised']}: difference from {report['dtype']} over {report['observations']} observations, mean (95 %)"
    ]
    labels = ("1", "s", "H")
    lines.append(f"  {'slot':<34}" + "".join(f"{'step ' + label:>20}" for label in labels))
    for name, told in report["errors"].items():
        cells = (f"{told['steps'][label]['mean']:.3g} ({told['steps'][label]['p95']:.3g})" for label in labels)
        lines.append(f"  {name + ' [' + told['unit'] + ']':<34}" + "".join(f"{cell:>20}" for cell in cells))
    for name, milliseconds in report["chunk_ms"].items():
        lines.append(f"  {name}: weights {report['weights_mb'][name]:.1f} MB, chunk p50 {milliseconds:.1f} ms")
    return "\n".join(lines)
