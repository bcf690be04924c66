"""Taking logs in, and what is then in the database and in the spool."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pdk_pipeline import database
from pdk_pipeline.config import Settings
from pdk_pipeline.intake import importing
from pdk_pipeline.intake.deliveries import Options
from pdk_pipeline.intake.ingest import OnDuplicate
from pdk_pipeline.intake.ledger import Outcome

_deliveries = itertools.count(1)

TIMES = {"created_at", "imported_at", "seconds", "last_at", "outcome", "since"}
"""Columns that differ from one time to the next."""


def home_in(directory: Path) -> Settings:
    """A home for several tests, of no setting of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PDK_")]:
            patch.delenv(name)
        patch.setenv("PDK_HOME", str(directory))
        return Settings(settle_seconds=0, timezone="UTC")


def take_in(
    settings: Settings,
    path: Path,
    *,
    delivery: str = "",
    archive: bool = False,
    replace: bool = False,
    **options: Any,
) -> Outcome:
    """Import a log as `pdk import` does."""
    how = Options(on_duplicate=OnDuplicate.REPLACE if replace else OnDuplicate.KEEP, sender="tests", **options)
    name = delivery or f"test:{next(_deliveries)}"
    return _only(importing.import_files(settings, [(path, name)], how, is_to_archive=archive))


def import_claimed(settings: Settings, claim: str) -> Outcome:
    """Import a log that the spool claimed. Raises what is told of it."""
    return _only(importing.import_claims(settings, [claim]))


def _only(told: list[importing.Told]) -> Outcome:
    (one,) = told
    if isinstance(one, Exception):
        raise one
    return one


def counts(outcome: Outcome) -> dict[str, int]:
    """The counts that are not zero, after making sure that they add up."""
    assert outcome.accepted + outcome.duplicates + outcome.skipped + outcome.quarantined == outcome.records
    names = ("records", "accepted", "replaced_missing", "duplicates", "replaced", "skipped", "quarantined", "warnings")
    return {name: getattr(outcome, name) for name in names if getattr(outcome, name)}


def results(settings: Settings) -> list[tuple[Any, ...]]:
    """Every result with its names, attributes and log, and without ids: the same results give the same list."""
    with database.reading(settings) as db:
        found = db.execute(
            """
            SELECT test_run, project, host, context, custom, test_name, result_scalar.status, result_scalar.attn,
                result.start_time, result.end_time, result_scalar.test_runner, result_scalar.location, tda, tra, log
            FROM result_scalar
            JOIN result ON result.id = result_scalar.key_id
            JOIN result_log ON result_log.key_id = result_scalar.key_id
            """
        ).fetchall()
    return sorted(
        (*row[:12], _sorted(row[12]), _sorted(row[13]), row[14]) for row in found
    )  # attributes are a set, whatever their order


def _sorted(attributes: str | None) -> str:
    return json.dumps(json.loads(attributes), sort_keys=True) if attributes else ""


def statuses(settings: Settings) -> dict[str, str]:
    """The status of each test, where every test is there once."""
    found = [(row[5], row[6]) for row in results(settings)]
    assert len({name for name, _ in found}) == len(found)
    return dict(found)


def tables(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, ids included, without the columns that hold a time of day."""
    with closing(sqlite3.connect(settings.database)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {}
        for name in sorted(names):
            columns = [column for _, column, *_ in db.execute(f"PRAGMA table_info({name})") if column not in TIMES]
            found[name] = sorted(db.execute(f"SELECT {', '.join(columns)} FROM {name}").fetchall(), key=repr)
        return found


def is_sound(settings: Settings) -> bool:
    """Whether the database is whole, every reference leads somewhere, and every log lies where its result says."""
    with closing(sqlite3.connect(settings.database)) as db:
        whole = db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        orphans = db.execute("PRAGMA foreign_key_check").fetchall()
        lost = db.execute(
            "SELECT count(*) FROM result WHERE log_block_id IS NOT NULL"
            " AND log_block_id NOT IN (SELECT id FROM log_block)"
        ).fetchone()
        return whole and not orphans and lost == (0,)


def spooled(settings: Settings) -> dict[str, bytes]:
    """Every file of the spool that people can see, by its path; the claims' names are left out."""
    found = {}
    for path in sorted(settings.spool.rglob("*")):
        where = path.relative_to(settings.spool)
        if path.is_file() and not any(part.startswith(".") for part in where.parts):
            parts = [part for place, part in enumerate(where.parts) if (where.parts[0], place) != ("processing", 1)]
            found["/".join(parts)] = path.read_bytes()
    return found
