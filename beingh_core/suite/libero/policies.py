"""What answers an episode: a checkpoint, a policy server, the scripted expert, or nothing that moves."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from beingh_core.errors import BeingHError
from beingh_core.suite.libero import conventions
from beingh_core.suite.libero.expert import Expert

HOLD, EXPERT = "hold", "expert"


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is known of an open task.

    Attributes:
        suite, number: which one.
        language: its instruction.
        wanted: objects that it names.
        shapes: see `Expert`.
        states: how many official initial states it has.
        open_s: how long it took to open [s].
    """

    suite: str
    number: int
    language: str
    wanted: tuple[str, ...]
    shapes: Mapping[str, np.ndarray]
    states: int = 0
    open_s: float = 0.0


class Answerer(Protocol):
    """Answers one episode."""

    looks: bool  # whether it needs pictures

    def actions(self, seen: Mapping[str, np.ndarray]) -> np.ndarray:
        """(n, 7) next actions of the environment; with pictures, those of the last step."""


class Source(Protocol):
    """Makes an answerer for each episode; called from many threads."""

    def episode(self, task: Task, trial: int) -> Answerer:
        """For one episode."""


class Holding:
    """Stands still with an open gripper: what is solved by nobody."""

    looks = False

    def __init__(self, count: int) -> None:
        self._actions = np.tile(conventions.WAIT, (count, 1))

    def episode(self, task: Task, trial: int) -> Holding:
        """See `Source`."""
        return self

    def actions(self, seen: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `Answerer`."""
        return self._actions


class ExpertSource:
    """The scripted expert, which looks at the simulator's numbers."""

    def episode(self, task: Task, trial: int) -> _ExpertAnswerer:
        """See `Source`."""
        return _ExpertAnswerer(Expert(task.wanted, task.shapes))


class _ExpertAnswerer:
    looks = False

    def __init__(self, expert: Expert) -> None:
        self._expert = expert

    def actions(self, seen: Mapping[str, np.ndarray]) -> np.ndarray:
        return self._expert.action(seen)[None]


class PolicySource:
    """A `BeingHPolicy` or `RemotePolicy` with the data config `libero_nonorm`.

    Args:
        policy: is asked by one thread at a time.
        executed: actions of a chunk that are run.
        seed: the noise of an episode depends on it, on the task, the trial and the step only; negative: on nothing.
    """

    def __init__(self, policy, executed: int, seed: int) -> None:
        if not 1 <= executed <= policy.chunk_length:
            raise BeingHError(
                f"{executed} actions of a chunk shall run", where="--executed",
                allowed=f"1 to {policy.chunk_length}, the policy's chunk",
            )  # fmt: skip
        if policy.data_config != _data_config():
            raise BeingHError(
                f"the policy has the data config `{policy.data_config.name}`",
                where="--policy",
                allowed=conventions.DATA_CONFIG,
                remedy=f"serve it with --data-config {conventions.DATA_CONFIG}",
            )
        if policy.state_history.rows > 1:
            raise BeingHError(
                f"the checkpoint is shown {policy.state_history.rows} states, and an environment tells the last one only",
                where="--policy",
                allowed="a checkpoint without model.state_history",
            )
        self._policy, self._executed, self._seed, self._lock = policy, executed, seed, threading.Lock()

    def episode(self, task: Task, trial: int) -> _PolicyAnswerer:
        """See `Source`."""
        return _PolicyAnswerer(self, task, trial)

    def chunk(self, observation: Mapping, place: str) -> np.ndarray:
        """(executed, 7) actions of the environment."""
        with self._lock:
            if self._seed >= 0:
                import torch

                torch.manual_seed(zlib.crc32(f"{self._seed} {place}".encode()))
            chunk = self._policy.get_action(observation)
        return conventions.environment_actions(chunk)[: self._executed]


class _PolicyAnswerer:
    looks = True

    def __init__(self, source: PolicySource, task: Task, trial: int) -> None:
        self._source, self._task, self._trial, self._asked = source, task, trial, 0

    def actions(self, seen: Mapping[str, np.ndarray]) -> np.ndarray:
        place = f"{self._task.suite} {self._task.number} {self._trial} {self._asked}"
        self._asked += 1
        return self._source.chunk(conventions.observation(seen, self._task.language), place)


def _data_config():
    from beingh_core.policy.data_configs import get_data_config

    return get_data_config(conventions.DATA_CONFIG)


def load(policy: str, *, dataset_name: str, executed: int, seed: int, device: str, token_file: str) -> Source:
    """What `--policy` names.

    Raises:
        BeingHError: no such checkpoint, one that does not fit, or a server that does not answer.
    """
    if policy == HOLD:
        return Holding(executed)
    if policy == EXPERT:
        return ExpertSource()
    if policy.startswith("tcp://"):
        from beingh_core.policy.remote.client import RemotePolicy
        from beingh_core.policy.remote.protocol import read_token

        token = read_token(token_file) if token_file else None
        return PolicySource(RemotePolicy(policy, token=token, deadline_s=60.0), executed, -1)
    from beingh_core.policy.loading import load_for_data_config

    loaded = load_for_data_config(
        conventions.DATA_CONFIG, policy, dataset_name=dataset_name or only_dataset(Path(policy)),
        embodiment_tag="libero", device=device, seed=seed, enable_rtc=False,
    )  # fmt: skip
    return PolicySource(loaded, executed, seed)


def only_dataset(checkpoint: Path) -> str:
    """Name of the only statistics of a checkpoint.

    Raises:
        BeingHError: there are none or several.
    """
    from beingh_core.checkpoint_directory import checkpoint_directory
    from beingh_core.policy.metadata import METADATA_SUFFIX

    directory = checkpoint_directory(checkpoint)
    names = sorted(path.name.removesuffix(METADATA_SUFFIX) for path in directory.glob(f"*{METADATA_SUFFIX}"))
    if len(names) != 1:
        raise BeingHError(
            f"the checkpoint has the statistics {', '.join(names) or 'of nothing'}", where=directory,
            allowed=names or None, remedy="say whose to use with --dataset-name",
        )  # fmt: skip
    return names[0]
