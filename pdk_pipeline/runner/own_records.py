"""The records that a program has written by itself: its PDK_LOG, from before it starts to after it has ended."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, NamedTuple

from pdk_pipeline.formats import pdk
from pdk_pipeline.formats.pdk_writer import fields_as_text
from pdk_pipeline.formats.text import encodable, readable
from pdk_pipeline.results import Rejection, Result, singly

if TYPE_CHECKING:
    from pathlib import Path

    from pdk_pipeline.results import Other
    from pdk_pipeline.runner.batch import Batch

MOST_RECORD = 64 << 20
"""Bytes of the largest record that is read."""

_CUT_OFF = "no END at the end of the file"
_NAMED = re.compile(rb"^[ \t]*(?:test_)?name[ \t]*=", re.MULTILINE | re.IGNORECASE)


class OwnRecords(NamedTuple):
    """What stands in a program's own log."""

    results: list[Result]
    unfinished: bytes
    """Fields after the last END: what it had to say about the test that its exit status makes a result of."""
    bad: str
    """What cannot be read, with line numbers and reasons."""

    @property
    def is_unfinished_test(self) -> bool:
        """Whether the unfinished fields are those of a test of its own."""
        return _NAMED.search(self.unfinished) is not None


def preamble(batch: Batch, location: Path, runner: str) -> bytes:
    """What all records of a program have in common, as its log begins."""
    fields = batch._asdict() | {"location": str(location), "test_runner": runner}
    clean = {name: encodable(value) for name, value in fields.items() if value}
    return b"\n\nSTART\n" + fields_as_text(clean, b"") + b"SETDEFAULT\n\n"


def read(path: Path) -> OwnRecords:
    """What a program has written to its log. Raises OSError."""
    try:
        readings = list(_readings(path.read_bytes()))
    except FileNotFoundError:
        readings = []
    bad = [reading for reading in readings if isinstance(reading, Rejection)]
    unfinished = bad.pop().raw if bad and bad[-1].reason == _CUT_OFF else b""
    told = "\n\n".join(f"Line {one.line}: {one.reason}\n{readable(one.raw)}" for one in bad)
    return OwnRecords([reading for reading in readings if isinstance(reading, Result)], unfinished, told)


def completed(log: bytes) -> Result | None:
    """The result of a log that was completed to hold one; None when it cannot be read."""
    readings = list(_readings(log))
    return readings[0] if len(readings) == 1 and isinstance(readings[0], Result) else None


def _readings(log: bytes) -> list[Result | Other]:
    source = io.BytesIO(log)
    return list(singly(pdk.read(source, defaults={}, zone=None, record_limit=MOST_RECORD)))
