"""Between physical values and the normalised unified vectors that the model sees.

    state dict --rotation--> slot values --normalise--> (200,)     and the mirror image for actions

One implementation for training, replay and deployment. Shape letters: T steps, W values of a key.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from beingh_core import rotations
from beingh_core.errors import BeingHError, did_you_mean, shown
from beingh_core.policy.data_configs import DataConfig, KeySpec
from beingh_core.slots import WIDTH

# A range (max - min, q99 - q01, std) below this, in the signal's own unit, counts as "never moved".
RANGE_FLOOR = 1e-6
BINARY_THRESHOLD = 0.5
MAX_VALUE = 1e6  # metres or radians; beyond, a sensor is broken, and the model's arithmetic would overflow

STATISTICS = ("min", "max", "mean", "std", "q01", "q99")
_REMEDY = "compute the statistics again, or use the checkpoint with the data config or robot it was trained for"
NEEDED = {
    "none": (),
    "binary": (),
    "q99": ("q01", "q99"),
    "min_max": ("min", "max"),
    "mean_std": ("mean", "std"),
}


class Normalizer:
    """Normalisation of one key: y = (x - centre) / scale, or a threshold for `binary`.

    `q99` maps [q01, q99] and `min_max` maps [min, max] to [-1, 1]; `mean_std` to zero mean and unit
    deviation. Nothing is clipped: the map is exactly invertible, so that what a controller will
    really send can be handed back as a prefix. A dimension that never moved in training is 0 at its
    constant, and comes back as exactly that constant whatever the model says.

    Args:
        mode: one of `data_configs.NORMALIZATIONS`.
        statistics: min, max, mean, std, q01, q99 of the slot values, each of length `width`.
        width: number of slot values.
        where: what to name in an error.

    Raises:
        BeingHError: statistics that the mode needs are missing, have another width or are not finite.
    """

    def __init__(self, mode: str, statistics: Mapping | None, width: int, *, where: str) -> None:
        self.mode = mode
        needed = NEEDED[mode]
        if not needed:
            return
        rows = [_statistic(statistics, name, mode, width, where) for name in needed]
        if mode == "mean_std":
            centre, scale = rows
        else:
            centre, scale = (rows[0] + rows[1]) / 2, (rows[1] - rows[0]) / 2
        if np.any(scale < 0):
            raise BeingHError(f"statistics {needed} are in the wrong order or negative", where=where, remedy=_REMEDY)
        moved = scale > RANGE_FLOOR / 2
        self.centre = centre
        self.forward_scale = np.where(moved, scale, 1.0)
        self.inverse_scale = np.where(moved, scale, 0.0)

    def normalize(self, values: np.ndarray) -> np.ndarray:
        """Normalised values, same shape (..., W)."""
        if self.mode == "none":
            return values
        if self.mode == "binary":
            return (values > BINARY_THRESHOLD).astype(np.float64)
        return (values - self.centre) / self.forward_scale

    def denormalize(self, values: np.ndarray) -> np.ndarray:
        """Slot values of normalised ones, same shape (..., W)."""
        if self.mode == "none":
            return values
        if self.mode == "binary":
            return (values > BINARY_THRESHOLD).astype(np.float64)
        return values * self.inverse_scale + self.centre


def _statistic(statistics: Mapping | None, name: str, mode: str, width: int, where: str) -> np.ndarray:
    if statistics is None or statistics.get(name) is None:
        raise BeingHError(
            f"normalization `{mode}` needs the statistic `{name}`, which the metadata has not",
            where=where,
            allowed=None if statistics is None else [known for known in STATISTICS if known in statistics],
            remedy=_REMEDY,
        )
    row = np.asarray(statistics[name], dtype=np.float64).reshape(-1)
    if row.shape != (width,) or not np.all(np.isfinite(row)):
        raise BeingHError(
            f"statistic `{name}` must hold {width} finite values, not {shown(row.tolist())}",
            where=where,
            remedy=_REMEDY,
        )
    return row


class UnifiedTransform:
    """Physical state and action dictionaries to and from unified vectors (200 wide).

    Dictionaries may name keys with or without their `state.` / `action.` prefix.

    Args:
        data_config: which keys go to which slots, and how they are normalised.
        statistics: {"state": {key: {...}}, "action": {key: {...}}} as in a metadata file; keys
            without normalisation need none.
        source: the file that the statistics came from, for errors.
    """

    def __init__(
        self, data_config: DataConfig, statistics: Mapping | None = None, source: object | None = None
    ) -> None:
        self.data_config = data_config
        self.statistics = statistics or {}
        self._specs = {"state": data_config.state, "action": data_config.action}
        self._bounds: dict[tuple[str, str], slice] = {}
        self._normalizers: dict[tuple[str, str], Normalizer] = {}
        for kind, specs in self._specs.items():
            known = (statistics or {}).get(kind) or {}
            for spec in specs:
                bounds = spec.bounds(kind)
                self._bounds[kind, spec.key] = bounds
                self._normalizers[kind, spec.key] = Normalizer(
                    spec.normalization,
                    known.get(spec.key),
                    bounds.stop - bounds.start,
                    where=f"{f'{source}: ' if source else ''}{kind}.{spec.key} of data config `{data_config.name}`",
                )

    def mask(self, kind: str) -> np.ndarray:
        """(200,) bool: the unified dimensions this embodiment uses (kind: "state" or "action")."""
        mask = np.zeros(WIDTH, dtype=bool)
        for spec in self._specs[kind]:
            mask[self._bounds[kind, spec.key]] = True
        return mask

    @property
    def action_mask(self) -> np.ndarray:
        """(200,) bool: the action dimensions this embodiment uses."""
        return self.mask("action")

    def state_to_unified(self, state: Mapping[str, np.ndarray]) -> np.ndarray:
        """(..., 200) float32 of a state dictionary of (..., W) arrays, physical units."""
        return self._to_unified("state", state)

    def action_to_unified(self, action: Mapping[str, np.ndarray]) -> np.ndarray:
        """(T, 200) float32 of an action dictionary of (T, W) arrays, physical units."""
        return self._to_unified("action", action)

    def state_from_unified(self, unified: np.ndarray) -> dict[str, np.ndarray]:
        """State dictionary of (..., W) float32 arrays, physical units, of (..., 200)."""
        return self._from_unified("state", unified)

    def action_from_unified(self, unified: np.ndarray) -> dict[str, np.ndarray]:
        """Action dictionary of (..., W) float32 arrays, physical units, of (..., 200)."""
        return self._from_unified("action", unified)

    def encode_prefix(self, action: Mapping[str, np.ndarray], chunk_length: int) -> np.ndarray:
        """The locked prefix of the next chunk, as `get_action` takes it in `prev_chunk`.

        Args:
            action: what will really be sent at the first d steps, (d, W) arrays, physical units.
            chunk_length: H.

        Returns:
            (1, H, 200) float32; steps >= d and unused slots are zero.

        Raises:
            BeingHError: the prefix is longer than the chunk, or see `action_to_unified`.
        """
        rows = self.action_to_unified(action)
        if rows.ndim != 2 or len(rows) > chunk_length:
            raise BeingHError(
                f"a prefix of shape {rows.shape} does not fit a chunk of {chunk_length} steps",
                allowed=f"(d, W) arrays with d <= {chunk_length}",
            )
        prefix = np.zeros((1, chunk_length, WIDTH), dtype=np.float32)
        prefix[0, : len(rows)] = rows
        return prefix

    def _to_unified(self, kind: str, values: Mapping[str, np.ndarray]) -> np.ndarray:
        specs = self._specs[kind]
        parts = [self._checked(kind, spec, values) for spec in specs]
        leading = parts[0].shape[:-1] if parts else ()
        unified = np.zeros((*leading, WIDTH), dtype=np.float32)
        for spec, part in zip(specs, parts):
            if part.shape[:-1] != leading:
                raise BeingHError(
                    f"`{kind}.{spec.key}` has leading shape {part.shape[:-1]}, `{kind}.{specs[0].key}` {leading}"
                )
            if spec.rotation is not None:
                part = rotations.to_axis_angle(part, spec.rotation)
            normalizer = self._normalizers[kind, spec.key]
            unified[..., self._bounds[kind, spec.key]] = normalizer.normalize(part)
        return unified

    def _from_unified(self, kind: str, unified: np.ndarray) -> dict[str, np.ndarray]:
        unified = np.asarray(unified)
        if unified.shape[-1:] != (WIDTH,):
            raise BeingHError(f"a unified {kind} must be (..., {WIDTH}), not {unified.shape}")
        values = {}
        for spec in self._specs[kind]:
            part = unified[..., self._bounds[kind, spec.key]].astype(np.float64)
            part = self._normalizers[kind, spec.key].denormalize(part)
            if spec.rotation is not None:
                part = rotations.from_axis_angle(part, spec.rotation)
            values[spec.key] = part.astype(np.float32)
        return values

    def _checked(self, kind: str, spec: KeySpec, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """One key's values as float64 (..., W), its presence, width and finiteness checked."""
        name = f"{kind}.{spec.key}"
        value = values.get(name, values.get(spec.key))
        if value is None:
            wanted = [f"{kind}.{s.key}" for s in self._specs[kind]]
            raise BeingHError(
                f"`{name}` is missing",
                allowed=wanted,
                remedy=did_you_mean(name, values) or f"data config `{self.data_config.name}` needs it",
            )
        try:
            part = np.asarray(value)
            if part.dtype.kind not in "biuf":
                raise TypeError
            part = part.astype(np.float64)
        except (TypeError, ValueError):
            raise BeingHError(f"`{name}` is not an array of numbers: {shown(value)}") from None
        width = spec.data_width(kind)
        if part.ndim == 0 or part.shape[-1] != width:
            raise BeingHError(f"`{name}` has shape {part.shape}, its last dimension must be {width}")
        if not np.all(np.abs(part) <= MAX_VALUE):
            finite = np.all(np.isfinite(part))
            raise BeingHError(
                f"`{name}` holds {f'{np.abs(part).max():g}' if finite else 'NaN or infinity'}",
                allowed=f"-{MAX_VALUE:g} to {MAX_VALUE:g}",
                remedy="check the sensor or the recording that it comes from",
            )
        return part
