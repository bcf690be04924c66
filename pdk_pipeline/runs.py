"""Test runs: their names, the list of them, and what one holds in numbers."""

from __future__ import annotations

import difflib
import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from pdk_pipeline.errors import UnknownRun
from pdk_pipeline.selection import glob, is_pattern, matches

if TYPE_CHECKING:
    from pdk_pipeline.config import Settings
    from pdk_pipeline.database import Connection

TODAY = ("latest", "today")
"""`daily_latest` is "converted to today's date" (the manual), never quietly the last night that did arrive."""

RELATIVE = (*TODAY, "yesterday")
"""What the name of a run ends with, behind a prefix that recurs, when it means another one every day."""


class Run(NamedTuple):
    """One test run."""

    id: int
    name: str
    is_valuable: bool
    note: str
    created_at: float
    """Its first import; seconds since 1970, UTC."""


class Count(NamedTuple):
    """How many results of a run have one status in one place."""

    project: str
    host: str
    context: str
    custom: str
    status: str
    results: int


class Import(NamedTuple):
    """One log that brought results of a run."""

    file: str
    sender: str
    imported_at: float
    results: int


_DATED = re.compile(r"(.+_)[0-9]{4}-[0-9]{2}-[0-9]{2}", re.DOTALL)
_DATE_GLOB = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"

NIGHT = f"""
    coalesce(
        CASE WHEN run.name GLOB '*_{_DATE_GLOB}' THEN strftime('%s', substr(run.name, -10)) + 0.0 END,
        run.created_at
    )
"""
"""SQL: when a run was, in seconds since 1970. The date in its name, since an old night may be imported late."""

_RUN = "SELECT id, name, valuable, note, created_at FROM run WHERE deleted_at IS NULL"


def canonical_name(settings: Settings, db: Connection, name: str) -> str:
    """The name of the run that `name` means: `daily_latest`, `daily_today` and `daily_yesterday` are translated.

    For every prefix in the setting `recurring`, in the site's time zone.
    """
    if not is_relative(settings, name):
        return name
    prefix, _, when = name.rpartition("_")
    today = _of_today(settings, prefix)
    return today if when in TODAY else predecessor(db, today) or name


def of_today(settings: Settings, name: str) -> str:
    """The name of today's run for `daily_latest` and `daily_today`; any other is itself."""
    prefix, _, when = name.rpartition("_")
    return _of_today(settings, prefix) if when in TODAY and is_relative(settings, name) else name


def _of_today(settings: Settings, prefix: str) -> str:
    return f"{prefix}_{datetime.now(tz=settings.zone):%Y-%m-%d}"


def is_relative(settings: Settings, name: str) -> bool:
    """Whether a name means another run every day."""
    prefix, _, when = name.rpartition("_")
    return prefix in settings.recurring and when in RELATIVE


def predecessor(db: Connection, name: str) -> str | None:
    """The newest run before `name` of the same kind: exactly its prefix and a date, whatever the gap.

    `name` itself need not exist. None when there is none, and for a name without a date, which has no order.
    """
    dated = _DATED.fullmatch(name)
    if not dated:
        return None
    # Between the prefix and the name lie only names with that prefix, and dates are in order as text is.
    row = db.execute(
        """
        SELECT max(name) FROM run
        WHERE deleted_at IS NULL AND name >= :prefix AND name < :name AND substr(name, length(:prefix) + 1) GLOB :date
        """,
        {"prefix": dated[1], "name": name, "date": _DATE_GLOB},
    ).fetchone()
    return str(row[0]) if row[0] else None


def earlier(db: Connection, name: str, most: int) -> list[Run]:
    """The newest `most` runs of the same kind before `name` (see `predecessor`), the newest first."""
    names: list[str] = []
    before = predecessor(db, name)
    while before is not None and len(names) < most:
        names.append(before)
        before = predecessor(db, before)
    among = "name IN (SELECT value FROM json_each(?))"
    return _runs(db, f"{_RUN} AND {among} ORDER BY name DESC", json.dumps(names))


def is_before(run: Run, other: Run) -> bool:
    """Whether `run` was before `other`: by the dates in their names, or by their first imports where neither has one.

    Of runs of two kinds on one day, and where only one has a date, nobody knows better, and it counts as before.
    """
    if run == other:
        return False
    dates = [one.name[-10:] for one in (run, other) if _DATED.fullmatch(one.name)]
    if len(dates) == 2:
        return dates[0] <= dates[1]
    return bool(dates) or run.created_at <= other.created_at


