"""The scripted expert in the place of a checkpoint: it sees where cubes and bowl are, which only the simulator tells.

`ExpertPolicy` has the interface of `BeingHPolicy`. It continues the locked prefix, answers in the contract's actions and takes
its time, so that everything around it runs as with a model. H: chunk length; d: locked steps; J: commanded joints.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping

import numpy as np
from scipy.spatial.transform import Rotation

from beingh_core.contract.codec import SignalCodec
from beingh_core.contract.schema import RobotContract
from beingh_core.errors import BeingHError
from beingh_core.sim.grasp import Cube
from beingh_core.sim.hand import hands_of
from beingh_core.sim.picking import ArmState, Picker
from beingh_core.sim.reference_motion import ReferenceMotion
from beingh_core.sim.robot import SimRobot
from beingh_core.sim.scene import CUBE_COLOURS
from beingh_core.sim.ways import can_do, foresee
from beingh_core.tasks import BOWL, PUSH, Told, told

# What was seen longer before the picture is not what is on the table now [s].
MAX_AGE_S = 0.5
_KEPT = 40


class OutOfReach(BeingHError):
    """No arm reaches the cube."""


class SeenCubes:
    """Where the cubes and the bowl were lately. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: deque[tuple[int, Mapping[str, Cube]]] = deque(maxlen=_KEPT)

    def push(self, stamp_ns: int, cubes: Mapping[str, Cube]) -> None:
        """Note the cubes (colour -> cube) of a time [ns]; an earlier time than before begins anew."""
        with self._lock:
            if self._seen and stamp_ns < self._seen[-1][0]:
                self._seen.clear()
            self._seen.append((stamp_ns, cubes))

    def at(self, stamp_ns: int) -> Mapping[str, Cube] | None:
        """The cubes as seen last until a time [ns], None when that was too long before."""
        with self._lock:
            found = [one for one in self._seen if one[0] <= stamp_ns] or list(self._seen)[:1]
        if not found or abs(stamp_ns - found[-1][0]) > MAX_AGE_S * 1e9:
            return None
        return found[-1][1]


