"""Deleting, cleaning, keeping and backing up in a database of ten million results, and who has to wait meanwhile.

    python -m benchmarks purge

Ten nights of a million results on a hundred machines, a quarter of a million tests, each on four machines; written
straight into the tables. A result has a log of 600 bytes, which compress to about a tenth, in blocks of four hundred.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

import zstandard

from benchmarks.measuring import PDK, Measured, Workplace
from pdk_pipeline import backup, clean, config, database, deletion, ledger, retention, runs
from pdk_pipeline.ingest import COMPRESSION_LEVEL
from pdk_pipeline.keep import Keep
from pdk_pipeline.selection import Selection
from pdk_pipeline.steps import Time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pdk_pipeline.config import Settings
    from pdk_pipeline.steps import Place, Step

MB = 1_000_000
LOGS_A_BLOCK = 400
LOG_BYTES = 600
DIFFERENT_BLOCKS = 20
PAUSE_SECONDS = 0.05


class Size(NamedTuple):
    """How much there is."""

    nights: int = 10
    results: int = 1_000_000
    """Of a night."""
    hosts: int = 100


def ten_million(place: Workplace, size: Size = Size()) -> Iterator[Measured]:  # noqa: B008  (nobody changes it)
    """All of it, one after the other; each thing is done to some of the nights."""
    settings = place.fresh_home()
    make(settings, size)
    yield Measured(f"{size.nights * size.results:,} results: the database", [_file_size(settings) / MB], "MB")
    nights = iter(f"daily_2026-01-{night + 1:02}" for night in range(size.nights))
    with database.kept_open():
        yield from _deleted_and_cleaned(settings, [next(nights) for _ in range(3)], size)
        yield from _part_deleted(settings, next(nights), size)
        yield from _trimmed(settings, size)
        yield from _backed_up(settings, place.directory / "backup.db")
    yield from _imports_meanwhile(settings, [next(nights) for _ in range(2)], size)
    place.tidy()


def make(settings: Settings, size: Size) -> None:
    """Fill an empty database."""
    rng = random.Random(1)
    packed = [zstandard.compress(_logs(rng), COMPRESSION_LEVEL) for _ in range(DIFFERENT_BLOCKS)]
    tests = size.results // 4
    share = size.results // size.hosts
    with database.opened(settings) as db:
        db.execute("PRAGMA synchronous = OFF")
        with database.transaction(db):
            names = ((n + 1, f"p{n % 5}", f"area{n // 1000}/unit{n // 20}/test_case.test_{n}") for n in range(tests))
            db.executemany("INSERT INTO test (id, project, name) VALUES (?, ?, ?)", names)
            hosts = ((f"host{n}",) for n in range(size.hosts))
            db.executemany("INSERT INTO environment (host, context, custom) VALUES (?, 'py311', '')", hosts)
            ledger.open_entry(db, ledger.Outcome("all of it", "made by the benchmark", "benchmark"))
        for night in range(size.nights):
            with database.transaction(db):
                name = f"daily_2026-01-{night + 1:02}"
                db.execute("INSERT INTO run (id, name, created_at) VALUES (?, ?, ?)", (night + 1, name, night * 86_400))
                for host in range(size.hosts):
                    first = tests * host // size.hosts
                    of_host = [(first + n) % tests + 1 for n in range(share)]
                    block = (night * size.hosts + host) * (share // LOGS_A_BLOCK + 1)
                    _insert(db, rng, (night + 1, host + 1), of_host, block)
                    blocks = range(block + 1, block + (share - 1) // LOGS_A_BLOCK + 2)
                    db.executemany(
                        "INSERT INTO log_block (id, run_id, data) VALUES (?, ?, ?)",
                        [(id_, night + 1, packed[id_ % DIFFERENT_BLOCKS]) for id_ in blocks],
                    )
        db.execute("UPDATE import_file SET outcome = ?", ('{"runs": []}',))
    os.sync()  # or the first commit that is measured would wait for all of it


def _logs(rng: random.Random) -> bytes:
    """The logs of one block, one after the other, each line behind its dot."""
    lines = (f".reading row {rng.randrange(99)} of the table, mean {rng.random():.2f} counts\n" for _ in range(10_000))
    return "".join(lines).encode()[: LOGS_A_BLOCK * LOG_BYTES]


def _insert(db: database.Connection, rng: random.Random, group: tuple[int, int], tests: list[int], block: int) -> None:
    """What one machine reports in one night; its log blocks have the ids behind `block`."""
    rows = []
    for number, test in enumerate(tests):
        chance = rng.random()
        status = "P" if chance > 0.05 else "F"
        place = f"/srv/tests/area{test // 1000}/unit{test // 20}.py"
        attributes = f'{{"peak_memory_mb":"{chance * 100:.0f}","mean_counts":"{1000 + chance:.4f}"}}'
        at, position = divmod(number, LOGS_A_BLOCK)
        log = (block + at + 1, position * LOG_BYTES, LOG_BYTES)
        rows.append((*group, test, status, 1.7e9 + number, place, attributes, *log))
    db.executemany(
        """
        INSERT INTO result (run_id, environment_id, test_id, status, attn, start_time, end_time, test_runner, location,
            tra, log_block_id, log_start, log_length, import_id)
        VALUES (?1, ?2, ?3, ?4, 'N', ?5, ?5 + 1, 'pytest', ?6, ?7, ?8, ?9, ?10, 1)
        """,
        rows,
    )


def _file_size(settings: Settings) -> int:
    return settings.database.stat().st_size


class _Taken(NamedTuple):
    seconds: float
    longest: float
    removed: dict[str, int]


def _in_steps(step: Callable[[Place], Step]) -> _Taken:
    """Have steps done to the end; each is timed with its commit."""
    removed: dict[str, int] = {}
    longest, place = 0.0, None
    began = time.perf_counter()
    while True:
        at = time.perf_counter()
        done = step(place)
        longest = max(longest, time.perf_counter() - at)
        for what, count in done.removed.items():
            removed[what] = removed.get(what, 0) + count
        place = done.next
        if place is None:
            return _Taken(time.perf_counter() - began, longest, removed)


def _deleted_and_cleaned(settings: Settings, nights: list[str], size: Size) -> Iterator[Measured]:
    hidden, counted, cleaned, before, after = [], [], [], [], []
    for night in nights:
        with database.opened(settings) as db:
            run = runs.find(settings, db, night)
            began = time.perf_counter()
            with database.transaction(db):
                deletion.delete(db, run.id, now=time.time())
            hidden.append(time.perf_counter() - began)
            deletion.results_of(db, run.id)
            counted.append(time.perf_counter() - began)
        before.append(_file_size(settings) / MB)
        cleaned.append(_in_steps(lambda place: clean.step(settings, place, now=time.time())))
        after.append(_file_size(settings) / MB)
    what = f"{size.results:,} results"
    yield Measured(f"delete_run of {what}", hidden, "s", at_most=0.1)
    yield Measured("with the counting of what it hides", counted, "s", at_most=0.1)
    yield Measured(f"clean of {what}", [taken.seconds for taken in cleaned], "s")
    rates = [taken.removed["results"] / taken.seconds for taken in cleaned]
    yield Measured("rows it removes", rates, "rows/s", at_least=100_000)
    yield Measured("its longest step", [taken.longest for taken in cleaned], "s", at_most=0.5)
    yield Measured("the file before", before, "MB")
    yield Measured("the file afterwards", after, "MB")


def _part_deleted(settings: Settings, night: str, size: Size) -> Iterator[Measured]:
    for what, where in (
        ("one machine", Selection(hosts=("host7",))),
        ("a fifth of the tests", Selection(projects=("p1",))),
    ):
        with database.opened(settings) as db:
            part = deletion.part(db, runs.find(settings, db, night), where)

        def step(place: Place, part: deletion.Part = part) -> Step:
            with database.writing(settings) as db:
                return deletion.delete_part(db, part, place, Time(place), now=time.time())

        taken = _in_steps(step)
        of = f"{taken.removed['results']:,} of {size.results:,}"
        yield Measured(f"delete_run of {what}, {of} results", [taken.seconds], "s")
        yield Measured("its longest step", [taken.longest], "s", at_most=0.5)


def _trimmed(settings: Settings, size: Size) -> Iterator[Measured]:
    """The logs of the passing results of the last night; the others' stay."""
    keep = {f"*_2026-01-{size.nights:02}": Keep(passing_logs_days=1)}
    rule = settings.model_copy(update={"keep": keep})
    taken = _in_steps(lambda place: retention.step(rule, place, now=time.time()))
    yield Measured(f"retention: {taken.removed['logs']:,} logs of passing results", [taken.seconds], "s")
    yield Measured("its longest step", [taken.longest], "s", at_most=0.5)


