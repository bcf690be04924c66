"""One thin task per operation: translate the arguments, delegate to the domain, return a small dict.

Arguments are ids, paths and options, never a log's text. A task never waits for another one.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import Any

from pdk_pipeline import database, expected, runs
from pdk_pipeline.config import settings
from pdk_pipeline.errors import PassingFault, PdkError
from pdk_pipeline.intake import spool
from pdk_pipeline.selection import Selection
from workers.app import app

# What may work later is tried again with growing pauses; bad input is an outcome, and anything else is a bug.
AGAIN_LATER: dict[str, Any] = {
    # What a user did wrong is told to the user, and is no error of the worker's.
    "throws": (PdkError,),
    "autoretry_for": (PassingFault, sqlite3.OperationalError, OSError),
    "max_retries": 8,
    "retry_backoff": 2,
    "retry_backoff_max": 600,
    "retry_jitter": True,
}


@app.task(**AGAIN_LATER, name="initdb")
def initdb() -> dict[str, Any]:
    """Make the database and the spool, or bring them up to date."""
    spool.prepare(settings())
    with contextlib.closing(database.connect(settings().database)) as db:
        migrations = database.migrate(db)
        return {
            "database": str(settings().database),
            "version": database.schema_version(db),
            "migrations": migrations,
        }


# What is expected -------------------------------------------------------------------------------------------


@app.task(**AGAIN_LATER, name="gen_expected")
def gen_expected(class_: str, run: str, where: dict[str, list[str]]) -> dict[str, Any]:
    """Add the tests of a run to a class of expected tests."""
    with database.writing(settings()) as db:
        found = runs.find(settings(), db, run)
        new = expected.learn(db, found, class_, Selection.from_json(where), now=time.time())
        return {"class": class_, "run": found.name, "new": new, "expected": expected.count(db, class_, Selection())}


@app.task(**AGAIN_LATER, name="check_expected")
def check_expected(class_: str, run: str, where: dict[str, list[str]], create: bool = False) -> dict[str, Any]:
    """Record the expected tests that a run lacks (`create`: also when nothing of it has come)."""
    with database.writing(settings()) as db:
        found = runs.make(settings(), db, run, now=time.time()) if create else runs.find(settings(), db, run)
        check = expected.check(db, found, class_, Selection.from_json(where))
        return {"class": class_, "run": found.name} | check._asdict()


@app.task(**AGAIN_LATER, name="expected_remove")
def expected_remove(class_: str, where: dict[str, list[str]]) -> dict[str, Any]:
    """Expect the selected tests of a class no longer."""
    with database.writing(settings()) as db:
        removed = expected.forget(db, class_, Selection.from_json(where))
        return {"class": class_, "removed": removed, "expected": expected.count(db, class_, Selection())}
