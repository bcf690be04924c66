"""The plain floor of an import: what any program must do with these logs, and nothing that makes it a good one.

Read the bytes, compress them once in blocks, insert the finished rows into the same tables in one transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import zstandard

from pdk_pipeline import database

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pdk_pipeline.config import Settings

BLOCK_BYTES = 256 << 10
COMPRESSION_LEVEL = 3
"""The library's usual one."""

_TABLES = ("run", "test", "environment", "result")

Rows = dict[str, list[tuple[Any, ...]]]
"""Of each table that an import fills, the finished rows."""


def rows_of(settings: Settings) -> Rows:
    """The rows that an import has made."""
    with database.reading(settings) as db:
        return {table: db.execute(f"SELECT * FROM {table}").fetchall() for table in _TABLES}


def load(settings: Settings, logs: Sequence[Path], rows: Rows) -> int:
    """Do what cannot be avoided, into the empty database of `settings`. Returns how many results it was."""
    compress = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL).compress
    with database.writing(settings) as db:
        for table, finished in rows.items():
            places = ", ".join("?" * len(finished[0]))
            db.executemany(f"INSERT INTO {table} VALUES ({places})", finished)
        for log in logs:
            with log.open("rb") as file:
                while block := file.read(BLOCK_BYTES):
                    db.execute("INSERT INTO log_block (run_id, data) VALUES (1, ?)", (compress(block),))
    return len(rows["result"])
