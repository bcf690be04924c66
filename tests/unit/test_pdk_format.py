"""The PDK log format, to the letter: one claim a test, in the order of the format's description."""

from __future__ import annotations

import pytest

from tests.unit.reading import log_text, read, rejections, results, skipped, warnings

HEAD = "test_run=daily_2026-11-23\nproject=calib\n"


def only(log: str | bytes, **options):
    """The one result of a log that has nothing else in it."""
    readings = read(log, **options)
    assert len(readings) == 1, readings
    assert results(readings) == readings
    return readings[0]


def only_rejection(log: str | bytes):
    readings = read(log)
    assert len(readings) == 1, readings
    assert rejections(readings) == readings
    return readings[0]


def test_the_example_of_the_format_gives_its_two_results():
    readings = read(
        "START\ntest_run=daily_2026-11-23\nproject=calib\nhost=banana\ncontext=py311\ntest_runner=pytest\n"
        "SETDEFAULT\n\ntest_name=flat/test_bias\nstatus=P\nstart_time=1763881200.25\nend_time=1763881201.75\n"
        "tda_exposure=30\ntra_mean_counts=1021.7\nlog:\n.reading bias.fits\n.\n.mean within tolerance\n\nEND\n\n"
        "test_name=flat/test_dark\nstatus=F\nlog:\n.AssertionError: 17.2 != 16.9 +- 0.1\n\nEND\n"
    )
    bias, dark = results(readings)
    assert len(readings) == 2
    assert bias[:8] == ("daily_2026-11-23", "calib", "banana", "py311", "", "flat/test_bias", "P", "N")
    assert (bias.start_time, bias.end_time) == (1763881200.25, 1763881201.75)
    assert bias.definition_attributes == {"exposure": "30"}
    assert bias.result_attributes == {"mean_counts": "1021.7"}
    assert log_text(bias) == "reading bias.fits\n\nmean within tolerance\n"
    assert (dark.test_name, dark.status, dark.attn) == ("flat/test_dark", "F", "Y")
    assert dark.test_runner == "pytest"
    assert dark.start_time is None


# Lines ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("tra_a=b=c", "a", "b=c"),
        ("tra_a:b=c", "a:b", "c"),
        ("  tra_a=b \t", "a", "b"),
        ("TRA_A=B", "a", "B"),
        ("tra_a=", "a", ""),
        ("tra_a= b", "a", " b"),
        ("tra_ä=ö", "ä", "ö"),
    ],
)
def test_a_one_line_field(line, name, value):
    assert only(f"{HEAD}test_name=t\nstatus=P\n{line}\nEND\n").result_attributes == {name: value}


def test_a_multi_line_field_keeps_its_lines_and_their_ends():
    result = only(f"{HEAD}test_name=t\nstatus=P\ntra_text:\n.one\n..two\n.\n. four\n\nEND\n")
    assert result.result_attributes == {"text": "one\n.two\n\n four\n"}


def test_a_multi_line_field_may_be_empty():
    assert only(f"{HEAD}test_name=t\nstatus=P\ntra_text:\n\nEND\n").result_attributes == {"text": ""}


def test_blank_lines_and_comments_are_ignored_outside_multi_line_fields():
    log = (
        f"# a comment\n\n{HEAD}\n# status=F\n  # END\ntest_name=t\n\n\nstatus=P\nlog:\n.# not a comment\n\n#c\nEND\n\n"
    )
    assert log_text(only(log)) == "# not a comment\n"


def test_the_end_of_the_file_may_lack_its_line_end():
    assert only(f"{HEAD}test_name=t\nstatus=P\nEND").test_name == "t"


def test_lines_may_end_as_on_windows():
    result = only(f"{HEAD}test_name=t\nstatus=F\nlog:\n.one\n.two\n\nEND\n".replace("\n", "\r\n"))
    assert (result.test_run, result.test_name, result.status) == ("daily_2026-11-23", "t", "F")
    assert log_text(result) == "one\r\ntwo\r\n"


def test_a_byte_order_mark_is_no_part_of_the_first_name():
    assert only(b"\xef\xbb\xbf" + HEAD.encode() + b"test_name=t\nstatus=P\nEND\n").test_run == "daily_2026-11-23"


def test_defaults_hold_for_every_record_that_follows_and_give_way_to_its_own():
    log = f"{HEAD}host=a\ntra_x=1\nlog:\n.default log\n\nSETDEFAULT\ntest_name=t1\nstatus=P\nEND\n"
    log += "test_name=t2\nstatus=P\nhost=b\nlog:\n.own log\n\nEND\n"
    first, second = results(read(log))
    assert (first.host, log_text(first), first.result_attributes) == ("a", "default log\n", {"x": "1"})
    assert (second.host, log_text(second), second.result_attributes) == ("b", "own log\n", {"x": "1"})


