"""Two runs → what changed, with names: objects only for what is told."""

from __future__ import annotations

import functools
import json
from array import array
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from pdk_pipeline import runs
from pdk_pipeline.comparison import awaited, causes, differences, history
from pdk_pipeline.comparison.changes import FAILING, Category, Change, Comparison, Environment, Members, Night
from pdk_pipeline.comparison.history import TEST_BITS, Streak
from pdk_pipeline.comparison.places import TOLD_AT_ONCE, Tally, whole_places
from pdk_pipeline.results import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pdk_pipeline.comparison.differences import Differences
    from pdk_pipeline.comparison.history import Cell
    from pdk_pipeline.comparison.places import WholePlace
    from pdk_pipeline.database import Connection
    from pdk_pipeline.runs import Count, Run

MOST_NIGHTS = 14
"""So many runs are shown beside one another."""


def previous(db: Connection, run: Run) -> Run | None:
    """The run that `run` is compared with when nobody says another: the newest earlier one of the same kind."""
    return next(iter(runs.earlier(db, run.name, 1)), None)


def compare(db: Connection, run: Run, against: Run | None, *, with_passed: bool = False) -> Comparison:
    """What changed in `run` since `against` (see `Category` for what is what).

    A few set operations, whatever the number of results; only what changed or is bad becomes an object.
    `with_passed`: the nights tell what passed in them too, for which all of their results are gone through.
    """
    found = differences.find(db, run, against)
    names = _names(db, found)
    counts = runs.counts(db, run)
    places = list(whole_places(_tallies(found, names, counts)))
    singles = _without(found.cells, places)
    changes = [*_of_places(db, found, names, places), *_of_cells(db, found, names, singles)]
    changes += awaited.silent(db, run, against, counts, changes)
    changes = _with_logs_in_quarantine(db, run, changes)
    if against and not runs.is_before(against, run):
        # What was looked back through is the other's past, not this one's.
        changes = [replace(change, since=None, nights=0, is_longer=False) for change in changes]
    changes.sort(key=_order)
    ran_in = _environments(db, run, names, singles, places)
    return Comparison(run, against, tuple(changes), tuple(counts), _nights(db, run, with_passed=with_passed), ran_in)


_CATEGORIES = list(Category)


def _order(change: Change) -> tuple[object, ...]:
    place = (change.host, change.context or "", change.custom or "")
    return change.project, _CATEGORIES.index(change.category), change.test or "", place


# Names and places --------------------------------------------------------------------------------------------


class _Names(NamedTuple):
    tests: dict[int, tuple[str, str]]
    """Project and name of each test that is told, by id."""
    environments: dict[int, Environment]

    def of(self, cell: Cell) -> tuple[str, Environment]:
        """The place that a cell belongs to."""
        return self.tests[cell & TEST_BITS][0], self.environments[cell >> 32]


def _names(db: Connection, found: Differences) -> _Names:
    told = {cell & TEST_BITS for cells in found.cells.values() for cell in cells}
    tests = db.execute(
        "SELECT id, project, name FROM test WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(list(told)),)
    )
    environments = db.execute("SELECT id, host, context, custom FROM environment")
    return _Names(
        {id_: (project, name) for id_, project, name in tests},
        {id_: Environment(*place) for id_, *place in environments},
    )


def _tallies(found: Differences, names: _Names, counts: Iterable[Count]) -> dict[tuple[str, Environment], Tally]:
    """What every place has, from the counts of the run and the differences to the one before."""
    tallies: defaultdict[tuple[str, Environment], Tally] = defaultdict(Tally)
    for count in counts:
        tallies[count.project, Environment(count.host, count.context, count.custom)].results += count.results
    for category in TOLD_AT_ONCE:
        for cell in found.cells[category]:
            tallies[names.of(cell)].cells[category].append(cell)
    appeared, vanished, unarrived, missing_before, known = (
        Counter(map(names.of, cells))
        for cells in (
            found.appeared,
            found.vanished,
            found.now.unarrived,
            found.before.missing,
            found.last.keys() | found.expected,
        )
    )
    for place, tally in tallies.items():
        tally.arrived = tally.results - unarrived[place]
        tally.results_before = tally.results - appeared[place] + vanished[place] if found.against else 0
        tally.reported_before = tally.results_before - missing_before[place]
        tally.was_seen = bool(tally.results_before or known[place])
    return tallies


def _without(cells: Mapping[Category, Sequence[Cell]], places: Iterable[WholePlace]) -> dict[Category, list[Cell]]:
    """The cells that are told one by one."""
    at_once = {cell for place in places for cell in place.cells}
    return {category: [cell for cell in of_it if cell not in at_once] for category, of_it in cells.items()}


# Changes -----------------------------------------------------------------------------------------------------


_NO_STREAK = None, 0, False


def _of_places(db: Connection, found: Differences, names: _Names, places: Sequence[WholePlace]) -> Iterator[Change]:
    began = _silences(db, found, places)
    for number, place in enumerate(places):
        since, nights, is_longer = began.get(number, _NO_STREAK)
        cells = sorted(place.cells, key=lambda cell: names.tests[cell & TEST_BITS][1])
        yield Change(
            place.category,
            place.project,
            place.host,
            place.context,
            place.custom,
            test=None,
            before=Status.MISSING.value if place.was_silent else None,
            last=None,
            now=Status.MISSING.value if any(cell in found.now.unarrived for cell in cells) else None,
            since=since,
            nights=nights,
            is_longer=is_longer,
            members=Members(
                [names.tests[cell & TEST_BITS][1] for cell in cells],
                array("q", [found.now.ids.get(cell, 0) for cell in cells]),
            ),
        )


