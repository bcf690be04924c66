"""What becomes of the records of a log: new, late, there already, bad, or no test at all."""

from __future__ import annotations

import itertools
import random
import resource
import subprocess
import sys

import pytest
from attrs import evolve

from pdk_pipeline import database
from pdk_pipeline.intake import reading
from tests.conftest import log_of, record, rows
from tests.stored import counts, is_sound, results, statuses, tables, take_in

RUN = "daily_2026-11-23"


def record_missing(home, *tests: str, run: str = RUN) -> None:
    """Record as missing those of the tests that are not there, the way a check of expected tests does."""
    with database.writing(home) as db:
        db.execute("INSERT INTO run (name, created_at) VALUES (?, 0) ON CONFLICT DO NOTHING", (run,))
        db.execute(
            "INSERT INTO environment (host, context, custom) VALUES ('banana', 'py311', '') ON CONFLICT DO NOTHING"
        )
        for test in tests:
            db.execute("INSERT INTO test (project, name) VALUES ('calib', ?) ON CONFLICT DO NOTHING", (test,))
            db.execute(
                """
                INSERT INTO result (run_id, environment_id, test_id, status, attn)
                SELECT run.id, environment.id, test.id, 'M', 'Y' FROM run, environment, test
                WHERE run.name = ? AND test.name = ? AND environment.host = 'banana' ON CONFLICT DO NOTHING
                """,
                (run, test),
            )


# New ------------------------------------------------------------------------------------------------------------


def test_everything_that_a_record_says_is_kept(home, make_log):
    outcome = take_in(
        home,
        make_log(
            "a.pdklog",
            record(
                "flat/test_bias", "F", log="reading\n\n17.2 != 16.9", custom="gpu", test_runner="pytest", attn="R",
                start_time="1763881200.25", end_time="2025-11-23 08:00:00", location="flat/test_bias.py",
                tda_exposure="30", tra_counts="1021.7", tra_empty="",
            ),
        ),
    )  # fmt: skip
    assert counts(outcome) == {"records": 1, "accepted": 1}
    assert outcome.runs == [RUN]
    assert results(home) == [
        (
            RUN, "calib", "banana", "py311", "gpu", "flat/test_bias", "F", "R", 1763881200.25, 1763884800.0, "pytest",
            "flat/test_bias.py", '{"exposure": "30"}', '{"counts": "1021.7", "empty": ""}',
            "reading\n\n17.2 != 16.9\n",
        )
    ]  # fmt: skip


def test_one_log_may_be_of_several_runs_hosts_and_projects(home, tmp_path):
    path = tmp_path / "log"
    path.write_text(
        log_of(record("a"), record("b"), test_run="one", host="apple")
        + log_of(record("a", "F", log="text"), test_run="two", host="apple")
        + log_of(record("a"), test_run="two", host="cherry", project="other")
    )
    outcome = take_in(home, path)
    assert counts(outcome) == {"records": 4, "accepted": 4}
    assert outcome.runs == ["one", "two"]
    assert [row[:3] + row[5:7] for row in results(home)] == [
        ("one", "calib", "apple", "a", "P"),
        ("one", "calib", "apple", "b", "P"),
        ("two", "calib", "apple", "a", "F"),
        ("two", "other", "cherry", "a", "P"),
    ]


def test_parts_of_a_name_are_never_taken_together(home, make_log):
    """Host h1 + project P is not host h + project 1P."""
    take_in(home, make_log("a", record("t"), host="h1", project="P"))
    take_in(home, make_log("b", record("t"), host="h", project="1P"))
    take_in(home, make_log("c", record("P/t"), host="h1", project="P"))
    assert len(results(home)) == 3


ODD = [
    "a b",
    "Ä",
    "'; DROP TABLE run; --",
    "%",
    "*",
    "a=b",
    "a:b",
    "\x01",
    "\\",
    '"',
    "NULL",
    "1",
    "🐛" * 50,
    "x" * 5000,
]


def test_odd_names_are_names(home, make_log):
    for number, name in enumerate(ODD):
        head = {"test_run": name, "host": name, "project": name}
        outcome = take_in(home, make_log(f"{number}", record("t", context=name, custom=name), **head))
        assert counts(outcome) == {"records": 1, "accepted": 1}
    assert {row[:5] for row in results(home)} == {(name,) * 5 for name in ODD}


