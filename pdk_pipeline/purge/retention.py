"""What the settings say is old goes: runs, the logs of passing results, files of the archive.

`plan` says what would go and by which rule; `step` has it go, in short steps. A run is deleted here, which hides it;
its rows and their space go with the next `clean`. Valuable runs stay as they are, logs included, and so does whatever
lies in the quarantine: only a person takes that away.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from pdk_pipeline import database
from pdk_pipeline.intake import archive
from pdk_pipeline.purge import deletion, trim
from pdk_pipeline.purge.steps import Place, Step, Time
from pdk_pipeline.runs import NIGHT
from pdk_pipeline.selection import glob, is_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from datetime import date
    from pathlib import Path

    from pdk_pipeline.config import Settings
    from pdk_pipeline.database import Connection
    from pdk_pipeline.keep import Keep

SAMPLE = 500
"""So many results of a run are looked at to say how large the others are."""

ROW_BYTES = 75
"""What a result takes beside its texts, with its entries in five indexes."""

GB = 1_000_000_000


class Going(NamedTuple):
    """Something that goes."""

    what: str
    """run, passing logs, archive"""
    name: str
    """Of the run; the day of the archive."""
    results: int
    """Of an archive: the logs."""
    bytes: int
    """About."""
    rule: str


class _Run(NamedTuple):
    id: int
    name: str
    is_valuable: bool
    night: float
    """When it was (`runs.NIGHT`); seconds since 1970."""
    age: int
    """How many runs under the same rule are newer."""
    rule: str
    keep: Keep | None

    def goes(self, today: date) -> str:
        """The rule by which the run goes; empty when it stays."""
        if self.keep is None or self.is_valuable or not self.keep.deletes_runs:
            return ""
        days, last = self.keep.days, self.keep.last
        if (days is not None and self.night >= _midnight(today, days)) or (last is not None and self.age < last):
            return ""
        return f"{self.rule}: " + ", ".join(
            f"{name} = {value}" for name, value in (("days", days), ("last", last)) if value is not None
        )

    def loses_logs(self, today: date) -> str:
        """The rule by which the logs of the run's passing results go; empty when they stay."""
        days = self.keep.passing_logs_days if self.keep else None
        if days is None or self.is_valuable or self.night >= _midnight(today, days):
            return ""
        return f"{self.rule}: passing_logs_days = {days}"


def _midnight(today: date, days_ago: int) -> float:
    # The date in a run's name is taken as UTC too: only whole days count.
    return datetime.combine(today - timedelta(days=days_ago), time(), tzinfo=UTC).timestamp()


def _runs(settings: Settings, db: Connection) -> list[_Run]:
    """Every run under the rule that counts for it, the oldest first."""
    found: dict[int, _Run] = {}
    rules: list[tuple[str, str, Keep | None]] = [
        (f"keep.{name}", glob(name) if is_pattern(name) else f"{glob(name)}_*", keep)
        for name, keep in settings.keep.items()
    ]
    for rule, pattern, keep in [*rules, ("", "*", None)]:
        rows = db.execute(
            f"""
            SELECT id, name, valuable, {NIGHT} AS night FROM run
            WHERE deleted_at IS NULL AND name GLOB ? ORDER BY night DESC, id DESC
            """,  # noqa: S608  (our own)
            (pattern,),
        ).fetchall()
        under_it = [row for row in rows if row[0] not in found]
        for age, (id_, name, valuable, night) in enumerate(under_it):
            found[id_] = _Run(id_, name, bool(valuable), night, age, rule, keep)
    return sorted(found.values(), key=lambda run: (run.night, run.id))


# What would go -----------------------------------------------------------------------------------------------


def plan(settings: Settings, db: Connection, *, now: float) -> list[Going]:
    """What goes now, in the order in which it goes. `now`: seconds since 1970. Looks, changes nothing."""
    today = datetime.fromtimestamp(now, tz=settings.zone).date()
    there = _runs(settings, db)
    sizes: dict[int, int] = {}
    going = {run.id: run.goes(today) for run in there if run.goes(today)}
    for run in filter(None, _beyond_limit(settings, db, there, list(going), sizes)):
        going[run.id] = f"size_limit_gb = {settings.size_limit_gb:g}"
    found = [
        Going("run", run.name, deletion.results_of(db, run.id), _size(db, run.id, sizes), going[run.id])
        for run in there
        if run.id in going
    ]
    found += [
        _logs_going(db, run, today)
        for run in there
        if run.id not in going and run.loses_logs(today) and trim.is_needed(db, run.id)
    ]
    for day, directory in _old_archives(settings, today):
        files = archive.files_of(directory)
        size = sum(path.lstat().st_size for path in files)
        found.append(Going("archive", f"{day}", len(files), size, f"keep_archive_days = {settings.keep_archive_days}"))
    return found


