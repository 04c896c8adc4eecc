"""Branches: what else would have been done in a row of a dataset, for other instructions, and what would have been replied.

A row says what was done. Beside that it may hold up to K branches: for another instruction, the actions of H steps from this
row on, the first d of which are the motion that was under way already (a committed prefix), and up to R replies in words. They
stand in plain columns of numbers, so that any LeRobot loader reads the dataset as an ordinary one; `meta/branches.json` has
the texts, by whose numbers the columns name them, and the sizes.

| column | numbers | what |
|---|---|---|
| `branch.task` | K | text of the instruction, -1 where there is no such branch |
| `branch.prefix` | K | d, steps at the beginning that are committed |
| `branch.action` | K * H * A | actions as in `action`, step after step, branch after branch |
| `branch.reply` | K * R | texts of the replies, -1 for none |

Shape letters: K branches, H steps, A numbers of an action, R replies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from beingh_core.data.lerobot import storage
from beingh_core.data.lerobot.schema import DatasetSpec, Vector
from beingh_core.errors import BeingHError
from beingh_core.files import read_json

TASK, PREFIX, ACTIONS, REPLY = "branch.task", "branch.prefix", "branch.action", "branch.reply"
COLUMNS = (TASK, PREFIX, ACTIONS, REPLY)
FILE = "meta/branches.json"
_VERSION = 1
_MOST = {"branches": 64, "steps": 1024, "replies": 16}


@dataclass(frozen=True, kw_only=True, eq=False)
class Branch:
    """One branch of a row.

    Attributes:
        task: its instruction.
        actions: (H, A).
        prefix: d.
        replies: texts.
    """

    task: str
    actions: np.ndarray
    prefix: int = 0
    replies: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BranchForm:
    """What the branches of a dataset have in common.

    Attributes:
        branches: K.
        steps: H.
        replies: R.
        texts: instructions and replies, in the order of their numbers.
        phrases: parts of these texts that a vocabulary from nothing has whole.
    """

    branches: int
    steps: int
    replies: int
    texts: tuple[str, ...]
    phrases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not (name != "replies") <= value <= most:
                raise BeingHError(f"{name}: {value!r}", allowed=f"{int(name != 'replies')} to {most}")
        for name in ("texts", "phrases"):
            texts = getattr(self, name)
            if not all(isinstance(text, str) and text.strip() for text in texts) or len(set(texts)) < len(texts):
                raise BeingHError(f"`{name}` has an empty text, or one twice")

    def vectors(self, names: Sequence[str]) -> tuple[Vector, ...]:
        """Columns of a dataset whose actions have these names."""
        branches, steps = range(self.branches), range(self.steps)
        found = [
            Vector(key=TASK, names=tuple(f"branch{k}" for k in branches), dtype="int64"),
            Vector(key=PREFIX, names=tuple(f"branch{k}" for k in branches), dtype="int64"),
            Vector(key=ACTIONS, names=tuple(f"branch{k}.step{h}.{name}" for k in branches for h in steps for name in names)),
        ]  # fmt: skip
        if self.replies:
            names = tuple(f"branch{k}.reply{r}" for k in branches for r in range(self.replies))
            found.append(Vector(key=REPLY, names=names, dtype="int64"))
        return tuple(found)

    def encode(self, branches: Sequence[Branch], width: int) -> dict[str, np.ndarray]:
        """Column -> numbers of a row.

        Args:
            branches: at most K.
            width: A.

        Raises:
            BeingHError: Too many of something, a text that is none of `texts`, or actions of another shape.
        """
        number = {text: place for place, text in enumerate(self.texts)}
        found = {
            TASK: np.full(self.branches, -1), PREFIX: np.zeros(self.branches, np.int64),
            ACTIONS: np.zeros((self.branches, self.steps, width), np.float32),
            REPLY: np.full((self.branches, self.replies), -1),
        }  # fmt: skip
        if len(branches) > self.branches:
            raise BeingHError(f"{len(branches)} branches in a row", allowed=f"at most {self.branches}")
        for place, branch in enumerate(branches):
            unknown = [text for text in (branch.task, *branch.replies) if text not in number]
            if unknown or branch.actions.shape != (self.steps, width) or len(branch.replies) > self.replies:
                raise BeingHError(
                    f"a branch with actions of shape {branch.actions.shape}, {len(branch.replies)} replies, unknown texts {unknown[:1]}",
                    allowed=f"({self.steps}, {width}), at most {self.replies} replies",
                )
            if not 0 <= branch.prefix < self.steps:
                raise BeingHError(f"a prefix of {branch.prefix} steps", allowed=f"0 to {self.steps - 1}")
            found[TASK][place], found[PREFIX][place] = number[branch.task], branch.prefix
            found[ACTIONS][place] = branch.actions
            found[REPLY][place, : len(branch.replies)] = [number[text] for text in branch.replies]
        return {key: values.reshape(-1) for key, values in found.items() if key != REPLY or self.replies}

    def renamed(self, tasks: Mapping[str, str]) -> BranchForm:
        """The same with other texts for some, old -> new.

        Raises:
            BeingHError: Two texts would become one.
        """
        return replace(self, texts=tuple(tasks.get(text, text) for text in self.texts))

    def agree(self, root: Path, spec: DatasetSpec) -> None:
        """Refuses to go on with a dataset of other branches.

        Raises:
            BeingHError: Its texts or sizes differ.
        """
        there = BranchForm.read(root, spec)
        if there not in (None, self):
            raise BeingHError(
                "the dataset that is there has branches of other texts or sizes", where=root / FILE,
                remedy="ask for the same instructions, or take another folder",
            )  # fmt: skip

    def write(self, root: Path) -> None:
        """Writes `meta/branches.json` of a dataset."""
        storage.write_json(root / FILE, {"version": _VERSION, **asdict(self)})

    @staticmethod
    def read(root: Path, spec: DatasetSpec) -> BranchForm | None:
        """The form of a dataset's branches; None where it has none.

        Raises:
            BeingHError: The file is damaged, of another version, or contradicts the columns.
        """
        path = root / FILE
        if not path.exists():
            return None
        told = dict(read_json(path))
        if told.pop("version", None) != _VERSION:
            raise BeingHError(f"is of another version than {_VERSION}", where=path)
        try:
            form = BranchForm(**{key: tuple(v) if isinstance(v, list) else v for key, v in told.items()})
        except (TypeError, BeingHError) as error:
            raise BeingHError(f"does not describe branches ({error})", where=path) from None
        wanted = {
            TASK: form.branches, PREFIX: form.branches, ACTIONS: form.branches * form.steps * spec.width("action"),
            **({REPLY: form.branches * form.replies} if form.replies else {}),
        }  # fmt: skip
        have = {vector.key: len(vector.names) for vector in spec.vectors if vector.key in COLUMNS}
        if have != wanted:
            raise BeingHError(
                f"asks for columns of these widths: {wanted}; the dataset has {have}", where=path,
                remedy="write the dataset anew, or remove this file: its rows are then taught as ordinary ones",
            )  # fmt: skip
        return form
