"""Names that several logs have in common: what one log made of them holds for the next only while it is true."""

from __future__ import annotations

import contextlib

import pytest

from pdk_pipeline import database
from pdk_pipeline.intake import deliveries, importing, names, spool
from pdk_pipeline.intake.deliveries import Options
from tests.conftest import record, rows
from tests.stored import is_sound

STORED = "SELECT project, host, test_name, status FROM result_scalar ORDER BY 1, 2, 3"


@pytest.fixture
def logs(make_log):
    """The same three tests on two machines, of which one has more."""
    return [
        (make_log(f"{host}.pdklog", *(record(name) for name in tests), host=host), host)
        for host, tests in (("apple", "abc"), ("banana", "abcd"))
    ]


@pytest.fixture
def looked_up(monkeypatch):
    """The names of tests that the database was asked for."""
    asked = []
    learn = names._learn
    monkeypatch.setattr(names, "_learn", lambda db, project, unknown, ids: (
        asked.append("".join(sorted(unknown))), learn(db, project, unknown, ids)))  # fmt: skip
    return asked


def _stored(**hosts):
    return [("calib", host, name, "P") for host, tests in sorted(hosts.items()) for name in tests]


def test_the_database_is_asked_for_a_name_once(home, logs, looked_up):
    importing.import_files(home, logs, Options())
    assert looked_up == ["abc", "d"]
    assert rows(home, STORED) == _stored(apple="abc", banana="abcd")


def test_the_same_name_in_another_project_is_another_test(home, make_log, looked_up):
    logs = [(make_log(project, record("a"), project=project), project) for project in ("one", "two")]
    importing.import_files(home, logs, Options())
    assert looked_up == ["a", "a"]
    assert [row[0] for row in rows(home, STORED)] == ["one", "two"]


def test_what_was_rolled_back_is_not_relied_on(home, logs, looked_up, monkeypatch):
    spool.prepare(home)
    for path, _ in logs:
        path.rename(home.spool / "incoming" / path.name)
    claims = [claim for claim, _ in sorted(spool.collect(home).claims, key=lambda one: one[1])]
    with monkeypatch.context() as patch:
        patch.setattr(deliveries, "LARGEST_SWELL_BYTES", -1)
        patch.setattr(deliveries, "MOST_SWELL", -1)

        def let_the_second_swell(_done: float) -> None:
            if rows(home, "SELECT 1 FROM import_file"):
                patch.undo()

        bomb, told = importing.import_claims(home, claims, progress=let_the_second_swell)
    assert (bomb.accepted, bomb.quarantined) == (0, 1)
    assert told.accepted == 4
    assert looked_up == ["abc", "abcd"]
    assert rows(home, STORED) == _stored(banana="abcd")
    assert is_sound(home)


def test_what_another_process_removed_is_not_relied_on(home, logs, looked_up):
    def clean_after_the_first(done: float) -> None:
        if done == 1 and rows(home, "SELECT 1 FROM import_file"):
            with contextlib.closing(database.connect(home.database)) as db:
                for table in ("result", "test", "environment"):
                    db.execute(f"DELETE FROM {table}")
                db.execute("UPDATE sqlite_sequence SET seq = 0 WHERE name = 'test'")  # the ids mean others from now on
                db.execute("INSERT INTO test (project, name) VALUES ('calib', 'c'), ('calib', 'other')")

    importing.import_files(home, logs, Options(), progress=clean_after_the_first)
    assert looked_up == ["abc", "abcd"]
    assert rows(home, STORED) == _stored(banana="abcd")
    assert is_sound(home)


@pytest.mark.parametrize("name", ["", "x" * 50_000], ids=["many", "long"])
def test_not_more_is_remembered_than_there_is_memory_for(home, make_log, looked_up, monkeypatch, name):
    monkeypatch.setattr(names, "MOST_BYTES", 3 * names.NAME_BYTES if not name else 50_000)
    logs = [(make_log(host, *(record(f"{name}{test}") for test in "abc"), host=host), host) for host in ("h1", "h2")]
    importing.import_files(home, logs, Options())
    assert [asked[-1] for asked in looked_up] == ["c", "c"]
    assert len(rows(home, STORED)) == 6
