"""`pdk clean`: what was deleted goes, and whatever nothing refers to any more, and the file shrinks.

All of it in short steps (see `steps`), each of which leaves the database whole: one that is killed is rolled back, and
the next clean finds whatever is left. The phases go on from where a step ended, by ids.

An import looks names up and uses their ids inside one transaction, so no test or environment can go under its hands.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from pdk_pipeline import database, nights, outbox
from pdk_pipeline.intake import ledger, quarantine
from pdk_pipeline.purge import deletion
from pdk_pipeline.purge.steps import Place, Step, Time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pdk_pipeline.config import Settings
    from pdk_pipeline.database import Connection

DAY_SECONDS = 86_400.0

BLOCKS_AT_ONCE = 50
TESTS_AT_ONCE = 2_000
ENVIRONMENTS_AT_ONCE = 100
"""What one statement looks at or removes: some 10 ms."""

PAGES_AT_ONCE = 2_000
"""So many pages are moved in one transaction."""

READER_PATIENCE_MS = 200
"""Somebody who reads an old state of the database keeps its file from shrinking; so long they are waited for."""

Where = Any
"""Where a phase goes on; None: at its beginning, and in what it returns: it is over."""


class Work(NamedTuple):
    """What a phase works with."""

    settings: Settings
    db: Connection
    step: Step
    time: Time
    now: float


class Survey(NamedTuple):
    """What there is to clean."""

    runs: int
    results: int
    free_pages: int


def survey(db: Connection) -> Survey:
    """What there is to clean, as far as it can be told quickly."""
    runs = deletion.deleted(db)
    (free_pages,) = db.execute("PRAGMA freelist_count").fetchone()
    return Survey(len(runs), sum(deletion.results_of(db, run.id) for run in runs), free_pages)


def step(settings: Settings, place: Place = None, *, now: float) -> Step:
    """Clean for a moment, from `place` on (what the step before gave as `next`). `now`: seconds since 1970."""
    done = Step()
    time = Time(place)
    names = list(PHASES)
    phase, where = (place["phase"], place["where"]) if place and place["phase"] in PHASES else (names[0], None)
    with database.opened(settings) as db:
        work = Work(settings, db, done, time, now)
        for name in names[names.index(phase) :]:
            do, in_transaction = PHASES[name]
            with in_transaction(db):
                where = do(work, where if name == phase else None)
            if where is not None:
                done.next = {"phase": name, "where": where}
                break
            if not time.is_left and name != names[-1]:
                done.next = {"phase": names[names.index(name) + 1], "where": None}
                break
        if done.next:
            done.next["seconds"] = time.for_next()
    return done


def steps(settings: Settings, *, now: float) -> Iterator[Step]:
    """Clean to the end, step by step."""
    place: Place = None
    while True:
        done = step(settings, place, now=now)
        yield done
        place = done.next
        if place is None:
            return


# Phases ------------------------------------------------------------------------------------------------------


def _deleted_runs(work: Work, _where: Where) -> Where:
    db = work.db
    while True:
        row = db.execute(
            "SELECT id, clean_begun_at FROM run WHERE deleted_at IS NOT NULL ORDER BY deleted_at, id LIMIT 1"
        ).fetchone()
        if row is None:
            return None
        run, begun_at = row
        if begun_at is None:
            db.execute("UPDATE run SET clean_begun_at = ? WHERE id = ?", (work.now, run))
        is_rest = deletion.sweep(db, deletion.whole(run), 0, work.time, work.step) is not None
        if not is_rest and not _remove_blocks(db, run):
            db.execute("DELETE FROM run WHERE id = ?", (run,))
            work.step.removed["runs"] += 1
        if not work.time.is_left:
            return True


def _remove_blocks(db: Connection, run: int) -> int:
    """Remove some log blocks of a run without results, of which no import has left any."""
    return db.execute(
        "DELETE FROM log_block WHERE id IN (SELECT id FROM log_block WHERE run_id = ? LIMIT ?)", (run, BLOCKS_AT_ONCE)
    ).rowcount


def _empty_blocks(work: Work, where: Where) -> Where:
    """Log blocks whose results have all been replaced, by imports with --on-duplicate=replace."""
    where = where or [0, 0]
    while True:
        blocks = work.db.execute(
            """
            SELECT run_id, id FROM log_block INDEXED BY log_block_run
            WHERE (run_id, id) > (?, ?) ORDER BY run_id, id LIMIT ?
            """,
            (*where, TESTS_AT_ONCE),
        ).fetchall()
        if not blocks:
            return None
        work.step.removed["log blocks"] += work.db.execute(
            """
            DELETE FROM log_block WHERE id IN (
                SELECT value FROM json_each(?)
                WHERE NOT EXISTS (SELECT 1 FROM result WHERE result.log_block_id = value)
            )
            """,
            (json.dumps([id_ for _, id_ in blocks]),),
        ).rowcount
        where = blocks[-1]
        if not work.time.is_left:
            return where


_CLASSES = """
    WITH RECURSIVE class (name) AS (
        SELECT min(class) FROM expectation
        UNION ALL
        SELECT (SELECT min(class) FROM expectation WHERE class > name) FROM class WHERE name IS NOT NULL
    )
