"""The parts of a log → rows: late results over missing ones, duplicates.

Works in batches and sets: a statement a set, never a query a record. The caller owns the transaction.
"""

from __future__ import annotations

import json
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from pdk_pipeline.database import next_id, unpack
from pdk_pipeline.intake.names import id_of_run
from pdk_pipeline.intake.reading import Packer
from pdk_pipeline.results import Rejection, Skipped, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pdk_pipeline.database import Connection
    from pdk_pipeline.intake.ledger import Outcome
    from pdk_pipeline.intake.names import Names
    from pdk_pipeline.intake.reading import Block, Ending, Packed, Part, Place

COLUMNS = 15
"""Of a result that we fill."""

AT_ONCE = 20
"""So many rows are inserted by one statement; a row each takes half as long again."""


@cache
def _insert(rows: int) -> str:
    """The statement that inserts so many results."""
    row = f"({', '.join('?' * COLUMNS)})"
    return f"""
        INSERT INTO result (run_id, environment_id, test_id, status, attn, start_time, end_time, test_runner, location,
            tda, tra, log_block_id, log_start, log_length, import_id)
        VALUES {", ".join([row] * rows)}
    """  # noqa: S608  (question marks)


class OnDuplicate(StrEnum):
    """What becomes of a result that is already there (a missing one is always replaced, and never replaces)."""

    KEEP = "keep"
    REPLACE = "replace"


def ingest(
    db: Connection,
    parts: Iterable[Part],
    outcome: Outcome,
    *,
    names: Names,
    entry: int,
    now: float,
    on_duplicate: OnDuplicate,
    reject: Callable[[Rejection], None],
) -> None:
    """Store every part of a log, counting into `outcome`.

    A part is asked for when the one before it is stored. `names`: those that the logs before have named. `entry`: id
    that the log's row in the ledger will have. `now`: seconds since 1970. `reject` keeps a rejected record.
    """
    names.begin(db)
    rows = _Rows(db, names, outcome, entry, now, on_duplicate)
    ending: Ending | None = None
    for part in parts:
        for other in part.others:
            if isinstance(other, Rejection):
                reject(other)
                outcome.quarantined += not other.is_continued
            elif isinstance(other, Skipped):
                outcome.skipped += 1
                outcome.tell(f"line {other.line}: skipped, {other.reason}")
            else:
                outcome.warn(other.line, other.text)
        rows.store(part)
        outcome.size, ending = part.bytes_read, part.ending
    assert ending is not None  # noqa: S101
    outcome.format, outcome.sha256 = ending
    outcome.runs = list(rows.runs)
    outcome.records = outcome.accepted + outcome.duplicates + outcome.skipped + outcome.quarantined


Row = tuple[Any, ...]
"""The columns of Results from `test_name` on, of one result."""


class _Named(NamedTuple):
    """Results, and what the database calls what they name."""

    results: Packed
    run_id: int
    environment_id: int
    test_ids: list[int]


class _Some(NamedTuple):
    """What is to be stored of a part when some of its results are there already."""

    inserts: dict[tuple[int, int, int], Row]
    """By run, environment and test."""
    updates: dict[int, tuple[int, Row]]
    """By the row to put them in the place of: run and result."""


