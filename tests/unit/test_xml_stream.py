"""Reports in XML that are cut off, broken, hostile, huge or in any encoding: what is good is read all the same."""

from __future__ import annotations

import re
import tracemalloc
import xml.etree.ElementTree as ET

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pdk_pipeline import formats
from pdk_pipeline.formats.stream import Damaged
from pdk_pipeline.formats.xml_parts import SECTION
from pdk_pipeline.formats.xml_text import UTF_8, encoding_of
from pdk_pipeline.results import Reading, Result
from tests.unit.reading import UTC, Pieces, log_text, rejections, results
from tests.unit.reports import DATA, SAID, case, junit, only, read_as, suite, whole

PREAMBLE = SECTION.removeprefix(b"START\n")

SMALL = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<!-- of <testcase> -->\n<testsuites name="all">\n'
    '  <testsuite name="calib.FlatTest" timestamp="2026-11-23T06:00:00Z">\n'
    '    <properties><property name="arch" value="PPC"/></properties>\n'
    '    <testcase classname="calib.FlatTest" name="a &gt; b" time="1"/>\n'
    '    <testcase classname="calib.FlatTest" name="b"><failure message="x"><![CDATA[<testcase name="no">]]></failure>'
    "</testcase>\n    <system-out>caf\u00e9 &amp; more</system-out>\n"
    "    <testcase classname='calib.FlatTest' name='c'></testcase>\n"
    '    <testsuite name="inner"><testcase name="d"><skipped/></testcase></testsuite>\n'
    '  </testsuite>\n<testsuite/><testsuite name="last"><testcase name="e"/></testsuite>\n</testsuites>\n'
).encode()
CASES = [match.span() for match in re.finditer(rb"<testcase [^>]*(?:/>|>.*?</testcase>)", SMALL)]


def named(readings: list[Reading]) -> list[str]:
    return [reading.test_name for reading in readings if isinstance(reading, Result)]


def reasons(readings: list[Reading]) -> list[str]:
    return [rejection.reason for rejection in rejections(whole(readings))]


# Cut off --------------------------------------------------------------------------------------------------------


def complete_cases(beginning: bytes) -> int:
    """How many cases another parser finds complete."""
    parser = ET.XMLPullParser(("end",))
    try:
        parser.feed(beginning)
        parser.close()
    except ET.ParseError:
        pass
    return sum(element.tag == "testcase" for _, element in parser.read_events())


def test_a_report_cut_at_any_byte_loses_no_complete_case_and_says_that_it_is_cut_off():
    everything = named(junit(SMALL))
    assert len(everything) == 5
    for cut in range(len(SMALL)):
        readings = junit(SMALL[:cut])
        found = named(readings)
        assert found == everything[: complete_cases(SMALL[:cut])]
        if cut < len(SMALL.rstrip()):
            (rejection,) = rejections(readings)
            assert rejection.reason.startswith("the XML is cut off: ")
            assert SMALL[:cut].endswith(rejection.raw)
        else:
            assert not rejections(readings)


def test_what_the_end_cut_off_can_be_mended_and_read():
    cut = SMALL.index(b"</failure>")
    (rejection,) = rejections(junit(SMALL[:cut]))
    assert rejection.reason == "the XML is cut off: <testcase> is not closed"
    assert rejection.line == SMALL.count(b"\n", 0, rejection.offset) + 1
    assert rejection.preamble == (
        PREAMBLE + b'<testsuites name="all"><testsuite name="calib.FlatTest" timestamp="2026-11-23T06:00:00Z">'
        b'<properties><property name="arch" value="PPC"></property></properties>\n'
    )
    mended = only(junit(b"START\n" + rejection.preamble + rejection.raw + b"</failure></testcase>\n"))
    (original,) = [result for result in results(junit(SMALL)) if result.test_name == mended.test_name]
    assert mended._replace(start_time=None) == original._replace(start_time=None)


def test_a_damaged_archive_says_so():
    class Source(Pieces):
        def read(self) -> bytes:
            piece = super().read()
            if not piece:
                raise Damaged("the compressed file is cut off")
            return piece

    readings = list(formats.named("junit").read(Source(SMALL[:300], 99), defaults=SAID, zone=UTC, record_limit=1 << 20))
    assert reasons(readings) == ["the compressed file is cut off"]


