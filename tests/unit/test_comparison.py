"""What changed between two runs: one category for every changed or bad result."""

from __future__ import annotations

import json

import pytest

from pdk_pipeline import database, runs
from pdk_pipeline.comparison import Category, CauseKind, Environment, history
from pdk_pipeline.config import Settings
from pdk_pipeline.intake import importing, quarantine
from tests.conftest import record
from tests.night_after_night import calib, check, compared, learn, night, put
from tests.stored import take_in

FRIDAY, SATURDAY, SUNDAY, MONDAY = (f"daily_2026-11-{day}" for day in (20, 21, 22, 23))


@pytest.fixture
def db(home):
    with database.writing(home) as connection:
        yield connection


def told(comparison) -> dict[tuple, str]:
    """Category of every change, by (host, test)."""
    return {(change.host, change.test): change.category.value for change in comparison.changes}


def only(comparison, category: Category):
    (change,) = [change for change in comparison.changes if change.category is category]
    return change


# Failing -----------------------------------------------------------------------------------------------------


def test_a_test_that_breaks_is_newly_failing_since_tonight(db):
    night(db, SUNDAY, {calib("a"): "P", calib("b"): "P"})
    night(db, MONDAY, {calib("a"): "F", calib("b"): "P"})

    (change,) = compared(db, MONDAY).changes
    assert (change.category, change.test, change.before, change.now) == (Category.NEWLY_FAILING, "a", "P", "F")
    assert (change.since, change.nights, change.is_news) == (MONDAY, 1, True)


def test_a_test_that_goes_on_failing_says_since_when_and_how_often(db):
    night(db, FRIDAY, {calib("a"): "P"})
    for name in (SATURDAY, SUNDAY, MONDAY):
        night(db, name, {calib("a"): "E" if name == SUNDAY else "F"})

    change = only(compared(db, MONDAY), Category.STILL_FAILING)
    assert (change.since, change.nights, change.is_longer, change.is_news) == (SATURDAY, 3, False, False)


def test_what_fails_in_the_oldest_run_that_is_kept_may_have_failed_longer(db):
    for name in (SATURDAY, SUNDAY, MONDAY):
        night(db, name, {calib("a"): "F"})

    change = only(compared(db, MONDAY), Category.STILL_FAILING)
    assert (change.since, change.nights, change.is_longer) == (SATURDAY, 3, True)


def test_no_more_runs_are_looked_back_through_than_the_limit(db, monkeypatch):
    monkeypatch.setattr(history, "MOST_RUNS", 2)
    night(db, FRIDAY, {calib("a"): "P"})
    for name in (SATURDAY, SUNDAY, MONDAY):
        night(db, name, {calib("a"): "F"})

    change = only(compared(db, MONDAY), Category.STILL_FAILING)
    assert (change.nights, change.is_longer) == (3, True)


def test_no_more_rows_are_read_for_it_than_the_limit(db, monkeypatch):
    monkeypatch.setattr(history, "MOST_WORK", 1)
    for name in (FRIDAY, SATURDAY, SUNDAY, MONDAY):
        night(db, name, {calib("a"): "F"})

    change = only(compared(db, MONDAY), Category.STILL_FAILING)
    assert (change.nights, change.is_longer) == (2, True)


def test_a_test_that_failed_was_missing_for_a_night_and_fails_is_still_failing(db):
    night(db, FRIDAY, {calib("a"): "P", calib("b"): "P"})
    night(db, SATURDAY, {calib("a"): "F", calib("b"): "P"})
    night(db, SUNDAY, {calib("b"): "P"})
    night(db, MONDAY, {calib("a"): "F", calib("b"): "P"})

    change = only(compared(db, MONDAY), Category.STILL_FAILING)
    assert (change.before, change.last, change.since, change.nights) == ("M", "F", SATURDAY, 2)


def test_a_test_that_passed_was_missing_for_a_night_and_fails_is_newly_failing(db):
    night(db, SATURDAY, {calib("a"): "P", calib("b"): "P"})
    night(db, SUNDAY, {calib("b"): "P"})
    night(db, MONDAY, {calib("a"): "F", calib("b"): "P"})

    change = only(compared(db, MONDAY), Category.NEWLY_FAILING)
    assert (change.before, change.last) == ("M", "P")