def find(settings: Settings, db: Connection, name: str) -> Run:
    """The run of that name. Raises UnknownRun."""
    meant = canonical_name(settings, db, name)
    found = _runs(db, f"{_RUN} AND name = ?", meant)
    if found:
        return found[0]
    told = meant if meant == name else f"{name}, which is {meant}"
    names = [row[0] for row in db.execute("SELECT name FROM run WHERE deleted_at IS NULL")]
    near = difflib.get_close_matches(meant, names, n=1)
    raise UnknownRun(told, advice=f"Did you mean {near[0]}?" if near else "`pdk runs` lists what there is.")


def make(settings: Settings, db: Connection, name: str, *, now: float) -> Run:
    """The run of that name, begun if there is none. `now`: seconds since 1970.

    Raises UnknownRun when `name` is `daily_yesterday` and there is no run before today's to be meant by it.
    """
    meant = canonical_name(settings, db, name)
    if not meant or is_relative(settings, meant):
        raise UnknownRun(name, advice="`pdk runs` lists what there is.")
    db.execute("INSERT INTO run (name, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING", (meant, now))
    return find(settings, db, meant)


def set_valuable(db: Connection, run: Run, *, is_valuable: bool) -> None:
    """Protect a run from being deleted, or no longer."""
    db.execute("UPDATE run SET valuable = ? WHERE id = ?", (int(is_valuable), run.id))


def set_note(db: Connection, run: Run, note: str) -> None:
    """Put a note to a run in place of the one it has; an empty one takes that away."""
    db.execute("UPDATE run SET note = ? WHERE id = ?", (note.strip(), run.id))


def matching(settings: Settings, db: Connection, pattern: str = "*") -> list[Run]:
    """The runs whose name matches, the oldest first."""
    pattern = canonical_name(settings, db, pattern)
    value = glob(pattern) if is_pattern(pattern) else pattern
    return _runs(db, f"{_RUN} AND {matches('name', pattern)} ORDER BY {NIGHT}, id", value)


def _runs(db: Connection, sql: str, value: str) -> list[Run]:
    return [Run(id_, name, bool(valuable), note, at) for id_, name, valuable, note, at in db.execute(sql, (value,))]


def statuses(db: Connection, run: Run) -> dict[str, int]:
    """How many results of a run have which status."""
    # What did not pass has a small index of its own, so the large one is only counted.
    problems = dict(
        db.execute(
            "SELECT status, count(*) FROM result WHERE run_id = ? AND status <> 'P' GROUP BY status", (run.id,)
        ).fetchall()
    )
    (total,) = db.execute("SELECT count(*) FROM result WHERE run_id = ?", (run.id,)).fetchone()
    passed = total - sum(problems.values())
    return ({"P": passed} if passed else {}) | problems


def counts(db: Connection, run: Run) -> list[Count]:
    """The results of a run by project, host, context, custom and status."""
    # As in `statuses`: all of them counted in the large index, only those read that did not pass.
    totals = db.execute(
        """
        SELECT test.project, result.environment_id, count(*)
        FROM result JOIN test ON test.id = result.test_id
        WHERE result.run_id = ?
        GROUP BY test.project, result.environment_id
        """,
        (run.id,),
    )
    passed = {(project, environment): results for project, environment, results in totals}
    problems = db.execute(
        """
        SELECT test.project, result.environment_id, result.status, count(*)
        FROM result JOIN test ON test.id = result.test_id
        WHERE result.run_id = ? AND result.status <> 'P'
        GROUP BY test.project, result.environment_id, result.status
        """,
        (run.id,),
    ).fetchall()
    for project, environment, _, results in problems:
        passed[project, environment] -= results
    held = [(project, environment, "P", results) for (project, environment), results in passed.items() if results]
    names = db.execute("SELECT id, host, context, custom FROM environment")
    places: dict[int, tuple[str, str, str]] = {id_: (host, context, custom) for id_, host, context, custom in names}
    return sorted(
        Count(project, *places[environment], status, results)
        for project, environment, status, results in [*held, *problems]
    )


def imports(db: Connection, run: Run) -> list[Import]:
    """The logs that the run's results came from, in the order of their import."""
    rows = db.execute(
        """
        SELECT import_file.name, import_file.sender, import_file.imported_at, count(*)
        FROM result JOIN import_file ON import_file.id = result.import_id
        WHERE result.run_id = ?
        GROUP BY import_file.id
        """,
        (run.id,),
    )
    return [Import(*row) for row in rows]
