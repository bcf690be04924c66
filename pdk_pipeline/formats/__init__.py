"""The formats that a log can have, one file each, and the registry that tells them apart.

To add one: write a module with what `Format` lists (NAME, `recognises`, `read`) and name it in FORMATS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pdk_pipeline.errors import UnknownFormat
from pdk_pipeline.formats import ctest, junit, pdk

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

        `defaults`: fields for records that lack them. `zone`: of times that name none.
        `record_limit`: bytes of the largest record to hold.
        Raises LacksFields when `defaults` lack what no record of this format could have said by itself.
        """


FORMATS: tuple[Format, ...] = (ctest, junit, pdk)
"""Asked in this order: JUnit takes all XML that is left, the PDK log, which is the last, anything."""


def named(name: str) -> Format:
    """The format of that name. Raises UnknownFormat."""
    for format_ in FORMATS:
        if name == format_.NAME:
            return format_
    raise UnknownFormat(name, advice=f"There are: {', '.join(format_.NAME for format_ in FORMATS)}.")


def detect(beginning: bytes) -> Format:
    """The format of a log that begins so."""
    return next(format_ for format_ in FORMATS if format_.recognises(beginning))
