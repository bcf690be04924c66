"""What a person looks for among ten million results: one with its log, and one test through a year of nights."""

from __future__ import annotations

import os
import random
import time
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import large
from benchmarks.large import TEN_MILLION
from benchmarks.measuring import PDK, Measured, Workplace, in_memory
from pdk_pipeline import database, lookup, runs
from pdk_pipeline.errors import UnknownTest
from pdk_pipeline.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.large import Size
    from pdk_pipeline.config import Settings
    from pdk_pipeline.database import Connection

MOST_MILLISECONDS = 20
QUESTIONS = 20
"""So many different ones a repetition."""


class Question(NamedTuple):
    """What somebody wants to see."""

    run: str
    test: str
    host: str


def ten_million(place: Workplace, size: Size = TEN_MILLION) -> Iterator[Measured]:
    """Each question is another one, and has a connection of its own, as a command has."""
    settings = large.database_of(place, size)
    questions = _questions(settings, size, QUESTIONS * place.repeats)
    with closing(database.connect(settings.database)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ((results,),) = db.execute("SELECT count(*) FROM result")

    def one(db: Connection, asked: Question) -> None:
        (found,) = lookup.results(db, runs.find(settings, db, asked.run), _of_one(asked))
        assert found.log

    def on_all_machines(db: Connection, asked: Question) -> None:
        found = list(lookup.results(db, runs.find(settings, db, asked.run), Selection(tests=(asked.test,))))
        assert len(found) == large.MACHINES_A_TEST

    def unknown(db: Connection, asked: Question) -> None:
        try:
            lookup.history(db, Selection(tests=(f"{asked.test}0000",)), most_runs=30)
        except UnknownTest:
            return
        raise AssertionError(asked)

    def history(db: Connection, asked: Question, most_runs: int = size.short_nights) -> None:
        past = lookup.history(db, Selection(tests=(asked.test,)), most_runs=most_runs)
        assert len(past) == most_runs * large.MACHINES_A_TEST

    def history_here(db: Connection, asked: Question) -> None:
        assert len(lookup.history(db, _of_one(asked), most_runs=size.short_nights)) == size.short_nights

    for what, look, target in (
        (f"one of {results:,} results, with its log", one, MOST_MILLISECONDS),
        ("a test's results on all its machines, with their logs", on_all_machines, MOST_MILLISECONDS),
        (f"a test on one machine over {size.short_nights} runs", history_here, MOST_MILLISECONDS),
        (f"a test on all its machines over {size.short_nights} runs", history, MOST_MILLISECONDS),
        ("a test that there is not", unknown, None),
    ):
        yield Measured(what, [_milliseconds(settings, look, asked) for asked in questions], "ms", target)
    few = questions[: max(place.repeats, 2)]
    for what, look in (("one result", one), (f"all over {size.short_nights} runs", history)):
        yield Measured(f"{what}, from the disk", [_milliseconds(settings, look, one, cold=True) for one in few], "ms")
    in_memory([settings.database])  # as it was, for what comes after
    yield from _commands(place, settings, few, size)


def _questions(settings: Settings, size: Size, count: int) -> list[Question]:
    rng = random.Random(2)
    numbers = range(size.one_in, size.tests + 1, size.one_in)
    tests = [large.test_name(rng.choice(numbers)) for _ in range(count)]
    with database.reading(settings) as db:
        hosts = [
            db.execute(
                """
                SELECT environment.host FROM test JOIN result ON result.test_id = test.id
                JOIN environment ON environment.id = result.environment_id
                WHERE test.name = ? LIMIT 1
                """,
                (test,),
            ).fetchone()[0]
            for test in tests
        ]
    nights = [large.night_name(rng.randrange(size.nights)) for _ in range(count)]
    return [Question(*parts) for parts in zip(nights, tests, hosts, strict=True)]


def _of_one(asked: Question) -> Selection:
    return Selection(tests=(asked.test,), hosts=(asked.host,))


def _milliseconds(
    settings: Settings, look: Callable[[Connection, Question], None], asked: Question, *, cold: bool = False
) -> float:
    """How long it takes. `cold`: nothing of the database is in memory."""
    if cold:
        with settings.database.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    began = time.perf_counter()
    with database.reading(settings) as db:
        look(db, asked)
    return (time.perf_counter() - began) * 1000


def _commands(place: Workplace, settings: Settings, questions: list[Question], size: Size) -> Iterator[Measured]:
    """The same as a person asks it, the start of Python included."""
    shows, histories = [], []
    for asked in questions:
        shows.append(place.run([*PDK, "show", asked.run, asked.test], settings).seconds * 1000)
        command = [*PDK, "history", asked.test, "--runs", str(size.short_nights)]
        histories.append(place.run(command, settings).seconds * 1000)
    yield Measured("pdk show, the whole process", shows, "ms")
    yield Measured(f"pdk history --runs {size.short_nights}, the whole process", histories, "ms")
