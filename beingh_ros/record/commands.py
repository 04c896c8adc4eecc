"""What a person can tell the recorder, in one small language for pedals, joysticks, keys, services and a topic. No ROS here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from beingh_core.errors import BeingHError, did_you_mean, shown

MARKS = ("contact", "release", "correction")
SUCCESS, FAILURE = "success", "failure"
# Verb -> what may follow: None for nothing, a tuple for one of these or nothing, "text" for any text.
_VERBS: dict[str, tuple[str, ...] | str | None] = {
    "start": "text",
    "stop": (SUCCESS, FAILURE),
    "toggle": None,
    "discard": None,
    SUCCESS: None,
    FAILURE: None,
    "mark": "text",
    "task": "text",
    "operator": "text",
    "person": None,
    "policy": None,
    "hold": ("person",),
}
_BUTTON = re.compile(r"\d{1,2}")
_MOST_TEXT = 2000


@dataclass(frozen=True)
class Command:
    """A verb and what follows it."""

    verb: str
    rest: str = ""


def parse(text: str) -> Command:
    """A command such as `stop success` or `mark contact`.

    Raises:
        BeingHError: No such command.
    """
    verb, _, rest = text.strip().partition(" ")
    rest = rest.strip()
    if verb not in _VERBS:
        raise BeingHError(f"there is no command {shown(verb)}", allowed=_VERBS, remedy=did_you_mean(verb[:50], _VERBS))
    takes = _VERBS[verb]
    if takes is None and rest or isinstance(takes, tuple) and rest and rest not in takes:
        raise BeingHError(f"`{verb}` is followed by {shown(rest)}", allowed=takes or "nothing behind it")
    if verb in ("mark", "task", "operator", "hold") and not rest:
        raise BeingHError(f"`{verb}` is followed by nothing", allowed=MARKS if verb == "mark" else None)
    if len(rest) > _MOST_TEXT:
        raise BeingHError(f"a text of {len(rest)} characters", allowed=f"at most {_MOST_TEXT}")
    return Command(verb, rest)


def bindings(entries: Sequence[str], what: str) -> dict[str, Command]:
    """Which command each pedal, button or key gives.

    Args:
        entries: `NAME=COMMAND` each; empty ones are left out.
        what: Of the parameter, for errors.

    Raises:
        BeingHError: One is not of this form, or a name is bound twice.
    """
    found: dict[str, Command] = {}
    for entry in filter(None, map(str.strip, entries)):
        name, equals, text = entry.partition("=")
        if not equals or not name.strip():
            raise BeingHError(f"{shown(entry)} binds nothing", where=what, allowed="NAME=COMMAND, such as 0=toggle")
        if name.strip() in found:
            raise BeingHError(f"{shown(name)} is bound twice", where=what)
        try:
            found[name.strip()] = parse(text)
        except BeingHError as error:
            raise BeingHError(
                error.what, where=f"{what}: {entry}", allowed=error.allowed, remedy=error.remedy
            ) from None
    return found


def buttons(entries: Sequence[str], what: str) -> dict[int, Command]:
    """As `bindings`, with the number of a joystick's button as the name."""
    found = bindings(entries, what)
    for name in found:
        if not _BUTTON.fullmatch(name):
            raise BeingHError(f"{shown(name)} is no button", where=what, allowed="a number from 0 to 99")
    return {int(name): command for name, command in found.items()}


class Edges:
    """Turns what is pressed into commands, once for each press.

    Args:
        bound: Name of a button -> command. `hold person` gives `person` when pressed and `policy` when released.
    """

    def __init__(self, bound: dict) -> None:
        self._bound, self._down = bound, set()

    def commands(self, name: object, pressed: bool) -> list[Command]:
        """What a button's state gives."""
        if name not in self._bound or pressed == (name in self._down):
            return []
        (self._down.add if pressed else self._down.discard)(name)
        command = self._bound[name]
        if command.verb == "hold":
            return [Command("person" if pressed else "policy")]
        return [command] if pressed else []