class ExpertPolicy:
    """Does what it is told with a cube, with any arm and hand; an arm without a hand follows a reference path.

    Args:
        contract: the robot.
        inference_s: how long an answer takes at least, as a model's would [s].

    Attributes:
        cubes: to be told where the cubes are.
        pickers: its arms with hands.
        sees_commands: it plans from the commands of the prefix, which `ChunkMaker` passes on.
        transform: None: it normalises nothing.
        trained_delay: longest prefix that it continues [steps].

    Raises:
        BeingHError: MuJoCo cannot read the URDF.
    """

    sees_commands = True
    transform = None

    def __init__(self, contract: RobotContract, inference_s: float = 0.05) -> None:
        self._contract, self._inference_s = contract, inference_s
        self._codec = SignalCodec(contract)
        self.pickers = tuple(Picker(contract, hand) for hand in hands_of(contract))
        self._reference = None if self.pickers else ReferenceMotion(contract)
        self._base = np.asarray(contract.limits.is_velocity)
        self.chunk_length = self.trained_delay = contract.policy.chunk_length
        self.model_facts: dict[str, bool | int] = {"expert": True}
        self.last_timing_ms = {"total": 0.0}
        self.cubes = SeenCubes()

    @property
    def picks(self) -> bool:
        """Whether the robot has something to grasp with."""
        return bool(self.pickers)

    def check_instruction(self, text: str) -> None:
        """Refuses an instruction that names no task, or not one cube.

        Raises:
            BeingHError: with what can be named.
        """
        if self.picks:
            told(text, CUBE_COLOURS)

    def closed(self, now_ns: int) -> list[tuple[str, str]]:
        """Why no chunk can be made now: (what, reason); empty when one can."""
        if not self.picks or self.cubes.at(now_ns) is not None:
            return []
        return [
            (
                "sim/objects",
                "nobody tells where the cubes are: the expert works in simulation only; on a robot give a checkpoint",
            )
        ]

    def encode_prefix(self, actions: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """The locked steps as they are, slot -> (d, dim)."""
        return actions

    def get_action(self, observations: Mapping) -> dict[str, np.ndarray]:
        """One chunk behind the prefix.

        Args:
            observations: of those of `BeingHPolicy` the instruction; besides `commands` (d + 1, J) of the ticks from the one
                before the chunk on, `first_state` (J,) measured, and `stamp_ns` of the picture.

        Returns:
            `action.<slot>`: (1, H, dim), physical units; the first d steps are the prefix.

        Raises:
            BeingHError: the instruction names no task or cube, or nobody tells where the things are.
        """
        begin = time.perf_counter()
        commands_TJ = np.asarray(observations["commands"], dtype=float)
        first_J, steps = np.asarray(observations["first_state"]), self.chunk_length - (len(commands_TJ) - 1)
        if self._reference is not None:
            rows_TJ = self._swing(self._reference, commands_TJ, steps)
        else:
            words = observations["language.instruction"]
            text = words if isinstance(words, str) else words[0]
            task = told(text, CUBE_COLOURS)
            things = self._seen(task, observations["stamp_ns"])
            rows_TJ = self.plan(task, things, commands_TJ, first_J, steps)
        encoded = self._codec.encode_commands(
            np.vstack([commands_TJ, rows_TJ]), q_chunk_start=commands_TJ[0], first_state=first_J
        )
        time.sleep(max(0.0, self._inference_s - (time.perf_counter() - begin)))
        self.last_timing_ms = {"total": 1e3 * (time.perf_counter() - begin)}
        return {f"action.{slot}": values[None] for slot, values in encoded.items()}

    def _seen(self, told: Told, stamp_ns: int) -> Mapping[str, Cube]:
        """The things at the time of the picture."""
        seen = self.cubes.at(stamp_ns)
        if seen is None or told.colour not in seen:
            raise BeingHError(
                f"nobody tells where the {told.colour} cube was when the picture was taken",
                where="sim/objects",
                remedy="the expert works in simulation only; on a robot give a checkpoint",
            )
        if missing := [thing for thing in told.task.things if thing not in seen]:
            raise BeingHError(
                f"there is no {missing[0]} in the scene",
                where="sim/objects",
                remedy=f"start the simulator with the task `{told.task.name}` (make demo TASK={told.task.name})",
            )
        return seen

    def plan(
        self, told: Told, things: Mapping[str, Cube], commands_TJ: np.ndarray, first_J: np.ndarray, steps: int
    ) -> np.ndarray:
        """(steps, J) commands that do a task: one arm moves, the rest holds.

        Args:
            told: the task.
            things: colour -> cube, and "bowl" -> bowl where there is one, as they were seen.
            commands_TJ: (T, J) last commands.
            first_J: (J,) where the joints were when the things were seen.
            steps: how many.

        Raises:
            OutOfReach: no arm reaches what it must.
        """
        things = dict(things)
        states = [arm_state(picker, commands_TJ) for picker in self.pickers]
        for picker, state in zip(self.pickers, states):
            cube = things[told.colour]
            things[told.colour] = picker.carried(state, first_J[picker.columns], cube, pushed=told.task is PUSH)
        chosen = self._choose(states, told, things)
        rows_TJ = np.where(self._base, 0.0, np.tile(commands_TJ[-1], (steps, 1)))
        for picker, state in zip(self.pickers, states):
            if picker is chosen:
                found = foresee(picker, state, told, things, steps)
            else:
                found = []
                for _ in range(steps):
                    state = picker.rest(state)
                    found.append(state)
            rows_TJ[:, picker.columns] = [one.q for one in found]
            rows_TJ[:, picker.hand_columns] = [one.hand for one in found]
        return rows_TJ

    def _choose(self, states: list[ArmState], told: Told, things: Mapping[str, Cube]) -> Picker:
        """The arm that has the cube between its fingers, else the one at home nearest to it that reaches what it must.

        Raises:
            OutOfReach: no arm does.
        """
        cube = things[told.colour]
        at_it = [picker for picker, state in zip(self.pickers, states) if picker.is_at(state, cube)]
        if at_it:
            return at_it[0]
        for picker in sorted(self.pickers, key=lambda picker: picker.distance_from_rest(cube)):
            if can_do(picker, told, things):
                return picker
        raise OutOfReach(
            f"no arm of `{self._contract.robot}` reaches the cube at {np.round(cube.centre, 3).tolist()}"
            + (" and the bowl" if BOWL in told.task.things else ""),
            where="sim/objects",
            remedy="reset the simulator with another seed",
        )

    @staticmethod
    def _swing(motion: ReferenceMotion, commands_TJ: np.ndarray, steps: int) -> np.ndarray:
        """(steps, J) commands of the reference path."""
        rows_TJ = np.tile(commands_TJ[-1], (steps, 1))
        q, step = commands_TJ[-1][motion.columns], _last_step(commands_TJ)[motion.columns]
        for row in rows_TJ:
            q, step = motion.next(q, step)
            row[motion.columns] = q
        return rows_TJ


def arm_state(picker: Picker, commands_TJ: np.ndarray) -> ArmState:
    """What an arm was commanded last, by (T, J) commands in a row."""
    last, step = commands_TJ[-1], _last_step(commands_TJ)
    arm, hand = picker.columns, picker.hand_columns
    return ArmState(q=last[arm], step=step[arm], hand=last[hand], hand_step=step[hand])


def _last_step(commands_TJ: np.ndarray) -> np.ndarray:
    return commands_TJ[-1] - commands_TJ[-2] if len(commands_TJ) > 1 else np.zeros(commands_TJ.shape[1])


def cubes_of(robot: SimRobot) -> dict[str, Cube]:
    """Where cubes and bowl of a simulated robot are, for an expert in the same process."""
    found = {colour: (*pose, robot.layout.cube_m) for colour, pose in robot.objects().items()}
    if (bowl := robot.things().get(BOWL)) is not None:
        found[BOWL] = (bowl.position, bowl.quaternion, float(bowl.size[2]))
    return {
        name: Cube(centre=place, rotation=Rotation.from_quat(turn[[1, 2, 3, 0]]).as_matrix(), size_m=size_m)
        for name, (place, turn, size_m) in found.items()
    }