def test_a_new_test_that_fails_is_newly_failing_and_not_new(db):
    night(db, SUNDAY, {calib("b"): "P"})
    night(db, MONDAY, {calib("a"): "F", calib("b"): "P"})
    assert told(compared(db, MONDAY)) == {("banana", "a"): "newly_failing"}


def test_a_disabled_test_that_is_run_again_and_fails_is_newly_failing(db):
    for name, status in ((SATURDAY, "F"), (SUNDAY, "D"), (MONDAY, "F")):
        night(db, name, {calib("a"): status})
    assert told(compared(db, MONDAY)) == {("banana", "a"): "newly_failing"}


# Good news, and other changes --------------------------------------------------------------------------------


def test_a_test_that_failed_was_missing_and_passes_is_fixed(db):
    night(db, SATURDAY, {calib("a"): "F", calib("b"): "P"})
    night(db, SUNDAY, {calib("b"): "P"})
    night(db, MONDAY, {calib("a"): "P", calib("b"): "P"})
    assert told(compared(db, MONDAY)) == {("banana", "a"): "fixed"}


@pytest.mark.parametrize(
    ("before", "now", "category"),
    [
        ("P", "D", "disabled"),
        ("F", "D", "disabled"),
        ("x", "D", "disabled"),
        ("D", "P", "changed"),
        ("P", "x", "changed"),
        ("x", "P", "changed"),
        ("F", "x", "changed"),
        ("E", "P", "fixed"),
        ("x", "F", "newly_failing"),
        ("F", "E", "still_failing"),
    ],
)
def test_other_changes_of_status_are_told_as_what_they_are(db, before, now, category):
    night(db, SUNDAY, {calib("a"): before})
    night(db, MONDAY, {calib("a"): now})
    assert told(compared(db, MONDAY)) == {("banana", "a"): category}


@pytest.mark.parametrize("status", ["P", "D", "x"])
def test_what_is_as_it_was_and_no_problem_is_not_told(db, status):
    night(db, SUNDAY, {calib("a"): status})
    night(db, MONDAY, {calib("a"): status})
    assert compared(db, MONDAY).changes == ()


def test_a_test_that_was_missing_and_reports_again_is_back(db):
    night(db, SATURDAY, {calib("a"): "P", calib("b"): "P"})
    night(db, SUNDAY, {calib("b"): "P"})
    night(db, MONDAY, {calib("a"): "P", calib("b"): "P"})
    assert told(compared(db, MONDAY)) == {("banana", "a"): "back"}


def test_a_test_that_nobody_expected_is_new_even_when_this_run_taught_it(db):
    night(db, SUNDAY, {calib("b"): "P"})
    night(db, MONDAY, {calib("a"): "P", calib("b"): "P"})
    assert told(compared(db, MONDAY)) == {("banana", "a"): "new"}


def test_an_expected_test_whose_runs_were_all_deleted_since_is_back_and_not_new(db):
    night(db, FRIDAY, {calib("a"): "P", calib("b"): "P"})
    put(db, SUNDAY, {calib("b"): "P"})
    db.execute("UPDATE run SET deleted_at = 1 WHERE name = ?", (FRIDAY,))
    night(db, MONDAY, {calib("a"): "P", calib("b"): "P"})
    assert told(compared(db, MONDAY)) == {("banana", "a"): "back"}


def test_a_test_that_reports_no_more_and_is_not_expected_is_gone(db):
    put(db, SUNDAY, {calib("a"): "P", calib("b"): "P"})
    put(db, MONDAY, {calib("b"): "P"})
    change = only(compared(db, MONDAY), Category.GONE)
    assert (change.test, change.before, change.now) == ("a", "P", None)


# Missing, and silent -----------------------------------------------------------------------------------------


