"""One result with its log, one test through time, and which results a pattern means."""

from __future__ import annotations

import pytest

from pdk_pipeline import database, lookup, runs
from pdk_pipeline.errors import UnknownTest
from pdk_pipeline.formats.text import readable, undotted
from pdk_pipeline.selection import Selection
from tests.conftest import record
from tests.stored import take_in
from tests.typed import Terminal

RUN = "daily_2026-11-23"


def found(home, run: str = RUN, **selection: str | tuple[str, ...]) -> list[str]:
    """Names of the results that a selection means."""
    kinds = {kind: (value,) if isinstance(value, str) else value for kind, value in selection.items()}
    with database.reading(home) as db:
        return [result.test_name for result in lookup.results(db, runs.find(home, db, run), Selection(**kinds))]


def history(home, *tests: str, most_runs: int = 100, **kinds: tuple[str, ...]) -> list[tuple[str, str]]:
    with database.reading(home) as db:
        past = lookup.history(db, Selection(tests=tests, **kinds), most_runs=most_runs)
    return [(result.test_run, result.status) for result in past]


# Results --------------------------------------------------------------------------------------------------------


def test_a_result_is_what_its_record_said(home, make_log):
    log = make_log(
        "a",
        record("first", "P", log="one\n\n.two"),
        record(
            "t", "F", log="17.2 != 16.9", test_runner="pytest", start_time="1.5", tda_a="1", tra_b="2", custom="gpu"
        ),
    )
    take_in(home, log)
    with database.reading(home) as db:
        first, result = lookup.results(db, runs.find(home, db, RUN), Selection())
    assert readable(undotted(first.log)) == "one\n\n.two\n"
    assert result[:8] == (RUN, "calib", "banana", "py311", "gpu", "t", "F", "Y")
    assert (result.start_time, result.end_time, result.test_runner, result.location) == (1.5, None, "pytest", "")
    assert (result.definition_attributes, result.result_attributes) == ({"a": "1"}, {"b": "2"})
    assert readable(undotted(result.log)) == "17.2 != 16.9\n"


def test_results_come_in_the_order_of_their_import(home, make_log):
    take_in(home, make_log("a", *(record(name, log=name) for name in "zebra")))
    assert found(home) == ["z", "e", "b", "r", "a"]


def test_the_first_few_are_taken_and_all_are_counted(home, make_log):
    take_in(home, make_log("a", *(record(name, log=name) for name in "zebra")))
    with database.reading(home) as db:
        run = runs.find(home, db, RUN)
        first = [result.test_name for result in lookup.results(db, run, Selection(tests=("*",)), most=2)]
        assert first == ["z", "e"]
        assert [lookup.count(db, run, Selection(tests=tests)) for tests in ((), ("*",), ("z",), ("x",))] == [5, 5, 1, 0]


@pytest.fixture
def fruit(home, make_log):
    for host in ("apple", "banana", "b[1]", "a*"):
        log = make_log(host, record("flat/bias"), record("flat/dark", "F"), record("test[a-1]", "E"), host=host)
        take_in(home, log)
    take_in(home, make_log("x", record("100%"), record("flat_bias", custom="gpu"), project="other", host="apple"))


@pytest.mark.usefixtures("fruit")
@pytest.mark.parametrize(
    ("selection", "count"),
    [
        ({}, 14),
        ({"hosts": "apple"}, 5),
        ({"hosts": "Apple"}, 0),
        ({"hosts": "a*"}, 8),
        ({"hosts": "b[1]"}, 3),
        ({"hosts": "b[*"}, 3),
        ({"hosts": "*]"}, 3),
        ({"hosts": "?pple"}, 5),
        ({"hosts": "b%"}, 6),
        ({"hosts": ("apple", "banana")}, 8),
        ({"hosts": ("apple", "ba*")}, 8),
        ({"hosts": "apple", "statuses": "F"}, 1),
        ({"statuses": ("F", "E")}, 8),
        ({"projects": "o*", "customs": "gpu"}, 1),
        ({"customs": ""}, 13),
        ({"contexts": "py311", "tests": "flat*"}, 9),
        ({"tests": "flat/*"}, 8),
        ({"tests": "flat_bias"}, 1),
        ({"tests": "flat?bias"}, 5),
        ({"tests": "test[a-1]"}, 4),
        ({"tests": "test[a-1]*"}, 4),
        ({"tests": "test[*]"}, 4),
        ({"tests": "100%"}, 1),
        ({"tests": "' OR 1 = 1 --"}, 0),
        ({"tests": "*" * 5}, 14),
    ],
)
def test_patterns_mean_what_they_say(home, selection, count):
    assert len(found(home, **selection)) == count


@pytest.mark.usefixtures("fruit")
def test_a_selection_goes_to_a_task_and_comes_back():
    selection = Selection(hosts=("a*", "b"), tests=("t",))
    assert Selection.from_json(selection.as_json()) == selection
    assert Selection.from_json({}) == Selection()
    assert Selection().as_json() == {}


def test_a_log_whose_block_is_lost_is_empty(home, make_log):
    take_in(home, make_log("a", record("t", log="text")))
    with database.writing(home) as db:
        db.execute("DELETE FROM log_block")
    with database.reading(home) as db:
        (result,) = lookup.results(db, runs.find(home, db, RUN), Selection())
        assert result.log == b""
        assert db.execute("SELECT log FROM result_log").fetchall() == [("",)]


# History --------------------------------------------------------------------------------------------------------


