"""One told pick in simulation, on a virtual clock: a tick lasts as long as the computation needs, a chunk comes when it is told to.

So a result depends on the seed and not on the machine. Policy, decoding, limits, buffer and check are the product's; between
them and the simulated robot there is no ROS.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.contract.simulation import check_simulation
from beingh_core.contract.urdf import read_urdf
from beingh_core.control.path_check import path_check
from beingh_core.errors import BeingHError
from beingh_core.evaluate.commitment import CommitmentAudit
from beingh_core.evaluate.judge import PickJudge
from beingh_core.evaluate.seams import jumps_of
from beingh_core.evaluate.wire import EpochLog, Rows
from beingh_core.inference.chunk_maker import ChunkMaker, Observation
from beingh_core.realtime.clock import TickClock
from beingh_core.sim import SimRobot
from beingh_core.sim.hand import hands_of
from beingh_core.suite.answers import Answers
from beingh_core.suite.cameras import Cameras
from beingh_core.suite.joining import EPOCH, Joining, Timing
from beingh_core.suite.shifts import Shift

Pending = tuple[int, int, np.ndarray]  # when a chunk comes, its base tick, its rows
INSTRUCTION = "pick up the {colour} cube"


@dataclass(frozen=True, kw_only=True)
class Episode:
    """What an episode has shown; it ends with a success or when its time is over.

    Attributes:
        colour: Of the cube that was judged.
        told: Of the cube that was told: the same, but in a control.
        success, time_s: Whether it was lifted and held, and when; else how long was tried [s].
        first_lifted: Colour of the first cube that was lifted, if any.
        ticks, held: How many were sent, and in how many of them no chunk decided.
        chunks, late, refused: How many were taken; came behind their locked prefix; came when all their steps had passed.
        unreached: Steps whose pose the arm cannot reach.
        broken: Broken promises: ticks left out or doubled, locked prefixes that were not what was sent.
        jerk: Root mean square over the ticks of the largest third difference of a turning joint [rad/s^3].
        seam, inside: Steps of the sent velocity at the seams and inside the chunks [rad/s], of the joint that jumps most.
        wanted_seam, wanted_inside: The same of what the chunks wanted, before the limits.
        gate_mean, gate_min: Of the values of MPG's gate in all chunks; None where the policy observes none.
    """

    colour: str
    told: str
    success: bool
    time_s: float
    first_lifted: str | None
    ticks: int
    held: int
    chunks: int
    late: int
    refused: int
    unreached: int
    broken: int
    jerk: float
    seam: tuple[float, ...]
    inside: tuple[float, ...]
    wanted_seam: tuple[float, ...]
    wanted_inside: tuple[float, ...]
    gate_mean: float | None = None
    gate_min: float | None = None


@dataclass(kw_only=True)
class Played:
    """What an episode leaves to be judged: how chunks were joined, by whom it was judged, how the policy was asked."""

    joining: Joining
    judge: PickJudge
    answers: Answers
    unreached: int = 0


class Player:
    """Plays episodes of one robot. One thread, which renders; only what the policy sees is rendered.

    Args:
        contract: Robot.

    Raises:
        BeingHError: The simulator does not play the contract, or the robot has nothing to pick with.
    """

    def __init__(self, contract: RobotContract) -> None:
        check_simulation(contract)
        if not hands_of(contract):
            raise BeingHError("this robot has nothing to pick with", where=contract.path)
        self.contract, self.robot = contract, SimRobot.of(contract)
        self._check, _ = path_check(contract)
        self.cameras = Cameras(contract, self.robot)
        self._clock = TickClock(contract.rate_hz, 0)
        self._unknown = dict.fromkeys((name for signal in contract.state for name in signal.values), 0.0)
        kinds = read_urdf(contract.urdf_path).joints
        self._moved = [(i, n) for i, n in enumerate(contract.joint_names) if n in self.robot.positions()]
        self._turning = np.array([kinds[name].type != "prismatic" for name in contract.joint_names])

    def play(
        self,
        policy,
        way: type[Joining],
        timing: Timing,
        seed: int,
        seconds: float,
        shift: Shift = Shift(),
        views: Sequence[str] = (),
        another: bool = False,
    ) -> Episode:
        """An episode in the scene of a seed, whose colours are told in turn.

        Args:
            policy: A `BeingHPolicy` for the contract.
            way: How chunks are joined.
            timing: When they come; which of its ticks each takes follows from the seed.
            seed: Of the scene, the delays, the model's noise and the shift.
            seconds: Longest time [s].
            shift: What happens to the pictures.
            views: To which of them; () for all.
            another: Whether another cube is told than the one that is judged.
        """
        self.cameras.begin(shift, seed, views)
        played = self.run(policy, way, timing, seed, seconds, another)
        joining, judge, gates = played.joining, played.judge, played.answers.gates
        jumps = {
            name: jumps_of(np.array(path)[:, self._turning], joining.seams, joining.held, self.contract.rate_hz)
            for name, path in (("", joining.sent), ("wanted_", joining.targets))
        }
        rounded = lambda values: tuple(np.round(values, 4).tolist())
        return Episode(
            colour=judge.wanted,
            told=self._told(seed, another),
            success=judge.success,
            time_s=round(judge.success_s if judge.success else judge.elapsed_s, 3),
            first_lifted=judge.first_lifted,
            ticks=len(joining.sent),
            held=joining.undecided,
            chunks=len(joining.chunks),
            late=int(joining.late),
            refused=joining.refused,
            unreached=played.unreached,
            broken=broken_promises(joining, self.contract),
            jerk=round(jerk_rms(np.array(joining.sent)[:, self._turning], self.contract.rate_hz), 3),
            gate_mean=round(float(np.mean(gates)), 5) if gates else None,
            gate_min=round(min(gates), 5) if gates else None,
            **{f"{name}seam": rounded(at) for name, (at, _) in jumps.items()},
            **{f"{name}inside": rounded(inside) for name, (_, inside) in jumps.items()},
        )

    def run(
        self, policy, way: type[Joining], timing: Timing, seed: int, seconds: float, another: bool = False
    ) -> Played:
        """An episode with the cameras as they began it; see `play`."""
        import torch

        torch.manual_seed(seed)
        contract, robot, rng = self.contract, self.robot, random.Random(seed)
        robot.reset(seed)
        judge = PickJudge(self._told(seed, False))
        start = np.array([(self._unknown | robot.positions()).get(name, 0.0) for name in contract.joint_names])
        joining = way(contract, start, timing, self._check)
        played = Played(joining=joining, judge=judge, answers=Answers(policy, joining))
        maker = ChunkMaker(contract, played.answers)
        maker.start_epoch(start)
        told = INSTRUCTION.format(colour=self._told(seed, another))
        pending: Pending | None = None
        measured: list[dict[str, float]] = []  # joints of every tick
        last_start = None
        for tick in range(round(seconds * contract.rate_hz)):
            pending = self._arrived(joining, pending)
            measured.append(self._unknown | robot.positions())
            self.cameras.wait(tick * contract.dt_s)
            if joining.wants(last_start, pending is not None):
                arrival, last_start = tick + timing.delay + rng.randint(0, timing.jitter), tick
                ask = joining.ask(arrival)
                seen = self._observe(tick, [measured[max(0, tick - steps)] for steps in maker.history.before])
                made = maker.finish(maker.begin(seen, told), ask.prefix, ask.onward)
                played.unreached += made.unreached
                pending = self._arrived(
                    joining, (arrival, ask.base, made.positions)
                )  # without a delay it is there at once
            command = joining.advance()
            robot.step(contract.dt_s, {name: float(command[i]) for i, name in self._moved})
            judge.update(robot.time_s, {name: place for name, (place, _) in robot.objects().items()})
            if judge.success:
                break
        return played

    def _told(self, seed: int, another: bool) -> str:
        """Colour of the cube that a seed is about, or of the next one."""
        colours = list(self.robot.objects())
        return colours[(seed + another) % len(colours)]

    def _arrived(self, joining: Joining, pending: Pending | None) -> Pending | None:
        """What is still under way."""
        if pending is None or pending[0] > joining.tick:
            return pending
        joining.add(*pending[1:])
        return None

    def _observe(self, tick: int, joints: Sequence[dict[str, float]]) -> Observation:
        """Pictures of now, and the joints of the ticks that the policy is shown, the oldest first."""
        images = self.cameras.look(tick * self.contract.dt_s)
        *earlier, now = joints
        return Observation(stamp_ns=self._clock.stamp_ns(tick), images=images, joints=now, earlier=tuple(earlier))

    def close(self) -> None:
        """Release the rendering contexts."""
        self.cameras.close()
        self.robot.close()


def jerk_rms(path_TJ: np.ndarray, rate_hz: float) -> float:
    """Root mean square over the ticks of the largest |third difference| rate^3 of a joint; 0 of fewer than 4 rows."""
    if len(path_TJ) < 4 or not path_TJ.shape[1]:
        return 0.0
    jerks = np.abs(np.diff(path_TJ, n=3, axis=0)).max(axis=1) * rate_hz**3
    return float(np.sqrt(np.mean(jerks**2)))


def broken_promises(joining: Joining, contract: RobotContract) -> int:
    """Violations of DESIGN 4.4 in what an episode has sent, by the judge of the wire.

    A way that does not lock a prefix promises only that every tick is sent once.
    """
    log = EpochLog(
        name=EPOCH,
        start_ns=0,
        commands=([Rows(tick, row[None]) for tick, row in enumerate(joining.sent)],),
        chunks=[Rows(base, rows) for base, rows in joining.chunks],
        accepted=[base for base, _ in joining.chunks],
    )
    joints = tuple(contract.joint_names)
    lock = joining.timing.lock if joining.locked else 0
    return len(CommitmentAudit(log, joints, (joints,), commit_margin=0, delay_steps=lock).run().violations)
