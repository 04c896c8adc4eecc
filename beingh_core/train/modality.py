"""What the numbers and pictures of a dataset are: a robot contract or a released data config, as training needs it.

Shape letters: T recorded steps, H steps of a chunk, D numbers of a row, W numbers of a key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial.transform import Rotation

from beingh_core.contract import RobotContract, load_contract
from beingh_core.contract.schema import POSE_SLOTS, POSITION_SLOTS, ROTATION_SLOTS
from beingh_core.data.dataset_columns import Columns, find_columns, match_columns
from beingh_core.data.lerobot import Dataset
from beingh_core.errors import BeingHError
from beingh_core.policy.data_configs import DataConfig, KeySpec, get_data_config
from beingh_core.policy.from_contract import data_config_for
from beingh_core.rotations import from_axis_angle, to_axis_angle
from beingh_core.state_history import ONE_STATE, StateHistory
from beingh_core.train.hand_layout import CAMERA, WORLD, HandColumns, HandLayout, hand_columns
from beingh_core.train.hands import any_within, chunk, known_steps
from beingh_core.train.rows import RowTable
from beingh_core.train.settings import HANDS, DatasetSection

RELATIVE, CHUNK_START = "relative", "chunk_start"
_BY_KEY = "views: {{{view}: KEY}} of the dataset"


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """A sample in physical units.

    Attributes:
        state: key -> (R, W), the oldest first; one row without a history.
        action: key -> (H, W).
        known: action key -> (H,) whether it may be taught; keys that are not there are known.
        absent: state key -> (R,) whether it is not known; keys that are not there are known.
    """

    state: Mapping[str, np.ndarray]
    action: Mapping[str, np.ndarray]
    known: Mapping[str, np.ndarray] = field(default_factory=dict)
    absent: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Modality:
    """One embodiment's views, signals and timing.

    Attributes:
        name: of the embodiment.
        config: views, keys, normalisation and padding.
        dataset_name: under which its statistics are saved.
        rate_hz: steps per second; None where a data config leaves it to the dataset.
        delay_steps: longest locked prefix that its contract needs; 0 without a contract.
        starts: action key -> what it counts from, `RELATIVE` (the measured state) or `CHUNK_START` (the commanded pose), of
            those that a dataset holds as absolute and that become chunks here.
        contract: the robot; None for a data config.
        hands: of human hands the frame in which wrists are taught, `WORLD` or `CAMERA`; "" for robots.
        layout: what a row of a dataset of hands is; None until its columns are known, and for robots.
    """

    name: str
    config: DataConfig
    dataset_name: str
    rate_hz: float | None = None
    delay_steps: int = 0
    starts: Mapping[str, str] = field(default_factory=dict)
    contract: RobotContract | None = None
    hands: str = ""
    layout: HandLayout | None = None

    @classmethod
    def of(cls, section: DatasetSection) -> Modality:
        """The modality that a dataset's section names.

        Raises:
            BeingHError: No such contract or data config, or an action that needs a rotation which is not there.
        """
        if section.data_config:
            config = get_data_config(section.data_config)
            name = section.embodiment_tag or config.name
            hands = (CAMERA if config.name == HANDS[1] else WORLD) if config.name in HANDS else ""
            return cls(name=name, config=config, dataset_name=section.dataset_name or config.name, hands=hands)
        contract = load_contract(section.robot)
        starts = {}
        for signal in contract.action:
            if signal.mode == "relative" or signal.frame == CHUNK_START:
                starts[signal.slot] = RELATIVE if signal.mode == "relative" else CHUNK_START
        found = cls(
            name=section.embodiment_tag or contract.robot, config=data_config_for(contract),
            dataset_name=section.dataset_name or contract.policy.dataset_name, rate_hz=contract.rate_hz,
            delay_steps=contract.uac.delay_steps, starts=starts, contract=contract,
        )  # fmt: skip
        for key in starts:
            found._origin_key(key)
        return found

    def of_dataset(self, columns: Columns) -> Modality:
        """The same, knowing what the rows of a dataset are."""
        return replace(self, layout=columns.layout) if isinstance(columns, HandColumns) else self

    def columns(self, dataset: Dataset, views: Mapping[str, str]) -> Columns:
        """Where a dataset has the state, the action and the views.

        Raises:
            BeingHError: Another rate, or a column or view that is not there.
        """
        if self.hands:
            return hand_columns(dataset, self.config.views, views, _BY_KEY, self.hands)
        if self.contract is not None:
            return find_columns(dataset, self.contract, views, _BY_KEY)
        state, action = (
            {spec.key: _number_names(spec, kind) for spec in specs}
            for kind, specs in (("state", self.config.state), ("action", self.config.action))
        )
        whose = f"the data config `{self.config.name}`"
        return match_columns(dataset, whose, state, action, self.config.views, views, _BY_KEY)

    def numbers(
        self, table: RowTable, row: int, length: int, history: StateHistory = ONE_STATE, mirrored: bool = False
    ) -> Numbers:
        """States and chunk of a row of a table, physical units.

        Args:
            table: Of a dataset.
            row: In it.
            length: H.
            history: which states.
            mirrored: the mirror image, of hands.

        Raises:
            BeingHError: A rotation that is none.
        """
        (first, end), shown = table.episode_of(row), table.history_of(row, history)
        if self.layout is None:
            states = np.asarray(table.state[shown], dtype=np.float64)
            before = np.asarray(table.action[row - 1], dtype=np.float64) if row > first else None
            rows = np.asarray(table.action[row : min(end, row + length)], dtype=np.float64)
            return Numbers(state=self.parts("state", states), action=self.chunk(states[-1], before, rows, length))
        ahead = np.arange(row, min(end, row + length + 1))
        hands = self.layout.chunk_hands(table.state[np.concatenate([ahead, shown])])  # in the frame of the row itself
        hands = hands.mirrored() if mirrored else hands
        state, is_known = hands.part(slice(len(ahead), None)).state()
        action, known = chunk(hands.part(slice(len(ahead))), length)
        return Numbers(state=state, action=action, known=known, absent={key: ~there for key, there in is_known.items()})

    def branch_chunk(self, table: RowTable, row: int, rows_TD: np.ndarray, length: int) -> dict[str, np.ndarray]:
        """key -> (H, W): the actions (T, D) of a branch of a row of a table, physical units."""
        before = np.asarray(table.action[row - 1], dtype=np.float64) if row > table.episode_of(row)[0] else None
        return self.chunk(np.asarray(table.state[row], dtype=np.float64), before, rows_TD, length)

    def teachable(self, table: RowTable, length: int) -> np.ndarray | None:
        """(N,) in which rows anything is known of the H actions; None for all."""
        if self.layout is None:
            return None
        found = []
        for first, end in zip(table.starts, table.starts[1:]):
            rows = np.asarray(table.state[first:end])
            found.append(any_within(known_steps(self.layout.known(rows)), length))
        return np.concatenate(found)

    def parts(self, kind: str, rows: np.ndarray) -> dict[str, np.ndarray]:
        """key -> (..., W) of rows (..., D) in the order of `columns` (kind: "state" or "action")."""
        found, first = {}, 0
        for spec in self._specs(kind):
            width = spec.data_width(kind)
            found[spec.key] = rows[..., first : first + width]
            first += width
        return found

    def width(self, kind: str) -> int:
        """D."""
        return sum(spec.data_width(kind) for spec in self._specs(kind))

    def chunk(
        self, state_D: np.ndarray, before_D: np.ndarray | None, rows_TD: np.ndarray, length: int
    ) -> dict[str, np.ndarray]:
        """key -> (H, W): the actions of a chunk, physical units, filled up behind the end of the episode.

        Args:
            state_D: measured state of the chunk's first row.
            before_D: action of the row before; None at the start of an episode, where the state stands in for it.
            rows_TD: actions from the first row on, 1 <= T <= H.
            length: H.

        Raises:
            BeingHError: A rotation that is none.
        """
        origins = self._origins(state_D, before_D) if self.starts else {}
        found = {}
        for spec, rows in zip(self.config.action, self.parts("action", rows_TD).values()):
            missing = length - len(rows)
            last = rows[-1:] if spec.padding == "hold" else _rest(spec, rows.shape[-1])
            rows = np.concatenate([rows, np.repeat(last, missing, axis=0)]) if missing > 0 else rows[:length]
            found[spec.key] = rows
        return {key: self._from_start(key, found, origins) for key in found} if self.starts else found

    def _from_start(self, key: str, absolute: Mapping[str, np.ndarray], origins: Mapping) -> np.ndarray:
        """(H, W) what a key says from the chunk's start on."""
        if key not in self.starts:
            return absolute[key]
        origin = origins[key]
        if key not in POSE_SLOTS:
            return absolute[key] - origin
        position, turn = origin
        if key in POSITION_SLOTS:  # R0^T (p - p0)
            return turn.inv().apply(absolute[key] - position)
        rotation = self._rotation("action", key)
        turned = turn.inv() * Rotation.from_rotvec(to_axis_angle(absolute[key], rotation))
        return from_axis_angle(turned.as_rotvec(), rotation)

    def _origins(self, state_D: np.ndarray, before_D: np.ndarray | None) -> dict:
        """Key -> value or pose at the chunk's start."""
        state, found = self.parts("state", state_D), {}
        before = state if before_D is None else self.parts("action", before_D)
        for key, kind in self.starts.items():
            values, which = (state, "state") if kind == RELATIVE or before_D is None else (before, "action")
            if key not in POSE_SLOTS:
                found[key] = values[key]
                continue
            position, rotation = self._origin_key(key)
            turn = to_axis_angle(values[rotation], self._rotation(which, rotation))
            found[key] = values[position], Rotation.from_rotvec(turn)
        return found

    def _origin_key(self, key: str) -> tuple[str, str]:
        """The slots of the pose from which a key counts.

        Raises:
            BeingHError: The state, or the action where it is needed, lacks one of them.
        """
        needed = (key, key)
        if key in POSE_SLOTS:
            side = (POSITION_SLOTS if key in POSITION_SLOTS else ROTATION_SLOTS).index(key)
            needed = POSITION_SLOTS[side], ROTATION_SLOTS[side]
        for kind in ("state",) if self.starts[key] == RELATIVE else ("state", "action"):
            have = [spec.key for spec in self._specs(kind)]
            if lacking := [name for name in needed if name not in have]:
                raise BeingHError(
                    f"the action `{key}` counts from the start of a chunk, which needs `{kind}.{lacking[0]}`",
                    where=self.contract and self.contract.path, allowed=[f"{kind}.{name}" for name in have],
                    remedy=f"give the contract the {kind} signal `{lacking[0]}`, or the action another mode",
                )  # fmt: skip
        return needed

    def _rotation(self, kind: str, key: str) -> str:
        spec = next(spec for spec in self._specs(kind) if spec.key == key)
        return spec.rotation or "axis_angle"

    def _specs(self, kind: str) -> Sequence[KeySpec]:
        return self.config.state if kind == "state" else self.config.action


def _number_names(spec: KeySpec, kind: str) -> list[str]:
    width = spec.data_width(kind)
    return [spec.key] if width == 1 else [f"{spec.key}.{k}" for k in range(width)]


def _rest(spec: KeySpec, width: int) -> np.ndarray:
    """(1, W) of no motion."""
    return from_axis_angle(np.zeros((1, 3)), spec.rotation) if spec.rotation else np.zeros((1, width))
