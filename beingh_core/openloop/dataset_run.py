"""A policy on a LeRobot dataset: at every s-th row what it would do next, behind the recorded prefix.

Row t is what the live nodes see at a tick, and action rows t, t+1, ... are the steps of a chunk: its first d are locked to
what was recorded, as on the robot, where they will have run when the chunk comes. Letters: N chunks, K = H - d decided
steps, D numbers of an action row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.data.contract_rows import ACTION, STATE
from beingh_core.data.dataset_columns import Columns, find_columns
from beingh_core.data.disturb import Disturbance
from beingh_core.data.lerobot import Dataset
from beingh_core.data.lerobot.reader import Episode
from beingh_core.errors import BeingHError
from beingh_core.evaluate.evaluated import Evaluated
from beingh_core.evaluate.openloop import Comparison, joined
from beingh_core.evaluate.trivial import TRIVIAL
from beingh_core.openloop import quantities
from beingh_core.openloop.noise import again_name, noise_seed
from beingh_core.policy.observations import named_observation
from beingh_core.policy.trained_range import trained_range

SHORT = "has fewer rows than a prefix and one step"


@dataclass(frozen=True, kw_only=True)
class DatasetRun:
    """How a dataset is evaluated.

    Attributes:
        delay: locked prefix d [steps]; None for the contract's, no longer than each checkpoint was trained for.
        stride: rows between chunks; 0 for the contract's execution steps.
        episodes: numbers; () for all.
        seed: of the noise.
        task: instruction of all episodes; "" for each one's own.
        views: view -> key of its pictures, where names differ.
        allow_outside: evaluate although the states are far outside what the checkpoint's statistics say.
        disturbance: what is done to the pictures.
        spread: predict everything a second time from other noise.
    """

    delay: int | None = None
    stride: int = 0
    episodes: tuple[int, ...] = ()
    seed: int = 0
    task: str = ""
    views: Mapping[str, str] = field(default_factory=dict)
    allow_outside: bool = False
    disturbance: Disturbance = field(default_factory=Disturbance)
    spread: bool = False

    def told(self) -> dict[str, object]:
        """For the report."""
        return {
            "seed of the noise": self.seed,
            "noise": "drawn anew for each chunk from the seed, the episode and the row; the same for all checkpoints",
            "disturbance": self.disturbance.text or "none",
            "instruction": self.task or "each episode's own",
        }


def evaluate_dataset(
    dataset: Dataset,
    contract: RobotContract,
    policies: Mapping[str, object],
    checkpoints: Mapping[str, str],
    settings: DatasetRun,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Evaluated:
    """Predicts about every episode with every policy.

    Args:
        dataset: Anybody's.
        contract: Its robot.
        policies: name -> `BeingHPolicy` for that contract.
        checkpoints: name -> where it came from, for the report.
        settings: How.
        progress: Is given how many episodes are done, and of how many.

    Raises:
        BeingHError: Columns that cannot be found, states in other units, no episode that is long enough.
    """
    columns = find_columns(dataset, contract, settings.views)
    chosen = _chosen(dataset, settings.episodes)
    delay = _delay(contract, policies, settings.delay)
    seen = _Seen(
        notes=list(columns.notes), inference_ms={name: [] for name in policies}, gates={name: [] for name in policies}
    )
    parts = []
    for policy in policies.values():
        policy.observe_gates = True
    mean_D = _mean_action(dataset, chosen, columns)
    for done, episode in enumerate(chosen):
        if episode.frames < delay + 2:
            seen.notes.append(f"episode {episode.index} {SHORT} ({episode.frames}); it was left out")
        else:
            run = _EpisodeRun(dataset, contract, columns, episode, settings, delay)
            parts.append(run.compare(policies, mean_D, seen, film=not parts))
        progress(done + 1, len(chosen))
    if not parts:
        raise BeingHError(f"no episode can be evaluated: each {SHORT}", where=dataset.root)
    comparison = joined(parts)
    return Evaluated(
        comparison=comparison,
        robot=contract.robot,
        recordings=[f"{dataset.root.name}, {len(chosen)} episodes"],
        checkpoints=checkpoints,
        settings=settings.told(),
        delay=delay,
        grippers=tuple(quantities.gripper_shares(contract, comparison.quantities)),
        gates=seen.gates,
        inference_ms=seen.inference_ms,
        again={name: again_name(name) for name in policies} if settings.spread else {},
        film=seen.film,
        notes=seen.notes,
    )


@dataclass(kw_only=True)
class _Seen:
    """What is collected on the way."""

    notes: list[str]
    inference_ms: dict[str, list[float]]
    gates: dict[str, list[float]]
    film: list[tuple[float, dict[str, np.ndarray]]] = field(default_factory=list)


def _chosen(dataset: Dataset, numbers: Sequence[int]) -> list[Episode]:
    have = {episode.index: episode for episode in dataset.episodes}
    missing = [number for number in numbers if number not in have]
    if missing or not have:
        raise BeingHError(
            f"has no episode {missing[0]}" if missing else "has no episodes",
            where=dataset.root, allowed=f"0 to {len(have) - 1}" if have else "",
        )  # fmt: skip
    return [have[number] for number in numbers] if numbers else list(have.values())


def _delay(contract: RobotContract, policies: Mapping[str, object], wanted: int | None) -> int:
    """One d for all policies, so that they are asked the same."""
    longest = min([contract.policy.chunk_length // 2, *(policy.trained_delay for policy in policies.values())])
    if wanted is not None and not 0 <= wanted <= longest:
        raise BeingHError(
            f"a locked prefix of {wanted} steps", allowed=f"0 to {longest}: half a chunk, and what all checkpoints know"
        )
    return min(contract.uac.delay_steps, longest) if wanted is None else wanted


def _mean_action(dataset: Dataset, episodes: Sequence[Episode], columns: Columns) -> np.ndarray:
    """(D,) of all rows."""
    rows = [dataset.values(episode, ACTION)[:, columns.action] for episode in episodes]
    every = np.concatenate(rows).astype(float)
    if not len(every) or not np.isfinite(every).all():
        raise BeingHError(f"`{ACTION}` holds values that are not finite, or none", where=dataset.root)
    return every.mean(axis=0)


class _EpisodeRun:
    """One episode under every policy."""

    def __init__(
        self,
        dataset: Dataset,
        contract: RobotContract,
        columns: Columns,
        episode: Episode,
        settings: DatasetRun,
        delay: int,
    ) -> None:
        self._dataset, self._contract, self._columns = dataset, contract, columns
        self._episode, self._settings, self._delay = episode, settings, delay
        self._state = dataset.values(episode, STATE)[:, columns.state].astype(float)
        self._action = dataset.values(episode, ACTION)[:, columns.action].astype(float)
        stride = settings.stride or contract.uac.execution_steps
        self._rows = list(range(0, episode.frames - delay - 1, stride))
        self._task = settings.task or (episode.tasks[0] if episode.tasks else "")
        if not self._task.strip():
            raise BeingHError(f"episode {episode.index} has no task", where=dataset.root, remedy="name it: --task TEXT")

    def compare(self, policies: Mapping[str, object], mean_D: np.ndarray, seen: _Seen, film: bool) -> Comparison:
        contract, delay = self._contract, self._delay
        ahead = contract.policy.chunk_length - delay
        predicted: dict[str, list[np.ndarray]] = {name: [] for name in policies}
        for row, pictures in self._pictures():
            if film:
                seen.film.append((row / contract.rate_hz, pictures))
            for name, policy in policies.items():
                predicted[name].append(self._predict(policy, row, pictures, self._settings.seed))
                seen.inference_ms[name].append(policy.last_timing_ms["total"])
                seen.gates[name] += policy.last_gates.ravel().tolist()
                if self._settings.spread:
                    again = self._predict(policy, row, pictures, self._settings.seed + 1)
                    predicted.setdefault(again_name(name), []).append(again)
                    seen.gates[name] += policy.last_gates.ravel().tolist()
        padded = np.vstack([self._action, np.full((ahead + delay, self._action.shape[1]), np.nan)])
        rows = np.array(self._rows)
        recorded = padded[rows[:, None] + delay + np.arange(ahead)]
        travelled = np.vstack([np.zeros_like(mean_D), np.cumsum(self._action, axis=0)])[rows + delay]
        last = self._action[np.maximum(rows + delay - 1, 0)]
        before = self._action[np.maximum(rows + delay - 2, 0)]
        everyone = quantities.with_trivial(
            contract, {name: np.array(values) for name, values in predicted.items()}, last, before, mean_D
        )
        return Comparison(
            episodes=np.full(len(rows), f"episode {self._episode.index}"),
            ticks=rows + delay,
            in_charge=np.full((len(rows), ahead), ""),  # a dataset does not say
            executed=contract.uac.execution_steps,
            rate_hz=contract.rate_hz,
            policies=tuple(policies),
            trivial=TRIVIAL,
            quantities=quantities.of_slots(contract, recorded, everyone, travelled),
        )

    def _pictures(self) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """(row, view -> picture) of the rows that are wanted; one picture of each view in memory."""
        wanted, disturbed = set(self._rows), self._settings.disturbance.start(self._settings.seed, self._episode.index)
        keys = self._columns.views
        streams = zip(*(self._dataset.pictures(self._episode, key) for key in keys.values()))
        for row, images in enumerate(streams):
            seen = {
                view: disturbed.picture(view, row / self._contract.rate_hz, image) for view, image in zip(keys, images)
            }
            if row in wanted:
                yield row, seen

    def _predict(self, policy, row: int, pictures: Mapping[str, np.ndarray], seed: int) -> np.ndarray:
        """(K, D) what a policy wants behind the recorded prefix."""
        import torch

        contract, delay = self._contract, self._delay
        history = policy.state_history
        states = self._slots(contract.state, self._state[np.maximum(row - history.before, 0)])
        state = {slot: rows[-1] for slot, rows in states.items()}
        if not self._settings.allow_outside:
            ranges = trained_range(contract, policy.data_config, policy.transform.statistics)
            if problem := ranges.problem(state):
                raise BeingHError(
                    f"episode {self._episode.index}, row {row}: {problem}", where=self._dataset.root,
                    remedy="give the contract that the dataset was recorded with, or --allow-outside",
                )  # fmt: skip
        prefix = quantities.slots_of(contract, self._action[row : row + delay])
        torch.manual_seed(noise_seed(seed, self._episode.index, row))
        inputs = named_observation(
            {view: image[None] for view, image in pictures.items()},
            {slot: rows.reshape(*history.leading, -1) for slot, rows in states.items()},
            self._task,
        )
        output = policy.get_action(inputs | {"prev_chunk": policy.encode_prefix(prefix), "inference_delay": delay})
        actions = {signal.slot: output[f"action.{signal.slot}"][0, delay:] for signal in contract.action}
        return quantities.row_of(contract, actions)

    @staticmethod
    def _slots(signals, rows_RD: np.ndarray) -> dict[str, np.ndarray]:
        found, first = {}, 0
        for signal in signals:
            found[signal.slot] = rows_RD[:, first : first + signal.width]
            first += signal.width
        return found
