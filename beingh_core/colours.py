"""Which of several coloured things an instruction means."""

from __future__ import annotations

import re
from collections.abc import Iterable

from beingh_core.errors import BeingHError


def colour_named(instruction: str, colours: Iterable[str]) -> str:
    """The one colour that an instruction names.

    Raises:
        BeingHError: when it names none of the colours, or several.
    """
    colours = tuple(colours)
    words = re.findall(r"[a-z]+", instruction.lower())
    named = [colour for colour in colours if colour in words]
    if len(named) != 1:
        what = "names " + (" and ".join(named) if named else "no colour of a cube")
        raise BeingHError(
            f"the instruction '{instruction}' {what}",
            allowed=colours,
            remedy='name one of them, as in "pick up the red cube"',
        )
    return named[0]
