"""What lies among the logs and is none, or has a name that means harm: one line each, and all the logs are taken."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pdk_pipeline import status
from pdk_pipeline.config import Settings
from pdk_pipeline.intake import spool
from tests.conftest import log_of, record, rows
from tests.machine import needs_permissions
from workers.queues import INTAKE, WRITER

UNREADABLE = Path("/proc/self/mem")
"""A regular file of which no byte can be read, whoever asks."""

ODD_NAMES = [
    b"new\nline\npdk: all is well",
    b"\x1b[2J\x1b]0;title\x07",
    b"no text \xff\xfe",
    b"-rf",
    b"$(reboot); `reboot` | <b>&\"'",
    b"tab\tand\rreturn",
    "\u202egnp.log".encode(),
    b"a" * 255,
    "é".encode() * 127,
    b"..a",
    b" ",
]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory with one good log and all that is none."""
    place = tmp_path / "logs"
    (place / "directory").mkdir(parents=True)
    (place / "directory" / "below").write_text(log_of(record("below")))
    (place / "good").write_text(log_of(record("good")))
    (tmp_path / "elsewhere").write_text(log_of(record("elsewhere")))
    for name, target in {
        "link": "../elsewhere",
        "dangling": "nowhere",
        "circle a": "circle b",
        "circle b": "circle a",
        "link to a directory": "directory",
        "link to itself above": ".",
        "link to a device": "/dev/zero",
        "link out": "/",
    }.items():
        (place / name).symlink_to(target)
    os.mkfifo(place / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(place, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{here}/socket")  # its path is too long for a socket's address
        os.close(here)
        yield place


def test_on_the_command_line_each_is_told_in_a_line_and_the_logs_are_imported(place, pdk, home: Settings):
    done = pdk("import", *sorted(place.iterdir()))
    assert done.returncode == 1
    told = done.stderr.splitlines()
    assert all(line.startswith("pdk: ") for line in told)
    no_logs = ("circle a", "circle b", "dangling", "fifo", "socket", "link to a device")
    for name in no_logs:
        assert sum(f"{place / name}: " in line for line in told) == 1, name
    # A directory is no fault: `pdk import *` means the logs.
    directories = ("directory", "link to a directory", "link to itself above", "link out")
    assert len(told) == len(no_logs) + len(directories)
    assert rows(home, "SELECT test_name FROM result_scalar ORDER BY 1") == [("elsewhere",), ("good",)]


def test_in_incoming_no_link_is_followed_and_what_is_no_log_stays(place, pdk, home: Settings, tmp_path):
    spool.prepare(home)
    incoming = home.spool / "incoming"
    incoming.rmdir()
    place.rename(incoming)
    told = pdk("collect").stderr.splitlines()
    no_logs = [path for path in incoming.iterdir() if path.name != "directory"]
    assert set(told) == {f"pdk: {path}: it is not a regular file" for path in no_logs}
    assert len(told) == len(no_logs)
    assert len(no_logs) == 10
    assert rows(home, "SELECT test_name FROM result_scalar ORDER BY 1") == [("below",), ("good",)]
    assert (tmp_path / "elsewhere").exists()
    # None of them counts as a log that waits
    assert status.look(home).incoming == 0


@pytest.mark.parametrize("command", ["import", "check", "submit"])
def test_a_file_that_cannot_be_read_keeps_no_other_back(command, tmp_path, start_worker, broker_url, pdk):
    if not UNREADABLE.exists():
        pytest.skip("there is no such file here")
    (tmp_path / "a").symlink_to(UNREADABLE)
    (tmp_path / "b").write_text(log_of(record("t1")))
    if command == "submit":
        start_worker(INTAKE)
    done = pdk(command, "a", "b", **({"PDK_BROKER_URL": broker_url} if command == "submit" else {}))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "a: Input/output error" in done.stderr
    assert "b" in done.stdout


@needs_permissions
@pytest.mark.parametrize("command", ["import", "check"])
def test_nor_one_that_may_not_be_read(command, tmp_path, pdk):
    (tmp_path / "a").touch(0)
    (tmp_path / "b").write_text(log_of(record("t1")))
    done = pdk(command, "a", "b")
    assert done.returncode == 1
    assert "a: Permission denied" in done.stderr
    assert "b" in done.stdout


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A directory of logs with odd names."""
    place = tmp_path / "odd"
    place.mkdir()
    for number, name in enumerate(ODD_NAMES):
        (place / os.fsdecode(name)).write_text(log_of(record(f"t{number}", "F"), record("same")))
    return place


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict"])
def test_odd_names_are_shown_in_their_line_and_steer_nothing(odd, encoding, pdk, home: Settings):
    done = pdk("import", "--", *sorted(odd.iterdir()), PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert rows(home, "SELECT count(*) FROM result WHERE status = 'F'") == [(len(ODD_NAMES),)]
    # A line for the second record of each but the first, which is a duplicate
    assert len(done.stderr.splitlines()) == len(ODD_NAMES) - 1
    assert all(": already there and kept: " in line for line in done.stderr.splitlines())
    assert not {"\x1b", "\r", "\t", "\u202e"} & set(done.stdout + done.stderr)
    assert len(done.stdout.splitlines()) == 2 + len(ODD_NAMES)  # a heading, and the sums


def test_workers_tell_of_each_log_in_one_line_whatever_it_is_called(odd, start_worker, broker_url, pdk, home: Settings):
    spool.prepare(home)
    for path in odd.iterdir():
        path.rename(home.spool / "incoming" / path.name.replace("..", "x"))
    worker = start_worker(WRITER)
    done = pdk("collect", PDK_BROKER_URL=broker_url)
    assert done.returncode == 0, done.stderr
    worker.clean_up()
    lines = [line for line in worker.lines if "import_claimed[" in line]
    assert len(lines) == len(ODD_NAMES)
    assert all("records=2" in line and "archived_as=" in line for line in lines)
    assert not any(line.startswith(("line", "pdk:")) for line in worker.lines)
    assert not {"\x1b", "\r"} & set("".join(worker.lines))
    # Their names in the archive are theirs
    kept = {os.fsencode(path.name) for path in (home.spool / "archive").rglob("*") if path.is_file()}
    assert kept == {name.replace(b"..", b"x") for name in ODD_NAMES}