def test_a_single_test_that_is_missing_is_told_by_its_name_with_its_nights(db):
    night(db, SATURDAY, {calib("a"): "P", calib("b"): "P"})
    night(db, SUNDAY, {calib("b"): "P"})
    assert only(compared(db, SUNDAY), Category.MISSING).is_news
    night(db, MONDAY, {calib("b"): "P"})

    change = only(compared(db, MONDAY), Category.MISSING)
    assert (change.test, change.since, change.nights, change.is_news) == ("a", SUNDAY, 2, False)


def test_a_silent_host_is_one_change_whatever_the_number_of_its_tests(db):
    thor = {calib(f"test_{number}", host="thor"): "P" for number in range(5012)}
    night(db, SUNDAY, thor | {calib("a"): "P"})
    night(db, MONDAY, {calib("a"): "P"})

    (change,) = compared(db, MONDAY).changes
    assert (change.category, change.host, change.test, change.context) == (Category.SILENT, "thor", None, None)
    assert (change.tests, change.now, change.since, change.nights) == (5012, "M", MONDAY, 1)
    assert all(change.members.result_ids), "each of them is a row all the same"


def test_a_host_of_which_nothing_is_expected_is_silent_when_it_reported_the_night_before(db):
    put(db, SUNDAY, {calib("a"): "P", calib("a", host="thor"): "P"})
    put(db, MONDAY, {calib("a"): "P"})
    change = only(compared(db, MONDAY), Category.SILENT)
    assert (change.host, change.tests, change.now) == ("thor", 1, None)


def test_a_host_that_stays_silent_says_since_when_and_is_no_news(db):
    both = {calib("a"): "P", calib("a", host="thor"): "P"}
    night(db, FRIDAY, both)
    for name in (SATURDAY, SUNDAY, MONDAY):
        night(db, name, {calib("a"): "P"})
    change = only(compared(db, MONDAY), Category.SILENT)
    assert (change.since, change.nights, change.is_longer, change.is_news) == (SATURDAY, 3, False, False)


def test_a_host_is_silent_in_one_project_while_it_reports_in_another(db):
    night(db, SUNDAY, {calib("a"): "P", calib("x", project="drizzle"): "P"})
    night(db, MONDAY, {calib("x", project="drizzle"): "P"})
    change = only(compared(db, MONDAY), Category.SILENT)
    assert (change.project, change.host) == ("calib", "banana")


def test_one_context_of_a_host_can_be_silent_alone(db):
    py312 = {calib(test, context="py312"): "P" for test in "abc"}
    night(db, SUNDAY, py312 | {calib("a"): "P"})
    night(db, MONDAY, {calib("a"): "P"})
    change = only(compared(db, MONDAY), Category.SILENT)
    assert (change.host, change.context, change.custom, change.tests) == ("banana", "py312", "", 3)


def test_the_only_test_of_a_context_is_missing_by_its_name(db):
    night(db, SUNDAY, {calib("a"): "P", calib("b", context="py312"): "P"})
    night(db, MONDAY, {calib("a"): "P"})
    assert told(compared(db, MONDAY)) == {("banana", "b"): "missing"}


def test_a_host_whose_log_says_itself_that_tests_are_missing_is_not_silent(db):
    night(db, SUNDAY, {calib(test, host="thor"): "P" for test in "ab"})
    night(db, MONDAY, {calib(test, host="thor"): "M" for test in "ab"})
    assert told(compared(db, MONDAY)) == {("thor", "a"): "missing", ("thor", "b"): "missing"}


def test_a_host_that_is_back_is_one_change_and_what_broke_on_it_is_told_by_name(db):
    thor = {calib(test, host="thor"): "P" for test in "abcd"}
    night(db, SATURDAY, thor | {calib("a"): "P"})
    night(db, SUNDAY, {calib("a"): "P"})
    night(db, MONDAY, thor | {calib("a"): "P", calib("d", host="thor"): "F"})

    comparison = compared(db, MONDAY)
    assert told(comparison) == {("thor", None): "back", ("thor", "d"): "newly_failing"}
    assert only(comparison, Category.BACK).tests == 3


def test_a_new_host_is_one_change(db):
    night(db, SUNDAY, {calib("a"): "P"})
    night(db, MONDAY, {calib("a"): "P", calib("a", host="loki"): "P", calib("b", host="loki"): "P"})
    change = only(compared(db, MONDAY), Category.NEW)
    assert (change.host, change.test, change.tests) == ("loki", None, 2)


