"""What a log says: results, and the records that could not become one."""

from __future__ import annotations

import json
from enum import StrEnum
from json.encoder import encode_basestring as _quoted
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


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


Log = TypeVar("Log")


class Results(NamedTuple, Generic[Log]):
    """Results of one run, project and environment, in the log's order: in columns, a place in each for every result.

    Columns, because they go to the database and from process to process without a step of Python for each result.
    """

    test_run: str
    project: str
    environment: tuple[str, str, str]
    """Host, context, custom."""
    test_name: Sequence[str]
    status: Sequence[str]
    attn: Sequence[str]
    start_time: Sequence[float | None]
    end_time: Sequence[float | None]
    test_runner: Sequence[str | None]
    """None here and below: none."""
    location: Sequence[str | None]
    tda: Sequence[str | None]
    """A JSON object of the definition attributes."""
    tra: Sequence[str | None]
    """The same of the result attributes."""
    log: Sequence[Log]
    """As in Result; or, once it is packed, where it lies."""


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


Other = Rejection | Skipped | Warned
"""What stands in a log and is no result."""

AsRead = Results[bytes | memoryview]
"""With the logs themselves."""

Reading = Result | AsRead | Other
"""What a reader makes of a log. Results of one run and environment come in the order of the log."""


def in_columns(result: Result) -> AsRead:
    """One result as columns of one place."""
    run, project, host, context, custom, name, status, attn, start, end, runner, location, tda, tra, log = result
    row = (name, status, attn, start, end, runner or None, location or None, _as_json(tda), _as_json(tra), log)
    columns: Iterator[Any] = ((value,) for value in row)
    return Results(run, project, (host, context, custom), *columns)


def _as_json(attributes: dict[str, str]) -> str | None:
    if not attributes:
        return None
    # What json.dumps says, in half the time: it is done twice a result.
    return "{" + ",".join([f"{_quoted(name)}:{_quoted(value)}" for name, value in attributes.items()]) + "}"


def singly(readings: Iterable[Reading]) -> Iterator[Result | Other]:
    """What was read, each result by itself: `in_columns` undone."""
    for reading in readings:
        if not isinstance(reading, Results):
            yield reading
            continue
        identity = reading.test_run, reading.project, *reading.environment
        for *row, runner, location, tda, tra, log in zip(*reading[3:], strict=True):
            about, more = (json.loads(attributes) if attributes else {} for attributes in (tda, tra))
            yield Result._make((*identity, *row, runner or "", location or "", about, more, bytes(log)))
