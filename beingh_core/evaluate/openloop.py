"""What a policy would have done against what was done: errors of predicted actions, step by step.

Nothing moves: at each of N observations a policy has predicted K steps, of which the first `executed` would have run
before the next chunk took over. Arrays of numbers only; where they come from does not matter.

Letters: N chunks, K decided steps of each, W numbers of a quantity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from beingh_core.errors import BeingHError

POLICY, PERSON, NOBODY = "policy", "person", "nobody"
ALL = "all"
JOINT, SLOT, HAND = "joint", "slot", "hand"


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantity:
    """Something that was commanded and predicted.

    Attributes:
        name: joint, slot, or frame of an end effector.
        kind: `JOINT`, `SLOT` or `HAND`.
        unit: of its numbers.
        recorded: (N, K, W); NaN where nothing is known.
        predicted: source -> (N, K, W); the sources are policies, and trivial ones.
    """

    name: str
    kind: str
    unit: str
    recorded: np.ndarray
    predicted: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        for source, values in self.predicted.items():
            if values.shape != self.recorded.shape or values.ndim != 3:
                raise ValueError(f"{self.name}: {source} has shape {values.shape}, not {self.recorded.shape}")

    def errors(self, source: str) -> np.ndarray:
        """(N, K) distance of a source's prediction from what was recorded."""
        return np.linalg.norm(self.predicted[source] - self.recorded, axis=2)

    def spread(self, source: str, other: str) -> np.ndarray:
        """(N, K) distance between the predictions of two sources."""
        return np.linalg.norm(self.predicted[source] - self.predicted[other], axis=2)


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """All predictions about some recordings.

    Attributes:
        episodes: (N,) name of each chunk's recording.
        ticks: (N,) number of the tick of its first decided step, within the recording.
        in_charge: (N, K) who commanded each step: `POLICY`, `PERSON` or `NOBODY`.
        executed: s, steps of a chunk that would run before the next one decides.
        rate_hz: steps per second.
        policies: sources that are policies, in the order of the report.
        trivial: the other sources.
        quantities: what was compared.
    """

    episodes: np.ndarray
    ticks: np.ndarray
    in_charge: np.ndarray
    executed: int
    rate_hz: float
    policies: tuple[str, ...]
    trivial: tuple[str, ...]
    quantities: tuple[Quantity, ...]

    def __post_init__(self) -> None:
        if not self.quantities or not len(self.episodes):
            raise BeingHError(
                "there is nothing to compare: no chunk was predicted about a time whose actions are known",
                remedy="give longer recordings, with commands",
            )

    @property
    def main(self) -> Quantity:
        """What headlines speak of: the place of a hand, else the widest slot."""
        hands = [q for q in self.quantities if q.kind == HAND]
        return hands[0] if hands else max(self.quantities, key=lambda q: (q.kind == SLOT, q.recorded.shape[2]))

    @property
    def steps(self) -> dict[str, int]:
        """Label -> index of the steps of which reports tell: the first, the last that runs, the last of all."""
        last = self.in_charge.shape[1] - 1
        return {"1": 0, "s": min(self.executed, last + 1) - 1, "H": last}

    def mask(self, who: str) -> np.ndarray:
        """(N, K) steps that somebody commanded, or `ALL`."""
        return np.ones(self.in_charge.shape, dtype=bool) if who == ALL else self.in_charge == who


def summary(found: Comparison) -> dict[str, object]:
    """Errors by who was in charge, quantity, source and step, and of the executed steps together.

    Returns:
        who -> {"steps": how many, "quantities": name -> {"kind", "unit", "errors": source -> label -> {"mean", "p95"}}}.
    """
    result = {}
    for who in (ALL, POLICY, PERSON):
        mask = found.mask(who)
        if not mask.any():
            continue
        quantities = {}
        for quantity in found.quantities:
            errors = {
                source: _by_step(quantity.errors(source), mask, found) for source in (*found.policies, *found.trivial)
            }
            moved = _by_step(_motion(quantity), mask, found)
            quantities[f"{quantity.kind}:{quantity.name}"] = {
                "kind": quantity.kind, "unit": quantity.unit, "errors": errors, "moved": moved,
            }  # fmt: skip
        result[who] = {"steps": int((mask & np.isfinite(found.quantities[0].recorded[:, :, 0])).sum()),
                       "quantities": quantities}  # fmt: skip
    return result


def executed_errors(found: Comparison, source: str, who: str = ALL) -> np.ndarray:
    """(N,) mean error of each chunk's executed steps in the main quantity; NaN where none counts."""
    errors = np.where(found.mask(who), found.main.errors(source), np.nan)[:, : found.executed]
    known = np.isfinite(errors)
    total = np.where(known, errors, 0.0).sum(axis=1)
    return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)


