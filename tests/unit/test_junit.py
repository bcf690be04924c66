"""JUnit XML: what each tool's reports become, and what their names are."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from pdk_pipeline import formats
from pdk_pipeline.errors import LacksFields
from pdk_pipeline.results import Result
from tests.conftest import REAL_LOGS
from tests.unit.reading import log_text, results, skipped, warnings
from tests.unit.reports import DATA, case, junit, only, records, suite

REAL = sorted((REAL_LOGS / "junit").glob("*.xml")) if REAL_LOGS.is_dir() else []
MADE = sorted(DATA.glob("junit_*.xml"))


def by_name(path: str) -> dict[str, Result]:
    return {result.test_name: result for result in results(junit((DATA / path).read_bytes()))}


# Every case of a report -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MADE + REAL, ids=lambda path: path.name)
def test_every_case_of_a_report_is_one_record_under_a_name_of_its_own(path):
    readings = junit(path.read_bytes())
    if path.name == "corrupt-xml.xml":
        assert (records(readings), len(results(readings))) == (2, 1)
        return
    assert records(readings) == sum(1 for _ in ET.parse(path).iter("testcase"))
    assert len(results(readings)) + len(skipped(readings)) == records(readings)
    found = [result[:6] for result in results(readings)]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_the_statuses_are_those_that_the_report_itself_counts(path):
    if path.name == "corrupt-xml.xml":
        pytest.skip("it is cut off")
    readings = results(junit(path.read_bytes()))
    for tag, status in (("failure", "F"), ("error", "E"), ("skipped", "D")):
        cases = [case for case in ET.parse(path).iter("testcase") if case.find(tag) is not None]
        assert sum(result.status == status for result in readings) == len(cases)


def test_it_is_told_by_its_content_in_any_encoding():
    report = f'<?xml version="1.0"?>\n<!-- by hand -->\n<testsuites>{suite()}</testsuites>'
    for data in (report.encode(), report.encode("utf-16"), b"\xef\xbb\xbf" + report.encode(), suite().encode()):
        assert formats.detect(data).NAME == "junit"
    assert formats.detect(b"test_name=<a>\nstatus=P\nEND\n").NAME == "pdk"
    assert formats.detect(b"").NAME == "pdk"


@pytest.mark.parametrize("banner", ["<banner of the ssh daemon>", "<<<< log of banana >>>>", "< 5 s >", "<->"])
def test_a_banner_in_angle_brackets_does_not_make_a_log_markup(banner):
    assert formats.detect(f"{banner}\ntest_name=a\nstatus=P\nEND\n".encode()).NAME == "pdk"


@pytest.mark.parametrize("tag", ["<testsuite name='a b'>", "<testsuite\nname = 'a'>", "<testsuites >", "<a:b/>", "<é>"])
def test_whatever_may_be_a_tag_is_read_as_markup(tag):
    assert formats.detect(tag.encode()).NAME == "junit"


# pytest ---------------------------------------------------------------------------------------------------------


def test_a_report_of_pytest_says_what_its_plugin_says():
    found = by_name("junit_pytest.xml")
    assert {name: result.status for name, result in found.items()} == {
        "test_coll": "E", "test_a/test_both": "F", "test_a/test_td": "E", "test_a/test_su": "E",
        "test_a/test_p[a_b]": "P", "test_a/test_p[a/b]": "P", "test_a/test_p[c.d::e]": "P",
        "test_a/test_p[x[1]]": "P", "test_a/test_xf": "P", "test_a/test_xp": "P", "test_a/test_sk": "D",
        "test_a/TestC/TestD/test_m": "P",
    }  # fmt: skip
    assert {result.test_runner for result in found.values()} == {"pytest"}
    assert {result.host for result in found.values()} == {"banana"}
    assert found["test_a/test_p[a_b]"].result_attributes == {"some_key_1": "a b", "arch": "PPC"}
    assert found["test_a/test_p[a_b]"].definition_attributes == {"line": "13"}
    assert found["test_a/test_p[a_b]"].location == "test_a.py"
    assert found["test_a/test_xf"].result_attributes["xfail"] == ""
    assert found["test_a/test_su"].result_attributes["error_in"] == "setup"


def test_a_test_that_failed_and_whose_teardown_failed_too_is_one_result():
    readings = junit((DATA / "junit_pytest.xml").read_bytes())
    assert skipped(readings) == [
        (20, "test_both is there already: that its teardown failed is in its log"),
    ]
    both = by_name("junit_pytest.xml")["test_a/test_both"]
    assert both.result_attributes["error_in"] == "teardown"
    log = log_text(both)
    assert (
        log.index("test_a.py:11: AssertionError") < log.index("test_a.py:5: RuntimeError") < log.index("Captured Out")
    )


def test_what_was_skipped_is_disabled_and_says_why():
    skip = by_name("junit_pytest.xml")["test_a/test_sk"]
    assert skip.result_attributes["skip"] == "because\nof this\n"
    assert log_text(skip) == "skipped: pytest.skip\n/home/ann/calib/test_a.py:20: because\nof this\n"
    not_run = '<skipped type="pytest.xfail" message="[NOTRUN] too slow"/>'
    assert only(junit(suite(case(inside=not_run), name="pytest"))).status == "D"


# Maven, Gradle --------------------------------------------------------------------------------------------------


def test_reruns_are_attempts_of_one_result():
    found = by_name("junit_surefire.xml")
    flaky, bad = found["demo/FlatTest/flaky"], found["demo/FlatTest/bad"]
    assert (flaky.status, flaky.attn) == ("P", "N")
    assert flaky.result_attributes == {
        "attempts": "3", "attempt_1": "F: first time <&>", "attempt_2": "E: too early", "time": "0.002",
    }  # fmt: skip
    assert bad.status == "F"
    assert bad.result_attributes["attempts"] == "2"
    assert bad.result_attributes["attempt_1"] == "F: expected: <1> but was: <2>"
    assert "but was: <3>" in log_text(bad)
    assert "try" in log_text(flaky)
    assert found["demo/FlatTest/err"].status == "E"


def test_a_class_that_could_not_be_set_up_is_a_result_that_its_tests_names_begin_with():
    found = by_name("junit_surefire.xml")
    assert found["demo/FlatTest"].status == "E"
    assert found["demo/FlatTest"].result_attributes["time"] == "1087.5"


def test_a_picture_of_the_environment_is_no_attribute_of_every_case():
    properties = "".join(f'<property name="java.{number}" value="{"x" * 50}"/>' for number in range(50))
    named = '<property name="context" value="jdk17"/><property name="tda_exposure" value="30"/>'
    result = only(junit(suite(f"<properties>{properties}{named}</properties>", case())))
    assert result.context == "jdk17"
    assert (result.definition_attributes, result.result_attributes) == ({"exposure": "30"}, {})


# What a case says -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inside", "attributes", "status"),
    [
        ("", {}, "P"),
        ("<failure/>", {}, "F"),
        ("<error/>", {}, "E"),
        ("<error/><failure/>", {}, "F"),
        ("<skipped/>", {}, "D"),
        ("<skipped type='XFAIL' message='expected failure'/>", {}, "P"),
        ("", {"status": "run", "result": "completed"}, "P"),
        ("", {"status": "notrun", "result": "suppressed"}, "D"),
        ("", {"status": "disabled"}, "D"),
        ("", {"status": "failed"}, "F"),
        ("<system-out>all is well</system-out>", {}, "P"),
    ],
)
def test_the_status_is_what_stands_in_the_case(inside, attributes, status):
    assert only(junit(suite(case(inside=inside, **attributes)))).status == status


def test_the_log_has_the_failure_first_and_then_the_output():
    inside = (
        "<system-out>\n\n  reading\n\n</system-out>"
        '<failure type="AssertionError" message="17.2 != 16.9">at flat.py:3\r\n  in mean</failure>'
        "<system-err><![CDATA[<low>]]></system-err>"
    )
    assert log_text(only(junit(suite(case(inside=inside))))) == (
        "failure: AssertionError: 17.2 != 16.9\nat flat.py:3\n  in mean\n\n"
        "system-out:\n  reading\n\nsystem-err:\n<low>\n"
    )


def test_properties_and_other_attributes_of_a_case_are_attributes_of_the_result():
    inside = (
        '<properties><property name="TDA_exposure" value="30"/><property name="mean = x:y " value="1"/>'
        '<property name="seen" value="a"/><property name="seen" value="b"/><property name="" value="c"/>'
        "<property name='text'>of several\nlines </property></properties>"
    )
    result = only(junit(suite(case(inside=inside, assertions="3", line="12", file="flat.php"))))
    assert result.definition_attributes == {"exposure": "30", "line": "12"}
    assert result.result_attributes == {
        "assertions": "3", "mean_x_y": "1", "seen": "a\nb\n", "text": "of several\nlines\n",
    }  # fmt: skip
    assert result.location == "flat.php"


def test_an_error_of_the_suite_itself_is_told():
    readings = junit(suite('<error message="no such fixture"/>', case()))
    assert warnings(readings) == [(2, "error of the suite 'calib.FlatTest' itself: no such fixture")]


# When and where -------------------------------------------------------------------------------------------------


def times(report: str) -> list[tuple[float | None, float | None]]:
    return [(result.start_time, result.end_time) for result in results(junit(report))]


def test_cases_follow_one_another_from_the_start_of_their_suite():
    cases = case("a", time="1.5"), case("b", time="0.25"), case("c")
    assert times(suite(*cases, timestamp="2026-11-23T06:00:00Z")) == [
        (1795413600, 1795413601.5), (1795413601.5, 1795413601.75), (1795413601.75, None),
    ]  # fmt: skip


def test_cases_that_ran_side_by_side_do_not_begin_after_the_end_of_their_suite():
    cases = [case(name, time="10") for name in "abc"]
    found = times(suite(*cases, timestamp="2026-11-23T06:00:00Z", time="12"))
    assert [start for start, _ in found] == [1795413600, 1795413610, 1795413612]


def test_a_case_without_a_time_of_day_says_how_long_it_took():
    result = only(junit(suite(case(time="1.250"))))
    assert (result.start_time, result.end_time, result.result_attributes) == (None, None, {"time": "1.25"})


def test_a_case_may_say_itself_when_it_began():
    assert times(suite(case(time="2", timestamp="2026-11-23T07:00:00Z"), timestamp="2026-11-23T06:00:00Z")) == [
        (1795417200, 1795417202)
    ]


@pytest.mark.parametrize(("written", "duration"), [("1,234.5", 1234.5), ("0,5", 0.5), ("5.0E-4", 0.0005), ("", None)])
def test_durations_are_read_as_all_the_tools_write_them(written, duration):
    ((start, end),) = times(suite(case(time=written), timestamp="2026-11-23T06:00:00Z"))
    assert (end is None) if duration is None else end == pytest.approx(start + duration)


def test_a_time_that_cannot_be_read_is_told_once_and_costs_only_itself():
    readings = junit(suite(case("a", time="soon"), case("b", time="soon"), timestamp="today"))
    assert warnings(readings) == [
        (1, "timestamp 'today' cannot be read; its cases are kept without a time"),
        (2, "time 'soon' cannot be read; cases are kept without it"),
    ]
    assert len(results(readings)) == 2


def test_the_command_line_knows_the_host_better_than_the_tool_and_a_property_better_still():
    plain = suite(case(), hostname="5528853fbe7f.local")
    named = suite('<properties><property name="host" value="apple"/></properties>', case(), hostname="x")
    assert only(junit(plain)).host == "5528853fbe7f.local"
    assert only(junit(plain, host="banana")).host == "banana"
    assert only(junit(named, host="banana")).host == "apple"
    assert only(junit(suite(case()))).host == "unknown"


def test_the_id_of_a_container_as_a_host_is_warned_of_once():
    readings = junit(suite(case("a"), case("b"), hostname="5528853fbe73"))
    ((line, text),) = warnings(readings)
    assert line == 2
    assert "5528853fbe73 looks like a container's id" in text


def test_properties_of_a_suite_say_what_the_command_line_does_not():
    properties = "".join(
        f'<property name="{name}" value="{value}"/>'
        for name, value in {"test_run": "user_ann", "project": "dark", "context": "py311", "custom": "c"}.items()
    )
    report = suite(f"<properties>{properties}</properties>", case(), suite(case("deep"), name="inner"))
    found = results(junit(report, test_run="", project=""))
    assert {result[:2] + result[3:5] for result in found} == {("user_ann", "dark", "py311", "c")}


@pytest.mark.parametrize(("said", "lacking"), [({"test_run": ""}, "no test_run"), ({"project": ""}, "no project")])
def test_a_report_of_nobody_knows_which_run_is_refused_as_a_whole(said, lacking):
    with pytest.raises(LacksFields) as refused:
        junit(suite(case("a"), case("b")), **said)
    assert f"belong to: {lacking}. Give -test_run= and -project=" in str(refused.value)