def test_a_host_that_was_silent_and_is_no_longer_expected_is_gone_in_one_change(db):
    thor = {calib(test, host="thor"): "P" for test in "abc"}
    night(db, SATURDAY, thor | {calib("a"): "P"})
    night(db, SUNDAY, {calib("a"): "P"})
    db.execute("DELETE FROM expected WHERE host = 'thor'")
    night(db, MONDAY, {calib("a"): "P"})
    change = only(compared(db, MONDAY), Category.GONE)
    assert (change.host, change.test, change.tests) == ("thor", None, 3)


def test_a_log_that_arrives_late_ends_the_silence(db):
    both = {calib("a"): "P", calib("a", host="thor"): "P"}
    night(db, SUNDAY, both)
    night(db, MONDAY, {calib("a"): "P"})
    assert told(compared(db, MONDAY)) == {("thor", None): "silent"}
    put(db, MONDAY, {calib("a", host="thor"): "P"})
    assert told(compared(db, MONDAY)) == {}


# Why something is missing ------------------------------------------------------------------------------------


def test_tests_that_are_missing_beneath_a_collection_error_say_so(db):
    names = ("flat/test_bias/test_mean", "flat/test_bias/test_rms", "flat/test_biased", "flat/test_dark")
    night(db, SUNDAY, {calib(name): "P" for name in names})
    night(db, MONDAY, {calib("flat/test_bias"): "E", calib("flat/test_dark"): "P"})

    causes = {
        change.test: change.cause and (change.cause.kind, change.cause.name)
        for change in compared(db, MONDAY).changes
        if change.category is Category.MISSING
    }
    error = (CauseKind.COLLECTION_ERROR, "flat/test_bias")
    assert causes == {"flat/test_bias/test_mean": error, "flat/test_bias/test_rms": error, "flat/test_biased": None}


def test_a_host_whose_log_is_in_the_quarantine_is_told_apart_from_one_that_sent_nothing(home, make_log):
    hosts = ("banana", "thor", "loki")
    for host in hosts:
        take_in(home, make_log(f"{host}.{SUNDAY}", record("a"), test_run=SUNDAY, host=host))
    take_in(home, make_log(f"banana.{MONDAY}", record("a"), test_run=MONDAY, host="banana"))
    take_in(home, make_log(f"thor.{MONDAY}", "this is no record\n", test_run=MONDAY, host="thor"))

    with database.writing(home) as db:
        learn(db, SUNDAY)
        check(db, MONDAY)
        causes = {change.host: change.cause for change in compared(db, MONDAY).changes}
    assert causes["loki"] is None
    assert causes["thor"] == (CauseKind.QUARANTINED, f"thor.{MONDAY}")


def test_what_was_dropped_from_the_quarantine_or_mended_there_is_no_cause_and_what_is_bad_again_is(home, make_log):
    take_in(home, make_log(f"banana.{MONDAY}", record("a"), test_run=MONDAY, host="banana"))
    take_in(home, make_log(f"thor.{SUNDAY}", record("a"), test_run=SUNDAY, host="thor"))
    bad = make_log(f"thor.{MONDAY}", record("b"), "test_name=a\nstatus=?\nEND\n", test_run=MONDAY, host="thor")

    def cause():
        with database.reading(home) as db:
            return next(change.cause for change in compared(db, MONDAY).changes if change.test == "a")

    item = take_in(home, bad).quarantine_item
    with database.writing(home) as db:
        learn(db, SUNDAY)
        check(db, MONDAY)
    assert cause() == (CauseKind.QUARANTINED, f"thor.{MONDAY}")
    importing.drop(home, item)
    assert cause() is None

    take_in(home, bad)
    assert cause() == (CauseKind.QUARANTINED, f"thor.{MONDAY}")
    content = quarantine.content_path(home, item)
    content.write_text(content.read_text().replace("test_name=a\nstatus=?", "test_name=c\nstatus=P"))
    importing.retry(home, item)
    assert cause() is None

    take_in(home, bad)
    assert cause() == (CauseKind.QUARANTINED, f"thor.{MONDAY}")


