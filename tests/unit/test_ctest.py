"""CTest's Test.xml: what a test of it becomes."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET
import zlib

import pytest

from pdk_pipeline import formats
from pdk_pipeline.errors import LacksFields
from pdk_pipeline.results import Result
from tests.unit.reading import log_text, rejections, results, warnings
from tests.unit.reports import DATA, ctest, only, records, whole

REPORT = (DATA / "ctest.xml").read_bytes()


def found() -> dict[str, Result]:
    return {result.test_name: result for result in results(ctest(REPORT))}


def made(inside: str = "", status: str = "passed", **measured: str) -> str:
    """A file with one test."""
    named = ""
    for name, value in measured.items():
        named += f'<NamedMeasurement type="text/string" name="{name.replace("_", " ")}">'
        named += f"<Value>{value}</Value></NamedMeasurement>"
    return (
        '<Site Name="banana" BuildName="gcc"><Testing><TestList><Test>./bias</Test></TestList>'
        f'<Test Status="{status}"><Name>bias</Name><FullName>./flat/bias</FullName><Results>{named}{inside}</Results>'
        "</Test></Testing></Site>"
    )


def output(value: str) -> str:
    return f"<Measurement>{value}</Measurement>"


def packed(text: bytes) -> str:
    return base64.b64encode(zlib.compress(text)).decode()


def test_every_test_that_was_run_or_not_is_one_record():
    assert formats.detect(REPORT).NAME == "ctest"
    listed = [element.text for element in ET.fromstring(REPORT).iter("Test") if element.text.strip()]
    readings = ctest(REPORT)
    assert records(readings) == len(results(readings)) == len(listed) == 11
    assert {f"./{result.test_name}" for result in results(readings)} == set(listed)


def test_the_status_tells_a_test_that_failed_from_one_that_could_not_complete():
    assert {name: result.status for name, result in found().items()} == {
        "ok": "P",
        "bad": "F", "big": "F", "io/fits/re": "F", "fixs": "F",
        "slow": "E", "segv": "E", "nocmd": "E", "missdep": "E",
        "dis": "D", "skip": "D",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "measured", "kept"),
    [
        ("passed", {}, "P"),
        ("failed", {}, "F"),
        ("failed", {"Completion_Status": "Completed", "Exit_Code": "Failed"}, "F"),
        ("failed", {"Completion_Status": "Timeout"}, "E"),
        ("failed", {"Exit_Code": "Subprocess aborted"}, "E"),
        ("notrun", {}, "D"),
        ("notrun", {"Completion_Status": "SKIP_REGULAR_EXPRESSION_MATCHED"}, "D"),
        ("notrun", {"Completion_Status": "Required Files Missing"}, "E"),
    ],
)
def test_what_ctest_says_of_the_end_decides(status, measured, kept):
    assert only(ctest(made(status=status, **measured))).status == kept


def test_a_status_that_nobody_knows_is_a_bad_record():
    (rejection,) = rejections(ctest(made(status="odd")))
    assert rejection.reason == "status 'odd' is not one of P F E D M, nor a lower-case letter"
    assert rejection.raw.startswith(b'<Test Status="odd">')
    assert rejection.raw.endswith(b"</Test>")


def test_site_build_and_times_say_where_and_when():
    result = found()["slow"]
    assert (result.host, result.context, result.test_runner) == ("banana", "Linux-g++", "ctest")
    assert result.start_time == 1795413600
    assert result.end_time == pytest.approx(1795413601, abs=0.1)
    assert found()["io/fits/re"].location == "./io/fits"
    assert found()["nocmd"].end_time is None


def test_the_command_line_names_host_and_context_better():
    result = results(ctest(REPORT, host="apple", context="gcc13"))[0]
    assert (result.host, result.context) == ("apple", "gcc13")


def test_what_was_measured_is_in_the_attributes():
    assert found()["ok"].result_attributes == {"accuracy": "0.97", "completion_status": "Completed"}
    bad = found()["bad"]
    assert bad.result_attributes["exit_value"] == "3"
    assert bad.definition_attributes["labels"] == "slow;unit"
    assert bad.definition_attributes["command_line"].startswith("/usr/bin/sh")
    image = '<NamedMeasurement name="plot" type="image/png" encoding="base64"><Value>AAAA</Value></NamedMeasurement>'
    assert "plot" not in only(ctest(made(image))).result_attributes


def test_a_test_without_a_start_says_how_long_it_took():
    result = only(ctest(made(Execution_Time="1.50")))
    assert (result.start_time, result.result_attributes) == (None, {"time": "1.5"})


def test_the_log_is_the_output_packed_or_not():
    assert log_text(found()["bad"]) == "nope\n[NON-XML-CHAR-0x1B][31mred [NON-UTF-8-BYTE-0xFF]\n"
    assert log_text(found()["big"]) == "".join(f"{number}\n" for number in range(1, 401))
    plain = f'<Value encoding="base64">{base64.b64encode(b"as it is").decode()}</Value>'
    assert log_text(only(ctest(made(output(plain))))) == "as it is\n"


@pytest.mark.parametrize("text", ["%%%", "AAAA", packed(b"text")[:-8]])
def test_output_that_cannot_be_unpacked_costs_only_itself(text):
    told, result = ctest(made(output(f'<Value encoding="base64" compression="gzip">{text}</Value>')))
    assert (told.line, result.status) == (1, "P")
    assert "its output" in told.text


def test_output_that_swells_is_cut_off_and_told():
    bomb = f'<Value encoding="base64" compression="gzip">{packed(bytes(50_000_000))}</Value>'
    told, result = ctest(made(output(bomb)), limit=1 << 20)
    assert told.text.startswith("its output is larger than 1 MB")
    assert len(result.log) < 3 << 20


def test_tests_of_one_name_are_numbered():
    one = '<Test Status="passed"><Name>bias</Name></Test>'
    found = results(ctest(f"<Site><Testing>{one}{one}</Testing></Site>"))
    assert [result.test_name for result in found] == ["bias", "bias~2"]


def test_a_test_without_a_name_and_one_that_is_not_well_formed_cost_only_themselves():
    bad = ['<Test Status="passed"/>', '<Test Status="failed"><Name>a & b</Name></Test>']
    tests = "".join(bad) + '<Test Status="passed"><Name>c</Name></Test>'
    report = f"<Site><Testing><TestList><Test>./a</Test></TestList>{tests}</Testing></Site>"
    readings = whole(ctest(report))
    assert [rejection.raw.decode() for rejection in rejections(readings)] == bad
    assert [result.test_name for result in results(readings)] == ["c"]


def test_a_file_cut_off_within_the_list_of_tests_has_none():
    cut = REPORT.index(b"<Test>./slow")
    (rejection,) = ctest(REPORT[:cut])
    assert rejection.reason == "the XML is cut off: <Testing> is not closed"


def test_a_file_of_nobody_knows_which_run_is_refused_as_a_whole():
    with pytest.raises(LacksFields, match=r"no test_run, no project\. Give -test_run= and -project="):
        ctest(REPORT, test_run="", project="")
    assert warnings(ctest(REPORT)) == []
