"""One log → rows: names to ids, late results over missing ones, duplicates, logs packed.

Works in batches and sets: a statement a set, never a query a record. The caller owns the transaction.
"""

from __future__ import annotations

import json
from collections import defaultdict
from enum import StrEnum
from functools import cache
from itertools import repeat
from json.encoder import encode_basestring as _quoted
from typing import TYPE_CHECKING, Any

import zstandard

from pdk_pipeline.results import Rejection, Result, Skipped, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pdk_pipeline.database import Connection
    from pdk_pipeline.ledger import Outcome

BATCH_BYTES = 8 << 20
"""A batch is flushed at so many bytes: few statements, bounded memory."""

RESULT_BYTES = 800
"""What a result takes in memory beside its texts, about."""

MOST_KNOWN = 40_000
"""So many names are remembered at the most: what stands in one log may be without end, memory is not."""

BLOCK_BYTES = 256 << 10
"""Logs packed together before compression: large enough to compress well, small enough to unpack for one log."""

MOST_OPEN_BLOCKS = 64

COMPRESSION_LEVEL = 1
"""Test logs come out no larger than at the usual 3, and in two thirds of the time: measured on real ones."""

COLUMNS = 15
"""Of a result that we fill."""

AT_ONCE = 20
"""So many rows are inserted by one statement; a row each takes half as long again."""

_NO_LOG = (None, None, None)


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
    readings: Iterable[Any],
    outcome: Outcome,
    *,
    entry: int,
    now: float,
    on_duplicate: OnDuplicate,
    reject: Callable[[Rejection], None],
    progress: Callable[[], None],
) -> None:
    """Store everything that a reader makes of a log, counting into `outcome`.

    `entry`: id of the log's row in the ledger. `now`: seconds since 1970. `reject` keeps a rejected record.
    `progress` is called now and then.
    """
    rows = _Rows(db, outcome, entry, now, on_duplicate)
    for reading in readings:
        if type(reading) is Result:
            if rows.add(reading):
                progress()
            del reading  # its log may be large
            continue
        if isinstance(reading, Rejection):
            reject(reading)
            if reading.is_continued:
                continue
            outcome.quarantined += 1
        elif isinstance(reading, Skipped):
            outcome.skipped += 1
            outcome.tell(f"line {reading.line}: skipped, {reading.reason}")
        else:
            outcome.warn(reading.line, reading.text)
    rows.finish()
    progress()


Key = tuple[int, int, int]
"""The ids of a result's run, environment and test."""

Row = tuple[tuple[str, str, str, str, str, str], tuple[object, ...], bytes]
"""A result: its identity, what columns from `status` to `tra` say, its log. Plain: there are very many of them."""


