"""The data config that a robot contract implies: same views, slots and normalisation everywhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from beingh_core.errors import BeingHError, did_you_mean
from beingh_core.policy.data_configs import DataConfig, KeySpec
from beingh_core.slots import PARTIAL_SLOTS

if TYPE_CHECKING:
    from beingh_core.contract import ActionSignal, RobotContract


def data_config_for(contract: RobotContract) -> DataConfig:
    """Views, state and action keys of a contract; its name is the robot's.

    Keys without an entry in `policy.normalization` are not normalised.

    Raises:
        BeingHError: a normalisation is given for a signal that the contract does not have.
    """
    normalization = dict(contract.policy.normalization)
    state = _specs("state", contract.state, normalization)
    action = _specs("action", contract.action, normalization)
    known = [f"state.{s.key}" for s in state] + [f"action.{s.key}" for s in action]
    for key in normalization:
        if key not in known:
            raise BeingHError(
                f"policy.normalization names `{key}`, which is no signal of the robot",
                where=f"contract of `{contract.robot}`",
                allowed=known,
                remedy=did_you_mean(key, known),
            )
    views = tuple(camera.name for camera in contract.cameras)
    return DataConfig(name=contract.robot, views=views, state=state, action=action)


def _specs(kind: str, signals: Iterable, normalization: dict[str, str]) -> tuple[KeySpec, ...]:
    """One spec a signal, rotations as the contract writes them."""
    return tuple(
        KeySpec(
            key=signal.slot,
            normalization=normalization.get(f"{kind}.{signal.slot}", "none"),
            rotation=None if signal.rotation == "axis_angle" else signal.rotation,
            width=signal.width if signal.slot in PARTIAL_SLOTS else None,
            padding="zero" if kind == "action" and _says_how_far(signal) else "hold",
        )
        for signal in signals
    )


def _says_how_far(signal: ActionSignal) -> bool:
    """Whether the rows of a dataset hold steps or velocities; what counts from a chunk's start is recorded as absolute."""
    return signal.slot == "base_motion" or (signal.mode == "delta" and signal.frame != "chunk_start")
