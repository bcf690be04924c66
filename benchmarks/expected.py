"""How long it takes to learn, check and look up a million expected tests, a tenth of which did not report.

python -m benchmarks.expected [TESTS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pdk_pipeline import contacts, database, expected, runs
from pdk_pipeline.config import Settings
from pdk_pipeline.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable

    from pdk_pipeline.database import Connection

ENVIRONMENTS = 10
PROJECTS = 5
RULES = 500
EVERYTHING = Selection()

_NUMBERS = "WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < :count)"


def measure(home: Path, *, tests: int = 1_000_000, missing: float = 0.1, failing: float = 0.05) -> dict[str, float]:
    """Seconds that each step takes in a database made in the empty directory `home`.

    `tests`: expected results, a test in ten environments counting ten times. `missing`: the part of them that the
    second night lacks. `failing`: the part of its other results that are problems.
    """
    settings = Settings(home=home, timezone="UTC")
    seconds: dict[str, float] = {}

    def timed(what: str, step: Callable[[Connection], object]) -> None:
        with database.opened(settings) as db:
            began = time.perf_counter()
            with database.transaction(db):
                step(db)
            seconds[what] = round(time.perf_counter() - began, 3)

    timed("two nights made", lambda db: _make(db, tests, missing, failing))
    first, second = "daily_2026-11-22", "daily_2026-11-23"
    timed("gen_expected, all of it new", lambda db: _learn(settings, db, first))
    timed("gen_expected, all of it known", lambda db: _learn(settings, db, first))
    timed("check_expected", lambda db: _check(settings, db, second, round(tests * missing)))
    timed("check_expected again", lambda db: _check(settings, db, second, 0))
    timed("the classes listed", expected.classes)
    timed("contacts of the problem tests", lambda db: contacts.of(settings, db, runs.find(settings, db, second)))
    timed("one host forgotten", lambda db: expected.forget(db, "daily", Selection(hosts=("host3",))))
    return seconds


def _learn(settings: Settings, db: Connection, run: str) -> None:
    expected.learn(db, runs.find(settings, db, run), "daily", EVERYTHING, now=time.time())


def _check(settings: Settings, db: Connection, run: str, recorded: int) -> None:
    found = expected.check(db, runs.find(settings, db, run), "daily", EVERYTHING)
    if found.recorded != recorded:
        raise AssertionError(f"{found.recorded} recorded missing instead of {recorded}")


def _make(db: Connection, tests: int, missing: float, failing: float) -> None:
    """Two nights: one complete, one that lacks `missing` of its tests."""
    names = tests // ENVIRONMENTS
    db.execute(
        f"""
        {_NUMBERS} INSERT INTO test (project, name)
        SELECT printf('project%d', n % :projects), printf('area%d/unit%d/test_case.test_%d', n / 1000, n / 20, n)
        FROM number
        """,
        {"count": names, "projects": PROJECTS},
    )
    db.executemany(
        "INSERT INTO environment (host, context, custom) VALUES (?, 'py311', '')",
        [(f"host{number}",) for number in range(ENVIRONMENTS)],
    )
    db.execute("INSERT INTO run (name, created_at) VALUES ('daily_2026-11-22', 0), ('daily_2026-11-23', 1)")
    db.execute(
        """
        INSERT INTO result (run_id, environment_id, test_id, status, attn, start_time, end_time, test_runner)
        SELECT 1, environment.id, test.id, 'P', 'N', 0, 1, 'pytest' FROM environment, test
        """
    )
    every_missing, every_failing = round(1 / missing), round(1 / failing)
    db.execute(
        """
        INSERT INTO result (run_id, environment_id, test_id, status, attn, start_time, end_time, test_runner)
        SELECT 2, environment_id, test_id, iif(test_id % ?, 'P', 'F'), 'N', start_time, end_time, test_runner
        FROM result WHERE run_id = 1 AND (test_id + environment_id) % ?
        """,
        (every_failing, every_missing),
    )
    db.executemany(
        "INSERT INTO contact_rule (project, prefix, address) VALUES (?, ?, ?)",
        [
            (f"project{number % PROJECTS}", f"area{number % (names // 1000 or 1)}", f"developer{number}@example.org")
            for number in range(RULES)
        ],
    )


def main() -> None:
    """Print the measures."""
    tests = int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as home:
        for what, seconds in measure(Path(home), tests=tests).items():
            print(f"{what:<34}{seconds:8.2f} s")


if __name__ == "__main__":
    main()
