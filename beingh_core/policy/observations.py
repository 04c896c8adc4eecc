"""The checked boundary in front of the policy: what an observation may hold.

key                     type                        meaning
video.<view>            (1, H, W, 3) uint8          RGB; a plain (H, W, 3) is taken too
state.<key>             (1, dim) floats             physical units; (dim,) is taken too. With a history of R states
                                                    (1, R, dim) or (R, dim), the oldest first
language.instruction    str or [str]                the task in plain words
prev_chunk              (1, H, 200) floats          optional: normalised unified actions to lock
inference_delay         int, 0 .. H / 2             optional: how many of its steps are locked
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from beingh_core.errors import BeingHError, did_you_mean, shown
from beingh_core.policy.data_configs import DataConfig
from beingh_core.policy.instruction import check_instruction
from beingh_core.policy.pictures import check_image
from beingh_core.slots import WIDTH
from beingh_core.state_history import ONE_STATE, StateHistory

IMAGE_PREFIX = "video."
MAX_NORMALISED = 1e6  # training keeps values near -1..1; the model's arithmetic overflows far above


@dataclass(frozen=True, kw_only=True, eq=False)
class CheckedObservation:
    """What the policy has found usable in the mapping that it was given.

    Attributes:
        images: (H, W, 3) uint8 pictures in the order of the config's views.
        state: (dim,) arrays by key, physical units; (R, dim) with a history of R states.
        instruction: the task.
        prev_chunk: (1, H, 200) float32, or None.
        inference_delay: number of locked steps, 0 without prev_chunk.
        batched: whether anything of it came with a leading dimension of 1; else its chunk is returned without one, too.
    """

    images: tuple[np.ndarray, ...]
    state: Mapping[str, np.ndarray]
    instruction: str
    prev_chunk: np.ndarray | None
    inference_delay: int
    batched: bool = True


def image_key(view: str) -> str:
    """The released name of a view's picture, also that of its stream and diagnostics; only here is the prefix put on."""
    return f"{IMAGE_PREFIX}{view}"


def named_observation(
    images: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray], instruction: str
) -> dict[str, object]:
    """The mapping that `get_action` takes, under the released names; the only place that puts them on.

    Args:
        images: view -> (1, H, W, 3) or (H, W, 3) uint8.
        state: key -> (1, dim) or (dim,), physical units; with a history (1, R, dim) or (R, dim).
        instruction: the task.
    """
    named: dict[str, object] = {image_key(view): image for view, image in images.items()}
    return named | {f"state.{key}": value for key, value in state.items()} | {"language.instruction": instruction}


def check_observation(
    observations: Mapping, data_config: DataConfig, chunk_length: int, history: StateHistory = ONE_STATE
) -> CheckedObservation:
    """Checks presence, type and shape of everything the policy reads; other keys are ignored.

    Widths, presence and range of state values are checked where they are transformed.

    Args:
        observations: see the table of this module.
        data_config: which views and keys there must be.
        chunk_length: H.
        history: which states the model is shown.

    Raises:
        BeingHError: naming the key, what it holds and what it should hold.
    """
    images = tuple(
        check_image(_required(observations, image_key(view), data_config), image_key(view))
        for view in data_config.views
    )
    state = {
        spec.key: _state(_required(observations, f"state.{spec.key}", data_config), f"state.{spec.key}", history)
        for spec in data_config.state
    }
    instruction = instruction_of(_required(observations, "language.instruction", data_config))
    delay = _delay(observations.get("inference_delay"), chunk_length)
    prev_chunk = _prev_chunk(observations.get("prev_chunk"), delay, chunk_length)
    return CheckedObservation(
        images=images,
        state=state,
        instruction=instruction,
        prev_chunk=prev_chunk,
        inference_delay=delay if prev_chunk is not None else 0,
        batched=is_batched(observations, data_config, history),
    )