def _logs_going(db: Connection, run: _Run, today: date) -> Going:
    (block_bytes,) = db.execute(
        "SELECT coalesce(sum(length(data)), 0) FROM log_block JOIN run ON run.id = log_block.run_id "
        "WHERE run.id = ? AND log_block.id > run.trimmed_to",
        (run.id,),
    ).fetchone()
    results = deletion.results_of(db, run.id)
    # What did not pass has an index of its own; logs are taken to be all alike.
    (others,) = db.execute("SELECT count(*) FROM result WHERE run_id = ? AND status <> 'P'", (run.id,)).fetchone()
    passing = results - others
    return Going("passing logs", run.name, passing, block_bytes * passing // max(results, 1), run.loses_logs(today))


def _size(db: Connection, run_id: int, known: dict[int, int]) -> int:
    """About how many bytes of the database a run takes."""
    if run_id not in known:
        (logs,) = db.execute(
            "SELECT coalesce(sum(length(data)), 0) FROM log_block WHERE run_id = ?", (run_id,)
        ).fetchone()
        (texts,) = db.execute(
            """
            SELECT coalesce(avg(
                coalesce(length(test_runner), 0) + coalesce(length(location), 0)
                + coalesce(length(tda), 0) + coalesce(length(tra), 0)
            ), 0) FROM (SELECT * FROM result WHERE run_id = ? LIMIT ?)
            """,
            (run_id, SAMPLE),
        ).fetchone()
        known[run_id] = logs + int(deletion.results_of(db, run_id) * (ROW_BYTES + texts))
    return known[run_id]


def _beyond_limit(
    settings: Settings, db: Connection, there: list[_Run], going: Collection[int], sizes: dict[int, int]
) -> Iterator[_Run | None]:
    """The runs, the oldest first, that must go for the database to stay within its limit.

    `going`: ids of those that go anyway; deleted ones are as good as gone too. The newest of all always stays.
    `sizes`: those that are known; what is found is added. Yields None after each look at a run's size, which takes
    some time: whoever goes on later need not do it again.
    """
    excess = _excess(settings, db)
    if excess <= 0:
        return
    for run_id in [*going, *(run.id for run in deletion.deleted(db))]:
        if run_id not in sizes:
            _size(db, run_id, sizes)
            yield None
        excess -= sizes[run_id]
    for run in there[:-1]:
        if excess <= 0:
            return
        if run.id not in going and not run.is_valuable:
            excess -= _size(db, run.id, sizes)
            yield run
            yield None


def _excess(settings: Settings, db: Connection) -> float:
    """How many bytes the database holds beyond its limit."""
    if settings.size_limit_gb is None:
        return 0
    (pages,), (free,), (page_bytes,) = (
        db.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count", "page_size")
    )
    return float((pages - free) * page_bytes - settings.size_limit_gb * GB)


def _old_archives(settings: Settings, today: date) -> list[tuple[date, Path]]:
    if settings.keep_archive_days is None:
        return []
    oldest = today - timedelta(days=settings.keep_archive_days)
    return [(day, directory) for day, directory in archive.days(settings) if day < oldest]


# Have it go --------------------------------------------------------------------------------------------------


def step(settings: Settings, place: Place = None, *, now: float) -> Step:
    """Have what is old go, for a moment, from `place` on (what the step before gave as `next`).

    `now`: seconds since 1970.
    """
    done = Step()
    names = list(PHASES)
    phase, where = (place["phase"], place["where"]) if place and place["phase"] in PHASES else (names[0], None)
    with database.opened(settings) as db:
        today = datetime.fromtimestamp(now, tz=settings.zone).date()
        work = Work(settings, db, done, Time(place), now, today)
        for name in names[names.index(phase) :]:
            where = PHASES[name](work, where if name == phase else None)
            if where is not None:
                done.next = {"phase": name, "where": where, "seconds": work.time.for_next()}
                break
    return done


class Work(NamedTuple):
    """What a phase works with."""

    settings: Settings
    db: Connection
    step: Step
    time: Time
    now: float
    today: date

    def delete(self, run: _Run) -> None:
        """Delete a run."""
        if deletion.delete(self.db, run.id, now=self.now):
            self.step.runs.append(run.name)
            self.step.removed["runs"] += 1


def _old_runs(work: Work, _where: Any) -> Any:
    with database.transaction(work.db):
        for run in _runs(work.settings, work.db):
            if run.goes(work.today):
                work.delete(run)


def _runs_beyond_limit(work: Work, where: Any) -> Any:
    sizes = {int(run_id): size for run_id, size in (where or {}).items()}
    with database.transaction(work.db):
        there = _runs(work.settings, work.db)
        for run in _beyond_limit(work.settings, work.db, there, (), sizes):
            if run:
                work.delete(run)
            elif not work.time.is_left:
                return {str(run_id): size for run_id, size in sizes.items()}
        excess = _excess(work.settings, work.db)
        left = excess - sum(_size(work.db, run.id, sizes) for run in deletion.deleted(work.db)) if excess > 0 else 0
    if left > 0:
        work.step.notes.append(
            f"the database stays {left / GB:.1f} GB above its limit: what is left is valuable or new"
        )
    return None


def _passing_logs(work: Work, _where: Any) -> Any:
    with database.transaction(work.db):
        for run in _runs(work.settings, work.db):
            if run.loses_logs(work.today) and not trim.trim(work.db, run.id, work.step, work.time):
                return True
    return None


def _archive(work: Work, _where: Any) -> Any:
    for _, directory in _old_archives(work.settings, work.today):
        for path in archive.files_of(directory):
            with contextlib.suppress(FileNotFoundError):
                work.step.removed["bytes"] += path.lstat().st_size
                path.unlink()
                work.step.removed["archived logs"] += 1
            if not work.time.is_left:
                return True
        archive.remove_day(directory)
    return None


PHASES: dict[str, Callable[[Work, Any], Any]] = {
    "runs": _old_runs,
    "size limit": _runs_beyond_limit,
    "passing logs": _passing_logs,
    "archive": _archive,
}
"""In their order. Each returns where it goes on; None: it is over."""