def _silences(db: Connection, found: Differences, places: Sequence[WholePlace]) -> dict[int, Streak]:
    """Since when each silent place is so, by its number."""
    silent = [number for number, place in enumerate(places) if place.category is Category.SILENT]
    since = dict.fromkeys(silent, Streak(found.run.name, 1, is_longer=False))
    longer = [number for number in silent if not places[number].reported or not found.is_with_newest]
    asked = [(places[number].project, {cell >> 32 for cell in places[number].cells}) for number in longer]
    since.update(zip(longer, history.silences(db, asked, found.run, found.past), strict=True))
    return since


def _of_cells(
    db: Connection, found: Differences, names: _Names, singles: Mapping[Category, Sequence[Cell]]
) -> Iterator[Change]:
    began = _streaks(db, found, singles)
    errors = _errors(found, names) if singles.get(Category.MISSING) else {}
    for category, cells in singles.items():
        for cell in cells:
            project, test = names.tests[cell & TEST_BITS]
            environment = names.environments[cell >> 32]
            now, before, last = found.statuses(cell)
            since, nights, is_longer = began.get(cell, _NO_STREAK)
            cause = None
            if category is Category.MISSING and (project, environment) in errors:
                cause = causes.collection_error(test, errors[project, environment])
            members = Members((test,), (found.now.ids.get(cell, 0),))
            yield Change(
                category, project, *environment, test, before, last, now, since, nights, is_longer, cause, members
            )


def _streaks(db: Connection, found: Differences, singles: Mapping[Category, Sequence[Cell]]) -> dict[Cell, Streak]:
    """Since when each test that fails or is missing does so."""
    new, missing = singles.get(Category.NEWLY_FAILING, ()), singles.get(Category.MISSING, ())
    since = dict.fromkeys([*new, *missing], Streak(found.run.name, 1, is_longer=False))
    failing = [*singles.get(Category.STILL_FAILING, ()), *(() if found.is_with_newest else new)]
    since.update(history.streaks(db, failing, FAILING, found.run, found.past))
    if found.is_with_newest:
        missing = [cell for cell in missing if found.statuses(cell)[1] in {None, Status.MISSING}]
    since.update(history.streaks(db, missing, {Status.MISSING}, found.run, found.past))
    return since


def _errors(found: Differences, names: _Names) -> dict[tuple[str, Environment], set[str]]:
    """The tests that ended with an error, by place."""
    errors: defaultdict[tuple[str, Environment], set[str]] = defaultdict(set)
    for category in (Category.NEWLY_FAILING, Category.STILL_FAILING):
        for cell in found.cells[category]:
            if found.now.statuses[cell] == Status.ERROR:
                errors[names.of(cell)].add(names.tests[cell & TEST_BITS][1])
    return errors


def _with_logs_in_quarantine(db: Connection, run: Run, changes: list[Change]) -> list[Change]:
    """The changes, with the cause given where a log of the host is in the quarantine."""
    unexplained = {
        change.host
        for change in changes
        if change.category in {Category.SILENT, Category.MISSING} and change.cause is None
    }
    logs = causes.quarantined_logs(db, run, unexplained) if unexplained else {}
    return [
        replace(change, cause=logs[change.host])
        if change.category in {Category.SILENT, Category.MISSING} and change.cause is None and change.host in logs
        else change
        for change in changes
    ]


# Around them -------------------------------------------------------------------------------------------------


def _nights(db: Connection, run: Run, *, with_passed: bool) -> tuple[Night, ...]:
    """The newest runs of the kind up to this one, the oldest first."""
    shown = [*reversed(runs.earlier(db, run.name, MOST_NIGHTS - 1)), run]
    ids = json.dumps([night.id for night in shown])
    rows = db.execute(
        """
        SELECT run_id, project, status, count(*)
        FROM result JOIN test ON test.id = test_id
        WHERE run_id IN (SELECT value FROM json_each(?)) AND status <> 'P'
        GROUP BY run_id, project, status
        """,
        (ids,),
    )
    held: defaultdict[int, defaultdict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for run_id, project, status, results in rows:
        held[run_id][project][status] = results
    if with_passed:
        totals = db.execute(
            """
            SELECT run_id, project, count(*) FROM result JOIN test ON test.id = test_id
            WHERE run_id IN (SELECT value FROM json_each(?))
            GROUP BY run_id, project
            """,
            (ids,),
        )
        for run_id, project, results in totals:
            others = held[run_id][project]
            passed = results - sum(others.values())
            held[run_id][project] = ({"P": passed} if passed else {}) | others
    return tuple(Night(night.name, dict(held[night.id])) for night in shown)


def _environments(
    db: Connection,
    run: Run,
    names: _Names,
    singles: Mapping[Category, Sequence[Cell]],
    places: Iterable[WholePlace],
) -> dict[tuple[str, str], tuple[Environment, ...]]:
    """Where the tests ran that have the same change in several environments; silent places are left out."""
    several: set[int] = set()
    for cells in singles.values():
        several.update(test for test, number in Counter(cell & TEST_BITS for cell in cells).items() if number > 1)
    if not several:
        return {}
    silent = {
        (place.project, cell >> 32) for place in places if place.category is Category.SILENT for cell in place.cells
    }
    # The + keeps SQLite from going through the whole history of each test.
    rows = db.execute(
        """
        SELECT test_id, json_group_array(environment_id)
        FROM result
        WHERE run_id = ? AND +test_id IN (SELECT value FROM json_each(?))
        GROUP BY test_id
        """,
        (run.id, json.dumps(list(several))),
    )

    @functools.cache  # nearly all tests of a project run in the same ones
    def named(project: str, encoded: str) -> tuple[Environment, ...]:
        return tuple(names.environments[id_] for id_ in json.loads(encoded) if (project, id_) not in silent)

    return {names.tests[test]: named(names.tests[test][0], environments) for test, environments in rows}
