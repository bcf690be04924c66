"""The bytes of XML as text that XML allows: other encodings decoded, what may not stand in XML escaped.

Real reports are full of what makes a parser give up: escape sequences of terminals, NULs, bytes in another encoding
than the declared one. As in PDK logs, none of it is a reason to refuse a record.
"""

from __future__ import annotations

import codecs
import re
from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING

from pdk_pipeline.formats.stream import Damaged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pdk_pipeline.formats import Source

UTF_8 = "utf-8"

_DECLARED_WITHIN = 1024  # bytes
_BEGINNINGS = (
    (re.compile(rb"\xef\xbb\xbf"), UTF_8),
    (re.compile(rb"\xff\xfe\0\0[^\0]\0\0\0|\0\0\xfe\xff\0\0\0"), "utf-32"),
    (re.compile(rb"\xff\xfe[^\0]\0|\xfe\xff\0[^\0]"), "utf-16"),
    (re.compile(rb"<\0[^\0]\0"), "utf-16-le"),
    (re.compile(rb"\0<\0[^\0]"), "utf-16-be"),
)
"""A mark, or the first letter, and then a letter of ASCII."""

_DECLARED = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z][\w.:-]*)["']""")
_ASCII = bytes(range(0x20, 0x7F))


def encoding_of(beginning: bytes) -> tuple[str, str]:
    """The encoding of XML that begins so, and what is wrong with the one that it declares, or nothing."""
    for first, encoding in _BEGINNINGS:
        if first.match(beginning):
            return encoding, ""
    declared = _DECLARED.match(beginning)
    if not declared:
        return UTF_8, ""
    name = declared[1].decode("ascii")
    try:
        # Not base64, rot13 or the like; and those of more than a byte a letter would not have shown us their name.
        is_fit = codecs.lookup(name)._is_text_encoding and _ASCII.decode(name) == _ASCII.decode()  # noqa: SLF001
    except (LookupError, UnicodeError):
        is_fit = False
    if is_fit:
        return codecs.lookup(name).name, ""
    is_untrue = name.lower().replace("_", "-").startswith(("utf-16", "utf-32", "ucs", "iso-10646"))
    # Written as UTF-16 into a string and as UTF-8 into the file: common enough to be no news.
    return UTF_8, "" if is_untrue else f"the encoding {name[:40]!r} is not known; it is read as UTF-8"


def decoded(beginning: bytes) -> str:
    """What can be read of the beginning of a file that may be XML."""
    encoding, _ = encoding_of(beginning[:_DECLARED_WITHIN])
    return beginning.decode(encoding, "replace").lstrip("\ufeff")


