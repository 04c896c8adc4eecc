"""Which views and which slots an embodiment uses: `DataConfig` and the registry of known ones."""

from __future__ import annotations

from dataclasses import dataclass

from beingh_core import rotations
from beingh_core.errors import BeingHError, did_you_mean
from beingh_core.slots import check_no_overlap, check_width, slot

MAX_VIEWS = 16
NORMALIZATIONS = ("none", "q99", "mean_std", "min_max", "binary")
PADDINGS = ("hold", "zero")


@dataclass(frozen=True, kw_only=True)
class KeySpec:
    """One signal of a dataset or robot and the slot it goes to.

    Attributes:
        key: name in observations, actions and statistics, without the `state.`/`action.` prefix.
        slot: slot name; by default the key.
        normalization: one of `NORMALIZATIONS`, applied to the values as they stand in the slot.
        rotation: representation of a rotation in the data (see `rotations`); the slot holds
            axis-angle. None: not a rotation, or axis-angle already.
        width: number of slot values, when fewer than the slot's (an arm with 5 or 6 joints).
        padding: of an action whose chunk reaches beyond its episode: `hold` the last value where it says where to be,
            `zero` where it says how far to go.
    """

    key: str
    slot: str = ""
    normalization: str = "none"
    rotation: str | None = None
    width: int | None = None
    padding: str = "hold"

    def __post_init__(self) -> None:
        if not self.slot:
            object.__setattr__(self, "slot", self.key)
        if self.normalization not in NORMALIZATIONS:
            raise BeingHError(
                f"unknown normalization `{self.normalization}`",
                where=self.key,
                allowed=NORMALIZATIONS,
                remedy=did_you_mean(self.normalization, NORMALIZATIONS),
            )
        if self.rotation is not None:
            rotations.width_of(self.rotation)
        if self.padding not in PADDINGS:
            raise BeingHError(f"unknown padding `{self.padding}`", where=self.key, allowed=PADDINGS)

    def bounds(self, kind: str) -> slice:
        """The half-open range of unified dimensions this key fills (kind: "state" or "action")."""
        full = slot(kind, self.slot, where=self.key)
        return full if self.width is None else slice(full.start, full.start + self.width)

    def data_width(self, kind: str) -> int:
        """Number of values of the signal as the data has it (4 for a quaternion)."""
        if self.rotation is not None:
            return rotations.width_of(self.rotation)
        bounds = self.bounds(kind)
        return bounds.stop - bounds.start


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Views (in prompt order), state keys and action keys of one embodiment.

    Raises:
        BeingHError: unknown slot, wrong width, two keys on one range, no view or no action.
    """

    name: str
    views: tuple[str, ...]
    state: tuple[KeySpec, ...]
    action: tuple[KeySpec, ...]

    def __post_init__(self) -> None:
        where = f"data config `{self.name}`"
        if not self.views or not self.action:
            raise BeingHError("needs at least one view and one action key", where=where)
        if len(self.views) > MAX_VIEWS:
            raise BeingHError(f"has {len(self.views)} views", where=where, allowed=f"at most {MAX_VIEWS}")
        if len(set(self.views)) != len(self.views):
            raise BeingHError(f"a view is named twice in {list(self.views)}", where=where)
        for kind, specs in (("state", self.state), ("action", self.action)):
            keys = [spec.key for spec in specs]
            if len(set(keys)) != len(keys):
                raise BeingHError(f"a {kind} key is named twice in {keys}", where=where)
            check_no_overlap(kind, [spec.slot for spec in specs], where=where)
            for spec in specs:
                bounds = spec.bounds(kind)
                width = bounds.stop - bounds.start
                check_width(kind, spec.slot, width, where=where)
                if spec.rotation is not None and width != 3:
                    raise BeingHError(f"`{spec.key}`: slot `{spec.slot}` holds no rotation", where=where)


_REGISTRY: dict[str, DataConfig] = {}


def register_data_config(config: DataConfig) -> DataConfig:
    """Makes a config known by its name; the same name twice must mean the same thing."""
    known = _REGISTRY.get(config.name)
    if known is not None and known != config:
        raise BeingHError(f"data config `{config.name}` is already registered and differs")
    _REGISTRY[config.name] = config
    return config


def get_data_config(name: str | DataConfig) -> DataConfig:
    """The registered config of that name (a `DataConfig` is handed through).

    Raises:
        BeingHError: unknown name; lists the known ones and the nearest.
    """
    if isinstance(name, DataConfig):
        return name
    if name not in _REGISTRY:
        raise BeingHError(
            f"unknown data config `{name}`",
            allowed=sorted(_REGISTRY),
            remedy=did_you_mean(name, _REGISTRY) or "pass a DataConfig, or register one",
        )
    return _REGISTRY[name]


def _keys(*names: str, padding: str = "hold") -> tuple[KeySpec, ...]:
    return tuple(KeySpec(key=name, padding=padding) for name in names)


register_data_config(
    DataConfig(
        name="libero_nonorm",
        views=("top_view", "wrist_view"),
        state=_keys("eef_position", "eef_rotation", "libero_gripper_position"),
        action=(*_keys("eef_position", "eef_rotation", padding="zero"), *_keys("gripper_position")),
    )
)

register_data_config(
    DataConfig(
        name="robocasa_human",
        views=("left_view", "right_view", "wrist_view"),
        state=(
            *_keys("eef_position", "eef_rotation", "gripper_qpos", "base_position"),
            KeySpec(key="base_rotation", rotation="quaternion_wxyz"),
        ),
        action=(
            *_keys("eef_position", "eef_rotation", padding="zero"),
            KeySpec(key="gripper_position", normalization="binary"),
            *_keys("base_motion", padding="zero"),
            KeySpec(key="control_mode", normalization="binary"),
        ),
    )
)

# Human hands: wrists in the eef slots, joints and shape of MANO in theirs. The state has wrists in a frame, the action how far
# they go in a step and where the joints are. In `human_hands` the frame is the world, in `human_hands_camera` that of the
# camera at the observation.
for _name in ("human_hands", "human_hands_camera"):
    register_data_config(
        DataConfig(
            name=_name,
            views=("head_view",),
            state=_keys(
                "eef_position", "eef_rotation", "left_eef_position", "left_eef_rotation", "right_beta", "left_beta",
                "right_theta", "left_theta",
            ),
            action=(
                *_keys("eef_position", "eef_rotation", "left_eef_position", "left_eef_rotation", padding="zero"),
                *_keys("right_theta", "left_theta"),
            ),
        )
    )  # fmt: skip