def is_batched(observations: Mapping, data_config: DataConfig, history: StateHistory = ONE_STATE) -> bool:
    """Whether a picture or a state of a checked observation came with a leading dimension of 1."""
    pictures = any(np.ndim(observations[image_key(view)]) == 4 for view in data_config.views)
    return pictures or any(
        np.ndim(observations[f"state.{spec.key}"]) == 1 + len(history.leading) for spec in data_config.state
    )


def without_batch(chunk: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A chunk without its leading dimension of 1."""
    return {name: array[0] for name, array in chunk.items()}


def instruction_of(value) -> str:
    """The instruction of an observation: a text, or the only one of a list or array.

    Raises:
        BeingHError: see `check_instruction`.
    """
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1).tolist()
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    return check_instruction(value)


def _required(observations: Mapping, key: str, data_config: DataConfig):
    if key in observations:
        return observations[key]
    prefix = key.split(".")[0]
    given = [k for k in observations if isinstance(k, str) and len(k) < 100 and k.startswith(prefix + ".")][:100]
    raise BeingHError(
        f"the observation lacks `{key}`; of `{prefix}.*` it has {shown(given) if given else 'nothing'}",
        where=f"data config `{data_config.name}`",
        remedy=did_you_mean(key, given) or f"send `{key}` with every observation",
    )


def _state(value, name: str, history: StateHistory) -> np.ndarray:
    """A (dim,) array of (1, dim) or (dim,); with a history (R, dim) of (1, R, dim) or (R, dim)."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise BeingHError(f"`{name}` is not an array of numbers: {shown(value)}") from None
    leading = history.leading
    if array.ndim == 1 + len(leading) and array.shape[0] == 1:
        array = array[0]
    if history.rows > 1 and (array.ndim != 2 or len(array) != history.rows):
        steps = ", ".join(map(str, history.before.tolist()))
        raise BeingHError(
            f"`{name}` has shape {array.shape}, and the checkpoint is shown {history.rows} states",
            allowed=f"({history.rows}, dim): the states of {steps} steps ago, the oldest first",
            remedy="send the robot's last states; at the start of an episode its first one stands in for those before it",
        )
    if history.rows == 1 and array.ndim != 1:
        raise BeingHError(f"`{name}` has shape {array.shape}", allowed="(1, dim): one state at a time")
    return array


def _delay(value, chunk_length: int) -> int:
    try:
        number = np.asarray(0 if value is None else value).reshape(-1)
    except ValueError:  # lists of different lengths
        number = np.empty(0)
    integral = number.size == 1 and number.dtype.kind in "iuf" and float(number[0]).is_integer()
    if not integral or not 0 <= number[0] <= chunk_length / 2:
        raise BeingHError(
            f"`inference_delay` is {shown(value)}",
            allowed=f"an integer from 0 to {chunk_length // 2} (half of the chunk's {chunk_length} steps)",
            remedy="lower the latency budget or the rate, or use a checkpoint with a longer chunk",
        )
    return int(number[0])


def _prev_chunk(value, delay: int, chunk_length: int) -> np.ndarray | None:
    if value is None:
        return None
    try:
        with np.errstate(over="ignore"):  # infinity is told below
            chunk = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        raise BeingHError(f"`prev_chunk` is not an array of numbers: {shown(value)}") from None
    if chunk.ndim == 2:
        chunk = chunk[None]
    if chunk.shape != (1, chunk_length, WIDTH):
        raise BeingHError(
            f"`prev_chunk` has shape {chunk.shape}",
            allowed=f"(1, {chunk_length}, {WIDTH})",
            remedy="build it with policy.encode_prefix(action dictionary)",
        )
    if not np.all(np.abs(chunk[0, :delay]) <= MAX_NORMALISED):
        raise BeingHError(
            f"`prev_chunk` holds NaN, infinity or enormous values in its {delay} locked steps",
            allowed=f"-{MAX_NORMALISED:g} to {MAX_NORMALISED:g}",
        )
    return chunk
