"""From one observation and the commands that will run meanwhile to the next chunk of joint commands.

Letters: J commanded joints, H chunk length, d locked prefix.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.contract.codec import SignalCodec
from beingh_core.contract.kinematics import Kinematics
from beingh_core.contract.schema import POSITION_SLOTS, ROTATION_SLOTS
from beingh_core.contract.turns import endless_joints, nearest_turn
from beingh_core.policy.observations import named_observation
from beingh_core.policy.trained_range import trained_range
from beingh_core.rotations import between
from beingh_core.state_history import ONE_STATE, StateHistory


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What the policy sees, all at one time.

    Attributes:
        stamp_ns: That time [ns].
        images: View name -> uint8 (H, W, 3).
        joints: Joint name -> measured position [rad or m].
        earlier: The same at the times of the policy's history, the oldest first, as far back as they are known.
    """

    stamp_ns: int
    images: Mapping[str, np.ndarray]
    joints: Mapping[str, float]
    earlier: tuple[Mapping[str, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class MadeChunk:
    """A chunk and what it took.

    Attributes:
        positions: (H, J) joint commands [rad or m]; the first d rows are the locked prefix, exactly.
        unreached: Steps whose pose the arm cannot reach; the nearest posture stands there.
        inference_ms: Duration of the policy's call [ms].
        observation_ns: Time of the observation [ns].
    """

    positions: np.ndarray
    unreached: int
    inference_ms: float
    observation_ns: int


@dataclass(frozen=True, kw_only=True)
class PrefetchedChunk:
    """An observation whose share of the inference is done.

    Attributes:
        observation, instruction: What it is about.
        state: Slot -> encoded state of now.
        first_state: (J,) the measured state that relative actions count from; NaN where nothing is measured.
        inputs: The policy's inputs, without the prefix.
        begun: The policy's own part; None when it cannot begin without the prefix.
        begin_ms: How long it took [ms].
    """

    observation: Observation
    instruction: str
    state: Mapping[str, np.ndarray]
    first_state: np.ndarray
    inputs: Mapping[str, object]
    begun: object
    begin_ms: float


ARM_SLOTS = {*POSITION_SLOTS, *ROTATION_SLOTS, "arm_joint_position", "left_arm_joint_position"}


class ChunkMaker:
    """Encodes, infers and decodes. Use from one thread.

    Args:
        contract: Robot.
        policy: A `BeingHPolicy` or `RemotePolicy` for that contract, or another with their methods: one without a
            `transform` is used to every state, one that `sees_commands` is given those of the prefix.
    """

    def __init__(self, contract: RobotContract, policy) -> None:
        self._policy = policy
        self._codec, self._dt_s = SignalCodec(contract), contract.dt_s
        self._trained_range = (
            None
            if policy.transform is None
            else trained_range(contract, policy.data_config, policy.transform.statistics)
        )
        self._previous_state: dict[str, np.ndarray] | None = None
        columns = {name: index for index, name in enumerate(contract.joint_names)}
        self._held_arms = (
            []
            if any(signal.slot in ROTATION_SLOTS for signal in contract.action)
            else [
                (
                    signal.slot,
                    [columns[name] for name in signal.joints],
                    Kinematics(contract.urdf_path, signal.joints, signal.eef_frame, signal.base_frame),
                )
                for signal in contract.action
                if signal.slot in POSITION_SLOTS
            ]
        )
        self._held_rotations: dict[str, np.ndarray] = {}
        self._actions = contract.action
        self._names, self._endless = contract.joint_names, endless_joints(contract)
        self._commanded_J: np.ndarray | None = None

    def start_epoch(self, positions_J: np.ndarray) -> None:
        """Take the orientation at `positions_J` (J,) as the one to keep where no action turns the hand."""
        self._previous_state = None
        self._commanded_J = np.asarray(positions_J, dtype=np.float64)
        self._held_rotations = {slot: arm.fk(positions_J[cols])[1] for slot, cols, arm in self._held_arms}

    def outside_statistics(self, observation: Observation) -> str | None:
        """Why the measured state cannot be what the checkpoint was trained on, None when it can.

        Raises:
            BeingHError: When the observation is not usable.
        """
        if self._trained_range is None:
            return None
        joints = self._unwrapped(observation.joints, self._commanded_J)
        return self._trained_range.problem(self._codec.encode_state(joints, self._previous_state))

    def closed(self, now_ns: int) -> list[tuple[str, str]]:
        """What the policy itself waits for: (what, why); empty for one that needs only its inputs. Any thread."""
        return self._policy.closed(now_ns) if hasattr(self._policy, "closed") else []

    @property
    def policy(self):
        """What infers."""
        return self._policy

    @property
    def history(self) -> StateHistory:
        """Which measured states the policy is shown."""
        return getattr(self._policy, "state_history", ONE_STATE)

    @property
    def before_ns(self) -> tuple[int, ...]:
        """How long before now the earlier ones are [ns], the oldest first."""
        return tuple(round(steps * self._dt_s * 1e9) for steps in self.history.before[:-1].tolist())

    @property
    def prefetch(self) -> bool:
        """Whether `begin` does a share of the work before the prefix is known."""
        return hasattr(self._policy, "begin")

    def check_instruction(self, text: str) -> None:
        """Refuses an instruction that the policy cannot take; an empty one asks for nothing. Any thread.

        Raises:
            BeingHError: With what is allowed.
        """
        if text.strip():
            self._policy.check_instruction(text)

    def begin(self, observation: Observation, instruction: str) -> PrefetchedChunk:
        """What a chunk needs that does not depend on its prefix: state, images and words.

        Args:
            observation: Images and joints at one time.
            instruction: The task in words.

        Raises:
            BeingHError: When the observation is not usable.
        """
        begin = time.perf_counter()
        joints = self._unwrapped(observation.joints, self._commanded_J)
        state = self._codec.encode_state(joints, self._previous_state)
        inputs = named_observation(
            {view: image[None] for view, image in observation.images.items()},
            self._shown_states(state, joints, observation.earlier),
            instruction,
        )
        begun = self._policy.begin([inputs]) if self.prefetch else None
        return PrefetchedChunk(
            observation=observation,
            instruction=instruction,
            state=state,
            first_state=self._row(joints),
            inputs=inputs,
            begun=begun,
            begin_ms=(time.perf_counter() - begin) * 1e3,
        )

    def finish(self, begun: PrefetchedChunk, prefix_TJ: np.ndarray, onward_RJ: np.ndarray | None = None) -> MadeChunk:
        """The chunk; nothing else may have been begun since.

        Args:
            begun: What `begin` returned.
            prefix_TJ: (d + 1, J) commands of ticks n0 - 1 .. n0 + d - 1, n0 being the chunk's base tick.
            onward_RJ: (R, J) what the chunk before wanted in the ticks behind them; the arms' motion is blended from it
                to the new one in these ticks. None or no rows: at once.

        Raises:
            BeingHError: When the prediction is not usable.
        """
        delay = len(prefix_TJ) - 1
        start_J = prefix_TJ[0]
        first_J = np.where(np.isnan(begun.first_state), start_J, begun.first_state)
        origin = {"q_chunk_start": start_J, "first_state": first_J}
        prev_chunk = self._policy.encode_prefix(self._codec.encode_commands(prefix_TJ, **origin))
        if begun.begun is None:
            inputs = begun.inputs | {"prev_chunk": prev_chunk, "inference_delay": delay}
            if getattr(self._policy, "sees_commands", False):
                inputs |= {"commands": prefix_TJ, "first_state": first_J, "stamp_ns": begun.observation.stamp_ns}
            output = self._policy.get_action(inputs)
        else:
            output = self._policy.finish(begun.begun, [(prev_chunk, delay)])[0]
        inference_ms = self._policy.last_timing_ms["total"]
        actions = {
            key.removeprefix("action."): np.asarray(value)[0, delay:]
            for key, value in output.items()
            if key.startswith("action.")
        }
        if onward_RJ is not None and len(onward_RJ):
            before = self._codec.encode_commands(np.vstack([prefix_TJ[-1:], onward_RJ]), **origin)
            actions |= self._blended(actions, before)
        decoded = self._codec.decode(actions, prefix_TJ[-1], **origin, reference_rotation=self._held_rotations)
        self._previous_state, self._commanded_J = begun.state, start_J
        return MadeChunk(
            positions=np.vstack([prefix_TJ[1:], decoded.positions]),
            unreached=len(decoded.unreached),
            inference_ms=inference_ms,
            observation_ns=begun.observation.stamp_ns,
        )

    def _shown_states(
        self, state: Mapping[str, np.ndarray], joints: Mapping[str, float], earlier: Sequence[Mapping[str, float]]
    ) -> dict[str, np.ndarray]:
        """Slot -> (1, dim), with a history (1, R, dim), the oldest first; the oldest known row stands in for those before it."""
        rows, near = [state], self._row(joints)
        for before in reversed(earlier):
            turned = self._unwrapped(before, near)
            rows.append(self._codec.encode_state(turned, rows[-1]))
            near = self._row(turned)
        rows += rows[-1:] * (self.history.rows - len(rows))
        shape = self.history.leading
        return {slot: np.stack([row[slot] for row in reversed(rows)]).reshape(*shape, -1) for slot in state}

    def _row(self, joints: Mapping[str, float]) -> np.ndarray:
        """(J,) measured positions; NaN where nothing is measured."""
        return np.array([joints.get(name, np.nan) for name in self._names])

    def _unwrapped(self, measured: Mapping[str, float], near_J: np.ndarray | None) -> dict[str, float]:
        """Measured joints, those that turn without end by whole turns next to other positions, such as their commands."""
        joints = dict(measured)
        if near_J is None or not self._endless.any():
            return joints
        turned_J = nearest_turn(self._row(joints), near_J, self._endless)
        return joints | {name: float(turned_J[i]) for i, name in enumerate(self._names) if name in joints}

    def _blended(self, actions: Mapping[str, np.ndarray], before: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arms' actions, their first R steps weighted means with those (R, dim) of the commands before."""
        result = {}
        for signal in self._actions:
            if signal.slot in ARM_SLOTS:
                steps = len(before[signal.slot])
                share = (np.arange(1, steps + 1) / (steps + 1))[:, None]
                old, new = before[signal.slot], np.array(actions[signal.slot])
                if signal.slot in ROTATION_SLOTS:
                    new[:steps] = between(old, new[:steps], share, signal.rotation)
                else:
                    new[:steps] = share * new[:steps] + (1 - share) * old
                result[signal.slot] = new
        return result
