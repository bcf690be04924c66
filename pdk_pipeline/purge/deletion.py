"""Runs deleted, whole or in part, and whole ones brought back.

A whole run is only stamped: that hides it everywhere at once, whatever its size, and `clean` removes its rows later.

A part of one is removed for good, in short steps. To hide it as a run is hidden, every look at a result would have to
ask a list of conditions; to move its rows to a hidden run costs half as much again as to remove them, since two
indexes are changed and the row is written, and they have to be removed afterwards all the same.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pdk_pipeline import runs
from pdk_pipeline.errors import RunGone, RunNameTaken, UnknownRun, ValuableRun
from pdk_pipeline.purge.steps import Place, Step, Time
from pdk_pipeline.selection import Selection

if TYPE_CHECKING:
    from pdk_pipeline.config import Settings
    from pdk_pipeline.database import Connection
    from pdk_pipeline.runs import Run

AT_ONCE = 2_000
"""So many results, about, are looked at and removed by one statement: some 15 ms."""


_END = 1 << 62
"""Behind every id."""


class DeletedRun(NamedTuple):
    """A run that is deleted and not yet removed."""

    id: int
    name: str
    deleted_at: float
    """Seconds since 1970, UTC."""
    clean_begun_at: float | None
    """From then on it cannot come back."""


# Whole runs --------------------------------------------------------------------------------------------------


def delete(db: Connection, run_id: int, *, now: float) -> bool:
    """Hide a run everywhere. `now`: seconds since 1970. Returns whether it was there to be hidden.

    It goes by id: a name may meanwhile be that of another run, which a task that comes twice must not delete.
    Raises ValuableRun.
    """
    row = db.execute("SELECT name, valuable FROM run WHERE id = ? AND deleted_at IS NULL", (run_id,)).fetchone()
    if row is None:
        return False
    name, is_valuable = row
    if is_valuable:
        raise ValuableRun(name, advice=f"`pdk valuable {name} --off` lets it be deleted.")
    db.execute("UPDATE run SET deleted_at = ? WHERE id = ?", (now, run_id))
    return True


def undelete(db: Connection, run_id: int, *, now: float, instead: bool = False) -> bool:
    """Bring a deleted run back as it was. Returns whether it was away. `now`: seconds since 1970.

    Raises RunGone when `clean` has begun with it; when another run has its name meanwhile RunNameTaken, or, if it is to
    come back `instead` of that one, ValuableRun.
    """
    row = db.execute("SELECT name, deleted_at, clean_begun_at FROM run WHERE id = ?", (run_id,)).fetchone()
    if row is None:
        raise RunGone(advice="`pdk clean` has removed it; its logs may be in the archive.")
    name, deleted_at, clean_begun_at = row
    if deleted_at is None:
        return False
    if clean_begun_at is not None:
        raise RunGone(name, advice="`pdk clean` has begun to remove it; its logs may be in the archive.")
    if taken := db.execute("SELECT id FROM run WHERE name = ? AND deleted_at IS NULL", (name,)).fetchone():
        if not instead:
            raise RunNameTaken(name, advice="--instead deletes that one and brings the older one back.")
        delete(db, taken[0], now=now)
    db.execute("UPDATE run SET deleted_at = NULL WHERE id = ?", (run_id,))
    return True


def deleted(db: Connection, name: str | None = None) -> list[DeletedRun]:
    """The runs (of that name) that are deleted and not yet removed, the last deleted first.

    One of which every result was removed for good, part by part, has nothing that could come back.
    """
    rows = db.execute(
        """
        SELECT id, name, deleted_at, clean_begun_at FROM run
        WHERE deleted_at IS NOT NULL AND name = coalesce(?, name)
        AND (clean_begun_at IS NOT NULL OR EXISTS (SELECT 1 FROM result WHERE run_id = run.id))
        ORDER BY deleted_at DESC, id DESC
        """,
        (name,),
    )
    return [DeletedRun(*row) for row in rows]


def find_deleted(settings: Settings, db: Connection, name: str) -> DeletedRun:
    """Of the deleted runs of that name the one that was deleted last. Raises UnknownRun."""
    meant = runs.canonical_name(settings, db, name)
    found = deleted(db, meant)
    if not found:
        raise UnknownRun(f"{meant}, among those deleted", advice="`pdk undelete_run` lists what can be brought back.")
    return found[0]


def results_of(db: Connection, run_id: int) -> int:
    """How many results a run holds, deleted or not."""
    return int(db.execute("SELECT count(*) FROM result WHERE run_id = ?", (run_id,)).fetchone()[0])


# Parts of runs -----------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """The results of a run that are to be deleted: those selected that are there by now."""

    run_id: int
    where: dict[str, Any]
    newest_result: int
    """Id; what is imported while it is being deleted stays."""
    newest_import: int
    """Id; so does what takes the place of a missing result."""

    @property
    def selection(self) -> Selection:
        """Which of them."""
        return Selection.from_json(self.where)


def part(db: Connection, run: Run, where: Selection) -> Part:
    """The selected results of a run that are there now."""
    (newest_result,) = db.execute("SELECT coalesce(max(id), 0) FROM result").fetchone()
    (newest_import,) = db.execute("SELECT coalesce(max(id), 0) FROM import_file").fetchone()
    return Part(run.id, where.as_json(), newest_result, newest_import)


def count(db: Connection, run: Run, where: Selection) -> int:
    """How many results of a run are selected."""
    condition, values = where.condition()
    if not values:
        return results_of(db, run.id)
    row = db.execute(
        f"""
        SELECT count(*) FROM result
        JOIN test ON test.id = result.test_id
        JOIN environment ON environment.id = result.environment_id
        WHERE result.run_id = ? AND {condition}
        """,  # noqa: S608  (the condition holds column names and question marks)
        (run.id, *values),
    ).fetchone()
    return int(row[0])


def delete_part(db: Connection, part: Part, place: Place, time: Time, *, now: float) -> Step:
    """Remove some more of the part, inside the caller's transaction. A run of which nothing is left is deleted.

    `now`: seconds since 1970. Raises ValuableRun.
    """
    step = Step()
    run = db.execute("SELECT name, valuable FROM run WHERE id = ? AND deleted_at IS NULL", (part.run_id,)).fetchone()
    if run is None:
        return step
    name, is_valuable = run
    if is_valuable:
        raise ValuableRun(name, advice=f"`pdk valuable {name} --off` lets it be deleted.")
    at = place or {"test": 0, "removed": 0}
    test = sweep(db, part, at["test"], time, step)
    removed = at["removed"] + step.removed["results"]
    if test is not None:
        step.next = {"test": test, "removed": removed}
    elif removed and not _holds_results(db, part.run_id):
        step.removed["runs"] += delete(db, part.run_id, now=now)
    return step


def _holds_results(db: Connection, run_id: int) -> bool:
    return db.execute("SELECT 1 FROM result WHERE run_id = ? LIMIT 1", (run_id,)).fetchone() is not None


def whole(run_id: int) -> Part:
    """All the results of a run."""
    return Part(run_id, {}, _END, _END)


def sweep(db: Connection, part: Part, after: int, time: Time, step: Step) -> int | None:
    """Remove results of a part, from the tests behind `after` on, while there is time.

    A few tests in all environments at a time: the index for the history of a test is by far the largest, and so its
    pages are each written once, which halves what is written in all.
    Returns the test to go on behind; None: there are no more.
    """
    environments = _environments(db, part)
    if not environments:
        return None
    last = max(last for _, _, last in environments)
    after = max(after, min(first for _, first, _ in environments) - 1)
    tests = max(1, AT_ONCE // len(environments))
    ids = json.dumps([id_ for id_, _, _ in environments])
    while after < last:
        results = _count(db, part, ids, after, after + tests)
        if results > 2 * AT_ONCE and tests > 1:
            tests //= 2
            continue
        if results:
            step.removed["results"] += _remove(db, part, ids, after, after + tests)
        after += tests
        if results < AT_ONCE // 4:
            tests *= 2
        if not time.is_left:
            break
    return after if after < last else None


def _environments(db: Connection, part: Part) -> list[tuple[int, int, int]]:
    """The selected environments that a run has results in, and the first and the last test in each.

    A few looks an environment, whatever the number of results.
    """
    condition, values = replace(part.selection, projects=(), tests=(), statuses=()).condition()
    return db.execute(
        f"""
        WITH RECURSIVE place (id) AS (
            SELECT min(environment_id) FROM result WHERE run_id = ?1
            UNION ALL
            SELECT (SELECT min(environment_id) FROM result WHERE run_id = ?1 AND environment_id > place.id)
            FROM place WHERE place.id IS NOT NULL
        )
        SELECT
            environment.id,
            (SELECT min(test_id) FROM result WHERE run_id = ?1 AND environment_id = environment.id),
            (SELECT max(test_id) FROM result WHERE run_id = ?1 AND environment_id = environment.id)
        FROM place CROSS JOIN environment ON environment.id = place.id
        WHERE {condition}
        """,  # noqa: S608  (the condition holds column names and question marks)
        (part.run_id, *values),
    ).fetchall()


_WINDOW = """
    result.run_id = ? AND result.environment_id IN (SELECT value FROM json_each(?))
    AND result.test_id > ? AND result.test_id <= ?