def test_a_log_of_another_night_in_the_quarantine_is_not_why_a_host_is_silent(home, make_log):
    take_in(home, make_log(f"thor.{SUNDAY}", record("a"), "this is no record\n", test_run=SUNDAY, host="thor"))
    take_in(home, make_log(f"thor.{SATURDAY}", "this is no record\n", test_run=SATURDAY, host="thor"))
    take_in(home, make_log(f"banana.{MONDAY}", record("a"), test_run=MONDAY, host="banana"))
    with database.writing(home) as db:
        assert only(compared(db, MONDAY), Category.SILENT).cause is None


# What is compared with what ----------------------------------------------------------------------------------


def test_the_run_before_is_the_newest_earlier_one_whatever_the_gap(db):
    night(db, FRIDAY, {calib("a"): "F"})
    put(db, "user_ann_2026-11-22", {calib("a"): "P"})
    night(db, MONDAY, {calib("a"): "F"})
    assert compared(db, MONDAY).against.name == FRIDAY


def test_without_a_run_to_compare_with_only_what_is_bad_is_told(db):
    put(db, SUNDAY, {calib("a"): "F", calib("b"): "P", calib("c"): "D"})
    comparison = compared(db, SUNDAY)
    assert comparison.against is None
    assert told(comparison) == {("banana", "a"): "newly_failing"}


def test_a_silent_host_of_the_first_run_is_news(db):
    put(db, "user_ann", {calib("a"): "P", calib("a", host="thor"): "P"})
    learn(db, "user_ann")
    put(db, SUNDAY, {calib("a"): "P"})
    check(db, SUNDAY)
    change = only(compared(db, SUNDAY), Category.SILENT)
    assert (change.host, change.is_news) == ("thor", True)


def test_a_run_of_another_kind_is_compared_with_what_that_kind_knew(db):
    night(db, SATURDAY, {calib("a"): "F", calib("b"): "P"})
    night(db, SUNDAY, {calib("b"): "P"})
    put(db, "user_ann_ticket87", {calib("a"): "F", calib("b"): "F"})
    comparison = compared(db, "user_ann_ticket87", SUNDAY)
    assert told(comparison) == {("banana", "a"): "still_failing", ("banana", "b"): "newly_failing"}
    assert only(comparison, Category.STILL_FAILING).since == SATURDAY


def test_an_older_run_can_be_named_and_since_still_tells_the_whole_story(db):
    for name, status in ((FRIDAY, "P"), (SATURDAY, "P"), (SUNDAY, "F"), (MONDAY, "F")):
        night(db, name, {calib("a"): status})
    change = only(compared(db, MONDAY, FRIDAY), Category.NEWLY_FAILING)
    assert (change.since, change.nights, change.is_news) == (SUNDAY, 2, True)


def test_compared_with_a_later_run_nothing_is_said_of_since_when(db):
    for name in (SATURDAY, SUNDAY, MONDAY):
        night(db, name, {calib("a"): "F", calib("b"): "P"} | ({calib("t", host="thor"): "P"} if name == MONDAY else {}))
    for name in (SATURDAY, SUNDAY):
        changes = compared(db, name, MONDAY).changes
        assert {change.category for change in changes} == {Category.STILL_FAILING, Category.SILENT}
        assert {(change.since, change.nights, change.is_longer) for change in changes} == {(None, 0, False)}


@pytest.mark.parametrize(
    ("name", "other", "is_before"),
    [
        (SUNDAY, MONDAY, True),
        (MONDAY, SUNDAY, False),
        (MONDAY, MONDAY, False),
        ("weekly_2026-11-22", MONDAY, True),
        ("weekly_2026-11-23", MONDAY, True),
        ("weekly_2026-11-24", MONDAY, False),
        ("first", "second", True),
        ("second", "first", False),
        (MONDAY, "first", True),
    ],
)
def test_which_run_was_before_another_is_told_by_the_dates_in_their_names(db, name, other, is_before):
    for at, run in enumerate(["first", MONDAY, SUNDAY, "weekly_2026-11-22", "weekly_2026-11-23", "weekly_2026-11-24"]):
        put(db, run, {}, at=at)
    put(db, "second", {}, at=1000)
    assert runs.is_before(*(runs.find(Settings(), db, run) for run in (name, other))) is is_before


