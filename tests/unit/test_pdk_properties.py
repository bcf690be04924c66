"""What holds for every PDK log, whatever stands in it: found by hypothesis."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pdk_pipeline.formats import pdk
from pdk_pipeline.formats.pdk_writer import record_as_text
from pdk_pipeline.formats.text import dotted
from pdk_pipeline.results import Rejection, Result
from tests.unit.reading import read, rejections, results

# Lines of which logs are made, the good ones often, so that records come about.
LINES = st.sampled_from(
    [
        b"test_run=r", b"project=p", b"host=h", b"test_name=t", b"test_name=u", b"status=P", b"status=F", b"status=X",
        b"END", b"END", b"END", b" END ", b"END\r", b"START", b"SETDEFAULT", b"", b"", b"# comment", b"log:", b"log:",
        b".one", b"..two", b".", b".END", b"log=short", b"tra_a=b", b"tra_a:", b"TRA_B=c ", b"a:b=c", b"=x", b":",
        b"log: x", b"nonsense", b"\xff=\xfe", b"tda_n=\0", b"start_time=1.5", b"start_time=noon", b"attn=?",
        b"\xef\xbb\xbfhost=bom", b"custom=c",
    ]
)  # fmt: skip
LOGS = st.lists(LINES, max_size=60).map(b"\n".join)

LIMITS = st.integers(5, 120)

RECORD = b"test_run=r\nproject=p\nhost=h\ntest_name=%s\nstatus=P\ntra_x=1\nlog:\n.some\n.END\n.text\n\nEND\n\n"
HEADED = b"\n\nSTART\ntest_run=r\nproject=p\nSETDEFAULT\n\n" + b"".join(
    b"test_name=t%d\nstatus=F\nlog:\n.line %d\n\nEND\n\n" % (number, number) for number in range(4)
)


@given(log=LOGS | st.binary(max_size=300), piece=st.integers(1, 50))
@settings(max_examples=400)
def test_it_does_not_matter_how_the_bytes_arrive(log, piece):
    assert read(log, piece=piece) == read(log)


@given(log=LOGS)
@settings(max_examples=600)
@example(log=RECORD % b"t")
@example(log=HEADED)
def test_the_quick_way_reads_what_the_letter_of_the_format_says(log):
    quick = read(log)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pdk._Reader, "_quick", lambda *_: None)
        assert read(log) == quick


@given(log=LOGS | st.binary(max_size=300))
@settings(max_examples=400)
def test_every_end_line_outside_multi_line_fields_ends_exactly_one_record(log):
    readings = read(log)
    ends = len(
        re.findall(rb"^[ \t\r\x0b\x0c]*END[ \t\r\x0b\x0c]*$", log.removeprefix(pdk.BYTE_ORDER_MARK), re.MULTILINE)
    )
    records = [r for r in readings if isinstance(r, Result) or (isinstance(r, Rejection) and _has_end(r.raw))]
    assert len(records) == ends


def _has_end(raw: bytes) -> bool:
    return raw.strip().endswith(b"END") and raw.strip().rpartition(b"\n")[2].strip() == b"END"


@given(log=LOGS)
@settings(max_examples=300)
def test_a_rejection_is_the_bytes_at_its_offset(log):
    for rejection in rejections(read(log)):
        assert log[rejection.offset : rejection.offset + len(rejection.raw)] == rejection.raw
        assert rejection.line == log.count(b"\n", 0, rejection.offset) + 1


@pytest.mark.parametrize(
    "log", [HEADED, b"".join(RECORD % name for name in (b"a", b"b", b"c"))], ids=["headed", "full"]
)
def test_a_log_cut_at_any_byte_loses_no_complete_record_and_says_what_is_not_complete(log):
    complete_at = [match.end() for match in re.finditer(rb"START|SETDEFAULT|\nEND", log)]
    records_at = [match.end() for match in re.finditer(rb"\nEND", log)]
    for cut in range(len(log) + 1):
        readings = read(log[:cut])
        assert len(results(readings)) == sum(1 for end in records_at if end <= cut)
        begun = log[max((end for end in complete_at if end <= cut), default=0) : cut].strip()
        assert [rejection.reason for rejection in rejections(readings)] == ["no END at the end of the file"] * bool(
            begun
        )


@given(
    log=LOGS | st.lists(LINES | st.binary(min_size=20, max_size=90), max_size=30).map(b"\n".join),
    limit=LIMITS,
    piece=LIMITS,
)
@settings(max_examples=600)
@example(log=b"\nSTART\nhost=h\nSETDEFAULT\n" + RECORD % (b"t" * 99) + RECORD % b"after", limit=40, piece=10)
@example(log=b"x" * 40 + b"END\n" + RECORD % b"t", limit=20, piece=40)
@example(log=b"\n" * 30 + HEADED, limit=20, piece=10)
@example(log=b"START\ntest_run=r", limit=5, piece=5)
@example(log=b"x" * 20 + b"\nSTARTED=1\n" + RECORD % b"t", limit=15, piece=26)
def test_records_that_are_too_large_are_rejected_whole_and_change_no_other(log, limit, piece):
    held = 0

    def watched(self, length):
        nonlocal held
        held = max(held, len(self.data))
        return forget(self, length)

    forget = pdk._Reader._forget
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pdk._Reader, "_forget", watched)
        limited = read(log, limit=limit, piece=piece)
    # Defaults too large to hold are lost with the record that they stand before
    assume(not any(re.search(rb"^\s*SETDEFAULT", rejection.raw, re.MULTILINE) for rejection in rejections(limited)))
    # No more is held than a record may have and what came last
    assert held <= max(limit, piece) + 2 * piece
    # What is read all the same is what is read without a limit, in that order
    rest = iter(results(read(log)))
    assert all(any(result == other for other in rest) for result in results(limited))
    # What is rejected stands in the log, and is something
    begun = b""
    for rejection in rejections(limited):
        begun += rejection.raw
        if not rejection.is_continued:
            assert begun.strip() or rejection.reason.startswith("END without")
            assert log[rejection.offset :].startswith(begun)
            begun = b""
    assert begun == b""


def _holdable(text: str) -> str:
    """What a field can hold: white space at the end of a line is none of it, and several lines end with a line end."""
    if "\n" in text:
        return text if text.endswith("\n") else f"{text}\n"
    return text.rstrip(" \t\r\v\f")


# NUL, and bytes that are not UTF-8, are changed by rule.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30).map(_holdable)
NAME = TEXT.filter(bool)
LABEL = st.text(st.characters(codec="ascii", categories=["Ll", "Nd"], include_characters="_."), min_size=1, max_size=8)
ATTRIBUTES = st.dictionaries(LABEL, TEXT, max_size=4)
CLEAN_NAME = st.text(st.characters(codec="utf-8", exclude_characters="\0 \t\n/", exclude_categories=["Cs"]), min_size=1)
TIMES = st.none() | st.floats(-1e9, 4e9)
RESULTS = st.builds(
    Result,
    test_run=NAME,
    project=NAME,
    host=NAME,
    context=NAME,
    custom=TEXT,
    test_name=st.lists(CLEAN_NAME, min_size=1, max_size=3).map("/".join).filter(lambda name: name.lstrip("/.") == name),
    status=st.sampled_from("PFEDMq"),
    attn=st.sampled_from("YNR"),
    start_time=TIMES,
    end_time=TIMES,
    test_runner=TEXT,
    location=TEXT,
    definition_attributes=ATTRIBUTES,
    result_attributes=ATTRIBUTES,
    log=TEXT.map(lambda text: dotted(text.encode())),
)


@given(written=st.lists(RESULTS, max_size=4))
@settings(max_examples=400)
def test_what_is_written_is_read_again(written):
    log = b"START\n" + b"".join(record_as_text(result) for result in written)
    assert read(log) == written
