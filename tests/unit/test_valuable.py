"""Runs that are protected, and notes to runs."""

from __future__ import annotations

import pytest

from tests.conftest import record, rows
from tests.stored import take_in
from tests.typed import Terminal

NIGHT = "daily_2026-11-23"


@pytest.fixture
def pdk(home, capsys, monkeypatch, make_log):
    take_in(home, make_log("a.pdklog", record()))
    take_in(home, make_log("b.pdklog", record(), test_run="daily_2026-11-24"))
    return Terminal(home, capsys, monkeypatch)


def test_a_run_is_made_valuable_and_no_longer(home, pdk):
    assert pdk("valuable", NIGHT).out == f"{NIGHT} is valuable now\n"
    assert rows(home, "SELECT name, valuable FROM run") == [(NIGHT, 1), ("daily_2026-11-24", 0)]
    assert [run["is_valuable"] for run in pdk("runs", "--json").data] == [True, False]
    assert pdk("valuable", NIGHT, "--off", "--json").data == {"run": NIGHT, "valuable": False}
    assert rows(home, "SELECT valuable FROM run WHERE valuable") == []


def test_making_a_run_valuable_twice_is_the_same_as_once(home, pdk):
    pdk("valuable", NIGHT)
    before = rows(home, "SELECT * FROM run")
    assert pdk("valuable", NIGHT).status == 0
    assert rows(home, "SELECT * FROM run") == before


def test_a_note_takes_the_place_of_the_one_before_and_an_empty_one_takes_it_away(home, pdk):
    assert pdk("note", NIGHT, " the", "file server was down ").out == f"{NIGHT}: the file server was down\n"
    assert "the file server was down" in pdk("runs").out
    pdk("note", NIGHT, 'it\'s "<b>"; DROP TABLE run')
    assert rows(home, "SELECT note FROM run") == [('it\'s "<b>"; DROP TABLE run',), ("",)]
    assert pdk("note", NIGHT, "").out == f"{NIGHT}: no note\n"
    assert rows(home, "SELECT note FROM run WHERE note <> ''") == []


def test_a_note_cannot_steer_a_terminal(pdk):
    assert "\x1b" not in pdk("note", NIGHT, "red \x1b[31m").out


@pytest.mark.parametrize("command", [("valuable", "daily_2026-11-22"), ("note", "daily_2026-11-22", "x")])
def test_a_run_that_does_not_exist_is_an_error_that_names_a_near_one(pdk, command):
    seen = pdk(*command)
    assert seen.status == 1
    assert seen.err.startswith("pdk: There is no such test run: daily_2026-11-22. Did you mean daily_2026-11-2")


def test_a_deleted_run_can_be_given_neither(home, pdk):
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(home.database)) as db, db:
        db.execute("UPDATE run SET deleted_at = 5 WHERE name = ?", (NIGHT,))
    assert pdk("valuable", NIGHT).status == 1
    assert pdk("note", NIGHT, "x").status == 1
    assert rows(home, "SELECT valuable, note FROM run WHERE name = ?", NIGHT) == [(0, "")]
