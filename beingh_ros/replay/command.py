"""`replay_eval` and `beingh replay-eval`: bags through the policy and controller nodes, and a report."""

from __future__ import annotations

from beingh_core.interrupts import end_quietly_while_importing, raise_on_interrupt  # isort: skip

end_quietly_while_importing(__name__)

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from beingh_core.errors import BeingHError
from beingh_core.openloop.command import add_common, bar, contract_named, disturbance_of, finish, labelled, ready

_DESCRIPTION = (
    "Plays recorded bags to the real policy and controller nodes, in the bags' own time, and compares what the policy wants "
    "with what was commanded and with policies that see nothing. Writes report.html and report.json. It runs in a ROS "
    "domain of its own on this computer, and its nodes have no publishers that a robot could subscribe to: nothing moves."
)


def register(commands) -> None:
    """Adds `replay-eval` to the command line of `beingh`."""
    parser = commands.add_parser(
        "replay-eval", help="what a checkpoint would have done on recorded bags", description=_DESCRIPTION,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    _add_options(parser)
    parser.set_defaults(run=run)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `replay_eval`; exit status 2 for what a user can put right."""
    parser = argparse.ArgumentParser(
        prog="replay_eval", description=_DESCRIPTION, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    _add_options(parser)
    raise_on_interrupt()
    try:
        return run(parser.parse_args(arguments))
    except BeingHError as error:
        print(f"replay_eval: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("replay_eval: interrupted; nothing was written", file=sys.stderr)
        return 130


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bag", type=Path, nargs="+", required=True, metavar="BAG", help="bags, or folders of bags")
    parser.add_argument(
        "--contract", default="", metavar="ROBOT", help="robot contract; empty: of the checkpoint's robot"
    )
    parser.add_argument("--namespace", default="", help="in which the robot's nodes were recorded")
    parser.add_argument(
        "--commands", default="", metavar="TOPIC", help="of the commands, or `states`; empty: look for it"
    )
    parser.add_argument(
        "--latency", type=float, default=0.0, metavar="MS", help="from an inference to its chunk, in the bag's time"
    )
    parser.add_argument("--realtime", action="store_true", help="time runs as on the wall; two runs then differ")
    parser.add_argument("--domain", type=int, help="ROS domain, in which nobody may be; empty: one that is free")
    parser.add_argument("--rrd", type=Path, metavar="FILE", help="also write a recording for Rerun")
    add_common(parser, "out/replay")


def run(chosen: argparse.Namespace) -> int:
    """Replays and reports."""
    from beingh_core.contract import load_contract
    from beingh_core.data.export_command import find_bags
    from beingh_core.openloop.recording import recordings_of
    from beingh_core.policy.checkpoint_check import check_checkpoint
    from beingh_ros.replay.session import Options, replay

    checkpoints = labelled(chosen.checkpoint)
    contract = load_contract(contract_named(chosen.contract, chosen.checkpoint[0]))
    options = Options(
        contract=str(contract.path), dataset_name=chosen.dataset_name, device=chosen.device, threads=chosen.threads,
        seed=_within(chosen.seed, 0, 2**31 - 2, "--seed"), latency_s=_within(chosen.latency, 0.0, 1e4, "--latency") / 1e3,
        realtime=chosen.realtime, spread=chosen.spread,
        allow_outside=chosen.allow_outside, domain=_domain(chosen.domain),
        disturbance=disturbance_of(chosen, [camera.name for camera in contract.cameras]),
    )  # fmt: skip
    for path in checkpoints.values():
        check_checkpoint(contract, path, chosen.dataset_name or contract.policy.dataset_name)
    log = _rerun_log(contract, chosen.rrd)
    bags, recordings, notes, refused = find_bags(chosen.bag), [], [], 0
    for bag in bags:
        try:
            stretches, told = recordings_of(
                bag, contract, namespace=chosen.namespace, commands=chosen.commands, task=chosen.task
            )
            recordings += stretches
            notes += told
        except BeingHError as error:
            if len(bags) == 1:
                raise
            refused += 1
            notes.append(f"left out: {error}")
    if not recordings:
        raise BeingHError("none of the bags can be replayed:\n" + "\n".join(notes))
    ready(chosen.out)
    results = {
        name: replay(contract, str(Path(path).resolve()), recordings, options, bar)
        for name, path in checkpoints.items()
    }
    found = _evaluated(contract, checkpoints, recordings, results, options, notes)
    if log is not None:
        from beingh_ros.replay.rerun_file import write

        write(log, contract, recordings, results)
        print(f"wrote {chosen.rrd}")
    status = finish(found, chosen.out)
    return 1 if refused else status


def _evaluated(contract, checkpoints, recordings, results, options, notes):
    """Everything for the report."""
    from beingh_core.evaluate.evaluated import Evaluated
    from beingh_core.evaluate.openloop import joined
    from beingh_core.openloop import quantities
    from beingh_core.openloop.noise import again_name
    from beingh_ros.replay.evaluation import compare, mean_action, node_figures

    mean_D, parts = mean_action(contract, recordings), []
    delay = contract.uac.delay_steps
    for index, recording in enumerate(recordings):
        sources = {}
        for name, result in results.items():
            sources[name] = result.chunks(recordings, result.recorded)[index]
            if result.again:
                sources[again_name(name)] = result.chunks(recordings, result.again)[index]
        part, left_out = compare(contract, sources, tuple(results), mean_D, delay)
        if left_out:
            notes.append(
                f"{recording.name}: {left_out} chunks are not compared: the controller was not where the recording was yet"
            )
        if part is not None:
            parts.append(part)
        elif not left_out:
            notes.append(f"{recording.name}: no chunk was made: " + _why(results, index))
    if not parts:
        raise BeingHError("no chunk was made:\n" + "\n".join(notes))
    comparison = joined(parts)
    return Evaluated(
        comparison=comparison,
        robot=contract.robot,
        recordings=[recording.name for recording in recordings],
        checkpoints=checkpoints,
        settings={
            "time": "of the wall" if options.realtime else "of the bags",
            "seed of the noise": options.seed,
            "noise": "drawn anew for each chunk from the seed, the bag and the tick; the same for all checkpoints. The live node "
            "draws one sequence from its own seed, which a bag does not hold: what was recorded is one draw of many",
            "latency [ms]": 1e3 * options.latency_s,
            "disturbance": options.disturbance.text or "none",
        },
        delay=delay,
        grippers=tuple(quantities.gripper_shares(contract, comparison.quantities)),
        gates={name: [g for one in r.recorded for p in one.predicted for g in p.gates] for name, r in results.items()},
        inference_ms={
            name: [p.made.inference_ms for one in r.recorded for p in one.predicted] for name, r in results.items()
        },
        nodes={name: node_figures(contract, list(zip(recordings, r.driven))) for name, r in results.items()},
        again={name: again_name(name) for name, r in results.items() if r.again},
        film=next(iter(results.values())).recorded[0].film,
        notes=notes,
    )


def _why(results, index: int) -> str:
    """The commonest reasons for which a recording gave no chunk."""
    told = [
        f"{name}: {reason}"
        for name, result in results.items()
        for reason, _ in result.recorded[index].closed.most_common(2)
    ]
    return "; ".join(told) or "it is too short"


def _rerun_log(contract, path: Path | None):
    """Opened before anything takes time; None when none is wanted."""
    if path is None:
        return None
    from beingh_ros.monitor.rerun_log import RerunLog

    return RerunLog(contract, path)


def _domain(number: int | None) -> int | None:
    return None if number is None else _within(number, 0, 232, "--domain")


def _within(value, low, high, option: str):
    if not low <= value <= high:
        raise BeingHError(f"{option} {value}", allowed=f"{low:g} to {high:g}")
    return value
