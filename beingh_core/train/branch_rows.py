"""The branches of a dataset's rows (`data.branches`), checked and mapped, and how long their samples are.

Shape letters: N rows, K branches, H recorded steps, D numbers of an action, R replies, T texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from beingh_core.data.branches import ACTIONS, PREFIX, REPLY, TASK, BranchForm
from beingh_core.data.lerobot import Dataset
from beingh_core.data.lerobot.reader import Episode
from beingh_core.errors import BeingHError
from beingh_core.policy.prompt import PromptBuilder
from beingh_core.policy.transforms import MAX_VALUE
from beingh_core.train.mapped import Mapped
from beingh_core.train.settings import BranchesSection

ARRAYS = ("branch_task", "branch_prefix", "branch_action", "branch_reply")


@dataclass(frozen=True, kw_only=True)
class BranchRows(Mapped):
    """The branches of all usable rows.

    Attributes:
        folder: of the arrays.
        form: sizes and texts.
    """

    folder: Path
    form: BranchForm

    @cached_property
    def task(self) -> np.ndarray:
        """(N, K) text of each instruction, -1 where there is no branch, mapped."""
        return self._mapped("branch_task")

    @cached_property
    def prefix(self) -> np.ndarray:
        """(N, K) committed steps, mapped."""
        return self._mapped("branch_prefix")

    @cached_property
    def action(self) -> np.ndarray:
        """(N, K, H, D) actions, mapped."""
        return self._mapped("branch_action")

    @cached_property
    def reply(self) -> np.ndarray:
        """(N, K, R) texts of the replies, -1 for none, mapped."""
        return self._mapped("branch_reply")

    @cached_property
    def longest(self) -> int:
        """The longest committed prefix [steps]."""
        return int(np.max(self.prefix, where=np.asarray(self.task) >= 0, initial=0))


def read(dataset: Dataset, episode: Episode, form: BranchForm, order: np.ndarray) -> dict[str, np.ndarray]:
    """The branches of an episode, by the names of their arrays.

    Args:
        dataset, episode: Which.
        form: The dataset's.
        order: in which the numbers of an action are wanted.

    Raises:
        BeingHError: They cannot be taught.
    """
    count = episode.frames
    task, prefix = (dataset.values(episode, key).astype(np.int64) for key in (TASK, PREFIX))
    action = dataset.values(episode, ACTIONS).reshape(count, form.branches, form.steps, -1)[..., order]
    reply = np.full((count, form.branches, form.replies), -1)
    if form.replies:
        reply = dataset.values(episode, REPLY).astype(np.int64).reshape(reply.shape)
    for key, numbers in ((TASK, task), (REPLY, reply)):
        if numbers.size and not (-1 <= numbers.min() and numbers.max() < len(form.texts)):
            raise BeingHError(f"`{key}` names no text of meta/branches.json")
    there = task >= 0
    if (there & ((prefix < 0) | (prefix >= form.steps))).any():
        raise BeingHError(f"`{PREFIX}` is not 0 to {form.steps - 1} everywhere")
    if not (np.abs(action[there]) <= MAX_VALUE).all():
        raise BeingHError(f"`{ACTIONS}` holds NaN, infinity or values beyond 1e6")
    return {
        "branch_task": task.astype(np.int32), "branch_prefix": prefix.astype(np.int32),
        "branch_action": action.astype(np.float32), "branch_reply": reply.astype(np.int32),
    }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BranchTokens:
    """Lengths of the samples of branches.

    Attributes:
        instruction: (T,) tokens of a robot sample of each text; 0 for one that is no instruction or has no prompt.
        words: (T,) tokens of each text as a reply, and the closing one; 0 for others.
        answer: tokens of a robot sample's own answer, which a reply stands in place of.
    """

    instruction: np.ndarray
    words: np.ndarray
    answer: int

    @classmethod
    def of(cls, rows: BranchRows, prompts: PromptBuilder, views: int) -> tuple[BranchTokens, list[str]]:
        """Measured, and what people should know of it."""
        texts, notes = rows.form.texts, []
        instruction, words = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.int64)
        for number in np.unique(rows.task)[:]:
            if number >= 0:
                try:
                    instruction[number] = prompts.build(texts[number], views).length
                except BeingHError as error:
                    notes.append(f"the task {texts[number][:60]!r} is left out: {error.what}")
        for number in np.unique(rows.reply):
            if number >= 0:
                words[number] = len(prompts.tokenizer.encode(texts[number], add_special_tokens=False).ids) + 1
        return cls(instruction=instruction, words=words, answer=prompts.config.chunk_length + 1), notes

    def of_rows(self, branches: BranchRows, rows: np.ndarray, section: BranchesSection) -> np.ndarray:
        """(n,) tokens of all samples of rows (n,)."""
        task = np.asarray(branches.task[rows])
        lengths = np.where(task >= 0, self.instruction[task], 0)
        total = section.draws * lengths.sum(axis=1)
        if section.words and branches.form.replies:
            reply = np.asarray(branches.reply[rows])
            told = (reply >= 0) & (lengths[..., None] > 0)
            total = total + np.where(told, lengths[..., None] - self.answer + self.words[reply], 0).sum(axis=(1, 2))
        return total