# Not well-formed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        '<testcase name="b"><failure>a & b</failure></testcase>',
        '<testcase name="b"><failure>&nbsp;</failure></testcase>',
        '<testcase name="b"><failure>1 < 2</failure></testcase>',
        '<testcase name="say "b""/>',
        '<testcase name="b"><failure></testcase>',
        '<testcase name="b"><![CDATA[<testcase name="no"/>]]><a>a & b<![CDATA[<testcase name="no"/>]]></a></testcase>',
        '<testcase name="b">a & b<!-- <testcase name="no"/> --></testcase>',
        '<testcase name="b">',
        '<testcase name="b">' + "<a>" * 300 + "</a>" * 300 + "</testcase>",
        '<testcase name="b"><!DOCTYPE x [<!ENTITY y "z">]></testcase>',
    ],
)
def test_a_case_that_is_not_well_formed_costs_only_itself(bad):
    report = suite(case("a"), bad, case("c"), suite(case("d"), name="inner"))
    readings = junit(report)
    assert named(readings) == ["calib/FlatTest/a", "calib/FlatTest/c", "inner/calib/FlatTest/d"]
    (rejection,) = rejections(whole(readings))
    assert rejection.raw.strip().decode() == bad
    assert report.encode()[rejection.offset :].startswith(rejection.raw)
    assert rejection.line == report.encode().count(b"\n", 0, rejection.offset) + 1


def test_cases_of_a_suite_whose_beginning_cannot_be_read_are_not_given_a_wrong_name():
    broken = f'<testsuite name="a "b"">{case("lost")}</testsuite>'
    readings = junit(f"<testsuites>{suite(case('a'))}{broken}{suite(case('c'))}</testsuites>")
    assert named(readings) == ["calib/FlatTest/a", "calib/FlatTest/c"]
    assert b"".join(rejection.raw for rejection in rejections(readings)).strip().decode() == broken


def test_a_report_behind_other_text_and_several_in_one_file_are_all_read():
    one = '<?xml version="1.0"?>\n' + suite(case("a"))
    other = '<?xml version="1.0"?>\n' + suite(case("b"), name="other")
    readings = junit(f"{one}\n{other}")
    assert named(readings) == ["calib/FlatTest/a", "other/calib/FlatTest/b"]
    assert not rejections(readings)
    readings = junit(f"Running tests ...\n{one}\nDone.\n{other[:-5]}")
    assert named(readings) == ["calib/FlatTest/a", "other/calib/FlatTest/b"]
    assert [rejection.raw.strip() for rejection in rejections(readings)][:2] == [b"Running tests ...", b"Done."]


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (b"<html><body>Bad gateway<br></body>", "this XML is no JUnit report: its root is <html>"),
        (b"nothing of the kind", "this is not well-formed XML: syntax error"),
        (b"", "the XML is cut off: there is nothing in it"),
        (b'<?xml version="1.0"?>\n<!-- -->', "the XML is cut off: there is nothing in it"),
    ],
)
def test_what_is_no_report_is_refused_whole_with_one_reason(report, reason):
    (rejection,) = junit(report)
    assert (rejection.line, rejection.offset, rejection.reason, rejection.raw) == (1, 0, reason, report)


BOMB = b"""<?xml version="1.0"?>
<!DOCTYPE testsuites [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]>
<testsuites><testsuite name="x"><testcase name="y"><failure>&c;</failure></testcase></testsuite></testsuites>
"""
EXTERNAL = b"""<!DOCTYPE testsuites [<!ENTITY x SYSTEM "file:///etc/passwd">]>
<testsuites><testsuite name="x"><testcase name="y"><failure>&x;</failure></testcase></testsuite></testsuites>
"""
FOREIGN = b'<!DOCTYPE testsuites SYSTEM "http://example.org/junit.dtd"><testsuite><testcase name="a"/></testsuite>'


@pytest.mark.parametrize("report", [BOMB, EXTERNAL, FOREIGN, BOMB.decode().encode("utf-16")])
def test_a_report_with_a_doctype_is_refused_whole_whatever_it_declares(report):
    assert formats.detect(report).NAME == "junit"
    (rejection,) = whole(junit(report, piece=64))
    assert rejection.reason.startswith("it has a DOCTYPE")
    assert rejection.raw in {report, report.decode("utf-16", "replace").encode()}


# Large ----------------------------------------------------------------------------------------------------------


def test_a_record_too_large_to_hold_is_kept_in_pieces_and_the_next_one_is_read():
    large = case("large", "<system-out>" + "line of \x1b[1m text\n" * 20_000 + "</system-out>")
    report = suite(case("a"), large, case("c"))
    readings = junit(report, limit=100_000, piece=50_000)
    assert named(readings) == ["calib/FlatTest/a", "calib/FlatTest/c"]
    assert len(rejections(readings)) > 2
    assert {rejection.reason for rejection in rejections(readings)} == {"the record is larger than 0 MB"}
    (rejection,) = rejections(whole(readings))
    assert rejection.raw.decode() == large


