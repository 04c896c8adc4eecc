"""The sentences of the cube task: instructions, and replies that say where the cube of an instruction is.

The replies are the vision-language samples beside the robot samples: the colour, then one word for the place. The
first teaches the assistant's turn which cube it is about; the second is predicted from the colour's own token, which
so learns to look for its cube in the pictures, in the instruction as well as in the reply.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from beingh_core.sim.layout import TABLE_CENTRE_XY
from beingh_core.sim.scene import wrist_view_of
from beingh_core.train.tokenizer import prompt_phrases

# Both the wrist camera's picture and the part of the table within reach are divided into CELLS x CELLS cells.
CELLS = 9
TABLE_HALF_SIZE_M = np.array([0.135, 0.18])


def task_phrases(tasks: Iterable[str], colours: Iterable[str], chunk_length: int) -> list[str]:
    """The phrases that become single tokens: the fixed parts of the prompt, the words of the tasks, and the replies."""
    parts = prompt_phrases(chunk_length)
    for task in tasks:
        parts += [p for p in re.split(r"\{colour\}", task) if p]
    cells = [(row, column) for row in range(CELLS) for column in range(CELLS)]
    return [*parts, *colours, *(_table_cell(*c) for c in cells), *(_wrist_cell(*c) for c in cells)]


def replies(colour: str, cube: np.ndarray, tool: np.ndarray) -> list[str]:
    """Where a cube is: on the table, and in the wrist camera's picture if it is in view; places (3,) [m]."""
    forward, left = (cube[:2] - TABLE_CENTRE_XY) / TABLE_HALF_SIZE_M
    right, above = wrist_view_of(cube, tool)
    said = [colour + _table_cell(_cell(forward), _cell(left))]
    if max(abs(right), abs(above)) <= 1:
        said.append(colour + _wrist_cell(_cell(-above), _cell(right)))
    return said


def _cell(share: float) -> int:
    """Number of the cell of a place between -1 and 1; outside it the cell at the edge."""
    return int(np.clip((1 + share) / 2 * CELLS, 0, CELLS - 1))


def _table_cell(forward: int, left: int) -> str:
    return f": on the table, {forward} forward, {left} left"


def _wrist_cell(row: int, column: int) -> str:
    return f": in the wrist view, row {row}, column {column}"
