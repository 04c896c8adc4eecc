"""What of a dataset contradicts its robot's contract or the statistics that it is to be normalised with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from beingh_core.contract import ActionSignal, RobotContract, load_contract
from beingh_core.data.contract_rows import ACTION, STATE, slot_names
from beingh_core.data.lerobot import Dataset
from beingh_core.errors import BeingHError, shown
from beingh_core.policy.data_configs import DataConfig
from beingh_core.policy.trained_range import trained_range
from beingh_core.policy.transforms import NEEDED, RANGE_FLOOR
from beingh_core.train.hand_checks import unlikely
from beingh_core.train.sources import Source
from beingh_core.train.statistics import statistics_of

_WIDTHS = 0.5  # by so many widths of given q01..q99 the recorded ones may lie outside
_LOOKED_AT = 3  # episodes whose time stamps are read
# What a signal of the dataset's own contract must have in common with the one that it is taught as.
_STATE_KEYS = ("source", "joints", "closed", "open", "eef_frame", "base_frame", "ranges", "rotation")
_ACTION_KEYS = ("joints", "closed", "open", "eef_frame", "base_frame", "ranges", "rotation", "value")


@dataclass(frozen=True)
class Finding:
    """One contradiction.

    Attributes:
        kind: one of `settings.ACCEPTABLE`; a dataset's `accept` lets it pass.
        text: what contradicts what.
        remedy: what to do.
    """

    kind: str
    text: str
    remedy: str

    def error(self, source: Source) -> BeingHError:
        """As the error of a run."""
        return BeingHError(
            f"`{source.title}`: {self.text}", where=source.section.path,
            remedy=f"{self.remedy}; or let it pass with `accept: [{self.kind}]` of this dataset",
        )  # fmt: skip


def findings(source: Source, chunk_length: int) -> list[Finding]:
    """Everything that contradicts something, also what the configuration accepts."""
    dataset, contract = Dataset(source.section.path, tolerant=True, skip_unknown=True), source.modality.contract
    found = [*_stamps(dataset, source)]
    if contract is not None:
        found += [
            *_names(dataset, source, contract),
            *_own_contract(source, contract),
            *_units(source, contract, chunk_length),
        ]
    if source.modality.layout is not None:
        found += [
            Finding("units", text, _HAND_UNITS) for text in unlikely(source.modality.layout, source.table, source.fps)
        ]
    found += _given_statistics(source, chunk_length)
    return found


_HAND_UNITS = "write metres and radians, and the pose of the camera that saw the row"


def refuse(sources: Sequence[Source], chunk_length: int) -> None:
    """Ends a run before it begins.

    Raises:
        BeingHError: The first contradiction that its dataset does not accept.
    """
    for source in sources:
        for finding in findings(source, chunk_length):
            if finding.kind not in source.section.accept:
                raise finding.error(source)


def still(source: Source) -> list[str]:
    """Values that never moved: the model is taught a constant."""
    found = []
    for kind, specs in (("state", source.modality.config.state), ("action", source.modality.config.action)):
        for spec in specs:
            rows = source.statistics.get(kind, {}).get(spec.key)
            if rows:
                width = np.subtract(rows["max"], rows["min"])
                found += [f"{kind}.{spec.key}[{i}]" for i in np.flatnonzero(width <= RANGE_FLOOR)]
    return found


def _names(dataset: Dataset, source: Source, contract: RobotContract) -> Iterator[Finding]:
    """Joints that stand in another order than the contract's, by their names in info.json."""
    for key, signals, order in (
        (STATE, contract.state, source.columns.state),
        (ACTION, contract.action, source.columns.action),
    ):
        vector = next(v for v in dataset.spec.vectors if v.key == key)
        wanted = [name for signal in signals for name in slot_names(signal)]
        have = [vector.names[place] for place in order]
        wrong = [
            (a, b)
            for a, b in zip(have, wanted)
            if a != b and _plain(a) in map(_plain, wanted) and _plain(a) != _plain(b)
        ]
        if wrong:
            told = ", ".join(f"`{a}` where `{b}` belongs" for a, b in wrong[:4])
            yield Finding(
                "names", f"`{key}` has {told}", "correct meta/modality.json, or the order of the joints in the contract"
            )


def _plain(name: str) -> str:
    return name.removesuffix(".pos")