def test_a_second_setdefault_adds_to_the_first():
    log = f"{HEAD}SETDEFAULT\nhost=b\nSETDEFAULT\ntest_name=t\nstatus=P\nEND\n"
    assert only(log)[:3] == ("daily_2026-11-23", "calib", "b")


def test_start_forgets_the_defaults():
    readings = read(f"{HEAD}SETDEFAULT\n\n\nSTART\ntest_name=t\nstatus=P\nEND\n")
    assert [rejection.reason for rejection in rejections(readings)] == ["no test_run, no project"]


def test_start_forgets_an_unfinished_record_and_says_so():
    readings = read(f"{HEAD}test_name=lost\nstatus=P\nlog:\n.half\n\n\nSTART\n{HEAD}test_name=t\nstatus=P\nEND\n")
    assert [result.test_name for result in results(readings)] == ["t"]
    assert [warning.line for warning in warnings(readings)] == [1]
    assert not rejections(readings)


def test_a_nul_is_kept_as_two_characters():
    assert only(f"{HEAD}test_name=t\nstatus=P\ntra_a=x\0y\nEND\n").result_attributes == {"a": "x\\0y"}


def test_bytes_that_are_not_utf8_are_kept_readable():
    result = only(HEAD.encode() + b"test_name=t\nstatus=P\ntra_a=\xff\xe4\nlog:\n.\xfe\0\n\nEND\n")
    assert result.result_attributes == {"a": "\\xff\\xe4"}
    assert log_text(result) == "\\xfe\\0\n"


# Fields ---------------------------------------------------------------------------------------------------------


def test_host_context_and_the_rest_have_their_defaults():
    result = only(f"{HEAD}test_name=t\nstatus=P\nEND\n")
    assert (result.host, result.context, result.custom, result.test_runner) == ("unknown", "default", "", "")
    assert (result.location, result.log) == ("", b"")


def test_name_is_an_old_alias_of_test_name():
    assert only(f"{HEAD}name=t\nstatus=P\nEND\n").test_name == "t"


def test_what_is_not_known_is_ignored():
    assert only(f"{HEAD}test_name=t\nstatus=P\nwhatever=1\nEND\n").test_name == "t"


@pytest.mark.parametrize("status", ["P", "F", "E", "D", "M", "q"])
def test_a_status_of_the_list(status):
    assert only(f"{HEAD}test_name=t\nstatus={status}\nEND\n").status == status


@pytest.mark.parametrize("status", ["X", "PASS", "pp", "1", "é"])
def test_a_status_that_is_none_is_bad(status):
    assert "status" in only_rejection(f"{HEAD}test_name=t\nstatus={status}\nEND\n").reason


@pytest.mark.parametrize(("status", "attn"), [("P", "N"), ("F", "Y"), ("E", "Y"), ("D", "Y"), ("M", "Y"), ("q", "Y")])
def test_attention_follows_from_the_status(status, attn):
    assert only(f"{HEAD}test_name=t\nstatus={status}\nEND\n").attn == attn


def test_attention_may_be_given():
    assert only(f"{HEAD}test_name=t\nstatus=F\nattn=R\nEND\n").attn == "R"


def test_attention_that_is_none_is_warned_of():
    readings = read(f"{HEAD}test_name=t\nstatus=F\nattn=maybe\nEND\n")
    assert results(readings)[0].attn == "Y"
    assert "maybe" in warnings(readings)[0].text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1763881200", 1763881200.0),
        ("1763881200.25", 1763881200.25),
        ("2025-11-23 07:00:00", 1763881200.0),
        ("2025-11-23 07:00:00.25", 1763881200.25),
        ("2025-11-23", 1763856000.0),
        ("Thu Jan 14 11:55:41 2010", 1263470141.0),
        ("Thu Jan  4 11:55:41 2010", 1262606141.0),
        ("2025-11-23T08:00:00+01:00", 1763881200.0),
        ("2025-11-23T07:00:00Z", 1763881200.0),
    ],
)
def test_times_are_read_in_every_form(text, seconds):
    assert only(f"{HEAD}test_name=t\nstatus=P\nstart_time={text}\nEND\n").start_time == seconds


@pytest.mark.parametrize("text", ["yesterday", "2025-13-01", "1e5", "nan", "inf", "9" * 40, "2025-11-23 25:00:00"])
def test_a_time_that_cannot_be_read_costs_only_itself(text):
    readings = read(f"{HEAD}test_name=t\nstatus=P\nend_time={text}\nEND\n")
    assert results(readings)[0].end_time is None
    assert "end_time" in warnings(readings)[0].text


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("a b\tc", "a_b_c"),
        ("/a/b", "a/b"),
        ("./a", "a"),
        ("../../a", "a"),
        ("a//b///c", "a/b/c"),
        ("a/b.xml", "a/b"),
        ("a/b.log", "a/b"),
        ("a/b.log.xml", "a/b.log"),
        ("a/b.xmlx", "a/b.xmlx"),
    ],
)
def test_test_names_are_cleaned(written, kept):
    assert only(f"{HEAD}test_name={written}\nstatus=P\nEND\n").test_name == kept


