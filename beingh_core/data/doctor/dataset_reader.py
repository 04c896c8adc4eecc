"""Reads episodes of a LeRobot dataset, ours or another's, into facts; of the videos only a picture now and then is decoded."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.data.contract_rows import IMAGES, IN_CHARGE, SUCCESS
from beingh_core.data.doctor import known_contract
from beingh_core.data.doctor.dataset_images import read_images
from beingh_core.data.doctor.dataset_views import read_view
from beingh_core.data.doctor.facts import CAMERA, FAULT, NOTE, ROWS, Charge, Curve, EpisodeFacts, Finding, Mark, Stream
from beingh_core.data.doctor.positions import GRIP_NAMES
from beingh_core.data.in_charge import UNKNOWN, WHO
from beingh_core.data.lerobot import columns
from beingh_core.data.lerobot.check import Checker
from beingh_core.data.lerobot.reader import Dataset, Episode

STATE_PREFIX, ACTION_PREFIX = "observation.state", "action"
STILL_SHARE = 0.01  # a number rests while it moves by less than this of what it does in the whole dataset
_CHARGE_WORD = "intervention"  # LeRobot's columns of corrections by a person
_NO_CURVES = (IN_CHARGE, SUCCESS, _CHARGE_WORD)  # columns that say something of a row and nothing of the robot


class DatasetReader:
    """One dataset.

    Args:
        root: Folder that has meta/info.json.
        contract: Robot; None takes the one that the dataset brings along, if any.

    Attributes:
        episodes: Their numbers.
        name: Of the dataset.
        trouble: What concerns all of it.

    Raises:
        BeingHError: It cannot be read.
    """

    def __init__(self, root: Path, contract: RobotContract | None = None) -> None:
        self._dataset = Dataset(root, tolerant=True, skip_unknown=True)
        self.name = root.resolve().name
        self.trouble = [Finding(kind="damage", weight=FAULT, text=text) for text in self._dataset.damaged]
        self._images = list(self._dataset.images)
        self.trouble += [Finding(kind="column", weight=NOTE, text=text) for text in self._dataset.skipped]
        path = root / "meta/contract.yaml"
        if contract is None and path.exists():
            contract, why = known_contract.from_text(path.read_text("utf-8", "replace"))
            self.trouble += [Finding(kind="contract", weight=NOTE, text=why)] if why else []
        self._limits = known_contract.column_limits(contract) if contract else {}
        self._robot = contract.robot if contract else ""
        names = {(v.key, number, name) for v in self._dataset.spec.vectors for number, name in enumerate(v.names)}
        if contract is not None and not names & self._limits.keys():
            text = f"no column is called as in an export with the contract of {contract.robot}: no limits are known"
            self.trouble.append(Finding(kind="contract", weight=NOTE, text=text))
        self._checker = Checker(self._dataset)
        self._spans = _spans(root)
        self.episodes = self._dataset.episodes

    def title(self, episode: Episode) -> str:
        """What an episode is called."""
        return f"{self.name} #{episode.index}"

    def read(self, episode: Episode) -> EpisodeFacts:
        """The facts of an episode.

        Raises:
            BeingHError: Its rows cannot be read.
        """
        dataset, fps = self._dataset, self._dataset.spec.fps
        facts = EpisodeFacts(
            name=self.title(episode), source=str(dataset.root), kind="dataset", task="; ".join(episode.tasks),
            robot=dataset.spec.robot, judged_by=self._robot,
        )  # fmt: skip
        facts.findings += [Finding(kind="rows", weight=FAULT, text=text) for text in self._checker.problems(episode)]
        table = dataset.rows(episode)
        times = columns.rows_of(table, "timestamp")[:, 0].astype(np.float64)
        finite = np.isfinite(times)
        if not finite.all():
            text = f"{np.count_nonzero(~finite)} time stamps are no numbers"
            facts.findings.append(Finding(kind="nan", weight=FAULT, text=text, topic="timestamp"))
        begin_s = float(times[finite].min()) if finite.any() else 0.0
        rows_s = np.arange(len(times)) / fps
        stamps = np.where(finite, times - begin_s, rows_s)
        facts.duration_s = len(times) / fps
        facts.streams = [Stream(
            name="rows", type=f"{dataset.spec.version}, {fps} Hz", role=ROWS, count=len(times), times_s=rows_s,
            stamps_ns=np.clip(stamps * 1e9, -9e18, 9e18).astype(np.int64),
        )]  # fmt: skip
        for camera in dataset.spec.cameras:
            label = camera.key.removeprefix(IMAGES)
            facts.views.append(read_view(episode.videos[camera.key], camera, label, fps, facts.findings))
        for key in self._images:
            facts.views.append(read_images(dataset, episode, key, key.removeprefix(IMAGES), facts.findings))
        for view in facts.views:
            kind = f"{'pictures' if view.name in self._images else 'video'} {view.detail}"
            count = view.count if view.name in self._images else episode.frames
            facts.streams.append(Stream(name=view.name, type=kind, role=CAMERA, count=count if view.looks else 0))
        for vector in dataset.spec.vectors:
            if not any(word in vector.key for word in _NO_CURVES):
                facts.curves += self._curves(vector, columns.rows_of(table, vector.key), rows_s)
        facts.in_charge = list(self._charges(table))
        facts.marks = [Mark(time_s=s, name=text) for s, text in dataset.subtasks_of(episode)]
        self._recorded(episode, facts)
        return facts

    def _curves(self, vector, values_ND: np.ndarray, rows_s: np.ndarray) -> Iterator[Curve]:
        for number, name in enumerate(vector.names[: values_ND.shape[1]]):
            values = values_ND[:, number].astype(np.float64)
            finite = values[np.isfinite(values)]
            span = max(float(np.ptp(finite)) if finite.size else 0.0, self._spans.get((vector.key, number), 0.0))
            lower, upper, tolerance = self._limits.get((vector.key, number, name), (-math.inf, math.inf, 0.0))
            grip = any(word in name.lower() for word in GRIP_NAMES)
            yield Curve(
                group=vector.key, name=name, times_s=rows_s, values=values, lower=lower, upper=upper,
                tolerance=tolerance, still=max(STILL_SHARE * span, 1e-9),
                commanded=vector.key.startswith(ACTION_PREFIX),
                grip=((0.0, 1.0) if (lower, upper) == (0.0, 1.0) else (math.nan, math.nan)) if grip else None,
            )  # fmt: skip

    def _charges(self, table) -> Iterator[Charge]:
        """Who was in charge: by our export's column, otherwise by LeRobot's of interventions."""
        keys, fps = [vector.key for vector in self._dataset.spec.vectors], self._dataset.spec.fps
        if IN_CHARGE in keys:
            numbers = columns.rows_of(table, IN_CHARGE)[:, 0].astype(np.int64)
            names = [WHO[number] if 0 <= number < len(WHO) else UNKNOWN for number in numbers.tolist()]
        else:
            key = next((key for key in keys if _CHARGE_WORD in key), None)
            flags = columns.rows_of(table, key)[:, 0] > 0 if key else ()
            names = ["person" if flag else "policy" for flag in flags]
        first = 0
        for number in range(1, len(names) + 1):
            if number == len(names) or names[number] != names[first]:
                yield Charge(start_s=first / fps, end_s=number / fps, who=names[first])
                first = number

    def _recorded(self, episode: Episode, facts: EpisodeFacts) -> None:
        """What our recorder said when the bag was made of which this episode is."""
        record = self._dataset.records.get(episode.index)
        said = record.extra.get("recorder") if record is not None else None
        if isinstance(said, dict):
            facts.operator = str(said.get("beingh_operator") or "")
            facts.success = {"true": True, "false": False}.get(said.get("beingh_success"))


def _spans(root: Path) -> dict[tuple[str, int], float]:
    """(column, number) -> what it covers in the whole dataset, as meta/stats.json says."""
    try:
        stats = json.loads((root / "meta/stats.json").read_text("utf-8"))
        return {
            (key, number): float(high) - float(low)
            for key, one in stats.items()
            if np.ndim(one.get("min")) == 1
            for number, (low, high) in enumerate(zip(one["min"], one["max"]))
        }
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return {}
