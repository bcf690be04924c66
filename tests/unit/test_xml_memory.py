"""Reports in XML that would take gigabytes of memory: what stands in them once is held once."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pdk_pipeline import formats
from pdk_pipeline.formats import xml_stream
from pdk_pipeline.results import Rejection, Result
from tests.unit.reading import UTC, Pieces
from tests.unit.reports import DATA, SAID, junit, read_as, whole
from tests.unit.test_xml_stream import SMALL, SOUP

MB = 1 << 20


def peak_of(report: bytes) -> tuple[int, list[str]]:
    """Bytes of memory that reading took at most, as long as nobody keeps the results; and what was refused, why."""
    refused = set()
    tracemalloc.start()
    try:
        source = Pieces(report, 4 * MB)
        for reading in formats.named("junit").read(source, defaults=SAID, zone=UTC, record_limit=64 * MB):
            if isinstance(reading, Rejection):
                refused.add(reading.reason)
        return tracemalloc.get_traced_memory()[1], sorted(refused)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("record", [b'<testcase classname="x%d"/>', b'<testcase name="x"/>', b"<testcase/>"])
def test_a_long_name_of_a_suite_is_not_held_once_a_case(record):
    cases = b"".join(record.replace(b"%d", b"%d" % number) for number in range(100))
    report = b'<testsuites><testsuite name="' + b"n" * MB + b'">' + cases + b"</testsuite></testsuites>"
    peak, _ = peak_of(report)
    assert peak < 45 * MB


def test_many_properties_of_a_suite_are_not_held_once_a_case():
    properties = b"".join(b'<property name="tda_%d" value="v"/>' % number for number in range(2000))
    cases = b'<testcase name="x"/>' * 400
    peak, _ = peak_of(b"<testsuite><properties>" + properties + b"</properties>" + cases + b"</testsuite>")
    assert peak < 45 * MB


def test_a_case_of_very_many_elements_is_refused_and_the_next_one_is_read():
    report = b'<testsuite><testcase name="a">' + b"<b/>" * 150_000 + b'</testcase><testcase name="c"/></testsuite>'
    readings = junit(report)
    assert [reading.test_name for reading in readings if isinstance(reading, Result)] == ["c"]
    peak, refused = peak_of(report)
    assert refused == ["more than 100,000 elements in one <testcase>"]
    assert peak < 45 * MB


def test_what_the_cases_stand_in_has_a_limit_together():
    opened = b'<testsuite name="' + b"n" * (MB // 2) + b'">'
    readings = whole(junit(b'<testsuite><testcase name="a"/>' + opened * 3 + b'<testcase name="b"/>', limit=MB))
    assert [reading.test_name for reading in readings if isinstance(reading, Result)] == ["a"]
    (rejection,) = [reading for reading in readings if isinstance(reading, Rejection)]
    assert rejection.reason == "what the records stand in is larger than 1 MB"
    assert b'name="b"' in rejection.raw


@given(report=SOUP | st.binary(max_size=200), name=st.sampled_from(["junit", "ctest"]), piece=st.integers(1, 60))
@settings(max_examples=200, deadline=None)
@example(report=SMALL, name="junit", piece=1000)
@example(report=(DATA / "ctest.xml").read_bytes(), name="ctest", piece=1000)
@example(report=(DATA / "junit_pytest.xml").read_bytes(), name="junit", piece=1000)
def test_it_does_not_matter_after_which_records_what_was_read_is_handed_on(report, name, piece):
    usual = whole(read_as(name, report, piece=piece))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xml_stream, "MOST_REPEATED", 0)
        assert whole(read_as(name, report, piece=piece)) == usual
