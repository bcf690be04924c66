"""Two runs → which test in which environment is what: sets of numbers, whatever the number of results."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pdk_pipeline import runs
from pdk_pipeline.comparison import history
from pdk_pipeline.comparison.changes import FAILING, Category
from pdk_pipeline.comparison.history import CELL, Cell
from pdk_pipeline.results import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pdk_pipeline.database import Connection
    from pdk_pipeline.runs import Run


# As plain text: a member of an enumeration takes its time to be looked up, and here it would be a million times.
PASS, DISABLED, MISSING = Status.PASS.value, Status.DISABLED.value, Status.MISSING.value


def category(now: str | None, before: str | None, last: str | None, *, was_expected: bool) -> Category | None:
    """What a test in an environment is, silent places aside (see `Category`); None: as it was, and well."""
    if now in FAILING:
        return Category.STILL_FAILING if last in FAILING else Category.NEWLY_FAILING
    if now is None or now == MISSING:
        return Category.MISSING if now else Category.GONE
    if last is None:
        return Category.BACK if was_expected or before == MISSING else Category.NEW
    if now == last:
        return Category.BACK if before is None or before == MISSING else None
    if now == DISABLED:
        return Category.DISABLED
    return Category.FIXED if now == PASS and last in FAILING else Category.CHANGED


@dataclass
class Side:
    """What one run has that did not pass."""

    statuses: dict[Cell, str] = field(default_factory=dict)
    ids: dict[Cell, int] = field(default_factory=dict)
    missing: set[Cell] = field(default_factory=set)
    unarrived: set[Cell] = field(default_factory=set)
    """Of those missing: recorded by a check. (Some logs report M themselves; those arrived.)"""
    results: int = 0
    """All that the run has, what passed included."""


def _side(db: Connection, run: Run) -> Side:
    side = Side()
    rows = db.execute(
        f"SELECT {CELL}, status, id, import_id FROM result WHERE run_id = ? AND status <> 'P'",  # noqa: S608
        (run.id,),
    )
    for cell, status, id_, import_id in rows:
        side.statuses[cell] = status
        side.ids[cell] = id_
        if status == MISSING:
            side.missing.add(cell)
            if import_id is None:
                side.unarrived.add(cell)
    (side.results,) = db.execute("SELECT count(*) FROM result WHERE run_id = ?", (run.id,)).fetchone()
    return side


def _only_in(db: Connection, run: Run, other: Run) -> set[Cell]:
    """The cells that `run` has and `other` has not."""
    rows = db.execute(
        f"""
        SELECT {CELL} FROM result AS this
        WHERE run_id = ? AND NOT EXISTS (
            SELECT 1 FROM result AS that
            WHERE that.run_id = ? AND that.environment_id = this.environment_id AND that.test_id = this.test_id
        )
        """,  # noqa: S608  (no value in it)
        (run.id, other.id),
    )
    return {cell for (cell,) in rows}


@dataclass
class Differences:
    """What changed or is bad, before it has names. Built by `find`."""

    run: Run
    against: Run | None
    now: Side
    before: Side = field(default_factory=Side)
    past: Sequence[Run] = ()
    """The runs to look back through from `run`, the newest first."""
    appeared: set[Cell] = field(default_factory=set)
    """In the run and not in the one before."""
    vanished: set[Cell] = field(default_factory=set)
    last: dict[Cell, str] = field(default_factory=dict)
    """The last report of cells that now report and had none in the run before."""
    expected: set[Cell] = field(default_factory=set)
    """Of those without a last report: the ones that were expected before."""
    cells: defaultdict[Category, list[Cell]] = field(default_factory=lambda: defaultdict(list))

    @property
    def is_with_newest(self) -> bool:
        """Whether the run compared with is the one before: what is new then began in this run."""
        return not self.past or self.past[0] == self.against

    def statuses(self, cell: Cell) -> tuple[str | None, str | None, str | None]:
        """The status in the run, and in the one compared with (None: not there), and what it reported last."""
        now = self.now.statuses.get(cell) or (None if cell in self.vanished else PASS)
        if self.against is None:
            return now, None, None
        before = self.before.statuses.get(cell) or (None if cell in self.appeared else PASS)
        return now, before, self.last.get(cell) if before is None or before == MISSING else before


def find(db: Connection, run: Run, against: Run | None) -> Differences:
    """Every cell that changed or is bad, in its category (whole places aside, see `places`)."""
    found = Differences(run, against, _side(db, run))
    if against is None:
        for cell, status in found.now.statuses.items():
            if status in FAILING:
                found.cells[Category.NEWLY_FAILING].append(cell)
            elif status == MISSING:
                found.cells[Category.MISSING].append(cell)
        return found
    found.before = _side(db, against)
    found.appeared = _only_in(db, run, against)
    if found.before.results > found.now.results - len(found.appeared):
        found.vanished = _only_in(db, against, run)
    _look_back(db, found, against)
    for cell in found.now.statuses.keys() | found.before.statuses.keys() | found.appeared | found.vanished:
        what = category(*found.statuses(cell), was_expected=cell in found.expected)
        if what is not None:
            found.cells[what].append(cell)
    return found


def _look_back(db: Connection, found: Differences, against: Run) -> None:
    """Fill in what the cells reported last that had nothing to report in the run before."""
    past = runs.earlier(db, found.run.name, history.MOST_RUNS)
    if against in past:
        older = past[past.index(against) + 1 :]
    else:  # another kind of run, or one long ago: its history is what counts
        older = runs.earlier(db, against.name, history.MOST_RUNS)
        past = [against, *older]
    found.past = past
    returned = found.before.missing - found.vanished - found.now.missing
    asked = found.appeared | returned
    found.last = history.last_reports(db, asked, older)
    found.expected = history.expected_before(db, asked - found.last.keys() - returned, found.run)