def test_a_multi_line_test_name_is_cleaned():
    assert only(f"{HEAD}test_name:\n.a\n.b\n\nstatus=P\nEND\n").test_name == "a_b_"


def test_noses_failure_record_is_no_test():
    readings = read(f"{HEAD}test_name=a/nose.failure.Failure.runTest\nstatus=E\nEND\n")
    assert skipped(readings) == readings
    assert len(readings) == 1


def test_defaults_from_outside_give_way_to_the_file():
    log = "project=calib\nhost=a\nSETDEFAULT\ntest_name=t\nstatus=P\nEND\n"
    result = only(log, defaults={"test_run": "user_ann", "host": "b", "context": "c"})
    assert (result.test_run, result.host, result.context) == ("user_ann", "a", "c")


def test_defaults_from_outside_outlive_start():
    assert only("START\nproject=p\ntest_name=t\nstatus=P\nEND\n", defaults={"test_run": "r"}).test_run == "r"


# Bad records ----------------------------------------------------------------------------------------------------

GOOD = f"{HEAD}test_name=good\nstatus=P\nEND\n"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("test_name=t\nstatus=P\nEND\n", "no test_run, no project"),
        (f"{HEAD}status=P\nEND\n", "no test_name"),
        (f"{HEAD}test_name=t\nEND\n", "no status"),
        (f"{HEAD}test_name=t\nstatus=\nEND\n", "no status"),
        (f"{HEAD}test_name=/./\nstatus=P\nEND\n", "no test_name"),
        (
            f"{HEAD}test_name=t\nstatus=P\nlog: text\n\nEND\n",
            "text after the colon of the multi-line field 'log' (line 10)",
        ),
        (f"{HEAD}test_name=t\nstatus=P\nlog:\n.one\nEND\n", "a line without a dot in the multi-line field 'log'"),
        (
            f"{HEAD}test_name=t\nstatus=P\nlog:\n.one\ntwo\n\nEND\n",
            "a line without a dot in the multi-line field 'log'",
        ),
        (f"{HEAD}test_name=t\nstatus=P\nnonsense\nEND\n", "neither a field"),
        (f"{HEAD}test_name=t\nstatus=P\n.dotted\nEND\n", "neither a field"),
        ("END\n", "END without a record before it"),
    ],
)
def test_a_bad_record_is_kept_whole_and_takes_no_good_one_with_it(record, reason):
    first, second = GOOD.replace("good", "first"), GOOD.replace("good", "second")
    readings = read(first + record + second)
    assert [result.test_name for result in results(readings)] == ["first", "second"]
    (rejection,) = rejections(readings)
    assert reason in rejection.reason
    assert rejection.raw == record.encode()
    assert rejection.offset == len(first)
    assert rejection.line == first.count("\n") + 1


def test_a_record_without_end_is_bad():
    readings = read(GOOD + f"{HEAD}test_name=t\nstatus=P\nlog:\n.half a li")
    (rejection,) = rejections(readings)
    assert len(results(readings)) == 1
    assert "no END" in rejection.reason
    assert rejection.raw.endswith(b".half a li")


def test_a_test_name_in_the_defaults_is_bad_but_the_other_defaults_hold():
    readings = read(f"{HEAD}test_name=t\nSETDEFAULT\ntest_name=u\nstatus=P\nEND\n")
    assert [result.test_name for result in results(readings)] == ["u"]
    assert "test_name in SETDEFAULT" in rejections(readings)[0].reason


def test_a_rejection_says_which_defaults_it_needs():
    # Given a bad record behind defaults
    readings = read(f"{HEAD}host=banana\nSETDEFAULT\n\ntest_name=t\nstatus=X\nEND\n")
    (rejection,) = rejections(readings)
    # When it is mended and read with what stands before it
    mended = rejection.preamble + rejection.raw.replace(b"status=X", b"status=P")
    # Then it is the result that was meant
    assert only(mended)[:7] == ("daily_2026-11-23", "calib", "banana", "default", "", "t", "P")


def test_a_record_larger_than_the_limit_is_rejected_in_pieces_and_reading_goes_on():
    huge = f"{HEAD}test_name=huge\nstatus=P\nlog:\n" + ".0123456789\n" * 1000 + "\nEND\n"
    readings = read(GOOD + huge + GOOD, limit=3000, piece=700)
    pieces = rejections(readings)
    assert [result.test_name for result in results(readings)] == ["good", "good"]
    assert b"".join(piece.raw for piece in pieces) == huge.encode()
    assert [piece.is_continued for piece in pieces] == [True] * (len(pieces) - 1) + [False]


def test_bytes_that_are_no_log_at_all_are_one_rejection():
    rejection = only_rejection(bytes(range(256)) * 10)
    assert rejection.raw == bytes(range(256)) * 10
