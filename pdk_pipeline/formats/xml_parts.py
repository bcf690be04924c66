"""What a report in XML is read into: whole elements, and the bytes that are held of the log."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from pdk_pipeline.formats.xml_text import decoded

if TYPE_CHECKING:
    from collections.abc import Iterator

SECTION = b"START\n<!-- pdk: what follows stands in the elements that are opened here -->\n"
"""Begins each part of what the quarantine keeps: elements that are opened and need not be closed, then records."""

ELEMENT_BYTES = 256
"""What an element takes in memory, however little stands in it."""

MOST_PROLOG_BYTES = 1 << 16

LONGEST_BEGINNING = 64
"""Bytes of a tag that tell which one it is."""

_TEXT_ENDS = {b"<![CDATA[": b"]]>", b"<!--": b"-->"}

# Not possessive: the first releases of Python 3.11 get that wrong for groups. What may follow tells itself apart.
_TAG = re.compile(rb"""<(?:[^"'>]|"[^"]*"|'[^']*')*>""")
_XML = re.compile(r"\s*<(?:[?!]|[^\W\d])")
_PROLOG = re.compile(r"\s*(?:<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^\[>]*(?:\[.*?\]\s*)?>)", re.DOTALL)
_ROOT = re.compile(r"\s*<([^\W\d][\w:.-]*)")


def looks_like_xml(beginning: bytes) -> bool:
    """Whether a log that begins so is XML, or was kept from XML by the quarantine."""
    return beginning.startswith(SECTION) or bool(_XML.match(decoded(beginning[:MOST_PROLOG_BYTES])))


def root_of(beginning: bytes) -> str:
    """The name of the root element, without a prefix; empty when the beginning does not reach it."""
    text = decoded(beginning[:MOST_PROLOG_BYTES].removeprefix(b"START\n"))
    position = 0
    while passed := _PROLOG.match(text, position):
        position = passed.end()
    root = _ROOT.match(text, position)
    return local(root[1]) if root else ""


def local(name: str) -> str:
    """The name of an element or attribute, without the prefix of its namespace."""
    return name.rpartition(":")[2]


class Enough(Exception):
    """What has been read is to be handed on before more of it is."""


class Unreadable(Exception):
    """Well-formed, and yet nothing that can be read: why, at which byte of the parser's text, whether all is over."""

    def __init__(self, reason: str, index: int, *, is_over: bool = False) -> None:
        super().__init__(reason)
        self.index, self.is_over = index, is_over


class Element:
    """An element, whole."""

    __slots__ = ("attributes", "children", "tag", "texts")

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.children: list[Element] = []
        self.texts: list[str] = []

    def get(self, attribute: str) -> str:
        """The value of an attribute, without white space around it; empty when it has none."""
        value = self.attributes.get(attribute)
        return value.strip() if value else ""

    def all(self, tag: str) -> Iterator[Element]:
        """Its children of that name."""
        return (child for child in self.children if child.tag == tag)

    def child_text(self, tag: str) -> str:
        """The text of the first child of that name, without white space around it; empty when there is none."""
        return next((child.text for child in self.all(tag)), "").strip()

    @property
    def text(self) -> str:
        """Its own text, without that of its children."""
        return "".join(self.texts)

    @property
    def content(self) -> bytes:
        """The same in UTF-8."""  # one odd letter in a large text would make a str of four times its size
        return b"".join([text.encode() for text in self.texts])

    def opened(self) -> str:
        """The tag that begins it."""
        attributes = "".join(f" {name}={quoteattr(value)}" for name, value in self.attributes.items())
        return f"<{self.tag}{attributes}>"

    @property
    def weight(self) -> int:
        """About how many bytes it takes in memory."""
        letters = sum(len(name) + len(value) for name, value in self.attributes.items()) + sum(map(len, self.texts))
        return ELEMENT_BYTES + letters + sum(child.weight for child in self.children)

    def as_xml(self) -> str:
        """All of it as XML again."""
        inside = "".join(child.as_xml() for child in self.children)
        return f"{self.opened()}{escape(self.text)}{inside}</{self.tag}>"


@dataclass
class Place:
    """An open element that holds records."""

    element: Element
    written: str
    """Its name, as it is written."""
    asides: list[Element]
    weight: int
    """Of its tag and its asides, about, in bytes of memory."""


@dataclass
class Lost:
    """What is being passed over, to become a rejection."""

    line: int
    offset: int
    reason: str
    preamble: bytes
    has_begun: bool = False
    """A piece of it has been handed on."""
    text_end: bytes = b""
    """Ends the comment or CDATA section that we are in: what looks like a tag there is none."""

    def resumption(
        self, window: Window, resumes: re.Pattern[bytes], begin: int, stop: int
    ) -> tuple[int, tuple[int, bytes] | None]:
        """Where to look next, and the tag at which reading can go on: its offset and beginning.

        `resumes` finds tags, and the beginnings of comments and CDATA sections.
        """
        while True:
            if self.text_end:
                end = window.find(self.text_end, begin, stop)
                if end < 0:
                    return max(begin, stop - len(self.text_end) + 1), None
                begin, self.text_end = end + len(self.text_end), b""
            found = window.search(resumes, begin, stop)
            if found is None:
                return max(begin, stop - LONGEST_BEGINNING), None
            if found[1] not in _TEXT_ENDS:
                return begin, found
            begin, self.text_end = found[0] + len(found[1]), _TEXT_ENDS[found[1]]


class Window:
    """The bytes that are held of a log, each named by its offset in the log."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.start = 0
        """Offset of the first byte that is held."""
        self.line = 1
        """The line that it is on."""

    @property
    def end(self) -> int:
        """Offset of what comes next."""
        return self.start + len(self._bytes)

    def add(self, piece: bytes) -> None:
        """Hold what comes next."""
        self._bytes += piece

    def part(self, begin: int, end: int) -> bytes:
        """What is held between two offsets."""
        return bytes(self._bytes[begin - self.start : end - self.start])

    def take(self, end: int) -> bytes:
        """What is held up to an offset, and hold it no longer."""
        taken = bytes(self._bytes[: max(0, end - self.start)])
        del self._bytes[: len(taken)]
        self.line += taken.count(b"\n")
        self.start += len(taken)
        return taken

    def skip_blank(self) -> None:
        """Hold white space at the beginning no longer."""
        self.take(self.end - len(self._bytes.lstrip()))

    def find(self, text: bytes, begin: int, end: int | None = None) -> int:
        """Offset of a text between two offsets, -1 when it is not there."""
        stop = len(self._bytes) if end is None else end - self.start
        position = self._bytes.find(text, max(0, begin - self.start), stop)
        return position if position < 0 else position + self.start

    def search(self, pattern: re.Pattern[bytes], begin: int, end: int) -> tuple[int, bytes] | None:
        """The first match between two offsets: its offset, and what was matched."""
        match = pattern.search(self._bytes, max(0, begin - self.start), max(0, end - self.start))
        return (match.start() + self.start, match[0]) if match else None

    def line_at(self, offset: int) -> int:
        """The line that an offset is on."""
        return self.line + self._bytes.count(b"\n", 0, max(0, offset - self.start))

    def after_tag(self, offset: int) -> int:
        """Offset of what follows the tag at `offset`, of which the beginning may no longer be held."""
        if offset < self.start:
            return self.find(b">", offset) + 1
        tag = _TAG.match(self._bytes, offset - self.start)
        return self.start + tag.end() if tag else offset
