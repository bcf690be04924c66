"""`pdk up`: everything on one machine."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from pdk_pipeline import writer_lock
from pdk_pipeline.config import Settings
from pdk_pipeline.errors import AlreadyUp
from tests.conftest import log_of, record, rows
from tests.integration.processes import Background
from workers import broker, redis_server, standalone


def test_commands_find_the_running_up_and_ctrl_c_stops_all_of_it(start_up, pdk, make_log, home: Settings):
    # Given everything up
    up = start_up()
    children = up.children()
    assert len(children) == 6  # broker, three workers, beat, Flower
    # When a command is given, then the writer does it and Flower has seen it
    assert pdk("import", make_log("a.pdklog", record("t1", "F"))).returncode == 0
    up.wait_for("import_logs[")
    flower = broker.holder(home)["flower"]
    with urllib.request.urlopen(f"{flower}/healthcheck", timeout=10) as answer:
        assert answer.read() == b"OK"
    # and after Ctrl-C nothing of it runs, and the next command does the work itself
    assert up.interrupt() == 0
    assert up.lines[-1].endswith("stopped")
    assert not any(_runs(pid) for pid in children)
    assert broker.holder(home) is None
    assert pdk("import", make_log("b.pdklog", record("t2"))).returncode == 0
    assert rows(home, "SELECT test_name FROM result_scalar ORDER BY 1") == [("t1",), ("t2",)]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in open(f"/proc/{pid}/status").read()  # noqa: PTH123


def test_a_second_up_of_the_same_home_is_refused_with_the_pid_of_the_first(start_up, pdk):
    first = start_up("--no-flower")
    second = pdk("up")
    assert second.returncode == 1
    assert re.search(rf"A `pdk up` of this home is running: .*, process {first.pid}\.", second.stderr)


def test_what_dies_is_started_again_and_a_waiting_task_survives(start_up, pdk, home: Settings):
    up = start_up("--no-flower")
    for victim in ("writer", "broker"):
        line = len(up.lines)
        os.kill(_pid(up, victim), signal.SIGKILL)
        up.wait_for(f"{victim:<7} ! ended by SIGKILL; it is started again", after=line)
        done = pdk("import", "-", input=log_of(record(f"after_{victim}")))
        assert done.returncode == 0, done.stderr
    assert rows(home, "SELECT test_name FROM result_scalar ORDER BY 1") == [("after_broker",), ("after_writer",)]


def _pid(up, part: str) -> int:
    sign = {"writer": "queues=writer", "broker": "unixsocket"}[part]
    return next(pid for pid in up.children() if sign in Path(f"/proc/{pid}/cmdline").read_text())


def test_collect_takes_in_what_lies_in_incoming(start_up, pdk, home: Settings):
    start_up("--no-flower")
    incoming = home.spool / "incoming"
    for host in ("apple", "banana"):
        (incoming / host).write_text(log_of(record(), host=host))
    (incoming / "broken").write_text(log_of(record(), record("bad", "X"), host="cherry"))
    done = pdk("collect")
    assert done.returncode == 1
    assert "cherry" not in done.stderr
    assert "broken: 1 quarantined" in done.stderr
    assert rows(home, "SELECT host FROM result_scalar ORDER BY 1") == [("apple",), ("banana",), ("cherry",)]
    assert not list(incoming.iterdir())


def test_up_says_that_it_is_ready_once_it_is_and_names_what_is_not(start_up, home: Settings):
    with writer_lock.held(home, "somebody else", wait_seconds=0):
        up = start_up("--no-flower", is_ready=False)
        up.wait_for("not ready yet: writer")
        assert not any("ready; Ctrl-C" in line for line in up.lines)
        assert (home.spool / "incoming").is_dir()
    up.wait_for("ready; Ctrl-C stops everything")


def test_what_is_advised_about_a_broker_left_behind_ends_that_one_and_no_other(tmp_path, monkeypatch, start_broker_in):
    # Given two homes whose brokers nobody supervises, each holding its lock
    ours, other = start_broker_in(tmp_path / "ours"), start_broker_in(tmp_path / "other's")
    monkeypatch.setattr(standalone, "BROKER_SECONDS", 0.05)
    with (tmp_path / "ours" / "broker.lock").open() as lock, pytest.raises(AlreadyUp) as refused:
        standalone._wait_for_lock(lock, tmp_path / "ours", lambda _line: None)
    # When somebody does what is advised
    (command,) = re.findall(r"`(kill .*)` ends it", str(refused.value))
    subprocess.run(command, shell=True, check=True)
    # Then ours ends
    assert ours.wait() == 0
    assert other.popen.poll() is None


@pytest.fixture
def start_broker_in():
    started = []

    def start(directory: Path) -> Background:
        configuration = redis_server.write_configuration(directory, directory / "broker.sock")
        lock = (directory / "broker.lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        server = Background((redis_server.find(), str(configuration)), os.environ, directory)
        started.append((server, lock))
        server.wait_for("Ready to accept connections")
        return server

    yield start
    for server, lock in started:
        server.clean_up()
        lock.close()
