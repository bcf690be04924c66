"""One night of real logs: every record is accounted for, a second time changes nothing, an export is the same again."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import pytest

from pdk_pipeline import database, export, runs
from pdk_pipeline.config import Settings
from pdk_pipeline.intake import spool
from pdk_pipeline.intake.ledger import Outcome
from pdk_pipeline.selection import Selection
from tests.conftest import REAL_LOGS
from tests.stored import counts, home_in, import_claimed, is_sound, results, take_in

ARCHIVE = REAL_LOGS / "kernel_ci_logs.tar.xz"
RUN = "daily_2025-07-19"

pytestmark = pytest.mark.skipif(not ARCHIVE.exists(), reason="the real logs are not here")


@pytest.fixture(scope="module")
def logs(tmp_path_factory) -> list[Path]:
    directory = tmp_path_factory.mktemp("logs")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(directory, filter="data")
    return sorted(path for path in directory.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def taken(tmp_path_factory, logs) -> tuple[Settings, list[Outcome]]:
    """A home that all of them came to through incoming/."""
    home = home_in(tmp_path_factory.mktemp("home"))
    spool.prepare(home)
    for log in logs:
        (home.spool / "incoming" / log.name).write_bytes(log.read_bytes())
    return home, [import_claimed(home, claim) for claim, _ in spool.collect(home).claims]


def records_in(log: Path) -> int:
    return len(re.findall(rb"^END$", log.read_bytes(), re.MULTILINE))


def test_every_record_is_accounted_for(logs, taken):
    home, outcomes = taken
    assert len(outcomes) == len(logs) == 63
    by_file = {outcome.file: outcome for outcome in outcomes}
    for log in logs:
        assert counts(by_file[log.name])["records"] == records_in(log), log.name
    assert sum(outcome.accepted for outcome in outcomes) == len(results(home)) == 7560
    assert sum(outcome.quarantined + outcome.skipped for outcome in outcomes) == 0
    assert is_sound(home)


def test_every_log_is_archived_as_it_was(logs, taken):
    home, _ = taken
    archived = {path.name: path for path in (home.spool / "archive").rglob("*") if path.is_file()}
    assert set(archived) == {log.name for log in logs}
    assert all(archived[log.name].read_bytes() == log.read_bytes() for log in logs)
    assert not list((home.spool / "incoming").iterdir())
    assert not list((home.spool / "processing").iterdir())


def test_the_counts_by_status_are_those_of_the_logs(logs, taken):
    home, _ = taken
    told: dict[str, int] = {}
    for log in logs:
        for status in re.findall(rb"^status=(.)$", log.read_bytes(), re.MULTILINE):
            told[status.decode()] = told.get(status.decode(), 0) + 1
    with database.reading(home) as db:
        assert runs.statuses(db, runs.find(home, db, RUN)) == told


def test_a_second_import_changes_nothing(logs, taken):
    home, _ = taken
    before = results(home)
    for log in logs[::8]:
        assert counts(take_in(home, log)) == {"records": records_in(log), "duplicates": records_in(log)}
    assert results(home) == before


def test_an_export_is_the_same_run_again(taken, tmp_path):
    home, _ = taken
    with database.reading(home) as db, (tmp_path / "export").open("wb") as file:
        for piece in export.export(db, runs.find(home, db, RUN), Selection()):
            file.write(piece)
    other = home_in(tmp_path / "other")
    assert counts(take_in(other, tmp_path / "export")) == {"records": 7560, "accepted": 7560}
    assert results(other) == results(home)


def test_the_database_is_much_smaller_than_the_logs(logs, taken):
    home, _ = taken
    with database.opened(home) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert home.database.stat().st_size < sum(log.stat().st_size for log in logs) / 8
