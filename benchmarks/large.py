"""A database of ten million results, written straight into the tables.

Seven runs of a million results on a hundred machines: a quarter of a million tests, each on four machines. And 365 runs
of a few of these tests, a year of nights. A result has a log of 600 bytes, which compress to about a tenth, in
blocks of four hundred.
"""

from __future__ import annotations

import os
import random
from datetime import date, timedelta
from typing import TYPE_CHECKING, NamedTuple

from pdk_pipeline import database
from pdk_pipeline.config import Settings
from pdk_pipeline.intake import ledger
from pdk_pipeline.intake.reading import pack

if TYPE_CHECKING:
    from benchmarks.measuring import Workplace

MB = 1_000_000
LOGS_A_BLOCK = 400
LOG_BYTES = 600
DIFFERENT_BLOCKS = 20
MACHINES_A_TEST = 4


class Size(NamedTuple):
    """How much there is."""

    nights: int = 7
    results: int = 1_000_000
    """Of each of these nights."""
    hosts: int = 100
    short_nights: int = 365
    one_in: int = 121
    """A short night has one in so many of the tests."""

    @property
    def tests(self) -> int:
        """How many different ones there are."""
        return self.results // MACHINES_A_TEST


TEN_MILLION = Size()


def night_name(number: int) -> str:
    """The name of a large run, counted from nought."""
    return f"daily_2026-01-{number + 1:02}"


def short_name(number: int) -> str:
    """The name of one of the runs of a year, counted from nought."""
    return f"short_{date(2025, 1, 1) + timedelta(days=number)}"


def test_name(number: int) -> str:
    """The name of a test, counted from one; what a short night has are the multiples of `one_in`."""
    return f"area{number // 1000}/unit{number // 20}/test_case.test_{number}"


def database_of(place: Workplace, size: Size) -> Settings:
    """The home with that database, made when it is wanted for the first time."""
    settings = Settings(home=place.directory / "large", timezone="UTC")
    if not settings.home.exists():
        settings.home.mkdir()
        make(settings, size)
    return settings


def make(settings: Settings, size: Size) -> None:
    """Fill an empty database."""
    with database.opened(settings) as db:
        db.execute("PRAGMA synchronous = OFF")
        with database.transaction(db):
            names = ((n, f"p{n % 5}", test_name(n)) for n in range(1, size.tests + 1))
            db.executemany("INSERT INTO test (id, project, name) VALUES (?, ?, ?)", names)
            hosts = ((f"host{n}",) for n in range(size.hosts))
            db.executemany("INSERT INTO environment (host, context, custom) VALUES (?, 'py311', '')", hosts)
            ledger.enter(db, 1, ledger.Outcome("all of it", "made by the benchmark", "benchmark"))
            db.execute("UPDATE import_file SET outcome = ?", ('{"runs": []}',))
        filling = _Filling(db, size)
        for night in range(size.nights):
            filling.add_run(night_name(night), "every")
        for night in range(size.short_nights):
            filling.add_run(short_name(night), "some")
    os.sync()  # or the first commit that is measured would wait for all of it


class _Filling:
    """Puts one run after the other into a database."""

    def __init__(self, db: database.Connection, size: Size) -> None:
        self.db = db
        rng = random.Random(1)
        self.packed = [pack([_logs(rng)]) for _ in range(DIFFERENT_BLOCKS)]
        self.runs = self.blocks = 0
        self.of_table = {"every": self._assign("every", size, 1), "some": self._assign("some", size, size.one_in)}

    def _assign(self, table: str, size: Size, one_in: int) -> int:
        """Note what is reported in a run, and in which of its blocks each log lies. Returns how many blocks it has."""
        self.db.execute(
            f"CREATE TEMP TABLE {table} (environment_id INTEGER, test_id INTEGER, location TEXT, block, position)"
        )
        blocks = 0
        for host in range(size.hosts):
            tests = _tests_of(size, host, one_in)
            rows = (
                (host + 1, test, f"/srv/tests/area{test // 1000}/unit{test // 20}.py", *divmod(number, LOGS_A_BLOCK))
                for number, test in enumerate(tests)
            )
            self.db.executemany(f"INSERT INTO {table} VALUES (?, ?, ?, {blocks + 1} + ?, ?)", rows)
            blocks += -(-len(tests) // LOGS_A_BLOCK)
        return blocks

    def add_run(self, name: str, table: str) -> None:
        """Make a run with what `table` says; one result in twenty fails, each time others."""
        self.runs += 1
        with database.transaction(self.db):
            self.db.execute("INSERT INTO run (id, name, created_at) VALUES (?, ?, ?)", (self.runs, name, self.runs))
            self.db.execute(
                f"""
                INSERT INTO result (run_id, environment_id, test_id, status, attn, start_time, end_time, test_runner,
                    location, tra, log_block_id, log_start, log_length, import_id)
                SELECT :run, environment_id, test_id,
                    iif((test_id * 7919 + environment_id * 31 + :run * 104729) % 1000 < 50, 'F', 'P'), 'N',
                    1.7e9 + rowid, 1.7e9 + rowid + 1, 'pytest', location,
                    printf('{{"peak_memory_mb":"%d","mean_counts":"%d.%04d"}}', rowid % 100, 1000, test_id % 10000),
                    :blocks + block, position * :length, :length, 1
                FROM temp.{table} ORDER BY rowid
                """,
                {"run": self.runs, "blocks": self.blocks, "length": LOG_BYTES},
            )
            blocks = range(self.blocks + 1, self.blocks + 1 + self.of_table[table])
            self.db.executemany(
                "INSERT INTO log_block (id, run_id, data) VALUES (?, ?, ?)",
                ((block, self.runs, self.packed[block % DIFFERENT_BLOCKS]) for block in blocks),
            )
            self.blocks += self.of_table[table]


def _tests_of(size: Size, host: int, one_in: int) -> list[int]:
    """The tests that a machine runs: a stretch of all there are, of which its neighbours have most too."""
    first = size.tests * host // size.hosts
    numbers = ((first + n) % size.tests + 1 for n in range(size.results // size.hosts))
    return [number for number in numbers if number % one_in == 0]


def _logs(rng: random.Random) -> bytes:
    """The logs of one block, one after the other, each line behind its dot."""
    lines = (f".reading row {rng.randrange(99)} of the table, mean {rng.random():.2f} counts\n" for _ in range(10_000))
    return "".join(lines).encode()[: LOGS_A_BLOCK * LOG_BYTES]
