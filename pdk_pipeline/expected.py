"""Which tests a class of runs should report: learned from runs, checked against runs, forgotten on request."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, NamedTuple

from pdk_pipeline.errors import UnknownClass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pdk_pipeline.database import Connection
    from pdk_pipeline.runs import Run
    from pdk_pipeline.selection import Selection


class ExpectedTest(NamedTuple):
    """A test that is expected to report, and where."""

    project: str
    host: str
    context: str
    custom: str
    test_name: str


class Expectation(NamedTuple):
    """An expected test, and since when it is one."""

    test: ExpectedTest
    since: float
    """Seconds since 1970, UTC."""
    learned_from: str | None
    """Name of the run; None: put in by hand."""


class Class(NamedTuple):
    """A class of runs, of which the same tests are expected."""

    name: str
    tests: int
    """A test on two hosts counts twice."""
    hosts: int
    since: float
    """When the first of its tests was learned; seconds since 1970, UTC."""
    newest: float
    """When the last one was."""


class Check(NamedTuple):
    """What a check of a run against a class of expected tests found."""

    expected: int
    missing: int
    recorded: int
    """Of those missing: recorded by this check, and not by one before it."""


_NAMES = """
JOIN test ON test.id = {table}.test_id
JOIN environment ON environment.id = {table}.environment_id
"""


def _scope(table: str, where: Selection) -> tuple[str, str, list[str]]:
    """Joins, condition and values that restrict `table` to a selection; nothing is joined that is not asked for."""
    condition, values = where.condition()
    return (_NAMES.format(table=table) if values else ""), condition, values


def learn(db: Connection, run: Run, class_: str, where: Selection, *, now: float) -> int:
    """Add the tests that reported in `run` to a class of expected tests; none is ever removed.

    Tests that a check recorded missing are left out: whoever expects them does so already, and one that was forgotten
    on purpose would come back with the next look at a run that lacked it. What a log itself calls missing is learned.
    So is not what merely says that a file could not be collected (`error_in=collection`): it is no test, and would be
    missing every night once it was mended.

    One statement, whatever the number of tests. `now`: seconds since 1970. Returns how many are new.
    Source: the administrator's manual, "Expected / Missing Tests".
    """
    joins, condition, values = _scope("result", where)
    # The ORDER BY is that of a unique index on one side and of the primary key on the other: no sorting, no seeking.
    learned = db.execute(
        f"""
        INSERT INTO expectation (class, environment_id, test_id, since, learned_from)
        SELECT ?, result.environment_id, result.test_id, ?, ?
        FROM result {joins}
        WHERE result.run_id = ? AND {condition}
        AND NOT (result.status = 'M' AND result.import_id IS NULL)
        AND NOT (result.status = 'E' AND coalesce(json_extract(result.tra, '$.error_in'), '') = 'collection')
        ORDER BY result.environment_id, result.test_id
        ON CONFLICT DO NOTHING
        """,  # noqa: S608  (the condition holds column names and question marks)
        (class_, now, run.name, run.id, *values),
    )
    return learned.rowcount


def count(db: Connection, class_: str, where: Selection) -> int:
    """How many tests of a class are expected."""
    joins, condition, values = _scope("expectation", where)
    row = db.execute(
        f"SELECT count(*) FROM expectation {joins} WHERE expectation.class = ? AND {condition}",  # noqa: S608
        (class_, *values),
    ).fetchone()
    return int(row[0])


def check(db: Connection, run: Run, class_: str, where: Selection) -> Check:
    """Record every expected test that `run` lacks as a result with status M that needs attention.

    One statement, whatever the number of tests; doing it again changes nothing. A test that reports later
    replaces its M row (`ingest`).

    Raises UnknownClass when nothing is expected of `class_`.
    Source: the administrator's manual, "Expected / Missing Tests".
    """
    require(db, class_)
    joins, condition, values = _scope("expectation", where)
    recorded = db.execute(
        f"""
        INSERT INTO result (run_id, environment_id, test_id, status, attn)
        SELECT ?, expectation.environment_id, expectation.test_id, 'M', 'Y'
        FROM expectation {joins}
        WHERE expectation.class = ? AND {condition}
        AND NOT EXISTS (
            SELECT 1 FROM result
            WHERE result.run_id = ?
            AND result.environment_id = expectation.environment_id
            AND result.test_id = expectation.test_id
        )
        """,  # noqa: S608  (as above)
        (run.id, class_, *values, run.id),
    ).rowcount
    (missing,) = db.execute(
        f"""
        SELECT count(*)
        FROM result {_NAMES.format(table="result") if joins else ""}
        WHERE result.run_id = ? AND result.status = 'M' AND {condition} AND {_IS_EXPECTED}
        """,  # noqa: S608  (as above)
        (run.id, *values, class_),
    ).fetchone()
    return Check(count(db, class_, where), missing, recorded)


_IS_EXPECTED = """
EXISTS (
    SELECT 1 FROM expectation
    WHERE expectation.class = ?
    AND expectation.environment_id = result.environment_id
    AND expectation.test_id = result.test_id
)
"""


def missing(db: Connection, run: Run, class_: str, where: Selection) -> Iterator[ExpectedTest]:
    """The tests of a class that are recorded missing in `run`."""
    condition, values = where.condition()
    rows = db.execute(
        f"""
        SELECT test.project, environment.host, environment.context, environment.custom, test.name
        FROM result {_NAMES.format(table="result")}
        WHERE result.run_id = ? AND result.status = 'M' AND {condition} AND {_IS_EXPECTED}
        ORDER BY 1, 2, 3, 4, 5
        """,  # noqa: S608  (as above)
        (run.id, *values, class_),
    )
    return (ExpectedTest(*row) for row in rows)


def require(db: Connection, class_: str) -> None:
    """Raise UnknownClass when nothing is expected of `class_`."""
    if db.execute("SELECT 1 FROM expectation WHERE class = ? LIMIT 1", (class_,)).fetchone():
        return
    near = difflib.get_close_matches(class_, [known.name for known in classes(db)], n=1)
    suggestion = f"Did you mean {near[0]}? " if near else ""
    raise UnknownClass(class_, advice=f"{suggestion}`pdk gen_expected CLASS RUN` makes one.")


def classes(db: Connection) -> list[Class]:
    """Every class of expected tests."""
    # Grouped along the primary key first: only a class's environments are joined, not its tests.
    rows = db.execute(
        """
        WITH place AS (
            SELECT class, environment_id, count(*) AS tests, min(since) AS since, max(since) AS newest
            FROM expectation
            GROUP BY class, environment_id
        )
        SELECT class, sum(tests), count(DISTINCT environment.host), min(since), max(newest)
        FROM place JOIN environment ON environment.id = environment_id
        GROUP BY class
        ORDER BY class
        """
    )
    return [Class(*row) for row in rows]


def tests(db: Connection, class_: str, where: Selection) -> Iterator[Expectation]:
    """The expected tests of a class."""
    condition, values = where.condition()
    rows = db.execute(
        f"""
        SELECT test.project, environment.host, environment.context, environment.custom, test.name,
            expectation.since, expectation.learned_from
        FROM expectation {_NAMES.format(table="expectation")}
        WHERE expectation.class = ? AND {condition}
        ORDER BY 1, 2, 3, 4, 5
        """,  # noqa: S608  (as above)
        (class_, *values),
    )
    return (Expectation(ExpectedTest(*row[:5]), *row[5:]) for row in rows)


def forget(db: Connection, class_: str, where: Selection) -> int:
    """Expect the selected tests no longer; what is recorded missing already stays. Returns how many they were."""
    condition, values = where.condition()
    if not values:
        return db.execute("DELETE FROM expectation WHERE class = ?", (class_,)).rowcount
    return db.execute(
        f"""
        DELETE FROM expectation
        WHERE class = ? AND (environment_id, test_id) IN (
            SELECT expectation.environment_id, expectation.test_id
            FROM expectation {_NAMES.format(table="expectation")}
            WHERE expectation.class = ? AND {condition}
        )
        """,  # noqa: S608  (as above)
        (class_, class_, *values),
    ).rowcount
