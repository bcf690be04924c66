"""Runs put straight into the database, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from sqlite3 import Connection

from pdk_pipeline import comparison, expected, runs
from pdk_pipeline.config import Settings
from pdk_pipeline.selection import Selection

Identity = tuple[str, str, str, str, str]
"""Project, host, context, custom, test name."""


def calib(
    test: str, host: str = "banana", context: str = "py311", custom: str = "", project: str = "calib"
) -> Identity:
    return project, host, context, custom, test


def put(db: Connection, name: str, statuses: Mapping[Identity, str], *, at: float = 1000.0) -> None:
    """Results of a run, as if logs had brought them; what is recorded missing is replaced."""
    db.execute("INSERT INTO run (name, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING", (name, at))
    db.executemany(
        "INSERT INTO test (project, name) VALUES (?, ?) ON CONFLICT DO NOTHING", {(i[0], i[4]) for i in statuses}
    )
    db.executemany(
        "INSERT INTO environment (host, context, custom) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        {i[1:4] for i in statuses},
    )
    db.executemany(
        """
        INSERT INTO result (run_id, environment_id, test_id, status, attn, import_id)
        SELECT run.id, environment.id, test.id, ?, 'Y', 1
        FROM run, environment, test
        WHERE run.name = ? AND run.deleted_at IS NULL AND test.project = ? AND host = ? AND context = ? AND custom = ?
        AND test.name = ?
        ON CONFLICT DO UPDATE SET status = excluded.status, import_id = 1
        """,
        [(status, name, *identity) for identity, status in statuses.items()],
    )


def learn(db: Connection, name: str) -> None:
    expected.learn(db, _run(db, name), "daily", Selection(), now=1000.0)


def check(db: Connection, name: str) -> None:
    expected.check(db, _run(db, name), "daily", Selection())


def night(db: Connection, name: str, statuses: Mapping[Identity, str]) -> None:
    """A night as it goes: results in, expected tests learned, missing ones recorded."""
    put(db, name, statuses)
    learn(db, name)
    check(db, name)


THE_RUN_BEFORE = "the run before"


def compared(db: Connection, name: str, against: str | None = THE_RUN_BEFORE) -> comparison.Comparison:
    """`against` None: with nothing."""
    run = _run(db, name)
    if against == THE_RUN_BEFORE:
        return comparison.compare(db, run, comparison.previous(db, run))
    return comparison.compare(db, run, _run(db, against) if against else None)


def _run(db: Connection, name: str) -> runs.Run:
    return runs.find(Settings(), db, name)
