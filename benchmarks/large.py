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

import zstandard

from pdk_pipeline import database, ledger
from pdk_pipeline.config import Settings
from pdk_pipeline.ingest import COMPRESSION_LEVEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measuring import Workplace

MB = 1_000_000
LOGS_A_BLOCK = 400
LOG_BYTES = 600
DIFFERENT_BLOCKS = 20
MACHINES_A_TEST = 4
FAILING = 0.05


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
            ledger.open_entry(db, ledger.Outcome("all of it", "made by the benchmark", "benchmark"))
        filling = _Filling(db)
        for night in range(size.nights):
            filling.add_run(night_name(night), [_tests_of(size, host, 1) for host in range(size.hosts)])
        some = [_tests_of(size, host, size.one_in) for host in range(size.hosts)]
        for night in range(size.short_nights):
            filling.add_run(short_name(night), some)
        db.execute("UPDATE import_file SET outcome = ?", ('{"runs": []}',))
    os.sync()  # or the first commit that is measured would wait for all of it


def _tests_of(size: Size, host: int, one_in: int) -> list[int]:
    """The tests that a machine runs: a stretch of all there are, of which its neighbours have most too."""
    first = size.tests * host // size.hosts
    numbers = ((first + n) % size.tests + 1 for n in range(size.results // size.hosts))
    return [number for number in numbers if number % one_in == 0]


class _Filling:
    """Puts one run after the other into a database."""

    def __init__(self, db: database.Connection) -> None:
        self.db = db
        self.rng = random.Random(1)
        self.packed = [zstandard.compress(_logs(self.rng), COMPRESSION_LEVEL) for _ in range(DIFFERENT_BLOCKS)]
        self.runs = self.blocks = 0

    def add_run(self, name: str, tests: Sequence[Sequence[int]]) -> None:
        """Make a run in which each machine reports these tests."""
        self.runs += 1
        with database.transaction(self.db):
            self.db.execute("INSERT INTO run (id, name, created_at) VALUES (?, ?, ?)", (self.runs, name, self.runs))
            for host, of_host in enumerate(tests, 1):
                self._add_results(host, of_host)

    def _add_results(self, host: int, tests: Sequence[int]) -> None:
        """What one machine reports."""
        rows = []
        for number, test in enumerate(tests):
            chance = self.rng.random()
            status = "P" if chance > FAILING else "F"
            place = f"/srv/tests/area{test // 1000}/unit{test // 20}.py"
            attributes = f'{{"peak_memory_mb":"{chance * 100:.0f}","mean_counts":"{1000 + chance:.4f}"}}'
            block, position = divmod(number, LOGS_A_BLOCK)
            log = (self.blocks + block + 1, position * LOG_BYTES, LOG_BYTES)
            rows.append((self.runs, host, test, status, 1.7e9 + number, place, attributes, *log))
        self.db.executemany(
            """
            INSERT INTO result (run_id, environment_id, test_id, status, attn, start_time, end_time, test_runner,
                location, tra, log_block_id, log_start, log_length, import_id)
            VALUES (?1, ?2, ?3, ?4, 'N', ?5, ?5 + 1, 'pytest', ?6, ?7, ?8, ?9, ?10, 1)
            """,
            rows,
        )
        blocks = range(self.blocks + 1, self.blocks + 1 + -(-len(tests) // LOGS_A_BLOCK))
        self.db.executemany(
            "INSERT INTO log_block (id, run_id, data) VALUES (?, ?, ?)",
            [(block, self.runs, self.packed[block % DIFFERENT_BLOCKS]) for block in blocks],
        )
        self.blocks += len(blocks)


def _logs(rng: random.Random) -> bytes:
    """The logs of one block, one after the other, each line behind its dot."""
    lines = (f".reading row {rng.randrange(99)} of the table, mean {rng.random():.2f} counts\n" for _ in range(10_000))
    return "".join(lines).encode()[: LOGS_A_BLOCK * LOG_BYTES]
