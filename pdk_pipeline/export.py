"""Runs as a PDK log again: importing it gives the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdk_pipeline import lookup
from pdk_pipeline.formats.pdk_writer import record_as_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pdk_pipeline.database import Connection
    from pdk_pipeline.runs import Run
    from pdk_pipeline.selection import Selection

PIECE_BYTES = 1 << 20


def export(db: Connection, run: Run, selection: Selection) -> Iterator[bytes]:
    """The selected results of a run as a PDK log, in pieces of about PIECE_BYTES."""
    pieces = [b"START\n"]
    size = 0
    for result in lookup.results(db, run, selection):
        pieces.append(record_as_text(result))
        size += len(pieces[-1])
        if size >= PIECE_BYTES:
            yield b"".join(pieces)
            pieces.clear()
            size = 0
    yield b"".join(pieces)
