"""`beingh suite libero` and `beingh suite libero-demos`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from beingh_core.errors import BeingHError
from beingh_core.suite.lists import listed

_LIBERO = (
    "Plays LIBERO's tasks from their official initial states with a checkpoint, a policy server (`beingh serve "
    "--data-config libero_nonorm`), the scripted expert (libero_object and robosuite_lift only) or nothing that moves. The environment runs in "
    "a Python of its own; docs/libero.md tells how to make one. A run that was interrupted goes on; more suites, tasks or "
    "trials may be asked of the same folder."
)
_DEMOS = (
    "Lets the scripted expert put told objects into the basket from initial states that it draws (none of the official "
    "ones), and writes what succeeds as a LeRobot dataset with the columns of the published ones. An interrupted dataset "
    "is continued."
)
PYTHON = "BEINGH_LIBERO_PYTHON"


def add_libero(verbs) -> None:
    """Adds `libero` and `libero-demos` to `beingh suite`."""
    parser = _parser(verbs, "libero", "success in LIBERO's tasks", _LIBERO, Path("out/suite/libero"))
    add = parser.add_argument
    suites = (
        "libero_spatial, libero_object, libero_goal, libero_10, libero_90 or robosuite_lift; the first four by default"
    )
    add("--suites", default=argparse.SUPPRESS, metavar="S,...", help=suites)
    add("--trials", type=int, default=50, help="of each task: so many of the 50 official initial states")
    add("--policy", default="", metavar="P", help="checkpoint directory, tcp://HOST:PORT, expert or hold")
    add("--dataset-name", default="", help="whose statistics of the checkpoint; empty: its only ones")
    add("--device", default="cpu", help="of a checkpoint: cpu or cuda")
    add("--token-file", default="", metavar="FILE", help="file with the token that a server asks for")
    add("--executed", type=int, default=8, help="actions of a chunk that are run")
    add("--seed", type=int, default=0, help="of a checkpoint's noise; negative for none")
    add("--pixels", type=int, default=512, help="side of the environment's pictures; the policy shrinks them")
    add("--video", action="store_true", help="film every episode (each step is rendered then)")
    add("--check", action="store_true", help="only reset, render and step each task, and print a table")
    parser.set_defaults(run=_libero)
    parser = _parser(verbs, "libero-demos", "demonstrations of the scripted expert", _DEMOS, Path("data/libero_object"))
    add = parser.add_argument
    add("--episodes", type=int, default=50, help="successful ones of each task that the dataset is to have")
    add(
        "--noise",
        type=float,
        default=0.1,
        help="of what is done, as a share of the largest action; not of what is taught",
    )
    add("--seed", type=int, default=0, help="of the first initial state of a task; the following ones count up")
    add("--pixels", type=int, default=128, help="side of the pictures")
    parser.set_defaults(run=_demonstrations)


def _parser(verbs, name: str, told: str, description: str, out: Path) -> argparse.ArgumentParser:
    """With the options that both commands have."""
    parser = verbs.add_parser(
        name, help=told, description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--tasks", default="", metavar="T,...", help="of each suite, as 0-3,7; empty: all")
    add(
        "--python", default=os.environ.get(PYTHON, ""), metavar="FILE", help=f"of the environment; by default ${PYTHON}"
    )
    add("--workers", type=int, default=1, help="environment processes")
    add("--deadline", type=float, default=600.0, metavar="S", help="a worker that does not answer so long is given up")
    add("--out", type=Path, default=out, metavar="DIR", help="folder of the results")
    return parser


def _libero(given: argparse.Namespace) -> int | None:
    from beingh_core.suite.libero.check import check
    from beingh_core.suite.libero.conventions import SUITES
    from beingh_core.suite.libero.policies import HOLD
    from beingh_core.suite.libero.report import checked, environment
    from beingh_core.suite.libero.run import Run, run

    wanted = Run(
        suites=listed(getattr(given, "suites", ",".join(SUITES))), tasks=numbers(given.tasks),
        trials=1 if given.check else given.trials, policy=HOLD if given.check else given.policy,
        dataset_name=given.dataset_name, device=given.device, token_file=given.token_file, executed=given.executed,
        seed=given.seed, pixels=given.pixels, python=given.python, workers=given.workers, deadline_s=given.deadline,
        video=given.video, out=given.out,
    )  # fmt: skip
    if not given.check:
        print(run(wanted), end="")
        return None
    versions = wanted.versions()
    rows = check([(job.suite, job.task) for job in wanted.jobs()], wanted.environments())
    print(checked(rows) + "\n" + environment(versions, wanted.pixels))
    return 1 if any(row["error"] for row in rows) else None


def _demonstrations(given: argparse.Namespace) -> None:
    from beingh_core.suite.libero.demonstrations import Demonstrations, record

    told = record(
        Demonstrations(
            tasks=numbers(given.tasks), episodes=given.episodes, noise=given.noise, seed=given.seed,
            pixels=given.pixels, python=given.python, workers=given.workers, deadline_s=given.deadline, out=given.out,
        )
    )  # fmt: skip
    print(told, end="")


def numbers(text: str) -> tuple[int, ...]:
    """Numbers and ranges between commas: `0-3,7`.

    Raises:
        BeingHError: something else is there, or nothing between commas.
    """
    found: list[int] = []
    if text.strip() and not listed(text):
        raise BeingHError(f"`{text}` names no task", where="--tasks", allowed="as 0-9 or 0,3,7; nothing for all")
    for part in listed(text):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or len(part) > 9 or int(last or first) < int(first):
            raise BeingHError(f"`{part}` is no number or range", where="--tasks", allowed="as 0-9 or 0,3,7")
        found += range(int(first), int(last or first) + 1) if int(last or first) < 1000 else [1000]
    return tuple(found)