@pytest.mark.parametrize(
    "token",
    [
        '<testcase name="{}"></testcase>',
        "<testcase><!--{}--></testcase>",
        "<testcase><failure message='{}'/></testcase>",
        "<testcase name='b'>text<failure><!--{}--></failure></testcase>",
    ],
)
def test_a_tag_or_comment_too_large_to_hold_is_passed_over(token):
    large = token.format("x" * 3_000_000)
    report = suite(case("a"), large, case("c"))
    readings = junit(report, limit=300_000, piece=50_000)
    assert named(readings) == ["calib/FlatTest/a", "calib/FlatTest/c"]
    (rejection,) = rejections(whole(readings))
    assert rejection.raw.strip().decode() == large


def test_memory_does_not_grow_with_the_report():
    class Source:
        """A suite of 20 MB, made as it is read, with an output of its own that nobody holds."""

        def __init__(self) -> None:
            self.left = 20

        def read(self) -> bytes:
            self.left -= 1
            if self.left == 19:
                return b'<testsuites><testsuite name="x">'
            if self.left < 10:
                return (b"<system-out>" + b"lines\n" * 170_000 + b"</system-out>") if self.left >= 0 else b""
            return b"".join(b'<testcase name="t%d-%d"><system-out>%s</system-out></testcase>'
                            % (self.left, number, b"y" * 10_000) for number in range(100))  # fmt: skip

    tracemalloc.start()
    found = 0
    for reading in formats.named("junit").read(Source(), defaults=SAID, zone=UTC, record_limit=8 << 20):
        found += isinstance(reading, Result)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == 900
    assert peak < 6 << 20


# Encodings ------------------------------------------------------------------------------------------------------

LETTERS = case("mean[\u00e4\u03bc]", "<failure>\u20ac 3 caf\u00e9</failure>")


