"""Runs episodes in simulation through the real nodes and writes a report: `python -m beingh_ros.demo --help`."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from beingh_core.contract import RobotContract, load_contract
from beingh_core.contract.urdf import read_urdf
from beingh_core.errors import BeingHError
from beingh_core.evaluate.episodes import EpisodeResult, EpisodeTrace
from beingh_core.evaluate.figures import RunData
from beingh_core.evaluate.judge import TaskJudge, TimeJudge
from beingh_core.evaluate.report import write_report
from beingh_core.evaluate.seams import seams, sent_positions
from beingh_core.evaluate.tracking import Followed
from beingh_core.realtime.clock import TickClock
from beingh_core.sim import CUBE_COLOURS
from beingh_core.sim.describe import left_open
from beingh_core.sim.hand import HAND_SLOTS, hands_of
from beingh_core.tasks import PICK, TASKS, told
from beingh_ros.bringup import BringupOptions, ProcessGroup, check_start, processes
from beingh_ros.demo.choice import POLICIES, ROBOT, plan_of, policy_of, untold
from beingh_ros.demo.gallery import STILL, run_all
from beingh_ros.demo.progress import PlainProgress, make_progress
from beingh_ros.demo.recording import EpisodeRecording, episodes_only
from beingh_ros.demo.session import FIRST_CHUNK_TIMEOUT_S, DemoSession
from beingh_ros.monitor.viewer import VIEWERS, RerunViewer
from beingh_ros.record.episode import make_writable

# What the expert does takes longer on slow robots than what the checkpoint was trained for [s]; time of a reference path [s].
EXPERT_SECONDS, REFERENCE_SECONDS = 45.0, 12.0
SPECTATOR_FPS = 10.0
VIDEO = "video.mp4"
SHARED_MEMORY = Path("/", "dev", "shm")
SECONDS = 20.0
LIMITS = ("lower", "upper", "velocity", "acceleration", "jerk", "is_velocity")
INTERRUPTED, FAILED = 130, 1


class Demo:
    """One run.

    Args:
        contract: Robot.
        checkpoint: Checkpoint directory; None for the scripted expert.
        episodes: Number of episodes; episode i has seed `seed` + i.
        seed: First seed.
        instruction: The task in words; "" chooses by the seed.
        seconds: Longest time of an episode, in robot time [s].
        out: Directory of the report.
        viewer: One of VIEWERS.
        record: Folder in which a bag of each episode is recorded; None for none.
        task: Tasks whose scenes there are and that the seed chooses among, as in `beingh_core.tasks`.
    """

    def __init__(
        self,
        contract: RobotContract,
        *,
        checkpoint: Path | None,
        episodes: int,
        seed: int,
        instruction: str,
        seconds: float,
        out: Path,
        viewer: str,
        record: Path | None = None,
        task: str = PICK.name,
    ) -> None:
        self._task = task
        self._contract, self._checkpoint, self._out, self._viewer = contract, checkpoint, out, viewer
        self._record, self._recording = record, None
        self._seconds = seconds
        self._picks = checkpoint is not None or bool(hands_of(contract))
        if instruction and not self._picks:
            raise BeingHError(
                f"`{contract.robot}` has no hand that could pick, and follows a reference path whatever it is told",
                where="--instruction",
                remedy="leave the instruction out, or take a robot with a hand",
            )
        self._plan = plan_of(seed, episodes, instruction, task) if self._picks else untold(seed, episodes, task)
        self._seed = seed
        self._followed: list[Followed] = []
        self._still: np.ndarray | None = None
        self._results: list[EpisodeResult] = []
        self._trace: EpisodeTrace | None = None

    def run(self) -> int:
        """Run it to the end and write the report; returns the exit status.

        Raises:
            BeingHError: When a node cannot start, ends, or does not answer.
        """
        options = BringupOptions(
            contract=str(self._contract.path),
            checkpoint=str(self._checkpoint or ""),
            expert=self._checkpoint is None,
            simulate=True,
            seed=self._seed,
            task=self._task,
            spectator_fps=SPECTATOR_FPS,
            markers=False,
            record=self._record is not None,
            record_out=str(self._record),
        )
        check_start(options)
        if not self._picks:
            print(
                f"note: `{self._contract.robot}` has no hand that could pick: it follows a slow path of all its joints"
            )
        if self._record is not None:
            make_writable(self._record, "--record", "make demo RECORD=out/bags")
        make_writable(self._out, "--out", "make demo OUT=out/demo")
        status = 0
        with make_progress(len(self._plan)) as progress:
            progress.state("starting simulator, controller and policy")
            group = ProcessGroup(episodes_only(processes(options)), self._out / "logs")
            with group, DemoSession(self._contract, group, self._out / VIDEO, SPECTATOR_FPS) as session:
                if self._viewer == "rerun":
                    RerunViewer(session.node, self._contract)
                if self._record is not None:
                    self._recording = EpisodeRecording(session, self._contract)
                try:
                    self._run_episodes(session, progress)
                except KeyboardInterrupt:
                    status = INTERRUPTED
                    if self._results:
                        session.halt()
                progress.state("stopping")
                data = self._data(session)
        if not self._results:
            return status
        return self._report(data) or status

    def _run_episodes(self, session: DemoSession, progress: PlainProgress) -> None:
        session.discover()
        if self._recording is not None:
            self._recording.discover()
        progress.state("running")
        for index, (seed, instruction) in enumerate(self._plan):
            self._results.append(self._episode(session, progress, index, seed, instruction))
            progress.finished(self._results[-1])
        session.halt()
        session.wait_for_new_status()

    def _episode(
        self, session: DemoSession, progress: PlainProgress, index: int, seed: int, instruction: str
    ) -> EpisodeResult:
        known = len(session.observer.log.epochs())
        session.prepare(seed, instruction)
        judge = self._judge(instruction)
        if self._recording is not None:
            self._recording.start(instruction)
        session.recorder.start(judge, f"{index + 1}/{len(self._plan)}  {instruction}")
        chunks = session.observer.log.chunk_count
        session.release()

        def over() -> bool:
            progress.running(index, instruction, judge.elapsed_s, session.policy_status.get("message", ""))
            return (
                judge.success or judge.elapsed_s >= self._seconds or session.controller_status.get("state") == "stopped"
            )

        # Simulated time falls behind on a machine that is too slow, so the wall clock bounds the trial loosely only.
        if not session.wait_or_not(lambda: session.observer.log.chunk_count > chunks or over(), FIRST_CHUNK_TIMEOUT_S):
            raise BeingHError(
                f"the policy does not infer: {session.policy_status.get('gate', 'it says nothing')}",
                where=f"episode {index + 1}",
            )
        session.wait(over, 60.0 + 5 * self._seconds, "the end of the episode")
        session.recorder.stop()
        if self._recording is not None:
            self._recording.stop(judge.success)
        stopped = session.controller_status.get("state") == "stopped"
        if session.recorder.still is not None and (self._still is None or judge.success):
            self._still = session.recorder.still
        result = EpisodeResult(
            index=index,
            seed=seed,
            instruction=instruction,
            wanted=judge.wanted,
            success=judge.success,
            time_s=judge.success_s if judge.success else judge.elapsed_s,
            first_lifted=judge.first_lifted,
            task=judge.told.task.name if self._picks else PICK.name,
            note=f"the controller stopped: {session.controller_status.get('reason')}" if stopped else "",
        )
        trace = self._make_trace(session, result, known)
        sent_s = trace.first_tick_s + np.arange(len(trace.sent)) / trace.rate_hz
        self._followed.append(
            Followed(sent_s=sent_s, sent=trace.sent, measured_s=trace.measured_s, measured=trace.measured)
        )
        if self._trace is None or (result.success and not self._trace.result.success):
            self._trace = trace
        return result

    def _judge(self, instruction: str) -> TaskJudge | TimeJudge:
        if not self._picks:
            return TimeJudge(min(REFERENCE_SECONDS, self._seconds))
        return TaskJudge(told(instruction, CUBE_COLOURS))

    def _make_trace(self, session: DemoSession, result: EpisodeResult, known: int) -> EpisodeTrace:
        """Traces of the episode that has just ended; `known` epochs are older than it."""
        recorder, wire = session.recorder, session.observer.log
        # A held-up controller begins another epoch in mid-episode; the longest one is shown.
        log = max(wire.epochs()[known:], key=lambda epoch: len(epoch.commands[0]))
        first, sent = sent_positions(log, wire.joints, wire.groups)
        start_ns = recorder.start_ns or log.start_ns
        accepted = set(log.accepted)
        return EpisodeTrace(
            result=result,
            joints=wire.joints,
            rate_hz=wire.rate_hz,
            measured_s=np.array([(ns - start_ns) / 1e9 for ns, _ in recorder.joint_states]),
            measured=np.array([positions for _, positions in recorder.joint_states]).reshape(-1, len(wire.joints)),
            first_tick_s=(TickClock(wire.rate_hz, log.start_ns).stamp_ns(first) - start_ns) / 1e9,
            sent=sent,
            chunks=[(rows.first - first, rows.positions) for rows in log.chunks if rows.first in accepted],
            seams=[tick - first for tick in seams(log)],
            locked_steps=self._contract.uac.delay_steps,
            frames=[((ns - start_ns) / 1e9, views) for ns, views in recorder.film],
        )

    def _data(self, session: DemoSession) -> RunData:
        contract, recorder = self._contract, session.recorder
        joints = session.observer.log.joints
        columns, limits = [contract.joint_names.index(name) for name in joints], contract.limits
        views = [status for name, status in recorder.status.items() if name.startswith("policy: video.")]
        return RunData(
            results=tuple(self._results),
            wire=session.observer.log,
            commit_margin=contract.uac.commit_margin,
            delay_steps=contract.uac.delay_steps,
            revolute=_turning_arms(contract, joints),
            inference_ms=list(recorder.inference_ms),
            latency_ms=list(recorder.latency_ms),
            controller=session.controller_status,
            image_frames_lost=sum(int(status["lost"]) for status in views),
            checkpoint="expert" if self._checkpoint is None else _short(self._checkpoint),
            robot=contract.robot,
            limits=SimpleNamespace(**{name: np.asarray(getattr(limits, name))[columns] for name in LIMITS}),
            followed=self._followed,
            stops=session.observer.stops,
            planned=session.observer.planned,
        )

    def _report(self, data: RunData) -> int:
        values, audit = write_report(self._out, data, self._trace, VIDEO if (self._out / VIDEO).exists() else "")
        if self._still is not None:
            Image.fromarray(self._still).save(self._out / STILL)
        inference = values["inference_ms"]["p50"]
        if values["cut_chunks"]:
            print(
                f"{values['cut_chunks']} chunks were cut or dropped: they would have run the robot into itself or into "
                f"keep_out; see {self._out / 'logs/controller.log'}"
            )
        print(
            f"{values['successes']} of {values['episodes']} episodes succeeded, "
            f"{values['prefix_violations']} broken commitments, {values['limit_violations']} limit violations, "
            f"{values['late_chunks']} late chunks of {values['chunks']}, inference {'-' if inference is None else f'{inference:.1f} ms'}"
        )
        print(f"report: {self._out / 'report.html'}")
        if audit.violations:
            print(f"error: a committed command was not kept: {audit.violations[0]}", file=sys.stderr)
            return FAILED
        return 0


def _turning_arms(contract: RobotContract, joints: Sequence[str]) -> np.ndarray:
    """(J,) which joints turn and belong to no hand."""
    kinds = read_urdf(contract.urdf_path).joints
    hands = {name for a in contract.action if a.slot in HAND_SLOTS for name in a.commanded}
    return np.array([kinds[name].type != "prismatic" and name not in hands for name in joints])


def _short(path: Path) -> str:
    """A path as a user would type it here."""
    path, here = path.resolve(), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def isolate() -> None:
    """Give this process and its children a ROS graph of their own: an unused domain, this machine only."""
    os.environ["ROS_DOMAIN_ID"] = str(_free_domain())
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    if os.environ.get("ROS_DISTRO") == "humble":
        os.environ["ROS_LOCALHOST_ONLY"] = "1"


def _free_domain() -> int:
    """A domain whose first participant's port nobody has bound, from one that depends on the process id on.

    Those come last in which processes that were killed have left Fast DDS's ports in shared memory: they would lead nowhere.
    """
    left = {int(digits) for path in SHARED_MEMORY.glob("fastrtps_port*") if (digits := path.name[13:]).isdigit()}
    domains = [1 + (os.getpid() + offset) % 100 for offset in range(100)]
    domains.sort(key=lambda domain: any(_first_port(domain) <= port < _first_port(domain + 1) for port in left))
    for domain in domains:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", _first_port(domain) + 10))
                return domain
            except OSError:
                continue
    raise BeingHError("every ROS domain of this machine is in use", remedy="end other ROS programs")


def _first_port(domain: int) -> int:
    """DDSI-RTPS 2.5, 9.6.2.3: base port and domain gain; the first participant's own is 10 higher."""
    return 7400 + 250 * domain


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--robot", default=ROBOT, help="robot contract: name or path")
    parser.add_argument(
        "--policy", choices=POLICIES, default="auto", help="auto: the robot's own checkpoint, else the scripted expert"
    )
    parser.add_argument("--all", action="store_true", help="every robot, one after the other: a table and one picture")
    parser.add_argument("--episodes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first episode; the following ones count up")
    parser.add_argument(
        "--instruction",
        default="",
        help='the task in words, such as "pick up the red cube"; by default the seed chooses',
    )
    parser.add_argument("--task", default=PICK.name, help=f"{', '.join(TASKS)}, or several with commas")
    parser.add_argument("--seconds", type=float, default=0.0, help="longest time of an episode [s], 0 for the usual")
    parser.add_argument("--checkpoint", default="", help="checkpoint directory; empty: the robot's own")
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="directory of the report")
    parser.add_argument("--record", default="", metavar="DIR", help="record a bag of each episode in this folder")
    parser.add_argument("--viewer", choices=VIEWERS, default="none", help="live view; rerun needs a screen")
    return parser