class _Rows:
    """The rows of one log, flushed a batch at a time."""

    def __init__(self, db: Connection, outcome: Outcome, entry: int, now: float, on_duplicate: OnDuplicate) -> None:
        self.db = db
        self.outcome = outcome
        self.entry = entry
        self.now = now
        self.on_duplicate = on_duplicate
        self.runs: dict[str, int] = {}
        self.environments: dict[tuple[str, str, str], int] = {}
        self.tests: defaultdict[str, dict[str, int]] = defaultdict(dict)  # by project and name
        self.batch: list[Row] = []
        self.batch_bytes = 0
        self.packer = _Packer(db)

    def add(self, result: Result) -> bool:
        """Take a result; True when a batch has been flushed."""
        status, attn, start, end, runner, location, tda, tra, log = result[6:]
        about, more = _as_json(tda) if tda else None, _as_json(tra) if tra else None
        self.batch.append((result[:6], (status, attn, start, end, runner or None, location or None, about, more), log))
        # What is large in a hostile log may be any of these.
        self.batch_bytes += (
            RESULT_BYTES + len(log) + len(result[5]) + len(location) + len(about or "") + len(more or "")
        )
        if self.batch_bytes < BATCH_BYTES:
            return False
        self._flush()
        return True

    def finish(self) -> None:
        self._flush()
        self.packer.finish()
        self.outcome.runs = list(self.runs)
        outcome = self.outcome
        outcome.records = outcome.accepted + outcome.duplicates + outcome.skipped + outcome.quarantined

    # Names to ids -------------------------------------------------------------------------------------------

    def _run_id(self, name: str) -> int:
        row = self.db.execute("SELECT id FROM run WHERE name = ? AND deleted_at IS NULL", (name,)).fetchone()
        if row is None:
            row = self.db.execute(
                "INSERT INTO run (name, created_at) VALUES (?, ?) RETURNING id", (name, self.now)
            ).fetchone()
        self.runs[name] = row[0]
        return int(row[0])

    def _environment_id(self, environment: tuple[str, str, str]) -> int:
        row = self.db.execute(
            "SELECT id FROM environment WHERE host = ? AND context = ? AND custom = ?", environment
        ).fetchone()
        if row is None:
            row = self.db.execute(
                "INSERT INTO environment (host, context, custom) VALUES (?, ?, ?) RETURNING id", environment
            ).fetchone()
        self.environments[environment] = row[0]
        return int(row[0])

    def _learn_tests(self) -> None:
        """Make sure that `tests` knows the id of every test of the batch."""
        named: defaultdict[str, set[str]] = defaultdict(set)
        for identity, _, _ in self.batch:
            named[identity[1]].add(identity[5])
        for project, names in named.items():
            tests = self.tests[project]
            unknown = names - tests.keys()
            if not unknown:
                continue
            tests.update(
                self.db.execute(
                    "SELECT name, id FROM test WHERE project = ? AND name IN (SELECT value FROM json_each(?))",
                    (project, json.dumps(list(unknown))),
                )
            )
            new = sorted(unknown - tests.keys())
            ids = range(first := _next_id(self.db, "test"), first + len(new))
            self.db.executemany(
                "INSERT INTO test (id, name, project) VALUES (?, ?, ?)", zip(ids, new, repeat(project), strict=False)
            )
            tests.update(zip(new, ids, strict=True))

    # Rows ---------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        if not self.batch:
            return
        keys = self._keys()
        there = self._already_there(keys)
        inserts = dict(zip(keys, self.batch, strict=True))
        updates: dict[int, tuple[int, Row]] = {}
        if there or len(inserts) < len(keys):
            inserts, updates = self._sorted_out(keys, there)
        else:
            self.outcome.accepted += len(keys)
        self._write(inserts, updates)
        if sum(map(len, self.tests.values())) > MOST_KNOWN:
            self.tests.clear()
        if len(self.environments) > MOST_KNOWN:
            self.environments.clear()
        self.packer.relieve()
        self.batch.clear()
        self.batch_bytes = 0

    def _sorted_out(
        self, keys: list[Key], there: dict[Key, tuple[int, str]]
    ) -> tuple[dict[Key, Row], dict[int, tuple[int, Row]]]:
        """What to insert, and what to put in place of which rows, when some results are there already.

        `there`: the row and the status of those that are; 0 is a row still to be written.
        """
        inserts: dict[Key, Row] = {}
        updates: dict[int, tuple[int, Row]] = {}
        for key, row in zip(keys, self.batch, strict=True):
            identity, (new_status, *_), _ = row
            old = there.get(key)
            if old is None:
                there[key] = (0, str(new_status))
                inserts[key] = row
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
                    self.outcome.tell(f"already there and kept: {' '.join(filter(None, identity))}")
                    continue
                self.outcome.replaced += 1
            there[key] = (row_id, str(new_status))
            if row_id:
                updates[row_id] = key[0], row
            else:
                inserts[key] = row
        return inserts, updates

    def _keys(self) -> list[Key]:
        """Of each result of the batch."""
        self._learn_tests()
        runs, environments, tests = self.runs, self.environments, self.tests
        keys = []
        for identity, _, _ in self.batch:
            test_run, environment = identity[0], identity[2:5]
            run_id = runs.get(test_run) or self._run_id(test_run)
            environment_id = environments.get(environment) or self._environment_id(environment)
            keys.append((run_id, environment_id, tests[identity[1]][identity[5]]))
        return keys

    def _already_there(self, keys: list[Key]) -> dict[Key, tuple[int, str]]:
        """Row id and status of the batch's results that are in the database."""
        groups: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for run_id, environment_id, test_id in keys:
            groups[run_id, environment_id].append(test_id)
        there: dict[Key, tuple[int, str]] = {}
        for group, tests in groups.items():
            # Most logs are the first of their group: one look instead of one for every test.
            any_row = "SELECT 1 FROM result WHERE run_id = ? AND environment_id = ? LIMIT 1"
            if self.db.execute(any_row, group).fetchone() is None:
                continue
            rows = self.db.execute(
                """
                SELECT test_id, id, status FROM result
                WHERE run_id = ? AND environment_id = ? AND test_id IN (SELECT value FROM json_each(?))
                """,
                (*group, json.dumps(tests)),
            )
            there.update(((*group, test), (id_, status)) for test, id_, status in rows)
        return there

    def _write(self, inserts: dict[Key, Row], updates: dict[int, tuple[int, Row]]) -> None:
        values: list[object] = []
        for key, row in inserts.items():
            values += key
            values += self._values(key[0], row)
        for start in range(0, len(values), COLUMNS * AT_ONCE):
            some = values[start : start + COLUMNS * AT_ONCE]
            self.db.execute(_insert(len(some) // COLUMNS), some)
        if updates:
            self.db.executemany(
                """
                UPDATE result SET status = ?, attn = ?, start_time = ?, end_time = ?, test_runner = ?, location = ?,
                    tda = ?, tra = ?, log_block_id = ?, log_start = ?, log_length = ?, import_id = ?
                WHERE id = ?
                """,
                [(*self._values(run_id, row), row_id) for row_id, (run_id, row) in updates.items()],
            )

    def _values(self, run_id: int, row: Row) -> tuple[object, ...]:
        _, values, log = row
        return (*values, *(self.packer.add(run_id, log) if log else _NO_LOG), self.entry)


def _as_json(attributes: dict[str, str]) -> str:
    # What json.dumps says, in half the time: it is done twice a result.
    return "{" + ",".join([f"{_quoted(name)}:{_quoted(value)}" for name, value in attributes.items()]) + "}"


class _Block:
    """Logs that will be compressed together."""

    def __init__(self, id_: int) -> None:
        self.id = id_
        self.logs: list[bytes] = []
        self.bytes = 0


class _Packer:
    """Logs packed into compressed blocks, those of a run together, so that `clean` can remove them together."""

    def __init__(self, db: Connection) -> None:
        self.db = db
        self.next_id = _next_id(db, "log_block")
        self.compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL)
        self.open: dict[int, _Block] = {}  # by run

    def add(self, run_id: int, log: bytes) -> tuple[int, int, int]:
        """Pack a log. Returns the block's id, and where in it the log begins and how long it is, in bytes."""
        block = self.open.get(run_id)
        if block is None:
            block = self.open[run_id] = _Block(self.next_id)
            self.next_id += 1
        start, length = block.bytes, len(log)
        block.logs.append(log)
        block.bytes = start + length
        if block.bytes >= BLOCK_BYTES:
            self._close(run_id)
        return block.id, start, length

    def _close(self, run_id: int) -> None:
        block = self.open.pop(run_id)
        self.db.execute(
            "INSERT INTO log_block (id, run_id, data) VALUES (?, ?, ?)",
            (block.id, run_id, self.compressor.compress(b"".join(block.logs))),
        )

    def relieve(self) -> None:
        """Close the blocks of a log that is of very many runs."""
        if len(self.open) > MOST_OPEN_BLOCKS:
            self.finish()

    def finish(self) -> None:
        for run_id in list(self.open):
            self._close(run_id)


def _next_id(db: Connection, table: str) -> int:
    """The id that the AUTOINCREMENT table would give next; ours to give, inside the transaction."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return int(row[0]) + 1 if row else 1
