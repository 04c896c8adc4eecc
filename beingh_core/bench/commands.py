"""The options of `beingh plan`; no torch, so that help is quick."""

from __future__ import annotations

import argparse
import json

from beingh_core.bench.files import write_target


def add_plan(commands) -> None:
    """Adds `beingh plan` to what `add_subparsers` returned."""
    parser = commands.add_parser(
        "plan",
        help="does a checkpoint fit this machine and a robot's contract?",
        description="Measures chunks on this machine, or of a policy server, with the robot's views, and tells the delay and "
        "horizon that follow, whether contract and checkpoint allow them, and what each change would gain. Exit status: "
        "0 when it fits, 1 when it does not, 2 when it could not be measured.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--robot", required=True, metavar="ROBOT", help="robot contract: name or path")
    parser.add_argument("--checkpoint", default="", metavar="DIR", help="checkpoint in the released format")
    parser.add_argument("--shape", default="", metavar="NAME", help="in its place, random weights: tiny, 2b, ...")
    parser.add_argument("--server", default="", metavar="URL", help="in its place, a policy server: tcp://HOST:PORT")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to measure, after loading")
    parser.add_argument("--device", default="", help="cpu or cuda; empty: cpu")
    parser.add_argument("--dtype", default="", help="float32 or bfloat16; empty: float32, as the policy node has it")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of torch; 0 for its default")
    parser.add_argument("--dataset-name", default="", help="whose statistics to use; empty: the contract's")
    parser.add_argument("--token-file", default="", metavar="FILE", help="file with the server's token")
    parser.add_argument(
        "--picture-age-ms",
        type=float,
        default=40.0,
        help="age of a picture when the policy takes it: a period of the camera and its way",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the pictures, and of a shape's weights")
    parser.add_argument("--json", metavar="FILE", help="also write the report here")
    parser.set_defaults(run=_plan)


def _plan(chosen: argparse.Namespace) -> int:
    import dataclasses

    from beingh_core.bench import plan, plan_page, plan_settings

    kind = plan_settings.PlanBench
    bench = kind(**{field.name: getattr(chosen, field.name) for field in dataclasses.fields(kind)})
    target = write_target(chosen.json) if chosen.json else None
    report = plan.run(bench)
    print("\n".join(plan_page.lines(report)))
    if target:
        target.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if report["fits"] else 1


def add_ratios(benches) -> None:
    """Adds `beingh bench ratios` to the commands of `beingh bench`."""
    parser = benches.add_parser(
        "ratios",
        help="compare ratios of the quick benches with committed ones",
        description="Runs the quick benches one after the other, a few minutes in all, and compares their ratios with a "
        "file. Exit status: 0 when nothing got worse, 1 when something did or could not run, 2 when the file is of no use.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--against", default="docs/bench_ratios.json", metavar="FILE", help="the committed ratios")
    parser.add_argument("--update", action="store_true", help="write that file anew in place of comparing")
    parser.add_argument(
        "--only", nargs="+", default=(), metavar="BENCH", help="engine, controller, server, loader, training"
    )
    parser.add_argument("--json", metavar="FILE", help="also write the report here")
    parser.set_defaults(run=_ratios)


def _ratios(chosen: argparse.Namespace) -> int:
    from beingh_core.bench import ratios

    bench = ratios.RatiosBench(against=chosen.against, update=chosen.update, only=tuple(chosen.only))
    target = write_target(chosen.json) if chosen.json else None
    report = ratios.run(bench)
    if target:
        target.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if report["passed"] else 1
