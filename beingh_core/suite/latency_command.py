"""The options of `beingh suite latency`."""

from __future__ import annotations

import argparse
from pathlib import Path

from beingh_core.errors import BeingHError
from beingh_core.suite.lists import listed

_LATENCY = (
    "Lets a checkpoint pick told cubes in the simulator while every chunk comes a number of ticks after its picture, on a "
    "virtual clock: the result depends on the seed and not on the machine. Each way of joining chunks plays the same scenes. "
    "A run that was interrupted goes on; more methods, delays or episodes may be asked of the same folder."
)


def add_latency(verbs) -> None:
    """Adds `latency` to `beingh suite`."""
    parser = verbs.add_parser(
        "latency", help="success and smoothness against the delay of inference", description=_LATENCY,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--robot", required=True, metavar="ROBOT", help="robot contract: name or path")
    add(
        "--checkpoint", action="append", required=True, metavar="[NAME=]DIR", help="may be given several times, by name"
    )
    add("--delays", default="0,2,4,6,8", metavar="D,...", help="from the picture to the chunk's arrival [ticks]")
    add("--jitter", type=int, default=0, metavar="N", help="a chunk comes up to so many ticks later, at random")
    add("--methods", default="uac,naive,waiting", metavar="M,...", help="ways of joining chunks")
    add("--episodes", type=int, default=20, help="of each point")
    add("--seed", type=int, default=0, help="scene of the first episode; the following ones count up")
    add("--seconds", type=float, default=20.0, help="longest time of an episode")
    add("--workers", type=int, default=1, help="processes; 0 for one on each processor")
    add("--out", type=Path, default=Path("out/suite/latency"), metavar="DIR", help="folder of the rows and the report")
    parser.set_defaults(run=_latency)


def _latency(given: argparse.Namespace) -> None:
    from beingh_core.suite.latency import run
    from beingh_core.suite.latency_plan import Latency

    out = run(
        Latency(
            robot=given.robot, checkpoints=named(given.checkpoint), methods=listed(given.methods),
            delays=_numbers(given.delays), jitter=given.jitter, episodes=given.episodes, seed=given.seed,
            seconds=given.seconds, workers=given.workers, out=given.out,
        )
    )  # fmt: skip
    print(f"{out / 'report.html'}")


def named(texts: list[str]) -> dict[str, str]:
    """Name -> directory of `NAME=DIR`; a directory alone has its own name.

    Raises:
        BeingHError: A name or a directory is empty, or a name stands for two.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, separator, place = text.partition("=")
        if not separator:
            name, place = Path(text).resolve().name, text
        if not name or not place:
            raise BeingHError(f"`{text}` is no checkpoint", where="--checkpoint", allowed="DIR or NAME=DIR")
        if name in found:
            raise BeingHError(
                f"two checkpoints are called `{name}`", where="--checkpoint", remedy="give them names: NAME=DIR"
            )
        found[name] = place
    return found


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in listed(text))
    except ValueError:
        raise BeingHError(
            f"`{text}` is no list of steps", where="--delays", allowed="whole numbers, as 0,2,4"
        ) from None
