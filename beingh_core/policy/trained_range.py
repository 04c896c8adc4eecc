"""Whether a robot's state lies where the statistics say that training saw it: wrong units, orders and signs.

Only signals that are normalised count. With [q01, q99] (or [min, max], or mean -+ 2.33 std, whichever the normalisation
uses) the usual values of a dimension and W their width:

- A measured value is far outside when it is more than max(3 W, 5 % of the physical range) outside of the usual values
  and of min..max, where training saw no motion at all more than 25 % of the physical range. For the joints of a signal
  W is enough when two or more are outside and another order or sign explains all of them; for x, y and z 0.75 W are
  enough when another order does.
- Statistics are impossible when usual values lie outside of the physical range by more than half of that range (twice
  for a gripper's 0..1, for which conventions differ): no robot of this kind has ever been there.

The physical range is that of the URDF's limits, of the arm's reach, of a full turn, or of 0..1 for a gripper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

from beingh_core.contract.codec import nearest_branch
from beingh_core.contract.schema import POSITION_SLOTS, ROTATION_SLOTS
from beingh_core.policy.data_configs import DataConfig
from beingh_core.rotations import to_axis_angle

if TYPE_CHECKING:
    from beingh_core.contract import RobotContract
    from beingh_core.contract.urdf import UrdfJoint

_FAR_WIDTHS, _EXPLAINED_WIDTHS, _SWAPPED_WIDTHS, _FAR_SHARE, _STILL_SHARE = 3.0, 1.0, 0.75, 0.05, 0.25
_STILL = 1e-6  # as RANGE_FLOOR of the normalisation
_UNBOUNDED_SPAN, _NO_END = 1.0, 1e3
_GRIPPER_MARGIN = 2.0
_STD_OF_QUANTILE = 2.326
_FITS = 0.25  # usual widths outside of what training saw, for another unit, order or sign to explain a value
_ROWS = {"q99": ("q01", "q99"), "min_max": ("min", "max"), "mean_std": ("mean", "std")}
_LENGTHS = {1000.0: "millimetres", 100.0: "centimetres", 39.37: "inches"}
_ANGLES = {57.29578: "degrees", 1000.0: "milliradians"}
_SHARES = {100.0: "per cent", 1000.0: "thousandths"}
_UNITS = {"length": _LENGTHS, "angle": _ANGLES, "share": _SHARES}


@dataclass(frozen=True, kw_only=True, eq=False)
class SignalRange:
    """What a signal can physically be.

    Attributes:
        labels: Names of its W values.
        lower, upper: (W,) physical range; infinite where there is none.
        kind: `length`, `angle` or `share` (0..1).
        margin: By how much of the range statistics may exceed it.
    """

    labels: tuple[str, ...]
    lower: np.ndarray
    upper: np.ndarray
    kind: str
    margin: float = 0.5

    @property
    def span(self) -> np.ndarray:
        """(W,) its width; 1 where there is no range."""
        return np.where(np.isfinite(self.upper - self.lower), self.upper - self.lower, _UNBOUNDED_SPAN)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Trained:
    """What training saw of a signal: usual values (W,), all values as far as they are credible, and its range."""

    low: np.ndarray
    high: np.ndarray
    least: np.ndarray
    most: np.ndarray
    physical: SignalRange

    def outside(self, values: np.ndarray) -> np.ndarray:
        """(W,) how far values are outside of what training saw; 0 inside."""
        return np.maximum(0.0, np.maximum(self.least - values, values - self.most))

    def tolerance(self, widths: float) -> np.ndarray:
        """(W,) how far outside is not yet far, `widths` being the allowed number of usual widths."""
        width, span = self.high - self.low, self.physical.span
        return np.where(width > _STILL, np.maximum(widths * width, _FAR_SHARE * span), _STILL_SHARE * span)

    def is_far(self, values: np.ndarray) -> bool:
        """Whether values (W,) are far outside."""
        outside = self.outside(values)
        if (outside > self.tolerance(_FAR_WIDTHS)).any():
            return True
        if self.physical.kind == "length":
            return bool((outside > self.tolerance(_SWAPPED_WIDTHS)).sum() > 1) and _order(values, self) is not None
        several = self.physical.kind == "angle" and (outside > self.tolerance(_EXPLAINED_WIDTHS)).sum() > 1
        return bool(several) and likely_cause(values, self) != ""

    def impossible(self) -> np.ndarray:
        """(W,) bool: usual values that this robot cannot have."""
        slack = self.physical.margin * self.physical.span
        with np.errstate(invalid="ignore"):
            return (self.low < self.physical.lower - slack) | (self.high > self.physical.upper + slack)

    def told_impossible(self) -> str:
        """What of it is impossible, and the unit in which all usual values would be possible."""
        at, physical = np.flatnonzero(self.impossible()), self.physical
        told = ", ".join(
            f"{physical.labels[i]} was {self.low[i]:.4g} to {self.high[i]:.4g} "
            f"(possible {physical.lower[i]:.4g} to {physical.upper[i]:.4g})"
            for i in at
        )
        room = _FAR_SHARE * physical.span
        for factor, unit in sorted(_UNITS[physical.kind].items()):
            low, high = self.low / factor, self.high / factor
            if ((low >= physical.lower - room) & (high <= physical.upper + room)).all():
                return f"{told}; it looks like {unit}: divided by {factor:.4g} all of it is possible"
        return f"{told}; the unit is wrong"


class TrainedRange:
    """Compares states with the statistics that a policy normalises with. Immutable: any thread.

    Args:
        data_config: Which signals are normalised, and how.
        statistics: {"state": {key: {min, max, mean, std, q01, q99}}, "action": {...}}; rows that are missing or have
            another width are left to the normalisation to refuse.
        ranges: `state.<key>` or `action.<key>` -> its physical range; other signals are not judged.
    """

    def __init__(self, data_config: DataConfig, statistics: Mapping, ranges: Mapping[str, SignalRange]) -> None:
        self._states: dict[str, _Trained] = {}
        self._impossible: dict[str, _Trained] = {}
        self._rotations = {spec.key: spec.rotation for spec in data_config.state}
        for kind, specs in (("state", data_config.state), ("action", data_config.action)):
            for spec in specs:
                name = f"{kind}.{spec.key}"
                rows = ((statistics or {}).get(kind) or {}).get(spec.key)
                trained = _trained(spec.normalization, rows, ranges[name]) if name in ranges else None
                if trained is None:
                    continue
                if kind == "state":
                    self._states[spec.key] = trained
                if trained.impossible().any():
                    self._impossible[name] = trained

    def problem(self, state: Mapping[str, np.ndarray]) -> str | None:
        """What does not fit a measured state, with the numbers and the likely cause; None when all is in order.

        Args:
            state: key -> (W,) values in the contract's units.
        """
        for key, trained in self._states.items():
            values = np.asarray(state[key], dtype=np.float64)
            if self._rotations.get(key):
                values = to_axis_angle(values, self._rotations[key])
            if key in ROTATION_SLOTS:
                values = nearest_branch(values, (trained.low + trained.high) / 2)
            if f"state.{key}" in self._impossible or trained.is_far(values):
                worst = int(np.argmax(trained.outside(values) / trained.tolerance(_EXPLAINED_WIDTHS)))
                return (
                    f"the measured state.{key} is far outside the checkpoint's statistics: "
                    f"{trained.physical.labels[worst]} is {values[worst]:.4g}, training saw "
                    f"{trained.least[worst]:.4g} to {trained.most[worst]:.4g}{likely_cause(values, trained)}"
                )
        return self.impossible()

    def impossible(self, whose: str = "the checkpoint's statistics") -> str | None:
        """Everything in the statistics that this robot cannot have, with the numbers and the likely unit; None when all is possible."""
        told = "; ".join(f"{name}: {trained.told_impossible()}" for name, trained in self._impossible.items())
        return f"{whose} are impossible for this robot: {told}" if told else None


def likely_cause(values: np.ndarray, trained: _Trained) -> str:
    """Why values (W,) do not fit, as the rest of a sentence; "" when it cannot be told."""
    labels, units = trained.physical.labels, _UNITS[trained.physical.kind]
    factors = [*units, *(1 / factor for factor in units)]
    misfits = [_misfit(values * factor, trained) for factor in factors]
    best = int(np.argmin(misfits))
    if misfits[best] <= _FITS:
        factor = factors[best]
        if factor > 1:
            return f"; the statistics look like {units[factor]} ({factor:.4g} times the robot's values)"
        unit = units[factors[best - len(units)]]
        return f"; the robot's values look like {unit} ({1 / factor:.4g} times the statistics)"
    order = _order(values, trained)
    if order is not None:
        pairs = [(labels[source], labels[place]) for place, source in enumerate(order) if source != place]
        moved = [f"{given} where {wanted} belongs" for given, wanted in pairs]
        return f"; the order looks different: {', '.join(moved[:4])}"
    wrong = trained.outside(values) > 0
    if _misfit(np.where(wrong, -values, values), trained) <= _FITS:
        return f"; the sign looks wrong: {', '.join(label for label, is_wrong in zip(labels, wrong) if is_wrong)}"
    turned = values - 2 * np.pi * np.round((values - (trained.low + trained.high) / 2) / (2 * np.pi))
    if trained.physical.kind == "angle" and _misfit(turned, trained) <= _FITS:
        return "; it looks like whole turns too many"
    return ""


def _misfit(values: np.ndarray, trained: _Trained) -> float:
    """The largest distance outside, in usual widths."""
    width = np.maximum(trained.high - trained.low, 0.1 * np.maximum(abs(trained.low), abs(trained.high)))
    return float((trained.outside(values) / np.maximum(width, 1e-9)).max())


def _order(values: np.ndarray, trained: _Trained) -> np.ndarray | None:
    """Which value belongs where, when another order fits and the given one does not."""
    costs = np.array([np.maximum(0.0, np.maximum(a - values, values - b)) for a, b in zip(trained.least, trained.most)])
    places, order = linear_sum_assignment(costs)
    return order if _misfit(values[order], trained) <= _FITS and (order != places).any() else None


def _trained(normalization: str, rows: Mapping | None, physical: SignalRange) -> _Trained | None:
    first, second = (_row(rows, name, len(physical.lower)) for name in _ROWS.get(normalization, ("", "")))
    if first is None or second is None:
        return None
    if normalization == "mean_std":
        first, second = first - _STD_OF_QUANTILE * second, first + _STD_OF_QUANTILE * second
    least, most = (_row(rows, name, len(first)) for name in ("min", "max"))
    # A single wrong value of a recording must not make every state look usual.
    credible = np.maximum(second - first, 0.5 * physical.span)
    return _Trained(
        low=first,
        high=second,
        least=first if least is None else np.clip(least, first - credible, first),
        most=second if most is None else np.clip(most, second, second + credible),
        physical=physical,
    )


def _row(rows: Mapping | None, name: str, width: int) -> np.ndarray | None:
    """One statistic (W,), None when it is not there or not usable."""
    try:
        row = np.asarray((rows or {}).get(name), dtype=np.float64).reshape(-1)
    except (TypeError, ValueError, AttributeError):
        return None
    return row if row.shape == (width,) and np.isfinite(row).all() else None


def trained_range(contract: RobotContract, data_config: DataConfig, statistics: Mapping) -> TrainedRange:
    """What the statistics of a policy say of the robot of a contract."""
    return TrainedRange(data_config, statistics, physical_ranges(contract))


def physical_ranges(contract: RobotContract) -> dict[str, SignalRange]:
    """`state.<slot>` or `action.<slot>` -> its physical range, of every signal that has one."""
    from beingh_core.contract.kinematics import Kinematics
    from beingh_core.contract.urdf import read_urdf

    joints = read_urdf(contract.urdf_path).joints
    ranges = {}
    for kind, signals in (("state", contract.state), ("action", contract.action)):
        for signal in signals:
            is_state = kind == "state"
            if signal.slot in POSITION_SLOTS and signal.eef_frame is not None:
                arm = Kinematics(contract.urdf_path, signal.joints, signal.eef_frame, signal.base_frame)
                found = _xyz("length", arm.reach if is_state or signal.mode != "relative" else 2 * arm.reach)
            elif signal.slot in ROTATION_SLOTS:
                found = _xyz("angle", np.pi if not is_state and signal.mode == "delta" else 2 * np.pi)
            elif not is_state and signal.mode != "absolute":
                continue
            elif signal.closed is not None or signal.ranges:
                count = len(signal.joints)
                found = SignalRange(
                    labels=signal.joints,
                    lower=np.zeros(count),
                    upper=np.ones(count),
                    kind="share",
                    margin=_GRIPPER_MARGIN,
                )
            elif signal.joints and all(joint in joints for joint in signal.joints):  # a base's velocities are no joints
                found = _joints_range(signal.joints, joints)
            else:
                continue
            ranges[f"{kind}.{signal.slot}"] = found
    return ranges


def _joints_range(names: tuple[str, ...], joints: Mapping[str, UrdfJoint]) -> SignalRange:
    ends = np.array([(joints[name].lower, joints[name].upper) for name in names])
    ends = np.where(abs(ends) < _NO_END, ends, np.copysign(np.inf, ends))
    slides = all(joints[name].type == "prismatic" for name in names)
    return SignalRange(labels=names, lower=ends[:, 0], upper=ends[:, 1], kind="length" if slides else "angle")


def _xyz(kind: str, most: float) -> SignalRange:
    return SignalRange(labels=("x", "y", "z"), lower=np.full(3, -most), upper=np.full(3, most), kind=kind)
