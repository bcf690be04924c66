"""Connections that stay open between two uses."""

from __future__ import annotations

import shutil

import pytest

from pdk_pipeline import database


def test_what_is_kept_open_is_the_same_connection_every_time(home):
    with database.kept_open():
        with database.opened(home) as first:
            pass
        with database.opened(home) as second:
            assert second is first
    with database.opened(home) as third:
        assert third is not first


def test_it_is_closed_at_the_end_and_sqlite_has_tidied_up(home):
    with database.kept_open():
        with database.writing(home) as db:
            db.execute("INSERT INTO run (name, created_at) VALUES ('daily_2026-11-23', 0)")
        assert home.database.with_name("pdk.db-wal").exists()
    assert not home.database.with_name("pdk.db-wal").exists()


def test_a_database_inside_another_use_of_it_has_a_connection_of_its_own(home):
    with database.kept_open(), database.opened(home) as outer:
        with database.opened(home) as inner:
            assert inner is not outer
        outer.execute("SELECT 1")


def test_a_connection_on_which_something_failed_is_not_used_again(home):
    with database.kept_open():
        with pytest.raises(RuntimeError), database.opened(home) as first:
            raise RuntimeError
        with database.opened(home) as second:
            assert second is not first


def test_a_home_that_is_deleted_and_made_again_meanwhile_is_the_one_that_is_written(home):
    with database.kept_open():
        with database.opened(home):
            pass
        shutil.rmtree(home.home)
        with database.writing(home) as db:
            db.execute("INSERT INTO run (name, created_at) VALUES ('daily_2026-11-23', 0)")
    with database.reading(home) as db:
        assert db.execute("SELECT name FROM run").fetchall() == [("daily_2026-11-23",)]