@pytest.fixture
def nights(home, make_log):
    """Five nights, the second imported last, and a run without a date."""
    for number, status in ((1, "P"), (3, "F"), (5, "E"), (4, "F"), (2, "P")):
        log = make_log("a", record("t", status), record(f"only{number}"), test_run=f"daily_2026-11-0{number}")
        take_in(home, log)


@pytest.mark.usefixtures("nights")
def test_a_test_through_the_nights_in_their_order_even_when_one_came_late(home):
    assert history(home, "t") == [
        ("daily_2026-11-01", "P"), ("daily_2026-11-02", "P"), ("daily_2026-11-03", "F"), ("daily_2026-11-04", "F"),
        ("daily_2026-11-05", "E"),
    ]  # fmt: skip


@pytest.mark.usefixtures("nights")
@pytest.mark.parametrize(
    ("chosen", "letters"), [((), "PPFFE"), (("-status=F",), "FF"), (("-status=P",), "PP"), (("-status=E",), "E")]
)
def test_how_a_test_is_now_does_not_depend_on_which_of_its_results_are_chosen(
    home, capsys, monkeypatch, chosen, letters
):
    (line,) = (line for line in Terminal(home, capsys, monkeypatch)("history", "t", *chosen).out.splitlines()[1:])
    assert line.split()[-6:] == [letters, "E", "since", "daily_2026-11-05", "(1", "run)"]


@pytest.mark.usefixtures("nights")
def test_what_a_test_is_now_is_told_of_each_place_apart(home, make_log, capsys, monkeypatch):
    take_in(home, make_log("b", record("t", "F"), host="cherry", test_run="daily_2026-11-05"))
    seen = Terminal(home, capsys, monkeypatch)("history", "t", "-status=F").out
    assert "E since daily_2026-11-05 (1 run)" in seen
    assert "F since daily_2026-11-05 (1 run)" in seen


@pytest.mark.usefixtures("nights")
def test_only_the_newest_runs(home):
    assert history(home, "t", most_runs=2) == [("daily_2026-11-04", "F"), ("daily_2026-11-05", "E")]
    assert history(home, "only*", most_runs=2) == [("daily_2026-11-04", "P"), ("daily_2026-11-05", "P")]


@pytest.mark.usefixtures("nights")
def test_a_deleted_run_is_in_no_history(home):
    with database.writing(home) as db:
        db.execute("UPDATE run SET deleted_at = 1 WHERE name = 'daily_2026-11-05'")
    assert history(home, "t", most_runs=1) == [("daily_2026-11-04", "F")]
    with pytest.raises(UnknownTest):
        history(home, "only5")


def test_places_are_told_apart(home, make_log):
    for host in ("banana", "apple"):
        for night in (1, 2):
            take_in(home, make_log("a", record("t"), host=host, test_run=f"daily_2026-11-0{night}"))
    with database.reading(home) as db:
        past = lookup.history(db, Selection(tests=("t",)), most_runs=10)
    assert [(result.host, result.test_run[-1]) for result in past] == [
        ("apple", "1"), ("apple", "2"), ("banana", "1"), ("banana", "2"),
    ]  # fmt: skip
    assert len(history(home, "t", hosts=("apple",))) == 2


@pytest.mark.usefixtures("nights")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nly1", "nly1. There is only1; * and ? stand for any letters."),
        ("nothing", "nothing. * and ? stand for any letters."),
        ("x*", "x*. * and ? stand for any letters."),
    ],
)
def test_a_test_that_is_not_there_is_told_with_one_like_it(home, name, told):
    with pytest.raises(UnknownTest) as unknown:
        history(home, name)
    assert str(unknown.value) == f"There is no such test: {told}"


# Few among many -------------------------------------------------------------------------------------------------


@pytest.fixture
def year(home, make_log):
    """Many nights with a test, in a run each, and one night with very many others too."""
    for number in range(60):
        take_in(home, make_log("a", record("t"), test_run=f"daily_2026-{number // 28 + 1:02}-{number % 28 + 1:02}"))
    take_in(home, make_log("b", record("t", log="found"), *(record(f"t{number}") for number in range(3_000))))


def steps(home, look) -> int:
    """How many hundred steps SQLite's machine takes for it."""
    taken = []
    with database.reading(home) as db:
        db.set_progress_handler(lambda: taken.append(1), 100)
        look(db)
    return len(taken)


@pytest.mark.usefixtures("year")
@pytest.mark.parametrize("kinds", [{}, {"hosts": ("banana",)}, {"projects": ("calib",), "statuses": ("P", "F")}])
def test_to_find_one_result_not_all_of_its_run_are_gone_through(home, kinds):
    def look(db):
        (result,) = lookup.results(db, runs.find(home, db, RUN), Selection(tests=("t",), **kinds))
        assert result.log == b".found\n"

    assert steps(home, look) < 10


@pytest.mark.usefixtures("year")
def test_what_a_test_did_lately_does_not_take_as_long_as_all_that_it_ever_did(home):
    def look(most_runs):
        return steps(home, lambda db: lookup.history(db, Selection(tests=("t",)), most_runs=most_runs))

    assert look(3) < 35
    assert look(100) < 70


def test_of_several_tests_those_that_are_not_there_are_named(home, make_log, capsys, monkeypatch):
    pdk = Terminal(home, capsys, monkeypatch)
    take_in(home, make_log("a", record("a"), record("b")))
    shown = pdk("show", RUN, "a", "nosuch", "c*")
    assert shown.out.startswith("test_name    a\n")
    assert (shown.err, shown.status) == (f"pdk: there is no result of nosuch c* in {RUN}\n", 1)
    assert pdk("show", RUN, "a", "b").status == 0
