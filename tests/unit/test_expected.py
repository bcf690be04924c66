"""Expected tests: learned from runs, missing ones recorded, forgotten on request."""

from __future__ import annotations

import itertools
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pdk_pipeline import database, expected, runs
from pdk_pipeline.errors import UnknownClass, UnknownRun
from pdk_pipeline.selection import Selection
from tests.conftest import record, rows
from tests.stored import statuses, take_in
from tests.typed import Terminal

MONDAY, TUESDAY = "daily_2026-11-23", "daily_2026-11-24"
ALL = Selection()


@pytest.fixture
def pdk(home, capsys, monkeypatch):
    return Terminal(home, capsys, monkeypatch)


@pytest.fixture
def report(home, make_log):
    """Have a machine report: `report("a", "b", run=TUESDAY, host="apple")`, each test passing."""
    numbers = itertools.count()

    def make(*tests: str, run: str = MONDAY, status: str = "P", host: str = "banana", project: str = "calib", **more):
        records = [record(test, status, **more) for test in tests]
        take_in(home, make_log(f"{next(numbers)}.pdklog", *records, test_run=run, host=host, project=project))

    return make


def learn(home, run: str = MONDAY, class_: str = "daily", where: Selection = ALL, at: float = 1000.0) -> int:
    with database.writing(home) as db:
        return expected.learn(db, runs.find(home, db, run), class_, where, now=at)


def check(home, run: str = TUESDAY, class_: str = "daily", where: Selection = ALL, *, create=False) -> expected.Check:
    with database.writing(home) as db:
        found = runs.make(home, db, run, now=1000.0) if create else runs.find(home, db, run)
        return expected.check(db, found, class_, where)


def expected_tests(home, class_: str = "daily") -> set[tuple]:
    return set(
        rows(home, "SELECT project, host, test_name FROM expected WHERE test_run_type = ?", class_),
    )


def missing_tests(home, run: str = TUESDAY) -> set[tuple]:
    """What is recorded missing, and needs attention."""
    return set(
        rows(
            home,
            """
            SELECT project, host, context, custom, test_name FROM result_scalar
            WHERE test_run = ? AND status = 'M' AND attn = 'Y'
            """,
            run,
        )
    )


# Learning -------------------------------------------------------------------------------------------------------


def test_a_file_that_could_not_be_collected_is_no_test_to_expect(home, report):
    report("flat/test_bias", status="E", tra_error_in="collection")
    report("flat/test_dark", status="E", tra_error_in="setup")
    learn(home)
    assert {name for _, _, name in expected_tests(home)} == {"flat/test_dark"}


def test_the_tests_of_a_run_become_expected_whatever_their_status(home, report):
    report("a", status="P")
    report("b", status="F")
    report("c", status="D")
    assert learn(home) == 3
    assert expected_tests(home) == {("calib", "banana", name) for name in "abc"}


def test_another_run_adds_its_tests_and_removes_none(home, report):
    report("a", "b")
    report("b", "c", run=TUESDAY)
    assert learn(home, MONDAY) == 2
    assert learn(home, TUESDAY) == 1
    assert {name for *_, name in expected_tests(home)} == {"a", "b", "c"}


def test_learning_a_run_again_leaves_since_when_its_tests_are_expected(home, report):
    report("a")
    learn(home, at=1000)
    assert learn(home, at=2000) == 0
    assert rows(home, "SELECT since, learned_from FROM expectation") == [(1000.0, MONDAY)]


def test_a_class_is_learned_from_any_run(home, report):
    report("a", run="mark-25")
    report("b")
    learn(home, "mark-25", "marks_tests")
    assert {name for *_, name in expected_tests(home, "marks_tests")} == {"a"}
    assert expected_tests(home, "daily") == set()