def main(args: Sequence[str] | None = None) -> int:
    """Entry point."""
    given = _parser().parse_args(args)
    # Also where the shell that started this one ignores SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        if given.episodes < 1:
            raise BeingHError(f"{given.episodes} episodes cannot be run", where="--episodes", allowed="1 or more")
        if given.seed < 0:
            raise BeingHError(f"the seed {given.seed} is negative", where="--seed", allowed="0 or more")
        if given.all and given.record:
            raise BeingHError("--all records nothing", where="--record", remedy="give one robot: --robot NAME")
        if given.all:
            return run_all(given.out, given.episodes, given.seed)
        contract = load_contract(given.robot)
        for note in left_open(contract.urdf_path):
            print(f"note: {note}")
        checkpoint = policy_of(contract, given.policy, given.checkpoint, given.task)
        demo = Demo(
            contract,
            checkpoint=checkpoint,
            episodes=given.episodes,
            seed=given.seed,
            instruction=given.instruction,
            seconds=given.seconds or (EXPERT_SECONDS if checkpoint is None else SECONDS),
            out=given.out,
            viewer=given.viewer,
            record=Path(given.record).resolve() if given.record else None,
            task=given.task,
        )
        isolate()
        print(f"to watch it: ROS_DOMAIN_ID={os.environ['ROS_DOMAIN_ID']} {sys.executable} -m beingh_ros.cli monitor")
        return demo.run()
    except BeingHError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
