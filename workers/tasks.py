"""One thin task per operation: translate the arguments, delegate to the domain, return a small dict.

Arguments are ids, paths and options, never a log's text. A task never waits for another one.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path
from typing import Any

from pdk_pipeline import database, expected, intake, quarantine, runs, spool
from pdk_pipeline.config import settings
from pdk_pipeline.errors import PassingFault, PathRefused, PdkError
from pdk_pipeline.selection import Selection
from workers import broker
from workers.app import Reporting, app

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


@app.task(**AGAIN_LATER, name="import_log", bind=True)
def import_log(
    self: Reporting, path: str, delivery: str, options: dict[str, Any], archive: bool = False
) -> dict[str, Any]:
    """Import a log where it lies. `delivery` is unique to this handing-over, so that it may come twice."""
    if not self.request.called_directly:
        _check_path(Path(path))
    outcome = intake.import_file(
        settings(),
        Path(path),
        intake.Options.from_json(options),
        delivery=delivery,
        archive=archive,
        progress=self.progress,
    )
    return outcome.as_json()


def _check_path(path: Path) -> None:
    """Refuse what no other machine has a right to name. Raises PathRefused."""
    if not broker.is_networked(broker.address(settings())):
        return
    roots = [settings().spool, *settings().import_roots]
    # Links are followed first: one in a shared directory may point anywhere.
    if not any(path.resolve().is_relative_to(root.resolve()) for root in roots):
        raise PathRefused(str(path), advice="The setting import_roots names directories; `--local` needs none.")


@app.task(**AGAIN_LATER, name="import_claimed", bind=True)
def import_claimed(self: Reporting, claim: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
    """Import a log that the spool has claimed, and archive it."""
    taken = intake.Options.from_json(options) if options else None
    return intake.import_claimed(settings(), claim, options=taken, progress=self.progress).as_json()


@app.task(**AGAIN_LATER, name="collect")
def collect(import_them: bool = True) -> dict[str, Any]:
    """Claim the settled logs in incoming/ and have each one imported (or leave that to the caller)."""
    collected = spool.collect(settings())
    if import_them:
        for claim, name in collected.claims:
            import_claimed.apply_async((claim,), argsrepr=f"({claim!r}, {name!r})", ignore_result=True)
    return {"claims": collected.claims, "growing": collected.growing, "left": collected.left}


@app.task(**AGAIN_LATER, name="quarantine_retry", bind=True)
def quarantine_retry(self: Reporting, item: str) -> dict[str, Any]:
    """Import a quarantined item again."""
    return intake.retry(settings(), item, progress=self.progress).as_json()


@app.task(**AGAIN_LATER, name="quarantine_drop")
def quarantine_drop(item: str) -> dict[str, Any]:
    """Delete a quarantined item for good."""
    quarantine.drop(settings(), item)
    return {"item": item}


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