def test_bytes_that_are_no_text_are_kept_readable(home, tmp_path):
    (tmp_path / "log").write_bytes(log_of(record("t")).encode().replace(b"banana", b"b\xff\0n"))
    take_in(home, tmp_path / "log")
    assert results(home)[0][2] == "b\\xff\\0n"


def test_test_names_are_cleaned(home, make_log):
    names = ["/a/b", "./c", "a//d", "a b\tc", "x.log", "y.xml", "..z"]
    outcome = take_in(home, make_log("a", *(record(name) for name in names)))
    assert outcome.accepted == 7
    assert set(statuses(home)) == {"a/b", "c", "a/d", "a_b_c", "x", "y", "z"}


def test_defaults_of_the_command_line_hold_where_the_log_says_nothing(home, tmp_path):
    (tmp_path / "log").write_text("test_name=t\nstatus=P\nEND\ntest_name=u\nhost=own\nstatus=P\nEND\n")
    defaults = {"test_run": RUN, "project": "calib", "host": "banana", "context": "b\udcff"}
    assert counts(take_in(home, tmp_path / "log", defaults=defaults)) == {"records": 2, "accepted": 2}
    assert [row[:4] for row in results(home)] == [
        (RUN, "calib", "banana", "b\\xff"),
        (RUN, "calib", "own", "b\\xff"),
    ]


def test_what_is_no_test_is_skipped_and_counted(home, make_log):
    outcome = take_in(home, make_log("a", record("x.nose.failure.Failure.runTest", "E"), record("t")))
    assert counts(outcome) == {"records": 2, "accepted": 1, "skipped": 1}
    assert any("is not a test" in message for message in outcome.messages)


def test_an_unreadable_time_costs_only_itself(home, make_log):
    outcome = take_in(home, make_log("a", record("t", start_time="noon")))
    assert counts(outcome) == {"records": 1, "accepted": 1, "warnings": 1}
    assert results(home)[0][8] is None


# Late -----------------------------------------------------------------------------------------------------------


def test_a_result_that_arrives_late_replaces_the_missing_one(home, make_log):
    record_missing(home, "flat/test_bias")
    (row_id,) = rows(home, "SELECT id FROM result")[0]
    outcome = take_in(home, make_log("late", record("flat/test_bias", "F", log="text", tra_a="1")))
    assert counts(outcome) == {"records": 1, "accepted": 1, "replaced_missing": 1}
    assert statuses(home) == {"flat/test_bias": "F"}
    assert results(home)[0][-1] == "text\n"
    assert rows(home, "SELECT id, import_id FROM result") == [(row_id, 1)]


def test_in_any_order_of_import_and_check_the_end_is_the_same(home, make_log):
    orders = sorted(set(itertools.permutations(["first", "second", "first", "check", "check"])))
    for order in orders:
        run = "-".join(order)
        logs = {
            "first": make_log("first", record("a"), record("b", "F", log="b"), test_run=run),
            "second": make_log("second", record("c", "E", log="c", tra_x="1"), record("d"), test_run=run),
        }
        for step in order:
            if step == "check":
                record_missing(home, "a", "b", "c", "d", "e", run=run)
            else:
                take_in(home, logs[step])
    ends: dict[str, list] = {}
    for row in results(home):
        ends.setdefault(row[0], []).append(row[1:])
    assert len(ends) == len(orders) == 30
    first = ends.popitem()[1]
    assert [row[4:6] for row in first] == [("a", "P"), ("b", "F"), ("c", "E"), ("d", "P"), ("e", "M")]
    assert all(end == first for end in ends.values())
    assert is_sound(home)


def test_missing_and_then_reported_in_the_same_log_is_reported(home, make_log):
    outcome = take_in(home, make_log("a", record("t", "M"), record("t", "P")))
    assert counts(outcome) == {"records": 2, "accepted": 2, "replaced_missing": 1}
    assert statuses(home) == {"t": "P"}


@pytest.mark.parametrize("replace", [False, True])
def test_missing_never_takes_the_place_of_what_was_reported(home, make_log, replace):
    take_in(home, make_log("a", record("t", "P")))
    outcome = take_in(home, make_log("b", record("t", "M")), replace=replace)
    assert counts(outcome) == {"records": 1, "duplicates": 1}
    assert statuses(home) == {"t": "P"}


# There already --------------------------------------------------------------------------------------------------


