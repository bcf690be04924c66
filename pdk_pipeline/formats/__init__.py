"""The formats that a log can have, one file each, and the registry that tells them apart.

To add one: write a module with what `Format` lists (NAME, `recognises`, `read`) and name it in FORMATS, or in MARKUP
when its files are XML. A module is loaded when it is first needed: commands are started often.
"""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Protocol, cast

from pdk_pipeline.errors import UnknownFormat

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import tzinfo

    from pdk_pipeline.results import Reading


class Source(Protocol):
    """Where a reader takes bytes from (`stream.LogStream` is one)."""

    def read(self) -> bytes:
        """The next piece; empty at the end. Raises stream.Damaged."""


class Format(Protocol):
    """One format of logs: a module."""

    NAME: str

    def recognises(self, beginning: bytes) -> bool:
        """Whether a log that begins so is of this format."""

    def read(
        self, source: Source, *, defaults: Mapping[str, str], zone: tzinfo | None, record_limit: int
    ) -> Iterator[Reading]:
        """Everything that stands in the log, in order; never raises for what stands there.

        Results may come several at once (`results.singly` takes them apart).
        `defaults`: fields for records that lack them. `zone`: of times that name none.
        `record_limit`: bytes of the largest record to hold.
        Raises LacksFields when `defaults` lack what no record of this format could have said by itself.
        """


MARKUP = ("ctest", "junit")
"""Formats of XML, asked in this order; JUnit takes all that is left. Only asked when something begins with a `<`."""

FORMATS = (*MARKUP, "pdk")
"""All, by name. The PDK log is the last: it takes anything."""

_MARKUP_BEGINS = re.compile(
    rb"(?:START\n)?[ \t\r\n\0\xef\xbb\xbf\xff\xfe]*+"
    rb"<(?![ \t\r\n<>=])(?![^\s<>/?!\0]+\s+[^\s<>=/][^<>=]*>)"
)
"""What may be a tag, behind white space and marks of byte order, in any encoding. A banner, as in `<words of a shell>`,
is none: the log behind it is read. The quarantine puts a START before it."""


def named(name: str) -> Format:
    """The format of that name. Raises UnknownFormat."""
    if name not in FORMATS:
        raise UnknownFormat(name, advice=f"There are: {', '.join(FORMATS)}.")
    return cast("Format", importlib.import_module(f"{__name__}.{name}"))


def detect(beginning: bytes) -> Format:
    """The format of a log that begins so."""
    is_markup = _MARKUP_BEGINS.match(beginning)
    names = (name for name in FORMATS if is_markup or name not in MARKUP)
    return next(format_ for format_ in map(named, names) if format_.recognises(beginning))