"""
"""The classes of expected tests: the first entry of each, not all of them. (Python counts what a DELETE has deleted
only when that is its first word.)"""


def _orphaned_tests(work: Work, where: Where) -> Where:
    """Tests without a result that nobody expects. `result` and `expectation` refer to tests, and nothing else does."""

    def remove(after: int, last: int) -> int:
        candidates = work.db.execute(
            """
            SELECT id FROM test WHERE id > ? AND id <= ?
            AND NOT EXISTS (SELECT 1 FROM result WHERE result.test_id = test.id)
            """,
            (after, last),
        ).fetchall()
        if not candidates:
            return 0
        # Along the primary key of `expectation`, which has no index by test.
        return work.db.execute(
            f"""
            DELETE FROM test WHERE id IN (SELECT value FROM json_each(:candidates)) AND id NOT IN (
                {_CLASSES}
                SELECT expectation.test_id
                FROM class CROSS JOIN environment CROSS JOIN expectation
                ON expectation.class = class.name AND expectation.environment_id = environment.id
                AND expectation.test_id > :after AND expectation.test_id <= :last
            )
            """,  # noqa: S608  (its beginning is ours)
            {"candidates": json.dumps([id_ for (id_,) in candidates]), "after": after, "last": last},
        ).rowcount

    return _by_windows(work, "test", where, TESTS_AT_ONCE, remove)


def _orphaned_environments(work: Work, where: Where) -> Where:
    """Environments without a result in any run, of which nobody expects one."""

    def remove(after: int, last: int) -> int:
        # Run by run: no index of `result` begins with the environment, and one look a run is enough.
        return work.db.execute(
            f"""
            DELETE FROM environment WHERE id > ? AND id <= ?
            AND NOT EXISTS (
                SELECT 1 FROM run CROSS JOIN result
                ON result.run_id = run.id AND result.environment_id = environment.id
            )
            AND NOT EXISTS (
                {_CLASSES}
                SELECT 1 FROM class CROSS JOIN expectation
                ON expectation.class = class.name AND expectation.environment_id = environment.id
            )
            """,  # noqa: S608  (its beginning is ours)
            (after, last),
        ).rowcount

    return _by_windows(work, "environment", where, ENVIRONMENTS_AT_ONCE, remove)


def _by_windows(work: Work, table: str, where: Where, at_once: int, remove: Callable[[int, int], int]) -> Where:
    """Go through a table, so many ids at once, for as long as there is time.

    `remove` is told after which id and up to which; it returns how many it removed.
    """
    after = where or 0
    while True:
        last = _last_of(work.db, table, after, at_once)
        work.step.removed[f"{table}s"] += remove(after, last)
        if last == _END:
            return None
        after = last
        if not work.time.is_left:
            return after


_END = 1 << 62
"""Behind every id."""


def _last_of(db: Connection, table: str, after: int, rows: int) -> int:
    """The last id of the next rows of a table; _END when they are all that is left."""
    row = db.execute(
        f"SELECT id FROM {table} WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?",  # noqa: S608  (our own tables)
        (after, rows - 1),
    ).fetchone()
    return row[0] if row else _END


def _old_entries(work: Work, where: Where) -> Where:
    """What was written down of imports, nights and messages so long ago that nobody asks any more."""
    settings, db, removed = work.settings, work.db, work.step.removed
    before = work.now - settings.keep_ledger_days * DAY_SECONDS
    if where is None:
        removed["messages"] += outbox.forget(db, settings, now=work.now)
        nights.forget_logs(db, ended_before=before)
        ledger.forget_old_attempts(db, before=before)
    in_quarantine = quarantine.ids(settings)
    where = where or 0
    while True:
        gone, where = ledger.forget(db, imported_before=before, in_quarantine=in_quarantine, after=where)
        removed["imports"] += gone
        if where is None or not work.time.is_left:
            return where


def _free_space(work: Work, _where: Where) -> Where:
    """Move pages from the end of the file into those that are free, and cut it off there."""
    (free,) = work.db.execute("PRAGMA freelist_count").fetchone()
    while free:
        # Not by execute(), which asks for one row of what it thinks has none: the first page would be all.
        work.db.executescript(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})")
        (left,) = work.db.execute("PRAGMA freelist_count").fetchone()
        work.step.removed["pages"] += free - left
        free = left
        if not work.time.is_left:
            break
    return free or None


def _checkpoint(work: Work, _where: Where) -> Where:
    """Only when the journal has been written into the file does that become shorter."""
    work.db.execute(f"PRAGMA busy_timeout = {READER_PATIENCE_MS}")
    try:
        is_held_up, *_ = work.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        work.db.execute(f"PRAGMA busy_timeout = {database.BUSY_SECONDS * 1000}")
    if is_held_up:
        work.step.notes.append("somebody is reading the database: its file shrinks when they have finished")


@contextlib.contextmanager
def _no_transaction(_db: Connection) -> Iterator[None]:
    yield


@contextlib.contextmanager
def _unchecked(db: Connection) -> Iterator[None]:
    """A transaction in which references are not checked, because the statements do so themselves.

    SQLite would read all results and all that is expected for each row that goes, for want of an index.
    """
    db.execute("PRAGMA foreign_keys = OFF")
    try:
        with database.transaction(db):
            yield
    finally:
        db.execute("PRAGMA foreign_keys = ON")


class Phase(NamedTuple):
    """One of the things that a clean does, one after the other."""

    do: Callable[[Work, Where], Where]
    transaction: Callable[[Connection], contextlib.AbstractContextManager[None]] = database.transaction


PHASES: dict[str, Phase] = {
    "deleted runs": Phase(_deleted_runs),
    "empty log blocks": Phase(_empty_blocks),
    "orphaned tests": Phase(_orphaned_tests, _unchecked),
    "orphaned environments": Phase(_orphaned_environments, _unchecked),
    "old entries": Phase(_old_entries),
    "free space": Phase(_free_space, _no_transaction),
    "checkpoint": Phase(_checkpoint, _no_transaction),
}