def skill(found: Comparison, source: str, who: str = ALL) -> tuple[float | None, str]:
    """How much smaller a source's error is than the best trivial policy's, in executed steps.

    Returns:
        1 for no error, 0 for no better, negative for worse, None where nothing counts; and that trivial policy.
    """
    means = {name: _mean(executed_errors(found, name, who)) for name in (source, *found.trivial)}
    best = min(found.trivial, key=lambda name: np.inf if means[name] is None else means[name])
    if means[source] is None or not means[best]:
        return None, best
    return 1.0 - means[source] / means[best], best


def stitched(ticks_N: np.ndarray, values_NKW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What would run when each chunk takes over from the one before, with nothing to join them.

    Args:
        ticks_N: tick of the first decided step of each chunk of one recording, increasing.
        values_NKW: what they want.

    Returns:
        (T,) ticks and (T, W) values; ticks that no chunk decides are left out.
    """
    if not len(ticks_N):
        return np.empty(0, dtype=int), np.empty((0, values_NKW.shape[2]))
    ends = np.append(ticks_N[1:], ticks_N[-1] + values_NKW.shape[1])
    counts = np.minimum(ends - ticks_N, values_NKW.shape[1])
    ticks = np.concatenate([begin + np.arange(count) for begin, count in zip(ticks_N, counts)])
    return ticks, np.concatenate([rows[:count] for rows, count in zip(values_NKW, counts)])


def chunk_seams(found: Comparison, source: str) -> np.ndarray:
    """(M,) how far apart two chunks in a row are where the newer one takes over, in the main quantity."""
    values, steps = found.main.predicted[source], found.in_charge.shape[1]
    gaps = []
    for index in range(len(found.episodes) - 1):
        ahead = found.ticks[index + 1] - found.ticks[index]
        if found.episodes[index] == found.episodes[index + 1] and 0 < ahead < steps:
            gaps.append(float(np.linalg.norm(values[index, ahead] - values[index + 1, 0])))
    return np.array(gaps)


def roughness(positions_TW: np.ndarray, rate_hz: float) -> np.ndarray:
    """(T - 3,) size of the jerk by third differences [unit/s^3]; what is not known gives NaN."""
    return np.linalg.norm(np.diff(positions_TW, n=3, axis=0), axis=1) * rate_hz**3


def _by_step(errors_NK: np.ndarray, mask_NK: np.ndarray, found: Comparison) -> dict[str, dict[str, float | None]]:
    kept = np.where(mask_NK, errors_NK, np.nan)
    rows = {label: kept[:, index] for label, index in found.steps.items()} | {"1..s": kept[:, : found.executed]}
    return {label: _figures(values) for label, values in rows.items()}


def _figures(values: np.ndarray) -> dict[str, float | None]:
    known = values[np.isfinite(values)]
    if not known.size:
        return {"mean": None, "p95": None}
    return {"mean": _round(known.mean()), "p95": _round(np.percentile(known, 95))}


def _motion(quantity: Quantity) -> np.ndarray:
    """(N, K) how far what was recorded lies from its first decided step: what there was to predict."""
    return np.linalg.norm(quantity.recorded - quantity.recorded[:, :1], axis=2)


def _mean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None


def _round(value: float) -> float:
    return float(f"{value:.5g}")


def joined(parts: Sequence[Comparison]) -> Comparison:
    """One comparison of several recordings' with the same quantities and sources.

    Raises:
        BeingHError: They are about different robots or policies.
    """
    first = parts[0]
    kinds = [[(q.kind, q.name, sorted(q.predicted)) for q in part.quantities] for part in parts]
    shapes = {(part.in_charge.shape[1], part.executed, part.rate_hz) for part in parts}
    if any(kind != kinds[0] for kind in kinds) or len(shapes) > 1:
        raise BeingHError(
            "the recordings cannot be put together: their quantities, rates or chunk lengths differ",
            remedy="evaluate recordings of one robot contract at a time",
        )
    quantities = tuple(
        Quantity(
            name=q.name, kind=q.kind, unit=q.unit,
            recorded=np.concatenate([part.quantities[i].recorded for part in parts]),
            predicted={s: np.concatenate([part.quantities[i].predicted[s] for part in parts]) for s in q.predicted},
        )
        for i, q in enumerate(first.quantities)
    )  # fmt: skip
    return Comparison(
        episodes=np.concatenate([part.episodes for part in parts]),
        ticks=np.concatenate([part.ticks for part in parts]),
        in_charge=np.concatenate([part.in_charge for part in parts]),
        executed=first.executed, rate_hz=first.rate_hz, policies=first.policies, trivial=first.trivial,
        quantities=quantities,
    )  # fmt: skip
