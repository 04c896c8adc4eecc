"""The console command `beingh` and the sub-commands that need no ROS; `beingh_ros.cli` adds its own."""

from __future__ import annotations

from beingh_core.interrupts import (  # isort: skip
    INTERRUPTED,
    end_quietly_while_importing,
    raise_on_interrupt,
    was_interrupted,
)

end_quietly_while_importing(__name__)

import argparse
import dataclasses
import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence

from beingh_core.bench.commands import add_plan, add_ratios
from beingh_core.data.annotate.command import add_annotate
from beingh_core.data.commands import add_dataset
from beingh_core.data.doctor.command import add_doctor
from beingh_core.data.export_command import add_export
from beingh_core.data.rollouts_command import add_rollouts
from beingh_core.errors import BeingHError
from beingh_core.openloop.command import add_evaluate
from beingh_core.openloop.quantize_command import add_quantize
from beingh_core.suite.command import add_suite
from beingh_core.suite.evidence.command import add_evidence
from beingh_core.train.command import add_train

# Adds sub-commands to what `add_subparsers` returned, or to its `benches`, those of `beingh bench`; each sets `run`, which
# takes the parsed arguments and returns an exit status or None for 0.
Register = Callable[["argparse._SubParsersAction"], None]
# Libraries that only some commands need: module -> how to get it.
OPTIONAL = {
    name: f"pip install {package}"
    for name, package in (
        *(
            (name, name)
            for name in ("av", "matplotlib", "mcap", "mujoco", "pyarrow", "ray", "rich", "rosbags", "ruckig")
        ),
        ("cv2", "opencv-python-headless"),
        ("zmq", "pyzmq"),
    )
} | {"rclpy": "source /opt/ros/$ROS_DISTRO/setup.bash, or install requirements-ros.txt"}