@pytest.mark.parametrize(
    ("codec", "declared"),
    [
        ("utf-8", ""), ("utf-8", "UTF-8"), ("utf-8-sig", "utf-8"), ("utf-16", "UTF-16"), ("utf-16-le", ""),
        ("utf-16-be", ""), ("utf-32", "utf-32"), ("utf-8", "utf-16"), ("gb18030", "GB18030"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("piece", [1, 1000])
def test_a_report_is_read_in_the_encoding_that_it_has(codec, declared, piece):
    head = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
    result = only(junit((head + suite(LETTERS)).encode(codec), piece=piece))
    assert result.test_name == "calib/FlatTest/mean[\u00e4\u03bc]"
    assert log_text(result) == "failure\n\u20ac 3 caf\u00e9\n"


@pytest.mark.parametrize("codec", ["iso-8859-1", "windows-1252", "latin-1"])
def test_a_report_in_a_declared_encoding_of_one_byte_a_letter_is_read(codec):
    report = f"<?xml version='1.0' encoding='{codec}'?>" + suite(case("caf\u00e9"))
    assert only(junit(report.encode(codec))).test_name == "calib/FlatTest/caf\u00e9"


def test_an_encoding_that_nobody_knows_is_read_as_utf_8_and_told():
    for name in ("x-user-defined", "rot13", "base64", "utf-7"):
        told, result = junit(f'<?xml version="1.0" encoding="{name}"?>' + suite(case("caf\u00e9")))
        assert (told.line, result.test_name) == (1, "calib/FlatTest/caf\u00e9")
        assert told.text == f"the encoding {name!r} is not known; it is read as UTF-8"


def test_what_xml_forbids_is_escaped_and_no_reason_to_refuse_a_case():
    inside = (
        b"<failure>\x1b[31mred\x00 \xff\xc3( &#27;[0m &#x1B; &#0; &#xD800; &#x110000; &#x0A;.&#9;\xef\xbf\xbf "
        b"\xed\xa0\x80 \xf0\x9f\x98\x80 \xe4\xbd\xa0</failure>"
    )
    report = suite(case("a"), case("b", "INSIDE"), case("c\x07")).encode().replace(b"INSIDE", inside)
    for piece in (1, 2, 3, 1000):
        readings = junit(report, piece=piece)
        assert named(readings) == ["calib/FlatTest/a", "calib/FlatTest/b", "calib/FlatTest/c\\x07"]
        assert log_text(results(readings)[1]) == (
            "failure\n\\x1b[31mred\\0 \\xff\\xc3( \\x1b[0m \\x1b \\0 \\ud800 \\u110000 \n.\t\\uffff "
            "\\xed\\xa0\\x80 \U0001f600 \u4f60\n"
        )


def test_a_rejected_record_is_kept_byte_for_byte_though_it_was_read_cleaned():
    bad = b'<testcase name="b"><failure>\x1b[1m \xff & &#27;</failure></testcase>\n'
    report = b'<testsuite name="x">\x1b\xfe<testcase name="a\x1b"/>' + bad + b'<testcase name="c"/></testsuite>'
    readings = junit(report)
    assert named(readings) == ["x/a\\x1b", "x/c"]
    (rejection,) = rejections(readings)
    assert (rejection.raw, rejection.offset) == (bad, report.index(bad))


def test_prefixes_of_namespaces_mean_nothing():
    report = (
        '<j:testsuites xmlns:j="urn:junit"><j:testsuite name="x"><j:testcase j:name="no" name="a" xmlns:k="urn:k"/>'
        '<j:testcase name="b"><j:failure>& &lt;</j:failure></j:testcase><j:testcase name="c"/>'
        "</j:testsuite></j:testsuites>"
    )
    readings = junit(report)
    assert named(readings) == ["x/a", "x/c"]
    assert len(rejections(readings)) == 1
    assert formats.detect(report.encode()).NAME == "junit"


# Whatever stands there ------------------------------------------------------------------------------------------

PIECES_OF_XML = st.sampled_from(
    [
        b"<testsuites>", b"</testsuites>", b'<testsuite name="s">', b"<testsuite/>", b"</testsuite>",
        b'<testcase name="a">', b'<testcase name="b"/>', b'<testcase classname="c.D" name="e" time="1"/>',
        b"</testcase>", b"<failure>", b"</failure>", b"<skipped/>", b"<properties>", b"</properties>",
        b'<property name="host" value="h"/>', b"<![CDATA[", b"]]>", b"<!--", b"-->", b"text", b"\n", b" & ", b"&amp;",
        b"&#27;", b"\x1b", b"\xff", b"\xc3\xa9", b"<", b">", b'"', SECTION, b'<?xml version="1.0"?>', b"<!DOCTYPE x>",
        b"<x:y z='1'>", b"<Site>", b"<Testing>", b'<Test Status="passed">', b"</Test>", b"<Name>n</Name>",
        b"<TestList>", b"<Test>", b"START\n",
    ]
)  # fmt: skip
SOUP = st.lists(PIECES_OF_XML, max_size=40).map(b"".join)


@given(report=SOUP | st.binary(max_size=200), name=st.sampled_from(["junit", "ctest"]), piece=st.integers(1, 60))
@settings(max_examples=200, deadline=None)
@example(report=SMALL, name="junit", piece=7)
def test_nothing_that_stands_there_raises_and_it_does_not_matter_how_it_arrives(report, name, piece):
    assert whole(read_as(name, report, piece=piece)) == whole(read_as(name, report))


@given(report=SOUP | st.binary(max_size=200), name=st.sampled_from(["junit", "ctest"]))
@settings(max_examples=200, deadline=None)
def test_a_rejection_is_the_bytes_at_its_offset(report, name):
    assume(encoding_of(report)[0] == UTF_8)  # what is in another one is kept as UTF-8
    for rejection in rejections(whole(read_as(name, report))):
        assert report[rejection.offset : rejection.offset + len(rejection.raw)] == rejection.raw
        assert rejection.line == report.count(b"\n", 0, rejection.offset) + 1


JUNK = st.binary(max_size=12).filter(lambda junk: not set(junk) & set(b"!["))  # what could comment out the rest


@given(at=st.integers(0, len(SMALL)), length=st.integers(0, 12), junk=JUNK)
@settings(max_examples=200, deadline=None)
def test_whatever_is_damaged_every_case_that_is_not_is_a_result_or_kept(at, length, junk):
    readings = junit(SMALL[:at] + junk + SMALL[at + length :])
    kept = b"".join(rejection.raw for rejection in rejections(readings))
    found = {re.sub(r"~\d+$", "", name).rpartition("/")[2] for name in named(readings)}
    for name, (start, end) in zip(("a_>_b", "b", "c", "d", "e"), CASES, strict=True):
        if end <= at or start >= at + length:
            assert name in found or SMALL[start:end] in kept


def test_both_kinds_of_xml_are_told_apart_in_what_the_quarantine_keeps():
    for data in (DATA / "junit_pytest.xml", DATA / "ctest.xml"):
        report = data.read_bytes()
        name = formats.detect(report).NAME
        (rejection,) = rejections(read_as(name, report[:-400]))
        kept = b"START\n" + rejection.preamble + rejection.raw
        assert formats.detect(kept) is formats.named(name)


def test_elements_without_measure_within_one_another_are_refused_once_and_not_each_anew():
    nested = b"<testsuite>" * 2000 + b'<testcase name="deep"/>' + b"</testsuite>" * 2000
    report = b'<testsuites><testsuite name="s"><testcase name="good"/></testsuite>' + nested + b"</testsuites>"
    readings = junit(report)
    assert named(readings) == ["s/good"]
    assert reasons(readings) == ["more than 200 elements within one another"]