CHOICES = [
    (Selection(projects=("calib",)), {"calib banana", "calib apple"}),
    (Selection(hosts=("apple", "pear")), {"calib apple", "drizzle pear"}),
    (Selection(hosts=("apple", "pear"), projects=("drizzle",)), {"drizzle pear"}),
    (Selection(hosts=("?ear", "ban*")), {"calib banana", "drizzle pear"}),
    (Selection(contexts=("py3%",)), {"calib banana", "calib apple", "drizzle pear"}),
    (Selection(contexts=("py27",)), set()),
    (Selection(customs=("",)), {"calib banana", "calib apple", "drizzle pear"}),
    (Selection(tests=("x",), hosts=("apple",)), {"calib apple"}),
]


@pytest.mark.parametrize(("where", "chosen"), CHOICES)
def test_filters_of_one_kind_are_an_or_and_the_kinds_together_an_and(home, report, where, chosen):
    report("x", project="calib", host="banana")
    report("x", project="calib", host="apple")
    report("x", project="drizzle", host="pear")
    report("unrelated", run=TUESDAY)
    assert learn(home, where=where) == len(chosen)
    assert {f"{project} {host}" for project, host, _ in expected_tests(home)} == chosen

    learn(home)
    assert check(home, where=where) == (len(chosen), len(chosen), len(chosen))
    assert {f"{project} {host}" for project, host, *_ in missing_tests(home)} == chosen


def test_a_test_that_was_recorded_missing_is_not_learned_from_that_run(home, report):
    report("a", "b")
    report("a", run=TUESDAY)
    learn(home)
    check(home, TUESDAY)
    assert learn(home, TUESDAY, "other") == 1
    assert expected_tests(home, "other") == {("calib", "banana", "a")}


def test_a_test_that_was_forgotten_does_not_come_back_with_the_run_that_lacked_it(home, report, pdk):
    report("a", "b")
    report("a", run=TUESDAY)
    learn(home)
    check(home, TUESDAY)
    pdk("expected", "remove", "daily", "b")
    learn(home, TUESDAY)
    assert expected_tests(home) == {("calib", "banana", "a")}


def test_what_a_log_itself_calls_missing_is_learned(home, report):
    report("a", status="M")
    assert learn(home) == 1


# Checking -------------------------------------------------------------------------------------------------------


def test_every_expected_test_that_a_run_lacks_is_recorded_missing(home, report):
    report("a", "b", "c")
    report("a", run=TUESDAY, host="banana")
    report("b", run=TUESDAY, host="apple")
    learn(home)
    assert check(home) == (3, 2, 2)
    assert missing_tests(home) == {
        ("calib", "banana", "py311", "", "b"),
        ("calib", "banana", "py311", "", "c"),
    }


def test_parts_of_a_name_are_not_joined_when_they_are_compared(home, report):
    report("t", host="h1", project="P")
    report("t", host="h", project="1P", run=TUESDAY)
    learn(home)
    assert check(home).recorded == 1


def test_checking_again_changes_nothing(home, report):
    report("a", "b")
    report("a", run=TUESDAY)
    learn(home)
    check(home)
    before = rows(home, "SELECT * FROM result")
    assert check(home) == (2, 1, 0)
    assert rows(home, "SELECT * FROM result") == before


@pytest.mark.parametrize("order", sorted(set(itertools.permutations(["a arrives", "b arrives", "check", "check"]))))
def test_any_order_of_import_and_check_ends_in_one_row_a_test_with_what_it_reported(home, report, order):
    report("a", "b", "c")
    learn(home)
    for step in order:
        if step == "check":
            check(home, TUESDAY, create=True)
        else:
            report(step[0], run=TUESDAY, status="F")
    check(home)
    with closing(database.connect(home.database)) as db:
        db.execute("DELETE FROM result WHERE run_id = (SELECT id FROM run WHERE name = ?)", (MONDAY,))
    assert statuses(home) == {"a": "F", "b": "F", "c": "M"}


def test_one_class_does_not_ask_for_the_tests_of_another(home, report):
    report("a")
    report("b", run=TUESDAY)
    learn(home, MONDAY, "daily")
    learn(home, TUESDAY, "weekly")
    check(home, TUESDAY, "weekly")
    assert missing_tests(home) == set()


