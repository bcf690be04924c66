"""Several logs that are imported by one task."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdk_pipeline import database, durable
from pdk_pipeline.config import Settings
from pdk_pipeline.database import Connection
from pdk_pipeline.errors import UnreadableLog
from pdk_pipeline.intake import importing, spool
from pdk_pipeline.intake.deliveries import Delivery
from pdk_pipeline.intake.ledger import Outcome
from tests.conftest import log_of, record, rows
from workers.importing import import_logs


@given(st.lists(st.one_of(st.integers(0, 1 << 16), st.integers(0, 2 * importing.BATCH_BYTES)), max_size=400))
def test_batches_are_bounded_and_leave_nothing_out(sizes):
    batches = list(importing.batches(sizes, lambda size: size))
    assert [size for batch in batches for size in batch] == sizes
    for batch in batches:
        assert len(batch) == 1 or (len(batch) <= importing.BATCH_LOGS and sum(batch) <= importing.BATCH_BYTES)
    # and no two that follow each other are both nearly empty
    for one, other in pairwise(batches):
        assert len(one) >= importing.BATCH_LOGS or sum(one) + other[0] > importing.BATCH_BYTES


@pytest.fixture
def logs(make_log) -> list[list[str]]:
    return [[str(make_log(f"{name}.pdklog", record(name))), name] for name in ("a", "b", "c")]


@pytest.fixture
def fails(monkeypatch) -> dict[str, list[BaseException]]:
    """What importing a log ends with, by delivery, one time after the other."""
    failures: dict[str, list[BaseException]] = {}
    real = importing.take_in

    def take_in(settings: Settings, db: Connection, delivery: Delivery, *how) -> Outcome:
        if failures.get(delivery.id):
            raise failures[delivery.id].pop()
        return real(settings, db, delivery, *how)

    monkeypatch.setattr(importing, "take_in", take_in)
    return failures


def test_what_is_wrong_with_one_log_keeps_no_other_from_being_imported(logs, fails, home: Settings):
    fails["b"] = [UnreadableLog("b.pdklog: no log")]
    done = import_logs(logs, {})["logs"]
    assert [one.get("accepted") for one in done] == [1, None, 1]
    assert done[1] == {"error": "This file cannot be read as a log: b.pdklog: no log"}
    assert rows(home, "SELECT test_name FROM result_scalar ORDER BY 1") == [("a",), ("c",)]


def test_what_may_work_later_is_tried_again_after_the_others_and_they_are_imported_once(logs, fails, home: Settings):
    fails["a"] = [OSError("the file server is away"), OSError("the file server is away")]
    done = import_logs.apply((logs, {})).get()["logs"]
    assert [one["accepted"] for one in done] == [1, 1, 1]
    assert [name for (name,) in rows(home, "SELECT delivery FROM import_file ORDER BY id")] == ["b", "c", "a"]
    assert rows(home, "SELECT count(*) FROM result") == [(3,)]


def test_a_log_that_never_works_is_told_of_beside_those_that_do(logs, fails, home: Settings):
    fails["a"] = [OSError(5, "Input/output error", "a.pdklog") for _ in range(20)]
    done = import_logs.apply((logs, {})).get()["logs"]
    assert done[0] == {"error": "a.pdklog: Input/output error"}
    assert [one["accepted"] for one in done[1:]] == [1, 1]
    assert rows(home, "SELECT count(*) FROM result") == [(2,)]


@pytest.fixture
def claims(home: Settings) -> list[str]:
    spool.prepare(home)
    for name in ("a", "b", "c"):
        (home.spool / "incoming" / name).write_text(log_of(record(name)))
    return [claim for claim, _ in spool.collect(home).claims]


def archived(home: Settings) -> list[str]:
    return sorted(path.name for path in (home.spool / "archive").rglob("*") if path.is_file())


def test_no_log_leaves_its_place_before_the_disk_holds_what_stands_in_it(claims, home: Settings, monkeypatch):
    # Given a disk that notes what it is made to hold
    seen: list[tuple[str, list[str]]] = []
    sync = durable.sync

    def watched(path: Path) -> None:
        seen.append((path.name, archived(home)))
        sync(path)

    monkeypatch.setattr(durable, "sync", watched)
    with database.kept_open():
        told = importing.import_claims(home, claims)
    # Then the journal of all that was stored is made safe once, and nothing was archived before
    assert [one.accepted for one in told] == [1, 1, 1]
    assert [found for name, found in seen if name == "pdk.db-wal"] == [[]]
    assert archived(home) == ["a", "b", "c"]
    assert all(one.archived_as for one in told)


def test_of_a_database_elsewhere_the_journal_there_is_made_safe(claims, home: Settings, tmp_path, monkeypatch):
    with database.opened(home):
        pass
    (tmp_path / "disk").mkdir()
    home.database.rename(tmp_path / "disk" / "large.db")
    home.database.symlink_to(tmp_path / "disk" / "large.db")
    synced: list[Path] = []
    monkeypatch.setattr(durable, "sync", synced.append)
    with database.kept_open():
        importing.import_claims(home, claims)
    assert tmp_path / "disk" / "large.db-wal" in synced


def test_when_the_disk_cannot_be_made_to_hold_it_nothing_leaves_its_place(claims, home: Settings, monkeypatch):
    def broken(_path: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch, database.kept_open():
        patch.setattr(durable, "sync", broken)
        with pytest.raises(OSError, match="Input/output error"):
            importing.import_claims(home, claims)
        assert archived(home) == []
    # and the same task once more finds them stored, and archives them
    assert [one.is_repeated for one in importing.import_claims(home, claims)] == [True] * 3
    assert archived(home) == ["a", "b", "c"]
    assert rows(home, "SELECT count(*) FROM result") == [(3,)]


def test_of_an_import_that_is_interrupted_what_is_in_is_archived(claims, home: Settings, fails):
    fails[f"spool:{claims[2]}"] = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        importing.import_claims(home, claims)
    assert archived(home) == ["a", "b"]
    assert rows(home, "SELECT test_name FROM result_scalar ORDER BY 1") == [("a",), ("b",)]


def test_how_far_several_logs_are_goes_from_nothing_to_all(logs, monkeypatch, home: Settings):
    told: list[float] = []
    monkeypatch.setattr(import_logs, "listener", lambda done, total: told.append(done / total))
    import_logs(logs, {})
    assert told == sorted(told)
    assert told[-1] == 1
    assert home.database.exists()
