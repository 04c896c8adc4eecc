"""Who was in charge of each row of a dataset, and how much it is to count, as its columns and its section say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from beingh_core.data.contract_rows import ACTION, IN_CHARGE, STATE
from beingh_core.data.in_charge import INTERVENTION, PERSON, POLICY, UNKNOWN, WHO
from beingh_core.data.lerobot import Dataset
from beingh_core.data.lerobot.reader import Episode
from beingh_core.errors import BeingHError
from beingh_core.train.settings import DatasetSection, InterventionSection

CORRECTION = "correction"
GROUPS = (*WHO, CORRECTION)  # who was in charge, by the numbers of a table's `charge`
MOST = 1e6


@dataclass(frozen=True, kw_only=True)
class Weighing:
    """Which columns say what of a row.

    Attributes:
        column: of weights; "" for none.
        rule: weights by who was in charge; None for none.
        charge: column of places in `WHO`; "" for none.
        flag: column that is true in corrections; "" for none.
    """

    column: str = ""
    rule: InterventionSection | None = None
    charge: str = ""
    flag: str = ""

    @classmethod
    def of(cls, section: DatasetSection, dataset: Dataset) -> Weighing:
        """What a dataset has of what its section asks for.

        Raises:
            BeingHError: A column that is asked for is not there, or has several numbers in a row.
        """
        alone = [v.key for v in dataset.spec.vectors if len(v.names) == 1 and v.key not in (STATE, ACTION)]
        if section.weight_column and section.weight_column not in alone:
            raise BeingHError(
                f"has no column `{section.weight_column}` with one number a row", where=dataset.root, allowed=alone,
                remedy="correct `weight_column` of this dataset, or leave it out",
            )  # fmt: skip
        charge = IN_CHARGE if IN_CHARGE in alone else ""
        flag = INTERVENTION if INTERVENTION in alone else next((key for key in alone if INTERVENTION in key), "")
        if section.intervention is not None and not charge and not flag:
            raise BeingHError(
                f"does not say who was in charge (`{IN_CHARGE}`, `{INTERVENTION}`), which `intervention` weighs",
                where=dataset.root, allowed=alone,
                remedy="export bags of the recorder, which hold it (docs/record.md), or leave `intervention` out",
            )  # fmt: skip
        return cls(column=section.weight_column, rule=section.intervention, charge=charge, flag=flag)

    @property
    def told(self) -> list:
        """What a table of rows depends on; [] where the rows are not weighed and say nothing."""
        if not (self.column or self.charge or self.flag):
            return []
        return [self.column, self.rule and self.rule.model_dump(), self.charge, self.flag]

    def rows(self, dataset: Dataset, episode: Episode) -> dict[str, np.ndarray]:
        """`charge` (N,) uint8, places in `GROUPS`, and `weight` (N,) float32 of an episode, where there are such.

        Raises:
            BeingHError: A weight that is none.
        """
        found: dict[str, np.ndarray] = {}
        if self.charge or self.flag:
            found["charge"] = self._charges(dataset, episode)
        if self.column or self.rule is not None:
            weights = np.ones(episode.frames)
            if self.column:
                weights = dataset.values(episode, self.column)[:, 0].astype(np.float64)
                wrong = ~((weights >= 0.0) & (weights <= MOST))
                if wrong.any():
                    raise BeingHError(
                        f"`{self.column}` holds a weight of {weights[wrong][0]:g} in row {int(wrong.argmax())}, "
                        f"{int(wrong.sum())} such in all; a weight is a number from 0 to {MOST:g}"
                    )
            if self.rule is not None:
                weights = weights * weights_of(found["charge"], self.rule, dataset.spec.fps)
            found["weight"] = weights.astype(np.float32)
        return found

    def _charges(self, dataset: Dataset, episode: Episode) -> np.ndarray:
        flags = dataset.values(episode, self.flag)[:, 0] > 0 if self.flag else None
        if not self.charge:  # LeRobot's flag alone: what no person corrected, the policy did
            return np.where(flags, GROUPS.index(CORRECTION), GROUPS.index(POLICY)).astype(np.uint8)
        who = np.nan_to_num(dataset.values(episode, self.charge)[:, 0].astype(np.float64), nan=-1.0)
        who = np.where((who >= 0) & (who < len(WHO)), who, WHO.index(UNKNOWN)).astype(np.uint8)
        if flags is None:  # a person who acts after the policy has taken over from it
            flags = (who == WHO.index(PERSON)) & (np.cumsum(who == WHO.index(POLICY)) > 0)
        return np.where(flags, GROUPS.index(CORRECTION), who).astype(np.uint8)


def weights_of(charge_N: np.ndarray, rule: InterventionSection, fps: int) -> np.ndarray:
    """(N,) weights of an episode's rows by who was in charge.

    What the policy did in the last `before` seconds before a correction led there, and has the weight `before_weight`; Sirius
    (Liu et al. 2022, arXiv 2211.08416) weighs what precedes an intervention apart in the same way.
    """
    correction = rule.person if rule.correction is None else rule.correction
    by_group = np.array([getattr(rule, who) for who in WHO] + [correction])
    weights, corrected = by_group[charge_N], charge_N == GROUPS.index(CORRECTION)
    for first in np.flatnonzero(corrected & ~np.append(False, corrected[:-1])):
        led = np.arange(max(0, first - round(rule.before * fps)), first)
        weights[led[charge_N[led] == GROUPS.index(POLICY)]] = rule.before_weight
    return weights