def test_a_result_that_is_there_already_stays_and_is_warned_of(home, make_log):
    take_in(home, make_log("a", record("t", "P", log="first", tra_x="1"), record("u")))
    before = results(home)
    outcome = take_in(home, make_log("b", record("t", "F", log="second", tra_x="2", tra_y="3"), record("v")))
    assert counts(outcome) == {"records": 2, "accepted": 1, "duplicates": 1}
    assert outcome.messages == [f"already there and kept: {RUN} calib banana py311 t"]
    assert [row for row in results(home) if row[5] != "v"] == before


def test_a_result_is_replaced_with_its_log_and_attributes_when_asked_for(home, make_log):
    take_in(home, make_log("a", record("t", "P", log="first", tra_x="1", tda_z="0", location="there")))
    outcome = take_in(home, make_log("b", record("t", "F", tra_y="3")), replace=True)
    assert counts(outcome) == {"records": 1, "duplicates": 1, "replaced": 1}
    assert [(row[6], *row[11:]) for row in results(home)] == [("F", "", "", '{"y": "3"}', "")]
    take_in(home, make_log("c", record("t", "E", log="third")), replace=True)
    assert [(row[6], row[-1]) for row in results(home)] == [("E", "third\n")]
    assert is_sound(home)


def test_of_two_in_one_log_the_first_stays_or_the_last_replaces(home, make_log, tmp_path):
    log = make_log("a", record("t", "P", log="1"), record("t", "F", log="2"), record("t", "E", log="3", tra_x="y"))
    assert counts(take_in(home, log)) == {"records": 3, "accepted": 1, "duplicates": 2}
    assert [(row[6], row[-1]) for row in results(home)] == [("P", "1\n")]
    other = evolve(home, home=tmp_path / "other")
    assert counts(take_in(other, log, replace=True)) == {"records": 3, "accepted": 1, "duplicates": 2, "replaced": 2}
    assert [(row[6], row[-2], row[-1]) for row in results(other)] == [("E", '{"x": "y"}', "3\n")]


@pytest.mark.parametrize("batch", [1, 2, 3, 10_000])
@pytest.mark.parametrize("replace", [False, True])
def test_how_many_are_written_at_once_makes_no_difference(home, make_log, monkeypatch, batch, replace):
    monkeypatch.setattr(reading, "PART_BYTES", batch * reading.RESULT_BYTES)
    monkeypatch.setattr(reading, "BLOCK_BYTES", 20 * batch)
    record_missing(home, "b", "c")
    log = make_log(
        "a", record("a", log="a" * 30), record("b", log="b"), record("a", "F", log="a2"), record("c", "F"),
        record("c", "E", log="c"), record("b", "M"), record("d", log="d"), record("d", "q"),
    )  # fmt: skip
    outcome = take_in(home, log, replace=replace)
    assert counts(outcome) == {"records": 8, "accepted": 4, "replaced_missing": 2, "duplicates": 4} | (
        {"replaced": 3} if replace else {}
    )
    expected = [("a", "F", "a2\n"), ("b", "P", "b\n"), ("c", "E", "c\n"), ("d", "q", "")]
    kept = [("a", "P", "a" * 30 + "\n"), ("b", "P", "b\n"), ("c", "F", ""), ("d", "P", "d\n")]
    assert [(*row[5:7], row[-1]) for row in results(home)] == (expected if replace else kept)
    assert is_sound(home)


def test_only_the_first_warnings_are_told_and_the_rest_is_counted(home, make_log):
    log = make_log("a", *(record(f"t{number}") for number in range(100)))
    take_in(home, log)
    outcome = take_in(home, log)
    assert outcome.duplicates == 100
    assert len(outcome.messages) == 20


def test_a_run_of_the_same_name_as_a_deleted_one_is_another_run(home, make_log):
    log = make_log("a", record("t"))
    take_in(home, log)
    with database.writing(home) as db:
        db.execute("UPDATE run SET deleted_at = 1")
    assert counts(take_in(home, log)) == {"records": 1, "accepted": 1}
    assert len(results(home)) == 1
    assert rows(home, "SELECT count(*) FROM result") == [(2,)]


def test_ids_are_never_used_again(home, make_log):
    take_in(home, make_log("a", record("t", log="x"), record("u")))
    with database.writing(home) as db:
        for table in ("result", "log_block", "run", "test"):
            db.execute(f"DELETE FROM {table}")
    take_in(home, make_log("b", record("v", log="y")))
    assert rows(home, "SELECT id, run_id, test_id, log_block_id FROM result") == [(3, 2, 3, 2)]