def _backed_up(settings: Settings, target: Path) -> Iterator[Measured]:
    made = backup.make(settings, target, now=time.time())
    target.unlink()
    yield Measured(f"backup of {made.bytes / MB:,.0f} MB, checked", [made.seconds], "s")


# Who has to wait ---------------------------------------------------------------------------------------------


def _imports_meanwhile(settings: Settings, nights: list[str], size: Size) -> Iterator[Measured]:
    """How long imports take, in a row, while nothing else happens and while a night is cleaned."""
    log = settings.home / "small.pdklog"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PDK_")}
    environment |= {"PDK_HOME": str(settings.home), "PDK_TIMEZONE": "UTC"}
    os.environ["PDK_HOME"] = environment["PDK_HOME"]
    config.settings.cache_clear()
    try:
        for night, way in zip(nights, ("through the queue", "without a broker"), strict=True):
            with _up(environment) if way == "through the queue" else contextlib.nullcontext():
                quiet = [_import_one(settings, log) for _ in range(20)]
                with database.writing(settings) as db:
                    deletion.delete(db, runs.find(settings, db, night).id, now=time.time())
                began = time.perf_counter()
                busy = []
                with subprocess.Popen([*PDK, "clean", "-q"], env=environment) as cleaning:
                    while cleaning.poll() is None:
                        busy.append(_import_one(settings, log))
                        time.sleep(PAUSE_SECONDS)
                seconds = time.perf_counter() - began
            yield Measured(f"an import of 20 results {way}", quiet, "s")
            yield Measured(f"… while {size.results:,} results are cleaned, which takes {seconds:.0f} s", busy, "s")
            yield Measured(f"the longest of those {len(busy)}", [max(busy)], "s", at_most=1)
    finally:
        del os.environ["PDK_HOME"]
        config.settings.cache_clear()


@contextlib.contextmanager
def _up(environment: dict[str, str]) -> Iterator[None]:
    with subprocess.Popen([*PDK, "up", "--no-flower"], env=environment, stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout
        next(line for line in up.stdout if "ready; Ctrl-C" in line)
        try:
            yield
        finally:
            up.terminate()
            up.stdout.read()


def _import_one(settings: Settings, log: Path) -> float:
    """Import a new small log. Returns the seconds until its outcome was known."""
    from workers import dispatch  # noqa: PLC0415  (loads Celery, which nothing else here wants)

    number = time.time_ns()
    records = "".join(f"test_name=small/test_{n}\nstatus=P\nlog:\n.fine\n\nEND\n" for n in range(20))
    log.write_text(f"START\ntest_run=small_{number}\nproject=p\nSETDEFAULT\n{records}")
    call = dispatch.Call("import_log", (str(log), f"small:{number}", {}, False), log.name)
    began = time.perf_counter()
    for _, outcome in dispatch.run(settings, [call], local=False, on_progress=lambda *_: None, on_note=lambda _: None):
        if isinstance(outcome, Exception):
            raise outcome
    return time.perf_counter() - began
