"""From one observation and the commands that will run meanwhile to the next chunk of joint commands. No ROS here.

Letters: J commanded joints, H chunk length, d locked prefix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.contract.codec import SignalCodec
from beingh_core.contract.kinematics import Kinematics
from beingh_core.contract.schema import POSITION_SLOTS, ROTATION_SLOTS


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What the policy sees, all at one time.

    Attributes:
        stamp_ns: That time [ns].
        images: View name -> uint8 (H, W, 3).
        joints: Joint name -> measured position [rad or m].
    """

    stamp_ns: int
    images: Mapping[str, np.ndarray]
    joints: Mapping[str, float]


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


class ChunkMaker:
    """Encodes, infers and decodes. Use from one thread.

    Args:
        contract: Robot.
        policy: A `BeingHPolicy` for that contract.
    """

    def __init__(self, contract: RobotContract, policy) -> None:
        self._policy = policy
        self._codec = SignalCodec(contract)
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

    def start_epoch(self, positions_J: np.ndarray) -> None:
        """Take the orientation at `positions_J` (J,) as the one to keep where no action turns the hand."""
        self._previous_state = None
        self._held_rotations = {slot: arm.fk(positions_J[cols])[1] for slot, cols, arm in self._held_arms}

    def make(self, observation: Observation, instruction: str, prefix_TJ: np.ndarray) -> MadeChunk:
        """One chunk.

        Args:
            observation: Images and joints at one time.
            instruction: The task in words.
            prefix_TJ: (d + 1, J) commands of ticks n0 - 1 .. n0 + d - 1, n0 being the chunk's base tick.

        Raises:
            BeingHError: When the observation or the prediction is not usable.
        """
        state = self._codec.encode_state(observation.joints, self._previous_state)
        delay = len(prefix_TJ) - 1
        inputs: dict[str, object] = {f"video.{view}": image[None] for view, image in observation.images.items()}
        inputs |= {f"state.{slot}": value[None] for slot, value in state.items()}
        inputs["language.instruction"] = instruction
        inputs["prev_chunk"] = self._policy.encode_prefix(self._codec.encode_commands(prefix_TJ))
        inputs["inference_delay"] = delay
        output = self._policy.get_action(inputs)
        inference_ms = self._policy.last_timing_ms["total"]
        actions = {
            key.removeprefix("action."): np.asarray(value)[0, delay:]
            for key, value in output.items()
            if key.startswith("action.")
        }
        decoded = self._codec.decode(
            actions, prefix_TJ[-1], q_chunk_start=prefix_TJ[0], reference_rotation=self._held_rotations
        )
        self._previous_state = state
        return MadeChunk(
            positions=np.vstack([prefix_TJ[1:], decoded.positions]),
            unreached=len(decoded.unreached),
            inference_ms=inference_ms,
            observation_ns=observation.stamp_ns,
        )
