"""What an instruction may be: plain words of a bounded length."""

from __future__ import annotations

import unicodedata

from beingh_core.errors import BeingHError, shown

# In UTF-8: a text never has more tokens than that, whatever the tokenizer. 1,000 letters are some 180 English words.
MAX_BYTES = 1024
_NO_WORDS = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control and format characters, halves of pairs, line and page breaks
_JOINERS = "\u200c\u200d"  # format characters that are part of how some languages are spelt


def check_instruction(text: object, name: str = "language.instruction") -> str:
    """The text, when it is one; nothing is cut.

    Raises:
        BeingHError: empty, no text, longer than `MAX_BYTES`, or with a control character.
    """
    if not isinstance(text, str) or not text.strip():
        raise BeingHError(
            f"`{name}` is {shown(text)}", allowed="one text that is not empty", remedy="send the task in plain words"
        )
    size = len(text) if len(text) > MAX_BYTES else len(text.encode(errors="surrogatepass"))
    if size > MAX_BYTES:
        raise BeingHError(
            f"`{name}` is too long: {len(text)} characters, {shown(text)}",
            allowed=f"at most {MAX_BYTES} bytes",
            remedy="say the task in a sentence or two",
        )
    bad = next((c for c in text if unicodedata.category(c) in _NO_WORDS and c not in _JOINERS), None)
    if bad is not None:
        raise BeingHError(
            f"`{name}` holds the control character U+{ord(bad):04X}: {shown(text)}",
            allowed="one line of plain text",
            remedy="send the task in plain words",
        )
    return text
