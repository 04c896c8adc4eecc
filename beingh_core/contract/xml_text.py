"""XML to elements that know their line, within bounds; a document type, the way to entities of any size, is refused."""

from __future__ import annotations

import xml.parsers.expat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from beingh_core.errors import BeingHError

MAX_BYTES = 8 * 1024 * 1024
MAX_ELEMENTS = 100_000
MAX_DEPTH = 50


@dataclass(frozen=True)
class Element:
    """One element: its tag, attributes and line, and the elements in it."""

    tag: str
    attributes: dict[str, str]
    line: int
    children: list[Element] = field(default_factory=list)

    def all(self, tag: str) -> Iterator[Element]:
        """The children of a tag."""
        return (child for child in self.children if child.tag == tag)

    def first(self, tag: str) -> Element | None:
        """The first child of a tag, None when there is none."""
        return next(self.all(tag), None)


def read_xml_file(path: Path) -> Element:
    """The root element of a file.

    Raises:
        BeingHError: unreadable, not XML, too large, nested too deeply, or with a document type.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BeingHError(f"cannot read this file: {error}", where=path) from error
    if len(data) > MAX_BYTES:
        raise BeingHError("this file is too large for a robot description", where=path, allowed=f"{MAX_BYTES} bytes")
    try:
        data.decode("utf-8")
    except ValueError:
        raise BeingHError("this file is not UTF-8", where=path, remedy="`iconv -t utf-8` converts it") from None
    builder = _Builder(path)
    try:
        builder.parser.Parse(data, True)
    except xml.parsers.expat.ExpatError as error:
        raise BeingHError(f"this is not XML: {error}", where=f"{path}:{error.lineno}") from None
    assert builder.root is not None, "what expat accepts has a root"
    return builder.root


class _Builder:
    """Collects elements; text between them has no meaning in a robot description."""

    def __init__(self, path: Path) -> None:
        self.root: Element | None = None
        self._path, self._count = path, 0
        self._open: list[Element] = []
        self.parser = xml.parsers.expat.ParserCreate("utf-8")
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = lambda _tag: self._open.pop()
        self.parser.StartDoctypeDeclHandler = self._doctype

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS or len(self._open) >= MAX_DEPTH:
            raise self._error(
                "there are too many elements", f"{MAX_ELEMENTS} elements, nested in at most {MAX_DEPTH} levels"
            )
        element = Element(tag, attributes, self.parser.CurrentLineNumber)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def _doctype(self, *_args: object) -> None:
        raise self._error("a robot description has no DOCTYPE and no entities", "elements and attributes only")

    def _error(self, what: str, allowed: str) -> BeingHError:
        return BeingHError(what, where=f"{self._path}:{self.parser.CurrentLineNumber}", allowed=allowed)
