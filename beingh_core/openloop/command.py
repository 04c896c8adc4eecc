"""The sub-command `beingh evaluate`, and what it shares with the replay of bags: options, names of checkpoints, the end."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from beingh_core.errors import BeingHError

_DESCRIPTION = (
    "Asks a checkpoint, at many rows of a LeRobot dataset, what it would do next, and compares that with what was done and "
    "with policies that see nothing. Writes report.html and report.json. Nothing moves. With two checkpoints also which is "
    "better, with an interval."
)


def add_evaluate(commands) -> None:
    """Adds `evaluate` to the command line."""
    parser = commands.add_parser(
        "evaluate", help="what a checkpoint would have done on a dataset", description=_DESCRIPTION,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder of a LeRobot dataset, v3.0 or v2.1")
    parser.add_argument(
        "--contract", default="", metavar="ROBOT", help="robot contract; empty: the dataset's, else the checkpoint's"
    )
    parser.add_argument("--episodes", default="", metavar="N+N-N", help="numbers, such as 3+7-9; empty for all")
    parser.add_argument("--view", action="append", default=[], metavar="VIEW=KEY", help="pictures of a view, by key")
    parser.add_argument("--delay", type=int, help="locked steps; empty: the contract's")
    parser.add_argument("--stride", type=int, default=0, help="rows between chunks; 0: the contract's execution steps")
    add_common(parser, "out/evaluation")
    parser.set_defaults(run=_evaluate)


def add_common(parser: argparse.ArgumentParser, out: str) -> None:
    """Options of every evaluation on recordings; `out` is where its report goes by default."""
    parser.add_argument(
        "--checkpoint", action="append", required=True, metavar="DIR", help="checkpoint; twice to compare two"
    )
    parser.add_argument("--out", type=Path, default=Path(out), metavar="DIR", help="folder of the report")
    parser.add_argument("--task", default="", help="instruction; empty: the recording's own")
    parser.add_argument("--dataset-name", default="", help="whose statistics to normalise with; empty: the contract's")
    parser.add_argument("--allow-outside", action="store_true", help="also states far outside of the statistics")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of torch; 0 for its default")
    parser.add_argument("--seed", type=int, default=0, help="of the policy's noise and of disturbances")
    parser.add_argument(
        "--spread", action="store_true", help="predict everything again from other noise, to know its share"
    )
    group = parser.add_argument_group("disturbances of the cameras")
    group.add_argument("--brightness", type=float, default=1.0, help="factor on every pixel")
    group.add_argument("--noise", type=float, default=0.0, help="standard deviation of noise on every pixel, of 255")
    group.add_argument("--occlusion", type=float, default=0.0, help="share of the picture behind a grey square")
    group.add_argument("--drop", type=float, default=0.0, help="share of pictures that are lost")
    group.add_argument("--freeze", action="append", default=[], metavar="VIEW=FROM-TO", help="a camera that sticks [s]")
    group.add_argument("--disturb", action="append", default=[], metavar="VIEW", help="only these views; none for all")


def disturbance_of(chosen: argparse.Namespace, views: Sequence[str]):
    """The disturbance that the options ask for.

    Raises:
        BeingHError: A number out of range, or an unknown view.
    """
    from beingh_core.data.disturb import Disturbance

    frozen = {}
    for text in chosen.freeze:
        view, span = _pair(text, "--freeze", "VIEW=FROM-TO, such as wrist_view=2-4.5")
        begin, _, end = span.partition("-")
        try:
            frozen[view] = float(begin), float(end)
        except ValueError:
            raise BeingHError(f"--freeze {text}", allowed="VIEW=FROM-TO in seconds, such as wrist_view=2-4.5") from None
    found = Disturbance(
        brightness=chosen.brightness, noise=chosen.noise, occlusion=chosen.occlusion, drop=chosen.drop,
        frozen=frozen, views=tuple(chosen.disturb),
    )  # fmt: skip
    found.check(tuple(views))
    return found


def labelled(checkpoints: Sequence[str]) -> dict[str, str]:
    """Name for the report -> checkpoint.

    Raises:
        BeingHError: More than two.
    """
    from beingh_core.evaluate.trivial import TRIVIAL

    if not 1 <= len(checkpoints) <= 2:
        raise BeingHError(f"{len(checkpoints)} checkpoints are given", allowed="one, or two to compare")
    names = [Path(path).resolve().name or path for path in checkpoints]
    names = [f"checkpoint {name}" if name in TRIVIAL else name for name in names]
    if len(set(names)) < len(names):
        names = [f"{name} ({letter})" for name, letter in zip(names, "AB")]
    return dict(zip(names, checkpoints))


def ready(out: Path) -> None:
    """Refuses what a report would fail of after everything was computed.

    Raises:
        BeingHError: The folder cannot be written, or matplotlib is missing.
    """
    try:
        importlib.import_module("matplotlib")
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except ImportError:
        raise BeingHError("the report needs the library matplotlib", remedy="pip install matplotlib") from None
    except OSError as error:
        raise BeingHError(
            f"the report cannot be written here: {error}", where=out, remedy="give another --out"
        ) from None


def finish(found, out: Path) -> int:
    """Writes the report and tells what it says; the exit status."""
    from beingh_core.evaluate.openloop_report import write_openloop_report

    try:
        values = write_openloop_report(out, found)
    except OSError as error:
        raise BeingHError(f"the report cannot be written: {error}", where=out) from None
    print(headline(values))
    print(f"wrote {out / 'report.html'} and {out / 'report.json'}")
    return 0


def headline(values: Mapping) -> str:
    """The figures in a few lines."""
    name, unit = values["main"]["quantity"], values["main"]["unit"]
    quantities = values["errors"]["all"]["quantities"]
    errors = next(q["errors"] for key, q in quantities.items() if key.partition(":")[2] == name and q["unit"] == unit)
    steps = values["steps"]
    lines = [
        f"mean error of {name} [{unit}] over {values['chunks']} chunks, at step 1, s = {steps['executed']}, "
        f"K = {steps['decided']} (the last that a chunk decides), and in all steps that would run:"
    ]
    for source, by_step in errors.items():
        numbers = "  ".join(f"{_number(by_step[label]['mean']):>9}" for label in ("1", "s", "H", "1..s"))
        lines.append(f"  {source:<28}{numbers}")
    for policy, told in values["noise_spread"].items():
        lines.append(f"  {policy} from other noise differs from itself by {_number(told['1..s'])}")
    if "compared" in values:
        told = values["compared"]
        lines.append(f"A {told['A']}, B {told['B']}: {told['verdict']}; A minus B {_number(told['difference'])}, "
                     f"95 % interval {_number(told['low'])} to {_number(told['high'])}")  # fmt: skip
    lines += [f"note: {note}" for note in values["notes"]]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise BeingHError(f"{option} {text}", allowed=form)
    return name, value


def _evaluate(chosen: argparse.Namespace) -> int:
    from beingh_core.contract import load_contract
    from beingh_core.data.commands import parse_numbers
    from beingh_core.data.lerobot import Dataset
    from beingh_core.openloop.dataset_run import DatasetRun, evaluate_dataset
    from beingh_core.policy.loading import load_for_contract

    checkpoints = labelled(chosen.checkpoint)
    dataset = Dataset(chosen.dataset, skip_unknown=True)
    for text in dataset.skipped:
        print(f"note: {text}", file=sys.stderr)
    contract = load_contract(contract_named(chosen.contract, chosen.checkpoint[0], dataset.root))
    settings = DatasetRun(
        delay=chosen.delay, stride=_at_least(chosen.stride, 0, "--stride"), seed=chosen.seed, task=chosen.task,
        episodes=tuple(parse_numbers(chosen.episodes)) if chosen.episodes else (),
        views=dict(_pair(text, "--view", "VIEW=KEY") for text in chosen.view),
        allow_outside=chosen.allow_outside, spread=chosen.spread,
        disturbance=disturbance_of(chosen, [camera.name for camera in contract.cameras]),
    )  # fmt: skip
    load = lambda path: load_for_contract(
        contract, path, dataset_name=chosen.dataset_name, device=chosen.device, threads=chosen.threads
    )
    policies = {name: load(path) for name, path in checkpoints.items()}
    ready(chosen.out)
    found = evaluate_dataset(dataset, contract, policies, checkpoints, settings, bar)
    return finish(found, chosen.out)


def bar(done: int, of: int) -> None:
    """Progress on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{done} of {of}", end="\n" if done == of else "", file=sys.stderr, flush=True)


def contract_named(given: str, checkpoint: str, root: Path | None = None) -> str | Path:
    """The contract to load: the one that is given, else the dataset's own, else that of the checkpoint's robot.

    Raises:
        BeingHError: None of them says.
    """
    from beingh_core.policy.checkpoint_check import robots_of

    own = None if root is None else root / "meta/contract.yaml"
    if given or (own and own.exists()):
        return given or own
    robots = sorted(set(robots_of(checkpoint).values()))
    if len(robots) != 1:
        raise BeingHError(
            f"of which robot is not said: the checkpoint is {'of ' + ', '.join(robots) if robots else 'of no robot by name'}",
            where=checkpoint, remedy="name the contract: --contract ROBOT",
        )  # fmt: skip
    return robots[0]


def _at_least(value: int, least: int, option: str) -> int:
    if value < least:
        raise BeingHError(f"{option} {value}", allowed=f"at least {least}")
    return value