"""
"""SQL: the results of some tests in some environments of a run, selected or not."""


def _count(db: Connection, part: Part, environments: str, after: int, last: int) -> int:
    values = (part.run_id, environments, after, last)
    return int(db.execute(f"SELECT count(*) FROM result WHERE {_WINDOW}", values).fetchone()[0])  # noqa: S608


def _remove(db: Connection, part: Part, environments: str, after: int, last: int) -> int:
    """Remove what is selected in a window, and the log blocks that held only its logs. Returns how many results."""
    where = replace(part.selection, hosts=(), contexts=(), customs=())
    values: list[Any]
    condition, values = where.condition()
    names = "JOIN test ON test.id = result.test_id" if where.projects or where.tests else ""
    if part.newest_result < _END:
        condition += " AND result.id <= ? AND coalesce(result.import_id, 0) <= ?"
        values = [*values, part.newest_result, part.newest_import]
    removed = db.execute(
        f"""
        DELETE FROM result WHERE id IN (SELECT result.id FROM result {names} WHERE {_WINDOW} AND {condition})
        RETURNING log_block_id
        """,  # noqa: S608  (the condition holds column names and question marks)
        (part.run_id, environments, after, last, *values),
    ).fetchall()
    blocks = {block for (block,) in removed if block is not None}
    if blocks:
        db.execute(
            """
            DELETE FROM log_block WHERE id IN (SELECT value FROM json_each(?))
            AND NOT EXISTS (SELECT 1 FROM result WHERE result.log_block_id = log_block.id)
            """,
            (json.dumps(sorted(blocks)),),
        )
    return len(removed)
