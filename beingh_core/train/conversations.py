"""One line of a file of conversations: words of a user and of an assistant, and the pictures that they speak of.

Both forms that are usual are read: `conversations` with `from` (human, gpt) and `value`, and `messages` with `role` (user,
assistant) and `content`; `image` or `images` names the pictures.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from beingh_core.errors import BeingHError
from beingh_core.policy.prompt import IMAGE_PLACE

LONGEST_LINE = 1 << 20  # bytes
MOST_PICTURES = 64
_FORMS = (("conversations", "from", "value"), ("messages", "role", "content"))
_USER, _ASSISTANT, _SYSTEM = ("human", "user"), ("gpt", "assistant"), ("system",)
_VIDEOS = ("video", "videos")


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """What a line says.

    Attributes:
        turns: questions and answers.
        pictures: paths below the folder of pictures.
        system: words of the system turn; "" for the template's.
    """

    turns: tuple[tuple[str, str], ...]
    pictures: tuple[str, ...]
    system: str = ""


def parse(line: bytes) -> Conversation:
    """The conversation of a line.

    Raises:
        BeingHError: It cannot be taught; the same words for the same kind of mistake, so that they can be counted.
    """
    if len(line) > LONGEST_LINE:
        raise BeingHError(f"the line is longer than {LONGEST_LINE} bytes")
    try:
        told = json.loads(line, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise BeingHError("the line is no JSON") from None
    if not isinstance(told, dict):
        raise BeingHError("the line is no JSON object")
    if any(told.get(key) for key in _VIDEOS):
        raise BeingHError("it has a video, which is not read")
    pictures = _pictures(told)
    system, said = _said(told)
    turns = tuple(zip(said[::2], said[1::2]))
    places = sum(question.count(IMAGE_PLACE) for question, _ in turns)
    if any(IMAGE_PLACE in text for text in (system, *said[1::2])):
        raise BeingHError(f"an answer has the place of a picture, `{IMAGE_PLACE}`")
    if places not in (0, len(pictures)):
        raise BeingHError(f"it has other places `{IMAGE_PLACE}` than pictures")
    return Conversation(turns=turns, pictures=pictures, system=system)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BeingHError("a key is written twice")
    return found


def _pictures(told: dict[str, Any]) -> tuple[str, ...]:
    if told.get("image") and told.get("images"):
        raise BeingHError("it has both `image` and `images`")
    found = told.get("image") or told.get("images") or []
    found = [found] if isinstance(found, str) else found
    if not isinstance(found, list) or not all(isinstance(path, str) and _is_text(path) for path in found):
        raise BeingHError("`image` is neither a path nor a list of paths")
    if len(found) > MOST_PICTURES:
        raise BeingHError(f"it has more than {MOST_PICTURES} pictures")
    for path in map(PurePosixPath, found):
        if path.is_absolute() or ".." in path.parts or "\0" in str(path):
            raise BeingHError("a picture's path leads out of the folder of pictures")
    return tuple(found)


def _said(told: dict[str, Any]) -> tuple[str, list[str]]:
    """The system's words, and those of user and assistant in turn."""
    forms = [form for form in _FORMS if form[0] in told]
    if len(forms) != 1:
        raise BeingHError("it has neither `conversations` nor `messages`" if not forms else "it has two conversations")
    [(key, who, what)] = forms
    entries = told[key]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BeingHError(f"`{key}` is no list of turns")
    roles, texts = [entry.get(who) for entry in entries], [entry.get(what) for entry in entries]
    if not all(isinstance(text, str) and _is_text(text) for text in texts):
        raise BeingHError("a turn has no text")
    system = ""
    if roles and roles[0] in _SYSTEM:
        system, roles, texts = texts[0].strip(), roles[1:], texts[1:]
    if not roles or len(roles) % 2 or not all(role in (_USER, _ASSISTANT)[n % 2] for n, role in enumerate(roles)):
        raise BeingHError("its roles are not user and assistant in turn")
    if not all(text.strip() for text in texts[1::2]):
        raise BeingHError("an answer is empty")
    if not all(text.strip() for text in texts[::2]):
        raise BeingHError("a question is empty")
    return system, texts


def _is_text(text: str) -> bool:
    """Whether it can be written down: JSON may hold halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