def test_a_check_needs_as_many_statements_for_a_thousand_tests_as_for_one(home, report):
    def statements(tests: int) -> int:
        report(*(f"t{number}" for number in range(tests)), run=f"of-{tests}")
        report("another", run=f"check-{tests}")
        learn(home, f"of-{tests}", f"class-{tests}")
        seen: list[str] = []
        with database.writing(home) as db:
            run = runs.find(home, db, f"check-{tests}")
            db.set_trace_callback(seen.append)
            assert expected.check(db, run, f"class-{tests}", ALL).recorded == tests
            db.set_trace_callback(None)
        return len([one for one in seen if not one.startswith("--")])

    assert statements(1) == statements(1000)


def test_what_a_log_calls_missing_counts_when_it_is_expected_and_not_otherwise(home, report):
    report("a", "b")
    report("a", "unheard-of", run=TUESDAY, status="M")
    learn(home)
    assert check(home) == (2, 2, 1)


def test_a_run_that_does_not_exist_is_an_error_that_names_a_near_one(home, report):
    report("a")
    learn(home)
    with pytest.raises(UnknownRun, match=r"daily_2026-11-25.*Did you mean daily_2026-11-23\?"):
        check(home, "daily_2026-11-25")


def test_a_class_that_does_not_exist_is_an_error_that_names_a_near_one(home, report):
    report("a")
    learn(home)
    with pytest.raises(UnknownClass, match=r"dayly\. Did you mean daily\?"):
        check(home, MONDAY, "dayly")


def test_a_run_can_be_begun_by_its_check_and_all_of_it_is_then_missing(home, report):
    report("a", "b")
    learn(home)
    assert check(home, TUESDAY, create=True) == (2, 2, 2)


def test_no_run_is_begun_for_a_class_that_does_not_exist(home, report):
    report("a")
    learn(home)
    with pytest.raises(UnknownClass):
        check(home, TUESDAY, "dayly", create=True)
    assert rows(home, "SELECT name FROM run") == [(MONDAY,)]


def test_no_run_is_begun_under_a_name_that_only_means_another(home):
    with database.writing(home) as db, pytest.raises(UnknownRun, match="daily_yesterday"):
        runs.make(home, db, "daily_yesterday", now=1000.0)


def test_a_deleted_run_is_not_there_and_a_run_of_its_name_can_be_begun(home, report):
    report("a")
    learn(home)
    with closing(database.connect(home.database)) as db:
        db.execute("UPDATE run SET deleted_at = 5")
    with pytest.raises(UnknownRun):
        check(home, MONDAY)
    with pytest.raises(UnknownRun):
        learn(home, MONDAY)
    assert check(home, MONDAY, create=True) == (1, 1, 1)
    assert rows(home, "SELECT run_id, status FROM result ORDER BY 1") == [(1, "P"), (2, "M")]


