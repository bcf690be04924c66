"""What the tests of deleting, cleaning and keeping have in common."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import Any

from pdk_pipeline import database, runs
from pdk_pipeline.config import Settings
from pdk_pipeline.purge import clean, deletion
from pdk_pipeline.purge.steps import Step, Time
from tests.stored import is_sound

NOW = 1_795_500_000.0
"""2026-11-24 06:00:00 UTC."""

REFERRING_TO_NOTHING = {
    "log blocks without results": """
        SELECT count(*) FROM log_block WHERE id NOT IN (SELECT log_block_id FROM result WHERE log_block_id IS NOT NULL)
    """,
    "results without their import": """
        SELECT count(*) FROM result WHERE import_id IS NOT NULL AND import_id NOT IN (SELECT id FROM import_file)
    """,
    "tests": """
        SELECT count(*) FROM test
        WHERE id NOT IN (SELECT test_id FROM result) AND id NOT IN (SELECT test_id FROM expectation)
    """,
    "environments": """
        SELECT count(*) FROM environment
        WHERE id NOT IN (SELECT environment_id FROM result) AND id NOT IN (SELECT environment_id FROM expectation)
    """,
    "deleted runs": "SELECT count(*) FROM run WHERE deleted_at IS NOT NULL",
}


class Once(Time):
    """Time for one thing: steps as short as can be."""

    is_left = False


def left_over(settings: Settings) -> dict[str, int]:
    """What a clean ought to have removed, by kind."""
    with closing(sqlite3.connect(settings.database)) as db:
        found = {what: db.execute(sql).fetchone()[0] for what, sql in REFERRING_TO_NOTHING.items()}
    return {what: count for what, count in found.items() if count}


def assert_whole(settings: Settings) -> None:
    """What holds at every moment, also in the middle of a clean."""
    assert is_sound(settings)
    left = left_over(settings)
    assert "log blocks without results" not in left
    assert "results without their import" not in left


def delete(settings: Settings, name: str, *, now: float | None = None) -> int:
    """Delete a run, as `pdk delete_run` does. Returns its id."""
    with database.writing(settings) as db:
        run = runs.find(settings, db, name)
        assert deletion.delete(db, run.id, now=now or time.time())
        return run.id


def clean_all(settings: Settings, *, now: float | None = None) -> dict[str, Any]:
    """Clean to the end. Returns what was removed."""
    removed = Step().removed
    for step in clean.steps(settings, now=now or time.time()):
        removed.update(step.removed)
    return dict(+removed)
