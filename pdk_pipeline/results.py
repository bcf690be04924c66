"""What a log says: results, and the records that could not become one."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    """How a test ended. Lower-case letters are a site's own and have no name here.

    Source: the PDK log format, field `status`.
    """

    PASS = "P"  # noqa: S105
    FAIL = "F"
    ERROR = "E"
    DISABLED = "D"
    MISSING = "M"


STATUSES = frozenset("PFEDM" + "abcdefghijklmnopqrstuvwxyz")
"""Every status that a record may have."""


class Attention(StrEnum):
    """Whether somebody should look at a result (field `attn`)."""

    NEEDED = "Y"
    NOT_NEEDED = "N"
    RESOLVED = "R"


class Result(NamedTuple):
    """One test result. The first six fields are its identity, compared as a tuple, never as joined text."""

    test_run: str
    project: str
    host: str
    context: str
    custom: str
    test_name: str
    status: str
    attn: str
    start_time: float | None
    """Seconds since 1970, UTC; None when the log has none that can be read."""
    end_time: float | None
    test_runner: str
    location: str
    definition_attributes: dict[str, str]
    """The `tda_` fields, without that prefix."""
    result_attributes: dict[str, str]
    """The `tra_` fields, without that prefix."""
    log: bytes
    """The dotted lines of the log field as they stand in a PDK log (see `formats.dotted`), or empty."""


class Rejection(NamedTuple):
    """A record that is not a result, with all that is needed to mend it."""

    line: int
    """Where it begins, counted from 1."""
    offset: int
    """Where it begins, in bytes of the uncompressed log, counted from 0."""
    reason: str
    raw: bytes
    """The record, byte for byte."""
    preamble: bytes = b""
    """What must stand before `raw` for it to be read as it was here: the defaults in force."""
    is_continued: bool = False
    """The record was too large to hold: the next rejection is its next piece, and only the last one counts."""


class Skipped(NamedTuple):
    """A record that is by rule not a test."""

    line: int
    reason: str


class Warned(NamedTuple):
    """Something odd that cost nothing but itself: an unreadable time, a forgotten beginning."""

    line: int
    text: str


Reading = Result | Rejection | Skipped | Warned
"""What a reader makes of a log, in the order of the log."""