@given(
    known=st.sets(st.tuples(st.sampled_from("abcd"), st.sampled_from(["h", "h2"])), max_size=8),
    forgotten=st.sampled_from(["", "h", "h2"]),
    came=st.sets(st.tuples(st.sampled_from("abcde"), st.sampled_from(["h", "h2"])), max_size=10),
)
@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_missing_is_what_was_expected_less_what_came(tmp_path_factory, known, forgotten, came):
    path = tmp_path_factory.mktemp("night") / "pdk.db"
    with closing(database.connect(path)) as db:
        database.migrate(db)
        db.execute("INSERT INTO run (name, created_at) VALUES ('first', 0), ('second', 0)")
        db.executemany("INSERT INTO test (project, name) VALUES ('p', ?)", [(name,) for name in "abcde"])
        db.executemany("INSERT INTO environment (host, context, custom) VALUES (?, 'c', '')", [("h",), ("h2",)])
        for run, reported in ((1, known), (2, came)):
            db.executemany(
                """
                INSERT INTO result (run_id, environment_id, test_id, status, attn)
                SELECT ?, environment.id, test.id, 'P', 'N' FROM environment, test WHERE test.name = ? AND host = ?
                """,
                [(run, *identity) for identity in reported],
            )
        first, second = (runs.Run(id_, "", is_valuable=False, note="", created_at=0) for id_ in (1, 2))
        expected.learn(db, first, "daily", ALL, now=0)
        if forgotten:
            expected.forget(db, "daily", Selection(hosts=(forgotten,)))
        wanted = {identity for identity in known if identity[1] != forgotten}
        if not wanted:
            with pytest.raises(UnknownClass):
                expected.check(db, second, "daily", ALL)
            return
        lacking = wanted - came
        assert expected.check(db, second, "daily", ALL) == (len(wanted), len(lacking), len(lacking))
        assert {(one.test_name, one.host) for one in expected.missing(db, second, "daily", ALL)} == lacking


# Seeing and forgetting ------------------------------------------------------------------------------------------


def test_the_classes_are_listed_with_how_many_tests_and_hosts_and_since_when(home, report):
    report("a", "b", host="banana")
    report("a", host="apple")
    report("a", host="apple", context="py312")
    report("c", run=TUESDAY)
    learn(home, at=1000)
    learn(home, TUESDAY, at=2000)
    learn(home, TUESDAY, "weekly", at=3000)
    with database.reading(home) as db:
        assert expected.classes(db) == [("daily", 5, 2, 1000.0, 2000.0), ("weekly", 1, 1, 3000.0, 3000.0)]


@pytest.mark.parametrize(
    ("where", "left"),
    [
        (Selection(hosts=("banana",)), {("apple", "a")}),
        (Selection(tests=("a",)), {("banana", "b")}),
        (Selection(tests=("a",), hosts=("apple",)), {("banana", "a"), ("banana", "b")}),
        (Selection(projects=("other",)), {("banana", "a"), ("banana", "b"), ("apple", "a")}),
        (ALL, set()),
    ],
)
def test_forgetting_takes_what_is_selected_out_of_one_class(home, report, where, left):
    report("a", "b", host="banana")
    report("a", host="apple")
    learn(home)
    learn(home, class_="weekly")
    with database.writing(home) as db:
        assert expected.forget(db, "daily", where) == 3 - len(left)
    assert {(host, name) for _, host, name in expected_tests(home)} == left
    assert len(expected_tests(home, "weekly")) == 3


def test_the_sql_of_the_manual_still_puts_in_and_takes_out_what_is_expected(home, report):
    report("a")
    with closing(database.connect(home.database)) as db:
        db.execute(
            "INSERT INTO expected (test_run_type, project, host, test_name, context, custom) VALUES (?, ?, ?, ?, ?, ?)",
            ("whatever", "calib", "pear", "new", "py311", ""),
        )
    assert check(home, MONDAY, "whatever").recorded == 1
    assert missing_tests(home, MONDAY) == {("calib", "pear", "py311", "", "new")}
    with closing(database.connect(home.database)) as db:
        db.execute("DELETE FROM expected WHERE test_run_type = 'whatever'")
    with pytest.raises(UnknownClass):
        check(home, MONDAY, "whatever")


# Commands -------------------------------------------------------------------------------------------------------


def test_the_commands_of_the_manual_work_as_they_stand_there(report, pdk):
    report("a", "b", run="mark-25")
    report("a", run="mark-26")
    assert pdk("gen_expected", "marks_tests", "mark-25").out == "marks_tests: 2 new from mark-25, 2 expected\n"
    assert pdk("gen_expected", "marks_tests", "mark-25").out == "marks_tests: 0 new from mark-25, 2 expected\n"
    seen = pdk("check_expected", "marks_tests", "mark-26")
    assert seen.out == "mark-26: 1 of 2 expected tests missing, 1 of them newly recorded\n"
    assert seen.status == 0