class _Rows:
    """The rows of one log."""

    def __init__(
        self, db: Connection, names: Names, outcome: Outcome, entry: int, now: float, on_duplicate: OnDuplicate
    ) -> None:
        self.db = db
        self.names = names
        self.outcome = outcome
        self.entry = entry
        self.now = now
        self.on_duplicate = on_duplicate
        self.runs: dict[str, int] = {}

    def store(self, part: Part) -> None:
        """Store the results of a part, and the logs of those that are stored."""
        named = [self._named(results) for results in part.results]
        there = [self._already_there(one) for one in named]
        if any(there) or any(len(set(one.test_ids)) < len(one.test_ids) for one in named):
            self._store_some(part, named, there)
        else:
            self.outcome.accepted += sum(len(one.test_ids) for one in named)
            first = self._write_blocks(part.blocks)
            for one in named:
                self._write(self._columns(one, first))
        self.names.tidy()

    def _named(self, results: Packed) -> _Named:
        run, project, environment = results[:3]
        if run not in self.runs:
            self.runs[run] = id_of_run(self.db, run, self.now)
        environment_id = self.names.environment_id(self.db, environment)
        return _Named(results, self.runs[run], environment_id, self.names.test_ids(self.db, project, results.test_name))

    # Rows ---------------------------------------------------------------------------------------------------

    def _already_there(self, named: _Named) -> dict[int, tuple[int, str]]:
        """Row id and status of those results that are in the database, by test."""
        # Most logs are the first of their run and environment: one look instead of one for every test.
        where = named.run_id, named.environment_id
        any_row = "SELECT 1 FROM result WHERE run_id = ? AND environment_id = ? LIMIT 1"
        if self.db.execute(any_row, where).fetchone() is None:
            return {}
        rows = self.db.execute(
            """
            SELECT test_id, id, status FROM result
            WHERE run_id = ? AND environment_id = ? AND test_id IN (SELECT value FROM json_each(?))
            """,
            (*where, json.dumps(named.test_ids)),
        )
        return {test: (id_, status) for test, id_, status in rows}

    def _store_some(self, part: Part, named: list[_Named], there: list[dict[int, tuple[int, str]]]) -> None:
        """Store what the results that are there already leave to store."""
        chosen = _Some({}, {})
        for one, old in zip(named, there, strict=True):
            self._choose(one, old, chosen)
        rows = [(key[0], row) for key, row in chosen.inserts.items()] + list(chosen.updates.values())
        blocks, places = part.blocks, [row[-1] for _, row in rows]
        if len(rows) < sum(len(one.test_ids) for one in named):
            blocks, places = _repacked(blocks, places)
        at = _stored_at(places, self._write_blocks(blocks))
        values = [(*row[1:-1], *columns, self.entry) for (_, row), columns in zip(rows, at, strict=True)]
        if chosen.inserts:
            new = [(*key, *one) for key, one in zip(chosen.inserts, values, strict=False)]
            self._write(list(zip(*new, strict=True)))
        self.db.executemany(
            """
            UPDATE result SET status = ?, attn = ?, start_time = ?, end_time = ?, test_runner = ?, location = ?,
                tda = ?, tra = ?, log_block_id = ?, log_start = ?, log_length = ?, import_id = ?
            WHERE id = ?
            """,
            [(*one, id_) for id_, one in zip(chosen.updates, values[len(chosen.inserts) :], strict=True)],
        )

    def _choose(self, named: _Named, there: dict[int, tuple[int, str]], chosen: _Some) -> None:
        """What to insert, and what to put in place of which rows.

        `there`: the row and the status of the results that are there; 0 is a row still to be written.
        """
        results, run_id, environment_id, test_ids = named
        for test_id, row in zip(test_ids, zip(*results[3:], strict=True), strict=True):
            key = (run_id, environment_id, test_id)
            new_status = row[1]
            old = there.get(test_id)
            if old is None:
                there[test_id] = (0, new_status)
                chosen.inserts[key] = row
                self.outcome.accepted += 1
                continue
            row_id, status = old
            if status == Status.MISSING and new_status != Status.MISSING:
                self.outcome.accepted += 1
                self.outcome.replaced_missing += 1
            else:
                self.outcome.duplicates += 1
                # A missing result says nothing that could replace another one, whatever was asked.
                if self.on_duplicate is OnDuplicate.KEEP or new_status == Status.MISSING:
                    identity = (results.test_run, results.project, *results.environment, row[0])
                    self.outcome.tell(f"already there and kept: {' '.join(filter(None, identity))}")
                    continue
                self.outcome.replaced += 1
            there[test_id] = (row_id, new_status)
            if row_id:
                chosen.updates[row_id] = run_id, row
            else:
                chosen.inserts[key] = row

    def _columns(self, named: _Named, first_block: int) -> list[Sequence[Any]]:
        """The columns of results that are all new."""
        results, run_id, environment_id, test_ids = named
        count = len(test_ids)
        at = zip(*_stored_at(results.log, first_block), strict=True)
        return [[run_id] * count, [environment_id] * count, test_ids, *results[4:-1], *at, [self.entry] * count]

    def _write(self, columns: Sequence[Sequence[Any]]) -> None:
        """Insert results. `columns`: those that we fill, in the table's order."""
        values: list[Any] = [None] * (COLUMNS * len(columns[0]))
        for number, column in enumerate(columns):
            values[number::COLUMNS] = column
        for start in range(0, len(values), COLUMNS * AT_ONCE):
            some = values[start : start + COLUMNS * AT_ONCE]
            self.db.execute(_insert(len(some) // COLUMNS), some)

    def _write_blocks(self, blocks: list[Block]) -> int:
        """Store packed logs. Returns the id of the first; the others follow it."""
        first = next_id(self.db, "log_block") if blocks else 0
        for id_, (test_run, data) in enumerate(blocks, first):
            row = id_, self.runs[test_run], data
            self.db.execute("INSERT INTO log_block (id, run_id, data) VALUES (?, ?, ?)", row)
        return first


def _stored_at(places: Iterable[Place | None], first_block: int) -> list[Row]:
    """The columns `log_block_id`, `log_start` and `log_length` of each. `first_block`: id of the part's first block."""
    return [(None, None, None) if place is None else (first_block + place[0], place[1], place[2]) for place in places]


def _repacked(blocks: list[Block], places: Iterable[Place | None]) -> tuple[list[Block], list[Place | None]]:
    """The logs at these places alone, packed anew: new blocks, and where each of the logs lies in them."""
    packer = Packer()
    unpacked: dict[int, bytes] = {}
    new: list[Place | None] = []
    for place in places:
        if place is None:
            new.append(None)
            continue
        number, start, length = place
        if number not in unpacked:
            unpacked[number] = unpack(blocks[number].data)
        new += packer.add(blocks[number].test_run, [unpacked[number][start : start + length]])
    return packer.finish(), new
