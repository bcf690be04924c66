"""Results as they are stored, with their logs; and one test through time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from pdk_pipeline.database import unpack
from pdk_pipeline.errors import UnknownTest
from pdk_pipeline.results import Result
from pdk_pipeline.runs import NIGHT
from pdk_pipeline.selection import is_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pdk_pipeline.database import Connection
    from pdk_pipeline.runs import Run
    from pdk_pipeline.selection import Selection


ALL = -1
"""As many as there are; the way SQLite says it."""


class Past(NamedTuple):
    """A test's result in one run."""

    test_run: str
    project: str
    host: str
    context: str
    custom: str
    test_name: str
    status: str
    attn: str
    start_time: float | None
    end_time: float | None


def results(db: Connection, run: Run, selection: Selection, *, most: int = ALL) -> Iterator[Result]:
    """The selected results of a run, the first `most` of them, in the order of their import."""
    selected, values = _selected(run, selection)
    cursor = db.execute(
        f"""
        SELECT test.project, environment.host, environment.context, environment.custom, test.name,
            result.status, result.attn, result.start_time, result.end_time, result.test_runner, result.location,
            result.tda, result.tra, result.log_block_id, result.log_start, result.log_length
        {selected}
        ORDER BY result.id
        LIMIT ?
        """,
        (*values, most),
    )
    blocks = _Blocks(db)
    for row in cursor:
        project, host, context, custom, name, status, attn, start, end, runner, location, tda, tra, *place = row
        yield Result(
            run.name,
            project,
            host,
            context,
            custom,
            name,
            status,
            attn,
            start,
            end,
            runner or "",
            location or "",
            _attributes(tda),
            _attributes(tra),
            blocks.log(*place),
        )


def count(db: Connection, run: Run, selection: Selection) -> int:
    """How many results of a run are selected."""
    selected, values = _selected(run, selection)
    (counted,) = db.execute(f"SELECT count(*) {selected}", values).fetchone()
    return int(counted)


def _selected(run: Run, selection: Selection) -> tuple[str, list[Any]]:
    """What is selected of a run, in SQL, and its values."""
    condition, values = selection.condition()
    # The results of a test, of all runs, lie together in the index for its history, and are few beside those of a run;
    # the plus sign keeps SQLite from going through all of these.
    is_named = selection.tests and not any(map(is_pattern, selection.tests))
    of_run = "+result.run_id = ?" if is_named else "result.run_id = ?"
    sql = f"""
        FROM result
        JOIN test ON test.id = result.test_id
        JOIN environment ON environment.id = result.environment_id
        WHERE {of_run} AND {condition}
        """
    return sql, [run.id, *values]


def _attributes(encoded: str | None) -> dict[str, str]:
    attributes: dict[str, Any] = json.loads(encoded) if encoded else {}
    return attributes


class _Blocks:
    """Log blocks, the last one kept unpacked: the neighbours' logs lie in it."""

    def __init__(self, db: Connection) -> None:
        self.db = db
        self.id: int | None = None
        self.unpacked = b""

    def log(self, block_id: int | None, start: int, length: int) -> bytes:
        if block_id is None:
            return b""
        if block_id != self.id:
            row = self.db.execute("SELECT data FROM log_block WHERE id = ?", (block_id,)).fetchone()
            # A block can only be gone by somebody's own doing; the results that had logs in it are still results.
            self.id, self.unpacked = block_id, unpack(row[0]) if row else b""
        return self.unpacked[start : start + length]


def history(db: Connection, selection: Selection, *, most_runs: int) -> list[Past]:
    """The results of the selected tests in the newest `most_runs` runs that have them, the oldest first.

    Raises UnknownTest.
    """
    condition, values = selection.condition()
    # By the index for the history first, which tells the runs; CROSS JOIN is SQLite's word for this order and no other.
    of_tests = "FROM test CROSS JOIN result ON result.test_id = test.id"
    rows = db.execute(
        f"""
        WITH newest AS MATERIALIZED (
            SELECT run.id AS run_id, run.name AS run_name, {NIGHT} AS night
            FROM run
            WHERE run.deleted_at IS NULL AND run.id IN (
                SELECT result.run_id {of_tests}
                CROSS JOIN environment ON environment.id = result.environment_id
                WHERE {condition}
            )
            ORDER BY night DESC, run.id DESC
            LIMIT ?
        )
        SELECT newest.run_name, test.project, environment.host, environment.context, environment.custom, test.name,
            result.status, result.attn, result.start_time, result.end_time
        {of_tests}
        CROSS JOIN newest ON newest.run_id = result.run_id
        CROSS JOIN environment ON environment.id = result.environment_id
        WHERE {condition}
        ORDER BY test.project, test.name, environment.host, environment.context, environment.custom,
            newest.night, newest.run_id
        """,  # noqa: S608  (the condition holds column names and question marks)
        (*values, most_runs, *values),
    ).fetchall()
    if not rows:
        raise UnknownTest(" ".join(selection.tests), advice=suggestion(db, selection))
    return [Past(*row) for row in rows]


def whole_history(db: Connection, of: Past, *, most_runs: int) -> list[Past]:
    """All results of one test in one environment, whatever their status, as `history` has them."""
    rows = db.execute(
        f"""
        SELECT run.name, result.status, result.attn, result.start_time, result.end_time
        FROM test CROSS JOIN result ON result.test_id = test.id
        CROSS JOIN environment ON environment.id = result.environment_id
        JOIN run ON run.id = result.run_id AND run.deleted_at IS NULL
        WHERE test.project = ? AND test.name = ?
            AND environment.host = ? AND environment.context = ? AND environment.custom = ?
        ORDER BY {NIGHT} DESC, run.id DESC
        LIMIT ?
        """,  # noqa: S608  (no value in it)
        (of.project, of.test_name, of.host, of.context, of.custom, most_runs),
    ).fetchall()
    return [
        of._replace(test_run=run, status=status, attn=attn, start_time=start, end_time=end)
        for run, status, attn, start, end in reversed(rows)
    ]


def suggestion(db: Connection, selection: Selection) -> str:
    """What somebody may have meant who asked for a test that is not there."""
    for name in selection.tests:
        row = db.execute(
            """
            SELECT name FROM test WHERE name LIKE ? ESCAPE '\\' AND EXISTS (
                SELECT 1 FROM result JOIN run ON run.id = result.run_id AND run.deleted_at IS NULL
                WHERE result.test_id = test.id
            )
            ORDER BY length(name), name LIMIT 1
            """,
            (f"%{name.replace(chr(92), chr(92) * 2).replace('_', chr(92) + '_').strip('*%')}%",),
        ).fetchone()
        if row:
            return f"There is {row[0]}; * and ? stand for any letters."
    return "* and ? stand for any letters."
