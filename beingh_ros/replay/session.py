"""One checkpoint over all recordings: the policy node is started once, every recording gets a controller of its own."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import rclpy

from beingh_core.contract import RobotContract
from beingh_core.data.disturb import Disturbance
from beingh_core.openloop.recording import Recording
from beingh_ros.replay.cameras import Cameras
from beingh_ros.replay.evaluation import Chunks
from beingh_ros.replay.isolation import begin_alone
from beingh_ros.replay.nodes import ReplayPolicy
from beingh_ros.replay.player import RELAYED, Pass, Player, Settings


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a checkpoint is replayed.

    Attributes:
        contract: Name or path.
        dataset_name, device, threads: See `policy_node`.
        seed: Of noise and disturbances.
        latency_s: From an inference to its chunk, in the recordings' time [s].
        realtime: Whether time runs as on the wall.
        spread: Whether to predict everything again from other noise.
        allow_outside: Infer although states are far outside of the checkpoint's statistics.
        domain: ROS domain; None picks one.
        disturbance: What is done to the pictures.
    """

    contract: str
    dataset_name: str = ""
    device: str = "cpu"
    threads: int = 0
    seed: int = 0
    latency_s: float = 0.0
    realtime: bool = False
    spread: bool = False
    allow_outside: bool = False
    domain: int | None = None
    disturbance: Disturbance = field(default_factory=Disturbance)


@dataclass(kw_only=True, eq=False)
class Replayed:
    """What one checkpoint has given, recording by recording.

    Attributes:
        recorded: passes in which the controller followed what was recorded.
        again: the same from other noise; empty when that was not asked for.
        driven: passes in which it followed the policy.
    """

    recorded: list[Pass] = field(default_factory=list)
    again: list[Pass] = field(default_factory=list)
    driven: list[Pass] = field(default_factory=list)

    def chunks(self, recordings: Sequence[Recording], passes: Sequence[Pass]) -> list[Chunks]:
        """By the time of their base tick."""
        return [
            Chunks(recording=recording, by_stamp={p.request.stamp_ns: p for p in one.predicted})
            for recording, one in zip(recordings, passes)
        ]


def replay(
    contract: RobotContract,
    checkpoint: str,
    recordings: Sequence[Recording],
    options: Options,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Replayed:
    """Runs the nodes over recordings, in a ROS graph of their own.

    Args:
        contract: Robot.
        checkpoint: Checkpoint directory.
        recordings: Of that robot.
        options: How.
        progress: Is given how many passes are done, and of how many.

    Raises:
        BeingHError: The checkpoint is of another robot or broken; the graph is not free; the nodes do not take part.
    """
    begin_alone(arguments(checkpoint, options), options.domain)
    policy = player = None
    found = Replayed()
    wanted = [("recorded", found.recorded, options.seed), ("policy", found.driven, options.seed)]
    if options.spread:
        wanted.insert(1, ("recorded", found.again, options.seed + 1))
    try:
        policy = ReplayPolicy()
        player = Player(contract, policy)
        gc.freeze()  # the controller collects once a second, which must not look at modules and model
        done = 0
        for follow, passes, seed in wanted:
            for recording in recordings:
                film = follow == "recorded" and not passes
                cameras = Cameras(contract, options.disturbance, options.seed, recording.name, film)
                settings = Settings(
                    follow=follow, latency_s=options.latency_s, seed=seed, realtime=options.realtime
                )  # fmt: skip
                passes.append(player.play(recording, settings, cameras))
                done += 1
                progress(done, len(wanted) * len(recordings))
    finally:
        if player is not None:
            player.close()
        if policy is not None:
            policy.close()
            policy.destroy_node()
        rclpy.try_shutdown()
        gc.unfreeze()
    return found


def arguments(checkpoint: str, options: Options) -> list[str]:
    """ROS arguments of both nodes: simulated time, a dry run, and the policy's chunks to the player."""
    both = {"contract": options.contract, "use_sim_time": True, "autostart": True}
    policy = {
        "checkpoint": checkpoint, "dataset_name": options.dataset_name, "device": options.device,
        "torch_threads": options.threads, "seed": options.seed, "early_start": options.realtime, "instruction": "",
        "allow_state_outside_statistics": options.allow_outside,
    }  # fmt: skip
    controller = {"dry_run": True, "subscriber_settle_s": 0.0}
    words = ["--ros-args", "--log-level", "error", "--disable-rosout-logs"]
    for prefix, values in (("", both), ("policy:", policy), ("controller:", controller)):
        for key, value in values.items():
            words += ["-p", f"{prefix}{key}:={json.dumps(value, ensure_ascii=False)}"]
    for own, relayed in zip(("policy/chunk", "policy/base_chunk"), RELAYED):
        words += ["-r", f"policy:{own}:={relayed}"]
    return words
