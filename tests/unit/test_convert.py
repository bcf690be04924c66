"""Reports taken in, checked, mended, and `pdk convert`: a report as a PDK log, with the same rows."""

from __future__ import annotations

import gzip
import json
from types import SimpleNamespace
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdk_pipeline import config
from pdk_pipeline.errors import LacksFields
from pdk_pipeline.formats.pdk_writer import record_as_text
from pdk_pipeline.intake import importing, quarantine, spool
from tests.conftest import REAL_LOGS
from tests.stored import counts, import_claimed, results, statuses, take_in
from tests.typed import Terminal
from tests.unit import reading
from tests.unit.reports import DATA, SAID, case, junit, suite

REPORTS = sorted(DATA.glob("*.xml"))
REAL = sorted((REAL_LOGS / "junit").glob("*.xml")) if REAL_LOGS.is_dir() else []
GIVEN = [f"-{name}={value}" for name, value in SAID.items()]

BROKEN = suite(
    case("a"), case("b", "<failure>1 < 2</failure>"), '<testcase name="say "c""/>', case("d"), hostname="apple"
)


@pytest.fixture
def pdk(home, capsysbinary, monkeypatch):
    class Captured:
        """What was written as text, though `convert` writes bytes."""

        def readouterr(self) -> SimpleNamespace:
            out, err = capsysbinary.readouterr()
            return SimpleNamespace(out=out.decode(), err=err.decode())

    return Terminal(home, Captured(), monkeypatch)  # type: ignore[arg-type]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The settings of another home."""

    def make():
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "pdk.toml").write_text('timezone = "UTC"\n')
        monkeypatch.setenv("PDK_HOME", str(tmp_path / "other"))
        config.settings.cache_clear()
        return config.settings()

    return make


# Converted ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("report", REPORTS + REAL, ids=lambda path: path.name)
def test_a_converted_report_imports_to_the_same_rows_as_the_report(pdk, home, elsewhere, tmp_path, report):
    take_in(home, report, defaults=SAID)
    seen = pdk("convert", *GIVEN, report)
    assert seen.status == ("corrupt" in report.name)
    log = tmp_path / "converted.pdklog"
    log.write_text(seen.out)
    there = elsewhere()
    outcome = take_in(there, log)
    assert outcome.quarantined == outcome.duplicates == outcome.skipped == 0
    assert results(there) == results(home)


def test_several_reports_become_one_log_in_a_file(pdk, tmp_path):
    log = tmp_path / "all.pdklog"
    assert pdk("convert", *GIVEN, "-host=banana", "-o", log, *REPORTS) == (0, "", pdk_notes())
    seen = pdk("import", log, "--json")
    assert seen.data["totals"]["accepted"] == 12 + 11 + 11
    assert not list(tmp_path.glob(".*.part"))


def pdk_notes() -> str:
    report = DATA / "junit_pytest.xml"
    return f"pdk: {report}:20: skipped: test_both is there already: that its teardown failed is in its log\n"


def test_daily_latest_is_todays_run_as_it_is_to_an_import(pdk, tmp_path):
    log = tmp_path / "out.pdklog"
    assert pdk("convert", "-test_run=daily_latest", "-project=calib", "-o", log, DATA / "ctest.xml").status == 0
    assert pdk("import", log).status == 0
    assert pdk("run-info", "daily_latest").status == 0
    seen = pdk("convert", "-test_run=daily_yesterday", "-project=calib", DATA / "ctest.xml")
    assert (seen.status, seen.out) == (2, "")
    assert "daily_yesterday is another run every day; say which by its date" in seen.err


def test_a_report_may_come_on_standard_input_and_compressed(pdk):
    data = gzip.compress((DATA / "ctest.xml").read_bytes())
    seen = pdk("convert", *GIVEN, "-", given=data)
    assert seen.out.count("\nEND\n") == 11
    assert pdk("check", "-", given=data).status == 0


def test_what_cannot_be_converted_is_named_and_left_out(pdk, tmp_path):
    report = tmp_path / "junit.xml"
    report.write_text(BROKEN)
    seen = pdk("convert", *GIVEN, report)
    assert seen.status == 1
    assert seen.out.count("\nEND\n") == 2
    assert seen.err == (
        f"pdk: {report}:3: left out: this is not well-formed XML: not well-formed (invalid token)\n"
        f"pdk: {report}:4: left out: this is not well-formed XML: not well-formed (invalid token)\n"
    )


def test_nothing_is_written_when_nothing_says_which_run_it_is(pdk, tmp_path):
    log = tmp_path / "out.pdklog"
    seen = pdk("convert", "-project=calib", "-o", log, DATA / "junit_surefire.xml")
    assert (seen.status, seen.out, log.exists()) == (1, "", False)
    assert seen.err == (
        "pdk: Nothing says which test run and project these results belong to: "
        f"{DATA / 'junit_surefire.xml'}: no test_run. Give -test_run= and -project=, or properties of these names in "
        "its suites.\n"
    )


def test_an_unknown_format_and_a_file_that_is_not_there_are_one_line(pdk, tmp_path):
    assert "There are: ctest, junit, pdk." in pdk("convert", "--format=xml", DATA / "ctest.xml").err
    seen = pdk("convert", *GIVEN, tmp_path / "nowhere.xml")
    assert (seen.status, seen.err.count("\n")) == (1, 1)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(name=TEXT, classname=TEXT, suites=st.lists(TEXT, max_size=3), key=TEXT, value=TEXT, text=TEXT, host=TEXT)
