"""Deleting, cleaning, keeping and backing up in a database of ten million results, and who has to wait meanwhile.

    python -m benchmarks purge

The database is that of `large`; nothing else can be measured with it afterwards.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

from attrs import evolve

from benchmarks import large
from benchmarks.large import MB, TEN_MILLION
from benchmarks.measuring import PDK, Measured, Workplace, environment_of, up
from pdk_pipeline import backup, config, database, runs
from pdk_pipeline.keep import Keep
from pdk_pipeline.purge import clean, deletion, retention
from pdk_pipeline.purge.steps import Time
from pdk_pipeline.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.large import Size
    from pdk_pipeline.config import Settings
    from pdk_pipeline.purge.steps import Place, Step

PAUSE_SECONDS = 0.05


def ten_million(place: Workplace, size: Size = TEN_MILLION) -> Iterator[Measured]:
    """All of it, one after the other; each thing is done to some of the large runs."""
    settings = large.database_of(place, size)
    yield Measured("the database", [_file_size(settings) / MB], "MB")
    nights = [large.night_name(number) for number in range(size.nights)]
    with database.kept_open():
        yield from _deleted_and_cleaned(settings, nights[:3], size)
        yield from _part_deleted(settings, nights[3], size)
        yield from _trimmed(settings, nights[-1])
        yield from _backed_up(settings, place.directory / "backup.db")
    yield from _imports_meanwhile(settings, nights[4:6], size)


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


def _trimmed(settings: Settings, night: str) -> Iterator[Measured]:
    """The logs of the passing results of one night; the others' stay."""
    keep = {f"{night}*": Keep(passing_logs_days=1)}  # without a wildcard it is a prefix
    rule = evolve(settings, keep=keep)
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
    environment = environment_of(settings)
    os.environ["PDK_HOME"] = environment["PDK_HOME"]
    config.settings.cache_clear()
    try:
        for night, way in zip(nights, ("through the queue", "without a broker"), strict=True):
            with up(settings) if way == "through the queue" else contextlib.nullcontext():
                quiet = [_import_one(settings, log) for _ in range(20)]
                with database.writing(settings) as db:
                    deletion.delete(db, runs.find(settings, db, night).id, now=time.time())
                began = time.perf_counter()
                busy = []
                with subprocess.Popen([*PDK, "clean", "-q"], env=environment, stderr=subprocess.DEVNULL) as cleaning:
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


def _import_one(settings: Settings, log: Path) -> float:
    """Import a new small log. Returns the seconds until its outcome was known."""
    from workers import dispatch  # noqa: PLC0415  (loads Celery, which nothing else here wants)

    number = time.time_ns()
    records = "".join(f"test_name=small/test_{n}\nstatus=P\nlog:\n.fine\n\nEND\n" for n in range(20))
    log.write_text(f"START\ntest_run=small_{number}\nproject=p\nSETDEFAULT\n{records}")
    call = dispatch.Call("import_logs", ([[str(log), f"small:{number}"]], {}, False), log.name)
    began = time.perf_counter()
    for _, outcome in dispatch.run(settings, [call], local=False, on_progress=lambda *_: None, on_note=lambda _: None):
        if isinstance(outcome, Exception):
            raise outcome
    return time.perf_counter() - began