def _own_contract(source: Source, contract: RobotContract) -> Iterator[Finding]:
    """Differences to the contract that the dataset was exported with."""
    path = Path(source.section.path) / "meta/contract.yaml"
    if not path.exists():
        return
    try:
        own = load_contract(path)
    except BeingHError:  # of a version or with a URDF that is not here
        return
    if own.rate_hz != contract.rate_hz:
        yield Finding(
            "contract",
            f"was exported at {own.rate_hz:g} Hz, `{contract.robot}` steps at {contract.rate_hz:g} Hz",
            _EXPORT,
        )
    for kind, mine, its, keys in (
        ("state", contract.state, own.state, _STATE_KEYS), ("action", contract.action, own.action, _ACTION_KEYS),
    ):  # fmt: skip
        exported = {signal.slot: signal for signal in its}
        for signal in mine:
            other = exported.get(signal.slot)
            if other is None:
                yield Finding("contract", f"was exported without {kind}.{signal.slot}", _EXPORT)
                continue
            for key in keys:
                a, b = getattr(other, key), getattr(signal, key)
                if a != b:
                    text = f"{kind}.{signal.slot} was exported with {key} {shown(a, 100)}, the contract has {shown(b, 100)}"
                    yield Finding("contract", text, _EXPORT)
            if isinstance(signal, ActionSignal) and isinstance(other, ActionSignal):
                yield from _meaning(signal, other)


_EXPORT = "give the contract with which it was exported, or export the bags again"


def _meaning(signal: ActionSignal, other: ActionSignal) -> Iterator[Finding]:
    """Whether rows can be taught as what a signal means: steps as the same steps, absolute values as what counts from a start."""
    counted = signal.mode == "relative" or signal.frame == "chunk_start"
    recorded = (other.mode, other.frame if other.mode == "delta" else None)
    wanted = ("absolute", None) if counted else (signal.mode, signal.frame if signal.mode == "delta" else None)
    if recorded != wanted:
        yield Finding(
            "contract",
            f"action.{signal.slot} was exported as {' in '.join(filter(None, recorded))}, and "
            f"{' in '.join(filter(None, wanted))} is needed for `{signal.mode}`",
            _EXPORT,
        )


def _units(source: Source, contract: RobotContract, chunk_length: int) -> Iterator[Finding]:
    """Values that this robot cannot have, such as degrees."""
    recorded = statistics_of([(source.modality, source.table)], chunk_length)
    judged = trained_range(contract, _all_judged(source.modality.config), recorded)
    if problem := judged.impossible("the recorded values"):
        yield Finding(
            "units", problem, "export it in radians and metres, or correct `units` and `closed`, `open` of the contract"
        )


def _all_judged(config: DataConfig) -> DataConfig:
    """The same keys, all of which have ranges."""
    judged = lambda specs: tuple(replace(spec, normalization="q99") for spec in specs)
    return replace(config, state=judged(config.state), action=judged(config.action))


def _given_statistics(source: Source, chunk_length: int) -> Iterator[Finding]:
    """Given statistics that are not those of these data."""
    if not source.section.statistics:
        return
    recorded = statistics_of([(source.modality, source.table)], chunk_length)
    for kind, specs in (("state", source.modality.config.state), ("action", source.modality.config.action)):
        for spec in specs:
            given = source.statistics.get(kind, {}).get(spec.key)
            if not NEEDED[spec.normalization] or not given:
                continue
            low, high = np.array(given["q01"]), np.array(given["q99"])
            room = _WIDTHS * np.maximum(high - low, RANGE_FLOOR)
            mine = recorded[kind][spec.key]
            off = (np.array(mine["q01"]) < low - room) | (np.array(mine["q99"]) > high + room)
            if off.any():
                index = int(off.argmax())
                yield Finding(
                    "statistics",
                    f"{kind}.{spec.key}[{index}] is {mine['q01'][index]:.4g} to {mine['q99'][index]:.4g} (1 to 99 %), and "
                    f"{source.section.statistics} says {low[index]:.4g} to {high[index]:.4g}",
                    "leave `statistics` of this dataset out: they are computed then",
                )


def _stamps(dataset: Dataset, source: Source) -> Iterator[Finding]:
    """Time stamps that contradict the rate of info.json."""
    numbers = set(source.table.episodes[:_LOOKED_AT])
    for episode in (one for one in dataset.episodes if one.index in numbers and one.frames > 2):
        try:
            steps = np.diff(dataset.values(episode, "timestamp")[:, 0].astype(float))
        except (BeingHError, KeyError, ValueError):
            return
        step = float(np.median(steps))
        if not abs(step * dataset.spec.fps - 1.0) <= 0.05:
            yield Finding(
                "timestamps",
                f"rows of episode {episode.index} are {step:.4g} s apart, info.json says {dataset.spec.fps} rows per second",
                "correct `fps` of info.json, or export it again",
            )
            return