def test_a_run_is_as_it_is_compared_with_itself_but_for_what_is_bad(db):
    night(db, MONDAY, {calib("a"): "P", calib("b"): "F", calib("c"): "D"})
    assert told(compared(db, MONDAY, MONDAY)) == {("banana", "b"): "still_failing"}


def test_deleted_runs_are_not_seen(db):
    night(db, SATURDAY, {calib("a"): "P"})
    night(db, SUNDAY, {calib("a"): "F"})
    db.execute("UPDATE run SET deleted_at = 1 WHERE name = ?", (SUNDAY,))
    night(db, MONDAY, {calib("a"): "F"})
    comparison = compared(db, MONDAY)
    assert comparison.against.name == SATURDAY
    assert only(comparison, Category.NEWLY_FAILING).nights == 1


# What else it holds ------------------------------------------------------------------------------------------


def test_counts_are_by_place_and_status(db):
    night(db, SUNDAY, {calib("a"): "P", calib("b"): "F", calib("a", host="thor"): "P", calib("z", project="p"): "x"})
    counts = compared(db, SUNDAY).counts
    assert {(count.project, count.host, count.status): count.results for count in counts} == {
        ("calib", "banana", "P"): 1,
        ("calib", "banana", "F"): 1,
        ("calib", "thor", "P"): 1,
        ("p", "banana", "x"): 1,
    }


def test_the_last_nights_are_counted_by_project(db):
    night(db, SATURDAY, {calib("a"): "F", calib("b"): "F", calib("c"): "P"})
    night(db, SUNDAY, {calib("a"): "F"})
    night(db, MONDAY, {calib(test): "P" for test in "abc"})
    nights = compared(db, MONDAY).nights
    assert [(night_.run, night_.statuses) for night_ in nights] == [
        (SATURDAY, {"calib": {"F": 2}}),
        (SUNDAY, {"calib": {"F": 1, "M": 2}}),
        (MONDAY, {}),
    ]


def test_where_a_test_ran_is_known_of_tests_that_changed_in_several_places(db):
    hosts = ("a", "b", "c")
    night(db, SUNDAY, {calib(test, host=host): "P" for host in hosts for test in ("t", "u")})
    night(
        db,
        MONDAY,
        {calib("t", host=host): "F" for host in "ab"} | {calib("t", host="c"): "P", calib("u", host="a"): "F"},
    )
    comparison = compared(db, MONDAY)
    assert set(comparison.environments[("calib", "t")]) == {Environment(host, "py311", "") for host in hosts}


def test_a_comparison_is_json_for_programs(db):
    night(db, SUNDAY, {calib("flat/test_bias/t"): "P", calib("a", host="thor"): "P"})
    night(db, MONDAY, {calib("flat/test_bias"): "E"})
    data = json.loads(json.dumps(compared(db, MONDAY).as_json()))
    by_category = {change["category"]: change for change in data["changes"]}
    assert by_category["silent"]["host"] == "thor"
    assert by_category["missing"]["cause"] == {"kind": "collection_error", "name": "flat/test_bias"}
    assert (data["run"], data["against"]) == (MONDAY, SUNDAY)


def test_a_reader_sees_the_part_of_a_silent_host_that_concerns_him(db):
    thor = {calib(test, host="thor"): "P" for test in ("flat/a", "flat/b", "dark/c")}
    night(db, SUNDAY, thor)
    night(db, MONDAY, {calib("a"): "P"})
    change = only(compared(db, MONDAY), Category.SILENT)
    part = change.part(lambda project, test: project == "calib" and test.startswith("flat/"))
    assert (part.tests, part.key) == (2, change.key)
    assert change.part(lambda _project, test: test == "nobody's") is None
    assert change.part(results={change.members.result_ids[0]}).tests == 1