@settings(max_examples=200, deadline=None)
def test_whatever_stands_in_a_report_a_log_can_say_it_too(name, classname, suites, key, value, text, host):
    inside = (
        f"<properties><property name={quoteattr(key)} value={quoteattr(value)}/></properties>"
        f"<failure message={quoteattr(value)}>{escape(text)}</failure>"
    )
    report = (
        f"<testcase name={quoteattr(name)} classname={quoteattr(classname)} file={quoteattr(host)}>{inside}</testcase>"
    )
    for around in (*suites, "outer"):
        report = f"<testsuite name={quoteattr(around)} hostname={quoteattr(host)} timestamp='1e9'>{report}</testsuite>"
    found = reading.results(junit(report))
    assert reading.read(b"START\n" + b"".join(map(record_as_text, found))) == found
    assert len(found) == 1


# Taken in -------------------------------------------------------------------------------------------------------


def test_what_of_a_report_is_no_result_is_quarantined_and_the_counts_add_up(pdk, home, tmp_path):
    report = tmp_path / "junit.xml"
    report.write_text(BROKEN)
    outcome = take_in(home, report, defaults=SAID)
    assert outcome.format == "junit"
    assert counts(outcome) == {"records": 4, "accepted": 2, "quarantined": 2}
    seen = pdk("quarantine", "show", outcome.quarantine_item)
    assert "line 3, byte" in seen.out
    assert "<failure>1 < 2</failure>" in seen.out


def test_a_mended_record_of_a_report_is_imported_where_it_belongs(home, tmp_path):
    report = tmp_path / "junit.xml"
    report.write_text(BROKEN)
    item = take_in(home, report, defaults=SAID).quarantine_item
    content = quarantine.content_path(home, item)

    # Not mended, it stays as it is
    outcome = importing.retry(home, item)
    assert (outcome.quarantine_item, outcome.quarantined) == (item, 2)

    content.write_text(content.read_text().replace("1 < 2", "1 &lt; 2").replace('"say "c""', '"c"'))
    outcome = importing.retry(home, item)
    assert counts(outcome) == {"records": 2, "accepted": 2}
    assert outcome.quarantine_item is None
    assert statuses(home) == {
        "calib/FlatTest/a": "P", "calib/FlatTest/b": "F", "calib.FlatTest/c": "P", "calib/FlatTest/d": "P",
    }  # fmt: skip
    assert {row[:3] for row in results(home)} == {("daily_2026-11-23", "calib", "apple")}


def test_bad_records_of_several_suites_are_mended_each_in_its_own(home, tmp_path):
    bad = '<testcase name="x"><failure>a & b</failure></testcase>'
    report = tmp_path / "junit.xml"
    one = suite(bad, name="one", hostname="apple")
    two = suite(bad, bad.replace("x", "y"), name="two", hostname="pear")
    report.write_text(f"<testsuites>{one}{two}{suite(case('cut'), name='three')}".rpartition("stcase>")[0])
    outcome = take_in(home, report, defaults=SAID)
    assert (outcome.accepted, outcome.quarantined) == (0, 4)
    content = quarantine.content_path(home, outcome.quarantine_item)
    content.write_text(content.read_text().replace("a & b", "a &amp; b").replace("</te\n", "</testcase>\n"))
    outcome = importing.retry(home, outcome.quarantine_item)
    assert (outcome.accepted, outcome.quarantined) == (4, 0)
    assert [(row[2], row[5]) for row in results(home)] == [
        ("apple", "one/x"), ("pear", "two/x"), ("pear", "two/y"), ("unknown", "three/calib/FlatTest/cut"),
    ]  # fmt: skip


def test_a_report_of_no_run_is_one_line_and_changes_nothing(pdk, home):
    seen = pdk("import", DATA / "junit_surefire.xml", "-project=calib", "--local")
    assert seen.status == 1
    assert seen.err.count("\n") == 1
    assert "no test_run. Give -test_run= and -project=" in seen.err
    assert not quarantine.notes(home)
    assert pdk("import", DATA / "junit_surefire.xml", *GIVEN, "--local").status == 0


def test_a_report_of_no_run_among_the_incoming_logs_is_quarantined_whole_and_can_be_imported_from_there(pdk, home):
    spool.prepare(home)
    report = DATA / "junit_surefire.xml"
    (home.spool / "incoming" / "junit.xml").write_bytes(report.read_bytes())
    ((claim, _),) = spool.collect(home).claims
    outcome = import_claimed(home, claim)
    assert (outcome.records, outcome.quarantined) == (1, 1)
    (note,) = quarantine.notes(home)
    assert note.is_whole_file
    assert "no test_run, no project. Give -test_run= and -project=" in note.reason
    with pytest.raises(LacksFields):
        importing.retry(home, note.id)
    assert pdk("import", quarantine.content_path(home, note.id), *GIVEN, "--local").status == 0
    assert len(results(home)) == 11


def test_check_tells_what_an_import_would_without_being_told_the_run(pdk, tmp_path):
    report = tmp_path / "junit.xml"
    report.write_text(BROKEN)
    seen = pdk("check", "--json", report, DATA / "ctest.xml")
    assert seen.status == 1
    assert [(one["results"], one["bad"]) for one in json.loads(seen.out)] == [(2, 2), (11, 0)]
    assert pdk("check", "-", given=BROKEN).status == 1
