"""Texts of others, as a terminal may show them."""

from __future__ import annotations


def printable(text: str) -> str:
    """Without control characters, which names and texts of others may hold."""
    return "".join(c if c.isprintable() else "?" for c in text)
