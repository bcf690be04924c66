"""The whole schema as numbered SQL files. `database.migrate` applies those that a database lacks, in order."""

from __future__ import annotations

import functools
import sqlite3
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@functools.cache
def migrations() -> tuple[tuple[int, str], ...]:
    """Each with its number and its SQL, in order."""
    files = [file for file in resources.files(__name__).iterdir() if file.name.endswith(".sql")]
    return tuple(sorted((int(file.name.partition("_")[0]), file.read_text(encoding="utf-8")) for file in files))


def newest_version() -> int:
    """The schema version that this program makes."""
    return migrations()[-1][0]


def statements(script: str) -> Iterator[str]:
    """The statements of a script, to be executed one by one."""
    # executescript() would commit the transaction that we are in.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