# Bad ------------------------------------------------------------------------------------------------------------


def test_bad_records_do_not_take_good_ones_down(home, make_log):
    log = make_log("a", record("a"), "nonsense\nEND\n\n", record("b", "X"), record("c"), "test_name=cut\nstatus=P\n")
    outcome = take_in(home, log)
    assert counts(outcome) == {"records": 5, "accepted": 2, "quarantined": 3}
    assert set(statuses(home)) == {"a", "c"}


# Size -----------------------------------------------------------------------------------------------------------


def test_logs_are_packed_together_and_each_is_found_again(home, make_log, monkeypatch):
    monkeypatch.setattr(reading, "BLOCK_BYTES", 1000)
    texts = {f"t{number:03}": f"line of {number}\n" * number for number in range(60)}
    take_in(home, make_log("a", *(record(name, log=text) for name, text in texts.items())))
    assert {row[5]: row[-1] for row in results(home)} == texts
    ((blocks,),) = rows(home, "SELECT count(*) FROM log_block")
    assert 10 < blocks < 40


def test_logs_of_different_runs_are_packed_apart(home, tmp_path):
    """So that the logs of a deleted run can be removed."""
    (tmp_path / "log").write_text(
        "".join(log_of(record("t", log=f"log {n}"), test_run=f"run{n % 3}", host=f"h{n}") for n in range(30))
    )
    take_in(home, tmp_path / "log")
    assert rows(
        home,
        "SELECT count(*) FROM result JOIN log_block ON log_block.id = log_block_id "
        "WHERE log_block.run_id <> result.run_id",
    ) == [(0,)]
    assert {row[-1] for row in results(home)} == {f"log {n}\n" for n in range(30)}


def test_a_log_of_very_many_runs_is_packed_all_the_same(home, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "PART_BYTES", 50 * reading.RESULT_BYTES)
    (tmp_path / "log").write_text(
        "".join(log_of(record("t", log=f"log {n}"), test_run=f"run{n}", host=f"h{n}") for n in range(300))
    )
    assert counts(take_in(home, tmp_path / "log")) == {"records": 300, "accepted": 300}
    assert {row[-1] for row in results(home)} == {f"log {n}\n" for n in range(300)}
    assert is_sound(home)


MEASURE = """
import resource, sys
from pathlib import Path
from pdk_pipeline import config
from pdk_pipeline.intake import importing
from pdk_pipeline.intake.deliveries import Options
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
(outcome,) = importing.import_files(config.settings(), [(Path(sys.argv[1]), "d")], Options())
print(outcome.accepted, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.usefixtures("home")
def test_a_large_log_is_imported_in_little_memory(tmp_path):
    line = b"." + bytes(range(97, 123)) * 40 + b"\n"
    with (tmp_path / "log").open("wb") as log:
        log.write(log_of().encode())
        for number in range(3000):
            log.write(b"test_name=t%d\nstatus=P\nlog:\n%s\nEND\n\n" % (number, line * 64))
    assert (tmp_path / "log").stat().st_size > 190 << 20
    done = subprocess.run([sys.executable, "-c", MEASURE, tmp_path / "log"], capture_output=True, text=True, check=True)
    accepted, megabytes = map(int, done.stdout.split())
    assert accepted == 3000
    assert megabytes < 150


def test_a_full_disk_leaves_everything_as_it_was(home, make_log):
    take_in(home, make_log("a", record("t", log="x")))
    before = tables(home)
    noise = random.Random(1)
    big = make_log("b", *(record(f"u{number}", log=noise.randbytes(9000).hex()) for number in range(90)))
    limit = 60_000 + home.database.stat().st_size
    script = """
import sys
from pathlib import Path
from pdk_pipeline import config
from pdk_pipeline.intake import importing
from pdk_pipeline.intake.deliveries import Options
(told,) = importing.import_files(config.settings(), [(Path(sys.argv[1]), "big")], Options())
if isinstance(told, Exception):
    print(type(told).__name__, told)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, big],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.stdout.startswith(("OperationalError disk I/O error", "DiskFull")), done
    assert tables(home) == before
    assert is_sound(home)
    assert counts(take_in(home, big, delivery="big")) == {"records": 90, "accepted": 90}