def test_filters_are_written_as_people_have_them_in_their_scripts(report, pdk):
    report("a", host="banana")
    report("a", host="apple")
    report("a", host="pear")
    assert pdk("gen-expected", "daily", MONDAY, "-h", "banana", "-host=apple", "--json").data["new"] == 2


def test_the_missing_tests_are_listed_on_request(report, pdk):
    report("flat/test_bias", "flat/test_dark")
    report("flat/test_bias", run=TUESDAY)
    pdk("gen_expected", "daily", MONDAY)
    seen = pdk("check_expected", "daily", TUESDAY, "-verbose")
    assert [line.split() for line in seen.out.splitlines()] == [
        ["project", "host", "context", "custom", "test"],
        ["calib", "banana", "py311", "flat/test_dark"],
    ]
    assert "1 of 2 expected tests missing" in seen.err
    assert pdk("check_expected", "daily", TUESDAY, "--verbose", "--json").data == {
        "class": "daily",
        "run": TUESDAY,
        "expected": 2,
        "missing": 1,
        "recorded": 0,
        "tests": [
            {"project": "calib", "host": "banana", "context": "py311", "custom": "", "test_name": "flat/test_dark"}
        ],
    }


def test_todays_run_in_which_nothing_came_is_no_healthy_night(report, pdk):
    report("a", run="daily_2001-01-01")
    pdk("gen_expected", "daily", "daily_2001-01-01")
    seen = pdk("check_expected", "daily", "daily_latest")
    assert seen.status == 1
    assert "There is no such test run: daily_20" in seen.err
    begun = pdk("check_expected", "daily", "daily_latest", "--create", "--json").data
    assert begun["missing"] == 1
    assert begun["run"].startswith("daily_20")
    assert begun["run"] != "daily_2001-01-01"


@pytest.mark.parametrize("command", [("gen_expected", "daily", MONDAY), ("check_expected", "daily", MONDAY)])
def test_without_a_database_there_is_one_line_that_says_so(pdk, command):
    seen = pdk(*command)
    assert seen.status == 1
    assert seen.err.startswith("pdk: There is no database yet")
    assert seen.err.count("\n") == 1


def test_a_class_needs_a_name(report, pdk):
    report("a")
    assert pdk("gen_expected", " ", MONDAY).status == 2


def test_expected_tests_are_listed_and_removed(report, pdk):
    report("flat/a", "flat/b", "dark/c")
    pdk("gen_expected", "daily", MONDAY)
    assert [one["test_name"] for one in pdk("expected", "list", "daily", "flat/*", "--json").data] == [
        "flat/a",
        "flat/b",
    ]
    assert pdk("expected", "remove", "daily", "flat/*", "--count").out == "daily: 2 tests would be removed\n"
    assert pdk("expected", "remove", "daily", "flat/*").out == "daily: 2 tests removed, 1 still expected\n"
    assert [one["name"] for one in pdk("expected", "list", "--json").data] == ["daily"]
    assert "dark/c" in pdk("expected", "list", "daily").out


def test_a_whole_class_is_removed_only_when_all_is_said(home, report, pdk):
    report("a")
    pdk("gen_expected", "daily", MONDAY)
    seen = pdk("expected", "remove", "daily")
    assert seen.status == 2
    assert "--all" in seen.err
    assert pdk("expected", "remove", "daily", "--all", "-h", "banana").status == 2
    assert len(expected_tests(home)) == 1
    assert pdk("expected", "remove", "daily", "--all").out == "daily: 1 test removed, 0 still expected\n"
    assert "nothing is expected yet" in pdk("expected", "list").err


def test_removing_from_a_class_that_does_not_exist_is_an_error(report, pdk):
    report("a")
    pdk("gen_expected", "daily", MONDAY)
    seen = pdk("expected", "remove", "dayly", "--all")
    assert seen.status == 1
    assert "Did you mean daily?" in seen.err
