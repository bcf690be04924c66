"""How much work it is to compare two nights of a million results each, and to tell of it, after twelve other nights.

python -m benchmarks.comparison [RESULTS]
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from datetime import date, timedelta
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measuring import Measured
from pdk_pipeline import comparison, database, report, runs
from pdk_pipeline.config import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measuring import Workplace
    from pdk_pipeline.database import Connection

HOSTS, CONTEXTS, PROJECTS = 100, 2, 5
LAST = date(2026, 11, 23)
STILL = 0.7
"""The part of the failing results that goes on failing the next night."""

MOST_LINES = 200
_REPORT = ("report built", "report as text", "report as a page")


def measure(
    home: Path,
    *,
    results: int = 1_000_000,
    nights: int = 14,
    failing: float = 0.01,
    missing: float = 0.01,
    silent_hosts: int = 2,
) -> dict[str, float]:
    """CPU seconds that each step takes in a database made in the empty directory `home`, and how much it tells.

    `results`: of each night. `failing`: the part of them that fails. `missing`: the part that is missing, beside the
    tests of hosts that are silent.
    """
    settings = Settings(home=home, timezone="UTC")
    told: dict[str, float] = {}
    clock = time.process_time()

    def step(what: str) -> None:
        nonlocal clock
        told[what] = round(time.process_time() - clock, 3)
        clock = time.process_time()

    with database.writing(settings) as db:
        _make(db, nights, results // (HOSTS * CONTEXTS), failing, missing, silent_hosts)
    step(f"{nights} nights made")
    with closing(database.connect(settings.database, read_only=True)) as db:
        run = runs.find(settings, db, f"daily_{LAST}")
        clock = time.process_time()
        found = comparison.compare(db, run, comparison.previous(db, run))
        step("compared")
    document = report.build(found, most_lines=MOST_LINES)
    step("report built")
    report.render_text(document)
    step("report as text")
    report.render_html(document)
    step("report as a page")
    told["changes"] = len(found.changes)
    silent = Counter(change.category for change in found.changes)[comparison.Category.SILENT]
    if silent != silent_hosts * PROJECTS:
        raise AssertionError(f"{silent} silent places instead of {silent_hosts * PROJECTS}")
    return told


def million(place: Workplace, results: int = 1_000_000, nights: int = 4) -> Iterator[Measured]:
    """The newest of a few nights against the one before. Once: what takes long is to make them."""
    told = measure(place.fresh_home().home, results=results, nights=nights)
    what = f"{told['changes']:,.0f} changes in {results:,} results since the night before"
    yield Measured(f"{what}, processor's time", [told["compared"]], "s")
    yield Measured("the report of them, as text and as a page", [sum(told[step] for step in _REPORT)], "s")
    place.tidy()


def _make(db: Connection, nights: int, tests: int, failing: float, missing: float, silent_hosts: int) -> None:
    chance = random.Random(1)
    places = list(product(range(HOSTS), range(CONTEXTS)))
    db.executemany(
        "INSERT INTO environment (id, host, context, custom) VALUES (?, ?, ?, '')",
        [(number, f"host{host:03d}", f"py31{context}") for number, (host, context) in enumerate(places, 1)],
    )
    db.executemany(
        "INSERT INTO test (id, project, name) VALUES (?, ?, ?)",
        [(n, f"project{n % PROJECTS}", f"area{n % 37}/module{n % 211}/test_{n:06d}") for n in range(1, tests + 1)],
    )
    cells = len(places) * tests
    bad: dict[int, str] = {}
    for night in range(1, nights + 1):
        name = f"daily_{LAST - timedelta(days=nights - night)}"
        db.execute("INSERT INTO run (id, name, created_at) VALUES (?, ?, ?)", (night, name, night * 86_400.0))
        bad = {cell: status for cell, status in bad.items() if chance.random() < STILL}
        while len(bad) < cells * failing:
            bad[chance.randrange(cells)] = chance.choice("FFFED")
        absent = {chance.randrange(cells) for _ in range(round(cells * missing))}
        silent = set(chance.sample(range(HOSTS), silent_hosts))
        db.executemany(
            """
            INSERT INTO result (run_id, environment_id, test_id, status, attn, start_time, end_time, import_id)
            VALUES (?, ?, ?, ?, 'N', 0, 1, ?)
            """,
            _results(night, tests, places, bad, absent, silent),
        )


def _results(
    night: int,
    tests: int,
    places: list[tuple[int, int]],
    bad: dict[int, str],
    absent: set[int],
    silent: set[int],
) -> Iterator[tuple[int, int, int, str, int | None]]:
    for number, (host, _) in enumerate(places):
        for test in range(tests):
            cell = number * tests + test
            if host in silent or cell in absent:
                yield night, number + 1, test + 1, "M", None
            else:
                yield night, number + 1, test + 1, bad.get(cell, "P"), 1


def main() -> None:
    """Print the measures."""
    results = int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as home:
        for what, measured in measure(Path(home), results=results).items():
            print(f"{what:<20}{measured:10,} {'' if what == 'changes' else 's'}")


if __name__ == "__main__":
    main()