def main(arguments: Sequence[str] | None = None, registers: Sequence[Register] = ()) -> int:
    """Runs one sub-command.

    Args:
        arguments: Without the program's name; None takes the command line's.
        registers: What adds further sub-commands.

    Returns:
        Exit status: the sub-command's own, or 2 after a mistake that the user can fix, told on stderr; 141, as of a
        program that SIGPIPE ends, when the reader of the output went away, and 130, as of SIGINT, after Ctrl-C.
    """
    chosen = build_parser(registers).parse_args(arguments)
    raise_on_interrupt()
    try:
        status = chosen.run(chosen) or 0
        sys.stdout.flush()
        return status
    except BeingHError as error:
        print(f"beingh: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        if was_interrupted(error):
            print("beingh: interrupted", file=sys.stderr)
            return INTERRUPTED
        package = (error.name or "").partition(".")[0]
        if package not in OPTIONAL:
            raise
        told = BeingHError(f"this needs {package}, which is not installed", remedy=OPTIONAL[package])
        print(f"beingh: {told}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("beingh: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # of `beingh ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is written when Python ends
        return 141


def export_dataset(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `ros2 run beingh_ros export_dataset`, which is `beingh export`."""
    return main(["export", *(sys.argv[1:] if arguments is None else arguments)])


def build_parser(registers: Sequence[Register] = ()) -> argparse.ArgumentParser:
    """The whole command line; `registers` add further sub-commands."""
    parser = argparse.ArgumentParser(
        prog="beingh", description="Being-H on robots: run, watch, record, look, train, measure."
    )
    commands = parser.add_subparsers(metavar="COMMAND [OPTION]", required=True)  # as wide as the longest name needs
    _add_serve(commands)
    add_plan(commands)
    add_evaluate(commands)
    add_quantize(commands)
    add_dataset(commands)
    add_export(commands)
    add_doctor(commands)
    add_annotate(commands)
    add_rollouts(commands)
    add_train(commands)
    add_suite(commands)
    add_evidence(commands)
    bench = commands.add_parser("bench", help="measure the software on this machine")
    benches = commands.benches = bench.add_subparsers(metavar="WHAT", required=True)
    _add_bench_inference(benches)
    _add_bench_controller(benches)
    _add_bench_server(benches)
    _add_bench_export(benches)
    _add_bench_training(benches)
    _add_bench_loader(benches)
    add_ratios(benches)
    for register in registers:
        register(commands)
    return parser


def _add_serve(commands) -> None:
    parser = commands.add_parser(
        "serve",
        help="serve a checkpoint's policy to robots",
        description="Answers robots whose policy node has policy_url set, or with --compat the released evaluation "
        "clients; runs until Ctrl-C. Give either --contract, or --data-config and --dataset-name.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="checkpoint in the released format")
    parser.add_argument("--contract", default="", metavar="ROBOT", help="robot contract: name or path")
    parser.add_argument("--data-config", default="", metavar="NAME", help="views and keys of a benchmark")
    parser.add_argument("--dataset-name", default="", help="whose statistics to normalise with; empty: the contract's")
    parser.add_argument("--compat", action="store_true", help="speak with the released evaluation clients")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; others than loopback need a token")
    parser.add_argument("--port", type=int, default=5555, help="port to listen on; 0 takes a free one")
    parser.add_argument("--token-file", metavar="FILE", help="file with the token that clients must send")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="float32", help="precision of the model: float32 or bfloat16")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of torch; 0 for its default")
    parser.add_argument("--seed", type=int, default=-1, help="of the model's noise; negative for none")
    parser.add_argument("--max-batch", type=int, default=4, help="most robots in one call of the model")
    parser.add_argument("--jpeg", default="accept", help="accept pictures that robots compressed, or none")
    _add_model_settings(parser)
    _add_benchmark_settings(parser)
    parser.set_defaults(run=_serve)


def _add_model_settings(parser: argparse.ArgumentParser) -> None:
    """What replaces the checkpoint's own values; the names are those of the released server."""
    group = parser.add_argument_group("in place of the checkpoint's own values")
    group.add_argument("--num-inference-timesteps", type=int, help="Euler steps of a pass")
    group.add_argument("--use-mpg", choices=("on", "off"), help="manifold-preserving gating")
    group.add_argument("--mpg-lambda", type=float, help="its strength")
    group.add_argument("--mpg-num-projections", type=int, help="its random directions")
    group.add_argument("--mpg-refinement-iters", type=int, help="its passes after the plain one")
    group.add_argument("--mpg-gate-temperature", type=float, help="softness of its gate")


def _add_benchmark_settings(parser: argparse.ArgumentParser) -> None:
    """What only a served data config has; the names are those of the released server."""
    group = parser.add_argument_group("with --data-config")
    group.add_argument("--variant", default="", help="name of a task's or embodiment's statistics, or merged")
    group.add_argument("--embodiment", default="", help="whose statistics may be taken without being named")
    group.add_argument("--stats-selection-mode", default="auto", help="auto, task, embodiment, merged or total")
    group.add_argument("--allow-unknown-variant", action="store_true", help="take others where --variant is not there")
    group.add_argument("--prompt-template", default="long", choices=("long", "short"), help="words around the task")
    group.add_argument("--max-view-num", type=int, default=-1, help="without effect, as in the released server")
    group.add_argument("--use-fixed-view", action="store_true", help="without effect, as in the released server")
    group.add_argument("--prop-pos", default="front", help="without effect, as in the released server")
    group.add_argument(
        "--no-prefix-lock", action="store_true", help="with --compat: ignore prev_chunk, reply without action_unified"
    )


def _serve(chosen: argparse.Namespace) -> None:
    from beingh_core.policy.remote.serve import serve

    serve(chosen)


def _add_bench_inference(commands) -> None:
    parser = commands.add_parser(
        "inference",
        help="time of one action chunk, part by part",
        description="Times action chunks of a model with random weights, with and without the cached prefix.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--shape", default="tiny", help="size of the model: tiny, 2b, or with experts tiny_mof, 2b_mof")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="float32", help="float32 or bfloat16")
    parser.add_argument("--steps", type=int, default=4, help="Euler steps of a pass")
    parser.add_argument("--views", type=int, default=2, help="images")
    parser.add_argument("--engine", default="both", help="cached, full (whole sequence in every step), or both")
    parser.add_argument("--robots", type=int, default=1, help="robots computed in one call")
    parser.add_argument("--repeats", type=int, default=10, help="timed chunks of each engine")
    parser.add_argument("--scheme", default="", help="int8, int4 or w8a8 for the cached engine; compares with --dtype")
    parser.add_argument("--towers", default="und,act,vision", help="which of its weights, with commas between")
    parser.add_argument("--group-size", type=int, default=64, help="numbers that share a scale in int4")
    parser.add_argument("--seed", type=int, default=0, help="of weights, sample and noise")
    parser.add_argument("--json", metavar="FILE", help="also write the report here")
    parser.set_defaults(run=measure("beingh_core.bench.inference", "InferenceBench"))


def _add_bench_controller(commands) -> None:
    parser = commands.add_parser(
        "controller",
        help="time of merging and limiting one chunk",
        description="Times the commit buffer with chunks that violate no limit, all limits, and the position limits.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=32, help="steps of a chunk")
    parser.add_argument("--joints", type=int, default=31, help="joints")
    parser.add_argument("--rate-hz", type=float, default=20.0, help="ticks per second")
    parser.add_argument("--repeats", type=int, default=1000, help="timed chunks of each case")
    parser.add_argument("--seed", type=int, default=0, help="of the chunks")
    parser.add_argument("--robot", default="", help="also time the check for self-collision of this contract")
    parser.add_argument("--clock", default="wall", help="wall, or processor: on a busy machine")
    parser.add_argument("--json", metavar="FILE", help="also write the report here")
    parser.set_defaults(run=measure("beingh_core.bench.controller", "ControllerBench"))


def _add_bench_server(commands) -> None:
    parser = commands.add_parser(
        "server",
        help="what a chunk from a policy server costs beside the model",
        description="Starts `beingh serve` on this machine and times chunks with raw and with JPEG pictures.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="checkpoint that is served")
    parser.add_argument("--contract", default="fr3", metavar="ROBOT", help="its robot contract: name or path")
    parser.add_argument("--size", type=int, default=224, help="side of the pictures in pixels")
    parser.add_argument("--jpeg-quality", type=int, default=90, help="of the compressed pictures, 1 to 100")
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads of the server's model; 0 for torch's default"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--repeats", type=int, default=200, help="timed chunks of each kind of pictures")
    parser.add_argument("--seed", type=int, default=0, help="of the pictures")
    parser.add_argument("--json", metavar="FILE", help="also write the report here")
    parser.set_defaults(run=measure("beingh_core.bench.server", "ServerBench"))


def _add_bench_export(commands) -> None:
    parser = commands.add_parser(
        "export",
        help="export of a bag against LeRobot's own writer",
        description="Exports a synthetic MCAP bag (two 640x480 cameras at 30 Hz, joints at 100 Hz), then lets LeRobot "
        "write the same frames in its default and its streaming mode. LeRobot runs in an environment of its own.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the bag")
    parser.add_argument("--codec", default="h264", help="h264 or av1, for both writers")
    parser.add_argument(
        "--lerobot-seconds", type=float, default=10.0, help="how much of it LeRobot's default mode writes"
    )
    parser.add_argument("--lerobot-python", default="", metavar="FILE", help="Python that has lerobot; empty: this one")
    parser.add_argument("--without-lerobot", action="store_true", help="measure only ours")
    parser.add_argument("--seed", type=int, default=0, help="of the pictures' noise")
    parser.add_argument("--json", metavar="FILE", help="also write the report here")
    parser.set_defaults(run=measure("beingh_core.bench.export", "ExportBench"))


def _add_bench_training(commands) -> None:
    parser = commands.add_parser(
        "training",
        help="training steps over packed sequences against padded batches",
        description="Times forward and backward passes over samples of mixed lengths, packed into sequences of a number of "
        "tokens and, in turn, padded to the longest in batches of as many tokens.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--shape", default="tiny", help="size of the model: tiny, 2b, or with experts tiny_mof, 2b_mof")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--tokens", type=int, default=4096, help="of a packed sequence or a padded batch")
    parser.add_argument("--repeats", type=int, default=8, help="timed steps of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of weights, lengths and content")
    parser.add_argument("--clock", default="wall", help="wall, or processor: on a busy machine")
    parser.add_argument("--json", metavar="FILE", help="also write the report here")
    parser.set_defaults(run=measure("beingh_core.bench.training", "TrainingBench"))


def _add_bench_loader(commands) -> None:
    parser = commands.add_parser(
        "loader",
        help="the training loader alone against its trainer and LeRobot's loader",
        description="Times, in turn and over the same dataset: packs of the training loader, steps of the trainer with their "
        "packs ready, and LeRobot's LeRobotDataset in a torch DataLoader, which runs in an environment of its own.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--config", default="config/train/tiny.yaml", metavar="FILE", help="the training run")
    parser.add_argument("--dataset", default="", metavar="DIR", help="of its robot; empty: one is made")
    parser.add_argument("--side", type=int, default=96, help="height of the made one's pictures in pixels")
    parser.add_argument("--workers", type=int, default=0, help="processes of either loader; 0: the file's")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each")
    parser.add_argument("--lerobot-python", default="", metavar="FILE", help="Python that has lerobot; empty: this one")
    parser.add_argument("--without-lerobot", action="store_true", help="measure only ours")
    parser.add_argument("--seed", type=int, default=0, help="of the made dataset's pictures")
    parser.add_argument("--json", metavar="FILE", help="also write the report here")
    parser.set_defaults(run=measure("beingh_core.bench.loader", "LoaderBench"))


def measure(module: str, settings: str) -> Callable[[argparse.Namespace], None]:
    """What runs a measurement: `run` of a module, whose options are the fields of its class `settings`."""

    def run(chosen: argparse.Namespace) -> None:
        # PyTorch takes seconds to load; other sub-commands and --help do without it.
        room = importlib.import_module(module)
        from beingh_core.bench.files import write_target

        kind = getattr(room, settings)
        bench = kind(**{field.name: getattr(chosen, field.name) for field in dataclasses.fields(kind)})
        target = write_target(chosen.json) if chosen.json else None
        text = json.dumps(room.run(bench), indent=2)
        print(text)
        if target:
            target.write_text(text + "\n")

    return run


if __name__ == "__main__":
    sys.exit(main())
