"""The SQL that people have from Pandokia, in the sqlite3 shell and through a plain connection, goes on working."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from contextlib import closing

import pytest

from pdk_pipeline import database
from tests.conftest import record
from tests.stored import is_sound, take_in

RUN = "daily_2026-11-23"


class Refused(Exception):
    """The statement was refused."""


def by_the_shell(path, statement: str) -> list[tuple[str, ...]]:
    done = subprocess.run(
        ["sqlite3", "-batch", "-list", "-separator", "|", path],
        input=statement,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.stderr:
        raise Refused(done.stderr)
    return [tuple(line.split("|")) for line in done.stdout.splitlines()]


def by_a_library(path, statement: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        try:
            found = db.execute(statement).fetchall()
        except sqlite3.Error as error:
            raise Refused(str(error)) from error
    return [tuple("" if value is None else str(value) for value in row) for row in found]


@pytest.fixture(params=["shell", "library"])
def sql(request, home):
    """Have a statement done by a program that knows nothing of pdk, foreign keys off."""
    with database.opened(home):
        pass
    if request.param == "library":
        return lambda statement: by_a_library(home.database, statement)
    if not shutil.which("sqlite3"):
        pytest.skip("there is no sqlite3 shell here")
    return lambda statement: by_the_shell(home.database, statement)


@pytest.fixture
def stored(home, make_log):
    """One run with three results."""
    log = make_log(
        "a.pdklog",
        record(
            "flat/test_bias", test_runner="pytest", start_time="1763881200.25", end_time="1763881201.75",
            location="flat/test_bias.py", tda_exposure="30", tda__okfile="bias.ok", tra_counts="1021.7",
        ),
        record("flat/test_dark", "F", log="17.2 != 16.9", tra_counts="17.2", custom="gpu"),
        record("test_x", "E", project="other"),
    )  # fmt: skip
    take_in(home, log)


# Results --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("stored")
def test_a_result_has_the_columns_it_always_had(sql, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    columns = "test_run, project, context, custom, test_name, host, status, test_runner, location, attn, has_okfile"
    assert sql(f"SELECT {columns} FROM result_scalar ORDER BY key_id") == [
        (RUN, "calib", "py311", "", "flat/test_bias", "banana", "P", "pytest", "flat/test_bias.py", "N", "T"),
        (RUN, "calib", "py311", "gpu", "flat/test_dark", "banana", "F", "", "", "Y", "F"),
        (RUN, "other", "py311", "", "test_x", "banana", "E", "", "", "Y", "F"),
    ]


@pytest.mark.usefixtures("stored")
def test_times_are_shown_in_the_zone_of_the_machine(home, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    if not shutil.which("sqlite3"):
        pytest.skip("there is no sqlite3 shell here")
    assert by_the_shell(home.database, "SELECT start_time, end_time FROM result_scalar ORDER BY key_id LIMIT 2") == [
        ("2025-11-23 16:00:00.250", "2025-11-23 16:00:01.750"),
        ("", ""),
    ]


@pytest.mark.usefixtures("stored")
def test_counts_by_status(sql):
    assert sql(
        f"SELECT project, status, count(*) FROM result_scalar WHERE test_run = '{RUN}' GROUP BY project, status"
    ) == [("calib", "F", "1"), ("calib", "P", "1"), ("other", "E", "1")]


@pytest.mark.usefixtures("stored")
def test_results_that_need_attention(sql):
    assert sql("SELECT test_name FROM result_scalar WHERE attn = 'Y' AND host LIKE 'ban%' ORDER BY test_name") == [
        ("flat/test_dark",),
        ("test_x",),
    ]


@pytest.mark.usefixtures("stored")
def test_attributes_join_their_result(sql):
    assert sql(
        "SELECT s.test_name, a.name, a.value FROM result_scalar s JOIN result_tda a ON a.key_id = s.key_id "
        "ORDER BY s.test_name, a.name"
    ) == [("flat/test_bias", "_okfile", "bias.ok"), ("flat/test_bias", "exposure", "30")]
    assert sql(
        "SELECT r.test_name, a.value FROM result_scalar r, result_tra a "
        "WHERE r.key_id = a.key_id AND a.name = 'counts' AND a.value > 100 ORDER BY 1"
    ) == [("flat/test_bias", "1021.7"), ("flat/test_dark", "17.2")]  # values are text, and text is more than numbers


@pytest.mark.usefixtures("stored")
def test_the_log_is_there_for_our_own_connections(home):
    with database.reading(home) as db:
        assert db.execute("SELECT log FROM result_log ORDER BY key_id").fetchall() == [
            ("",),
            ("17.2 != 16.9\n",),
            ("",),
        ]
        assert db.execute(
            "SELECT test_name FROM result_scalar JOIN result_log USING (key_id) WHERE log LIKE '%!=%'"
        ).fetchall() == [("flat/test_dark",)]


@pytest.mark.usefixtures("stored")
def test_elsewhere_the_log_is_refused_by_the_name_of_what_is_missing(sql):
    with pytest.raises(Refused, match="no such function: pdk_log"):
        sql("SELECT log FROM result_log")


@pytest.mark.parametrize(
    "statement",
    [
        f"DELETE FROM result_scalar WHERE test_run = '{RUN}'",
        "UPDATE result_scalar SET status = 'P'",
        "INSERT INTO result_tda VALUES (1, 'a', 'b')",
        "DELETE FROM distinct_test_run",
        "UPDATE distinct_test_run SET test_run = 'other'",
    ],
)
@pytest.mark.usefixtures("stored")
def test_what_would_leave_half_a_run_is_refused(sql, home, statement):
    with pytest.raises(Refused, match="because it is a view"):
        sql(statement)
    assert is_sound(home)


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("DELETE FROM run", "the run has results: `pdk delete_run` deletes it"),
        ("DELETE FROM test", "there are results"),
    ],
)
@pytest.mark.usefixtures("stored")
def test_nobody_pulls_the_names_away_from_under_the_results(sql, home, statement, why):
    with pytest.raises(Refused, match=why):
        sql(statement)
    assert is_sound(home)
    assert len(sql("SELECT * FROM result_scalar")) == 3


# Runs -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("stored")
def test_the_list_of_runs(sql):
    assert sql("SELECT test_run, valuable, record_count, note FROM distinct_test_run") == [(RUN, "0", "3", "")]
    assert sql("SELECT test_run FROM distinct_test_run WHERE valuable = 0") == [(RUN,)]
    assert sql("SELECT test_run FROM distinct_test_run WHERE valuable = '0'") == [(RUN,)]


@pytest.mark.usefixtures("stored")
def test_a_run_is_made_valuable_and_noted(sql):
    sql(f"UPDATE distinct_test_run SET valuable = '1', note = 'release' WHERE test_run = '{RUN}'")
    assert sql("SELECT valuable, note FROM distinct_test_run") == [("1", "release")]
    sql("UPDATE distinct_test_run SET valuable = 0 WHERE test_run LIKE 'daily%'")
    sql("UPDATE distinct_test_run SET note = NULL")
    assert sql("SELECT valuable, note FROM distinct_test_run") == [("0", "")]


@pytest.mark.parametrize("value", ["'yes'", "2", "NULL", "''"])
@pytest.mark.usefixtures("stored")
def test_valuable_is_0_or_1(sql, value):
    with pytest.raises(Refused, match="valuable is 0 or 1"):
        sql(f"UPDATE distinct_test_run SET valuable = {value}")


@pytest.mark.usefixtures("stored")
def test_a_deleted_run_is_in_no_view(sql, home):
    with database.writing(home) as db:
        db.execute("UPDATE run SET deleted_at = 1")
        db.execute("INSERT INTO run (name, created_at) VALUES (?, 2)", (RUN,))
    for view in ("result_scalar", "result_tda", "result_tra"):
        assert sql(f"SELECT * FROM {view}") == []
    with database.reading(home) as db:
        assert db.execute("SELECT * FROM result_log").fetchall() == []
    assert sql("SELECT test_run, record_count FROM distinct_test_run") == [(RUN, "0")]
    sql("UPDATE distinct_test_run SET note = 'the new one'")
    assert sql("SELECT note, deleted_at FROM run ORDER BY id") == [("", "1.0"), ("the new one", "")]


# Expected tests -------------------------------------------------------------------------------------------------


def expected(sql) -> list[tuple[str, ...]]:
    return sql(
        "SELECT test_run_type, project, host, test_name, context, custom FROM expected ORDER BY 1, 2, 3, 4, 5, 6"
    )


def test_expected_tests_are_put_in_and_a_class_of_them_is_deleted_as_in_the_manual(sql, home):
    columns = "test_run_type, project, host, test_name, context, custom"
    sql(f"INSERT INTO expected ({columns}) VALUES ('daily', 'p', 'h', 't', 'c', 'x')")
    sql(
        f"INSERT INTO expected ({columns}) VALUES "
        "('whatever', 'p', 'h', 't', 'c', 'x'), ('whatever', 'p', 'h', 'u', 'c', '')"
    )
    assert expected(sql) == [
        ("daily", "p", "h", "t", "c", "x"),
        ("whatever", "p", "h", "t", "c", "x"),
        ("whatever", "p", "h", "u", "c", ""),
    ]
    sql("DELETE FROM expected WHERE test_run_type = 'whatever'")
    assert expected(sql) == [("daily", "p", "h", "t", "c", "x")]
    assert is_sound(home)


def test_columns_that_are_left_out_or_empty_get_what_a_log_without_them_gets(sql):
    sql("INSERT INTO expected (test_run_type, project, test_name) VALUES ('daily', 'p', 't')")
    sql("INSERT INTO expected VALUES ('daily', 'p', '', 't', '', '')")
    sql("INSERT INTO expected VALUES ('daily', 'p', NULL, 't', NULL, NULL)")
    assert expected(sql) == [("daily", "p", "unknown", "t", "default", "")]


@pytest.mark.usefixtures("stored")
def test_put_in_twice_it_is_there_once_and_its_ids_stay(sql, home):
    insert = "INSERT{} INTO expected VALUES ('daily', 'calib', 'banana', 'flat/test_bias', 'py311', '')"
    for how in ("", "", " OR REPLACE", " OR IGNORE"):
        sql(insert.format(how))
    assert len(expected(sql)) == 1
    assert is_sound(home)
    assert sql("SELECT count(*) FROM result_scalar WHERE test_name = 'flat/test_bias'") == [("1",)]


def test_names_that_look_like_numbers_are_names(sql):
    sql("INSERT INTO expected VALUES ('daily', 1, 2, 3, 4, 5)")
    assert expected(sql) == [("daily", "1", "2", "3", "4", "5")]


def test_single_tests_are_deleted_by_any_condition(sql):
    for test in ("a/1", "a/2", "b/1"):
        for host in ("apple", "banana"):
            sql(f"INSERT INTO expected VALUES ('daily', 'p', '{host}', '{test}', 'default', '')")
    sql("DELETE FROM expected WHERE test_name LIKE 'a/%' AND host = 'apple'")
    assert sql("SELECT host, test_name FROM expected ORDER BY 1, 2") == [
        ("apple", "b/1"), ("banana", "a/1"), ("banana", "a/2"), ("banana", "b/1")
    ]  # fmt: skip
    sql("DELETE FROM expected")
    assert expected(sql) == []


def test_a_class_is_copied(sql):
    sql("INSERT INTO expected VALUES ('daily', 'p', 'h', 't', 'c', '')")
    sql("INSERT INTO expected SELECT 'weekly', project, host, test_name, context, custom FROM expected")
    assert [row[0] for row in expected(sql)] == ["daily", "weekly"]


@pytest.mark.parametrize("name", ["a b", "/a", ".a", "a//b", "a' || char(10) || 'b", "a' || char(9) || 'b"])
def test_a_name_that_no_result_can_have_is_refused_rather_than_missing_for_ever(sql, name):
    with pytest.raises(Refused, match="no test has such a name"):
        sql(f"INSERT INTO expected (test_run_type, project, test_name) VALUES ('daily', 'p', '{name}')")
    assert sql("SELECT * FROM test") == []


@pytest.mark.parametrize(
    "values", ["('daily', 'p', '')", "('daily', '', 't')", "('', 'p', 't')", "('daily', NULL, 't')"]
)
def test_nothing_is_expected_without_class_project_and_name(sql, values):
    with pytest.raises(Refused, match="constraint failed"):
        sql(f"INSERT INTO expected (test_run_type, project, test_name) VALUES {values}")
    assert sql("SELECT * FROM test") == []


# Contacts -------------------------------------------------------------------------------------------------------


def test_contacts_are_put_in_and_deleted(sql):
    sql("INSERT INTO contact (project, test_name, email) VALUES ('p', 'flat/', 'ann@example.org')")
    sql("INSERT INTO contact (project, email) VALUES ('p', 'bob@example.org')")
    sql("INSERT INTO contact (project, email) VALUES ('p', 'bob@example.org')")
    assert sql("SELECT project, test_name, email FROM contact ORDER BY 2") == [
        ("p", "", "bob@example.org"),
        ("p", "flat/", "ann@example.org"),
    ]
    sql("DELETE FROM contact WHERE email = 'bob@example.org'")
    assert sql("SELECT email FROM contact") == [("ann@example.org",)]


# The shell's own ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("stored")
def test_the_shell_can_dump_the_database_and_make_it_again(home, tmp_path):
    if not shutil.which("sqlite3"):
        pytest.skip("there is no sqlite3 shell here")
    dumped = subprocess.run(["sqlite3", home.database, ".dump"], capture_output=True, check=True).stdout
    again = tmp_path / "again.db"
    subprocess.run(["sqlite3", "-bail", again], input=dumped, check=True, capture_output=True)
    everything = "SELECT * FROM result_scalar ORDER BY key_id"
    assert by_the_shell(again, everything) == by_the_shell(home.database, everything)
    with closing(sqlite3.connect(again)) as db:
        # The ids go on where they were, or a deleted one would be used again.
        assert db.execute("SELECT name, seq FROM sqlite_sequence WHERE name = 'result'").fetchall() == [("result", 3)]


@pytest.mark.usefixtures("stored")
def test_a_run_is_found_by_its_name_without_reading_all_results(home):
    with database.reading(home) as db:
        plan = [
            row[3]
            for row in db.execute(
                "EXPLAIN QUERY PLAN SELECT test_name FROM result_scalar WHERE test_run = ? AND status = 'F'", (RUN,)
            )
        ]
    assert "SEARCH run USING INDEX run_name (name=?)" in plan
    assert not any(step.startswith("SCAN result") for step in plan)
