"""Appending to a log that others append to as well."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pdk_pipeline.results import Result
from pdk_pipeline.runner import log_writer
from pdk_pipeline.runner.batch import Batch
from pdk_pipeline.runner.log_writer import LogWriter, result_of
from tests.unit.reading import log_text, read, rejections, results

BATCH = Batch("night", "calib", "hal", "py311", "")


def result(name: str, status: str = "P", **particulars: object) -> Result:
    return result_of(BATCH, name, status, runner="pytest", **particulars)


def logged(log: Path) -> list[Result]:
    readings = read(log.read_bytes())
    assert not rejections(readings)
    return results(readings)


def test_what_is_written_is_what_is_read(tmp_path):
    log = tmp_path / "log"
    particulars = {"definition": {"x": 1}, "attributes": {"y": "2"}, "location": "/t.py", "log": "so"}
    LogWriter(log).add(result("flat/a", "F", start=1.5, end=2.25, **particulars))
    (found,) = logged(log)
    assert found == Result(
        "night", "calib", "hal", "py311", "", "flat/a", "F", "Y", 1.5, 2.25, "pytest", "/t.py", {"x": "1"}, {"y": "2"},
        b".so\n",
    )  # fmt: skip


def test_many_processes_that_write_at_once_never_mix_two_records(tmp_path):
    # Given records that are larger than one page, from processes that all begin at the same moment
    log = tmp_path / "log"
    script = """
import sys
from pathlib import Path
from tests.unit.test_log_writer import result
from pdk_pipeline.runner.log_writer import LogWriter
writer = LogWriter(Path(sys.argv[1]))
sys.stdin.read()
for number in range(60):
    writer.add(result(f"{sys.argv[2]}/{number}", log=sys.argv[2] * 20_000))
"""
    command = [sys.executable, "-c", script, str(log)]
    writers = [subprocess.Popen([*command, letter], stdin=subprocess.PIPE) for letter in "abcd"]
    for writer in writers:
        writer.stdin.close()
    assert [writer.wait() for writer in writers] == [0, 0, 0, 0]
    # Then every record is whole, and each process's are in their order
    found = logged(log)
    assert len(found) == 240
    for letter in "abcd":
        own = [one for one in found if one.test_name.startswith(letter)]
        assert [one.test_name for one in own] == [f"{letter}/{number}" for number in range(60)]
        assert {log_text(one) for one in own} == {letter * 20_000 + "\n"}


def test_the_first_record_forgets_what_others_have_set(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "START\ntest_run=night\nproject=p\ntda_colour=red\nlog=theirs\nSETDEFAULT\n\ntest_name=x\nstatus=P\nEND\n\n"
    )
    LogWriter(log).add(result("a"))
    theirs, ours = logged(log)
    assert (theirs.definition_attributes, theirs.log) == ({"colour": "red"}, b".theirs")
    assert (ours.definition_attributes, ours.log) == ({}, b"")


def test_a_record_that_a_killed_writer_left_unfinished_does_not_take_the_next_one_down(tmp_path):
    log = tmp_path / "log"
    writer = LogWriter(log)
    writer.add(result("a"))
    with log.open("a") as file:
        file.write("test_name=b\nstatus=P\nlog:\n.this was as far as it")
    writer.add(result("c"))
    assert [one.test_name for one in results(read(log.read_bytes()))] == ["a", "c"]


def test_a_full_disk_leaves_no_half_record_and_what_was_lost_comes_with_the_next(tmp_path, monkeypatch):
    log = tmp_path / "log"
    writer = LogWriter(log)
    writer.add(result("a"))
    whole = log.read_bytes()
    write, fulls = os.write, iter([True])

    def write_to_a_full_disk(file: int, data: bytes) -> int:
        if next(fulls, False):
            return write(file, data[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", write_to_a_full_disk)
    writer.add(result("b"))
    monkeypatch.undo()
    assert log.read_bytes() == whole
    assert writer.problem == f"{log}: No space left on device"
    writer.add(result("c"))
    assert writer.problem == ""
    assert [one.test_name for one in logged(log)] == ["a", "b", "c"]


def test_where_the_file_server_has_no_locks_results_are_written_all_the_same(tmp_path, monkeypatch):
    def no_locks(_file: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    writer = LogWriter(tmp_path / "log")
    writer.add(result("a"))
    writer.add(result("b"))
    assert [one.test_name for one in logged(tmp_path / "log")] == ["a", "b"]


def test_a_process_that_was_stopped_with_the_lock_does_not_stop_the_tests(tmp_path, monkeypatch):
    monkeypatch.setattr(log_writer, "LOCK_SECONDS", 0.05)
    log = tmp_path / "log"
    with log.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        LogWriter(log).add(result("a"))
    assert [one.test_name for one in logged(log)] == ["a"]


def test_of_a_very_long_log_the_beginning_and_the_end_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(log_writer, "MOST_LOG", 20)
    (found,) = (LogWriter(tmp_path / "log").add(result("a", log="b" * 50 + "e" * 50)), *logged(tmp_path / "log"))[1:]
    assert log_text(found) == "bbbbbbbbbb\n… 80 bytes left out …\neeeeeeeeee\n"


@pytest.mark.parametrize("name", ["a.log", "a.log.log", "x/../y", " a b\n", "//a//b/", "a\r"])
def test_a_name_is_read_as_it_was_cleaned_once(tmp_path, name):
    writer = LogWriter(tmp_path / "log")
    one = result(name)
    writer.add(one)
    assert [found.test_name for found in logged(tmp_path / "log")] == [one.test_name]