class Utf8:
    """A source of XML, as UTF-8 whatever its encoding."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._beginning = b""
        self._damage: Damaged | None = None
        try:
            while len(self._beginning) < _DECLARED_WITHIN and (piece := source.read()):
                self._beginning += piece
        except Damaged as error:
            self._damage = error
        encoding, self.problem = encoding_of(self._beginning)
        self._decoder = None if encoding == UTF_8 else codecs.getincrementaldecoder(encoding)("backslashreplace")

    def read(self) -> bytes:
        """The next piece; empty at the end. Raises stream.Damaged."""
        piece = self._next()
        if self._decoder is None:
            return piece
        while piece:
            if text := self._decoder.decode(piece):
                return _encoded(text)
            piece = self._next()
        return _encoded(self._decoder.decode(b"", final=True))

    def _next(self) -> bytes:
        piece, self._beginning = self._beginning, b""
        if not piece and self._damage:
            raise self._damage
        return piece or self._source.read()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


_CONTROLS = bytes({*range(0x20)} - {0x9, 0xA, 0xD})
_REFERENCE = (  # to such a character: to a small one, and to those that are large enough to be none
    rb"&#(?:0{0,8}(?:[0-8]|1[124-9]|2[0-9]|3[01]|[0-9]{5,8})|x0{0,8}(?:[0-8bcefBCEF]|1[0-9a-fA-F]|[0-9a-fA-F]{4,8}));"
)
_UNFIT = rb"[" + re.escape(_CONTROLS) + rb"]|\xef\xbf[\xbe\xbf]|" + _REFERENCE
_LETTER = (
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
_IN_CLEAN = re.compile(rb"(" + _REFERENCE + rb")")
_IN_UTF8 = re.compile(rb"(" + _UNFIT + rb")")
_IN_ANYTHING = re.compile(rb"(" + _UNFIT + rb")|" + _LETTER + rb"|([\x80-\xff])")
_UNFINISHED = re.compile(
    rb"(?:&(?:#[xX]?[0-9a-fA-F]{0,16})?|[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})\Z"
)
_LONGEST_UNFINISHED = 20


class Cleaner:
    r"""UTF-8 without what XML forbids, which becomes \x1b and the like; and which byte came from where."""

    def __init__(self, offset: int) -> None:
        """`offset`: of the first byte that will be taken."""
        # From each of these positions on, in the clean text, this is where it came from.
        self._cleaned = array("q", [0])
        self._original = array("q", [offset])
        self._offset = offset
        self.length = 0
        """Bytes of clean text so far."""

    def take(self, piece: bytes, *, is_last: bool) -> tuple[bytes, int]:
        """The piece cleaned, and how many bytes of it: the last few may need those that follow."""
        if not is_last and (unfinished := _UNFINISHED.search(piece, max(0, len(piece) - _LONGEST_UNFINISHED))):
            piece = piece[: unfinished.start()]
        parts: list[bytes] = []
        position = 0
        length = self.length
        for start, stop, escape in self._escapes(piece):
            parts += piece[position:start], escape
            length += start - position + len(escape)
            position = stop
            self._cleaned.append(length)
            self._original.append(self._offset + stop)
        self.length = length + len(piece) - position
        self._offset += len(piece)
        return (b"".join((*parts, piece[position:])) if parts else piece), len(piece)

    @staticmethod
    def _escapes(piece: bytes) -> Iterator[tuple[int, int, bytes]]:
        for match in _pattern(piece).finditer(piece):
            if match.lastindex is None:
                continue
            escape = _escape(match[0])
            if escape is not None:
                yield match.start(), match.end(), escape

    def origin(self, index: int) -> int:
        """Offset in the source of what is at `index` of the clean text."""
        place = max(0, bisect_right(self._cleaned, index) - 1)
        return self._original[place] + index - self._cleaned[place]

    def forget(self, index: int) -> None:
        """Nobody will ask for the origin of anything before `index`."""
        place = max(0, bisect_right(self._cleaned, index) - 1)
        del self._cleaned[:place], self._original[:place]


def _pattern(piece: bytes) -> re.Pattern[bytes]:
    """The quickest pattern that finds what must be escaped: to look at every byte takes longer than all the rest."""
    try:
        codecs.utf_8_decode(piece, "strict", True)
    except UnicodeDecodeError:
        return _IN_ANYTHING
    has_more = b"\xef\xbf" in piece or len(piece.translate(None, _CONTROLS)) < len(piece)
    return _IN_UTF8 if has_more else _IN_CLEAN


def _escape(found: bytes) -> bytes | None:
    """What is written for it; None when XML allows it after all."""
    if not found.startswith(b"&"):
        if len(found) == 3:
            return f"\\u{ord(found.decode()):04x}".encode()
        return f"\\x{found[0]:02x}".encode() if found[0] else b"\\0"
    digits = found[2:-1]
    code = int(digits[1:], 16) if digits.startswith(b"x") else int(digits)
    if code == 0:
        return b"\\0"
    if code < 0x20 and code not in {0x9, 0xA, 0xD}:
        return f"\\x{code:02x}".encode()
    if 0xD800 <= code < 0xE000 or code in {0xFFFE, 0xFFFF} or code > 0x10FFFF:
        return f"\\u{code:04x}".encode()
    return None
