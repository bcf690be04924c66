"""Looking back through the runs of the same kind: since when, how often, and what was last reported.

A *cell* is a test in an environment, as one number: sets of a million of them are quick to subtract.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pdk_pipeline.database import Connection
    from pdk_pipeline.runs import Run

Cell = int
"""A test in an environment: `environment_id << 32 | test_id`."""

CELL = "(environment_id << 32 | test_id)"
TEST_BITS = 0xFFFFFFFF

MOST_RUNS = 100
"""So many runs are looked back; what began earlier is told as "or before"."""

MOST_WORK = 3_000_000
"""… and so many rows, so that thousands of tests that fail for months cannot make a report slow."""


class Streak(NamedTuple):
    """How long something has been so."""

    since: str
    """Name of the run that it began in."""
    nights: int
    """In how many runs it was so, the newest included."""
    is_longer: bool
    """At least: where it began is not known."""


def last_reports(db: Connection, cells: Collection[Cell], past: Sequence[Run]) -> dict[Cell, str]:
    """The newest status other than M that each cell has in the runs `past`; cells that have none are left out."""
    last: dict[Cell, str] = {}
    pending = _seen(db, cells, past)
    for run in past:
        if not pending:
            break
        found = _reports(db, pending, run)
        last |= found
        pending -= found.keys()
    return last


def _seen(db: Connection, cells: Collection[Cell], past: Sequence[Run]) -> set[Cell]:
    """The cells that any of the runs has: a new test need not be looked for in each of them."""
    if not cells or not past:
        return set()
    ids = ", ".join(str(run.id) for run in past)
    # The + keeps SQLite from seeking in each run: there are few rows of a test in an environment, or none.
    rows = db.execute(
        f"""
        SELECT value FROM json_each(?)
        WHERE EXISTS (
            SELECT 1 FROM result
            WHERE test_id = (value & {TEST_BITS}) AND environment_id = (value >> 32) AND +run_id IN ({ids})
        )
        """,  # noqa: S608  (numbers)
        (json.dumps(list(cells)),),
    )
    return {cell for (cell,) in rows}


def _reports(db: Connection, cells: Collection[Cell], run: Run) -> dict[Cell, str]:
    """The statuses that a run has of the cells, M left out."""
    rows = db.execute(
        f"""
        SELECT value, status
        FROM json_each(?) CROSS JOIN result
        WHERE run_id = ? AND environment_id = (value >> 32) AND test_id = (value & {TEST_BITS}) AND status <> 'M'
        """,  # noqa: S608  (a number)
        (json.dumps(list(cells)), run.id),
    )
    return dict(rows.fetchall())


def expected_before(db: Connection, cells: Collection[Cell], run: Run) -> set[Cell]:
    """The cells that were expected, in whatever class, before `run` itself taught them."""
    if not cells:
        return set()
    rows = db.execute(
        f"""
        SELECT value FROM json_each(?)
        WHERE EXISTS (
            SELECT 1 FROM expectation
            WHERE class IN (SELECT DISTINCT class FROM expectation)
            AND environment_id = (value >> 32)
            AND test_id = (value & {TEST_BITS})
            AND learned_from IS NOT ?
        )
        """,  # noqa: S608  (a number)
        (json.dumps(list(cells)), run.name),
    )
    return {value for (value,) in rows}


# Streaks -----------------------------------------------------------------------------------------------------


class _Walk:
    """A walk back through the runs, until every streak is broken or enough has been read."""

    def __init__(self, things: Iterable[int], run: Run, past: Sequence[Run]) -> None:
        self.past = past
        self.since = dict.fromkeys(things, run.name)
        self.nights = dict.fromkeys(self.since, 1)
        self.open = set(self.since)
        self.work = 0
        """Rows that were read."""

    def back(self) -> Iterator[Run]:
        for run in self.past:
            if not self.open or self.work > MOST_WORK:
                return
            yield run

    def found(self, things: set[int], run: Run) -> None:
        """They were so in this run too."""
        for thing in things & self.open:
            self.since[thing] = run.name
            self.nights[thing] += 1

    def streaks(self) -> dict[int, Streak]:
        was_cut = self.work > MOST_WORK or len(self.past) >= MOST_RUNS
        oldest = self.past[-1].name if self.past else None
        return {
            thing: Streak(since, self.nights[thing], thing in self.open and (was_cut or since == oldest))
            for thing, since in self.since.items()
        }


def streaks(
    db: Connection, cells: Iterable[Cell], statuses: Collection[str], run: Run, past: Sequence[Run]
) -> dict[Cell, Streak]:
    """Since when each cell, whose status in `run` is one of `statuses`, has had one of them; two statements a run.

    A run in which it was absent or missing tells nothing of a test and is passed over.
    """
    walk = _Walk(cells, run, past)
    wanted = ", ".join(f"'{status}'" for status in sorted(statuses))
    for before in walk.back():
        same = {
            cell
            for (cell,) in db.execute(
                f"SELECT {CELL} FROM result WHERE run_id = ? AND status IN ({wanted}) AND status <> 'P'",  # noqa: S608
                (before.id,),
            )
        }
        walk.work += len(same) + len(walk.open)
        walk.found(same, before)
        walk.open -= _reports(db, walk.open - same, before).keys()
    return walk.streaks()


Place = tuple[str, Collection[int]]
"""A project, and the ids of the environments in which all of it is silent."""


def silences(db: Connection, places: Sequence[Place], run: Run, past: Sequence[Run]) -> list[Streak]:
    """Since when nothing has arrived from each place, which is silent in `run`; a statement a run, as a rule.

    A run in which nothing of it was expected either tells nothing and is passed over.
    """
    walk = _Walk(range(len(places)), run, past)
    for before in walk.back():
        environments = {environment for number in walk.open for environment in places[number][1]}
        held = _held(db, environments, before)
        walk.work += sum(rows for rows, _ in held.values()) // 10  # counted in an index, not read
        for number in list(walk.open):
            project, own = places[number]
            reported = {environment for environment in own if held[environment][0] > held[environment][1]}
            if reported and _holds(db, project, reported, before, "status <> 'M'"):
                walk.open.discard(number)
            elif _holds(db, project, own, before, "status = 'M'"):
                walk.found({number}, before)
    return list(walk.streaks().values())


def _held(db: Connection, environments: Collection[int], run: Run) -> dict[int, tuple[int, int]]:
    """How many results each environment has in a run, and how many of them are M."""
    rows = db.execute(
        """
        SELECT
            value,
            (SELECT count(*) FROM result WHERE run_id = :run AND environment_id = value),
            (SELECT count(*) FROM result WHERE run_id = :run AND environment_id = value
                AND status = 'M' AND status <> 'P')
        FROM json_each(:environments)
        """,
        {"run": run.id, "environments": json.dumps(list(environments))},
    )
    return {environment: (results, missing) for environment, results, missing in rows}


def _holds(db: Connection, project: str, environments: Collection[int], run: Run, condition: str) -> bool:
    """Whether a run has such results of a project in one of the environments."""
    row = db.execute(
        f"""
        SELECT 1
        FROM json_each(?) CROSS JOIN result JOIN test ON test.id = test_id
        WHERE run_id = ? AND environment_id = value AND {condition} AND project = ?
        LIMIT 1
        """,  # noqa: S608  (the condition is ours)
        (json.dumps(list(environments)), run.id, project),
    ).fetchone()
    return row is not None
