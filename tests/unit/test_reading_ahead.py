"""Logs are read ahead by other processes; what is stored is the same, whatever becomes of them."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from attrs import evolve

from pdk_pipeline import database, nightly
from pdk_pipeline.errors import PdkError, UnreadableLog
from pdk_pipeline.intake import deliveries, importing, ledger, reading, reading_ahead, spool
from pdk_pipeline.intake.deliveries import Options
from tests.conftest import log_of, record, rows
from tests.stored import results, tables

HOW = reading.How(None, {}, None, 1 << 20)


readers_of_use, shares = reading_ahead.readers_of_use, reading_ahead._shares


@pytest.fixture(autouse=True)
def _two_readers(monkeypatch):
    """Whatever this machine has, and many parts of a few results on the way."""
    monkeypatch.setattr(reading_ahead, "readers_of_use", lambda sizes: 2 if sizes else 0)
    monkeypatch.setattr(reading_ahead, "STORING", 1000)  # nothing is left to the one that stores
    monkeypatch.setattr(reading, "PART_BYTES", 10 * reading.RESULT_BYTES)
    monkeypatch.setattr(reading_ahead, "PIPE_BYTES", 1 << 16)


@pytest.fixture
def logs(tmp_path) -> list[Path]:
    """Of several machines, most with something odd."""
    made = []
    for number in range(7):
        records = [record(f"t{n}", "PFE"[n % 3], log=f"line {n}\n" * n, tra_n=str(n)) for n in range(60)]
        if number % 2:
            records[7:7] = ["nonsense\nEND\n\n", record("t3", "F", log="again"), record("late", start_time="noon")]
        made.append(tmp_path / f"{number}.pdklog")
        made[-1].write_text(log_of(*records, host=f"host{number}"))
    made[2].write_bytes(gzip.compress(made[2].read_bytes()))
    made[4].write_bytes(gzip.compress(made[4].read_bytes())[:-30])
    made[5].unlink()
    return made


def import_all(settings, logs, prefix="d") -> list[object]:
    """Outcomes and errors, in order."""
    named = [(log, f"{prefix}{number}") for number, log in enumerate(logs)]
    told = importing.import_files(settings, named, Options(sender="tests"))
    return [str(one) if isinstance(one, PdkError) else one.as_json() | {"seconds": 0} for one in told]


def read_parts(read, log) -> list[reading.Part]:
    return list(read(log, HOW))


def gone(pid: int) -> bool:
    """Whether a process has ended, or does so in the next seconds."""
    for _ in range(500):
        try:
            if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


@pytest.fixture
def pids(monkeypatch) -> list[int]:
    """The readers that are started."""
    started: list[int] = []
    fork = reading_ahead._fork

    def noted():
        pid = fork()
        if pid:
            started.append(pid)
        return pid

    monkeypatch.setattr(reading_ahead, "_fork", noted)
    return started


def test_what_is_read_ahead_is_stored_as_what_is_not(home, tmp_path, logs, monkeypatch, pids):
    told = import_all(home, logs)
    assert len(pids) == 2
    monkeypatch.setattr(reading_ahead, "readers_of_use", lambda _: 0)
    alone = evolve(home, home=tmp_path / "alone")
    assert import_all(alone, logs) == told
    assert tables(alone) == tables(home)
    assert results(home) != []
    assert "cannot be read as a log" in told[5]
    assert told[4]["quarantined"] == 1


def test_nothing_is_left_when_it_is_over(home, logs, pids):
    files = set(Path("/proc/self/fd").iterdir())
    import_all(home, logs)
    assert all(gone(pid) for pid in pids)
    assert set(Path("/proc/self/fd").iterdir()) == files
    for pid in pids:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def test_a_log_may_be_left_out_and_another_given_up_half_way(logs):
    with reading_ahead.begun(logs, [1] * 7, HOW) as read:
        assert next(read(logs[0], HOW)).ending is None
        assert read_parts(read, logs[3]) == read_parts(reading.read, logs[3])
        assert read_parts(read, logs[6]) == read_parts(reading.read, logs[6])
        # What has gone past, or was never asked for before, is read all the same
        assert read_parts(read, logs[1]) == read_parts(reading.read, logs[1])
        with pytest.raises(UnreadableLog):
            read_parts(read, logs[5])


def test_a_log_that_is_named_twice_is_read_twice(logs):
    twice = [logs[0], logs[0], logs[1], logs[0]]
    with reading_ahead.begun(twice, [1] * 4, HOW) as read:
        for log in twice:
            assert read_parts(read, log) == read_parts(reading.read, log)


def test_a_reader_has_nothing_of_ours(home, tmp_path, logs, pids):
    """Else it would hold the writer's lock or a connection for longer than we do."""
    with (
        database.writing(home),
        (tmp_path / "lock").open("w"),
        reading_ahead.begun([logs[0]], [1], HOW) as read,
    ):
        next(read(logs[0], HOW))
        held = [
            str(file.readlink()) for pid in pids for file in Path(f"/proc/{pid}/fd").iterdir() if int(file.name) > 2
        ]
    assert [name for name in held if not name.startswith(("pipe:", str(logs[0])))] == []


# Killed -----------------------------------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path) -> list[Path]:
    """Logs of which no pipe holds all the parts."""
    made = []
    for number in range(4):
        noise = [os.urandom(400).hex() for _ in range(3000)]
        made.append(tmp_path / f"{number}.pdklog")
        made[-1].write_text(log_of(*(record(f"t{n}", log=text) for n, text in enumerate(noise)), host=f"h{number}"))
    return made


def test_when_a_reader_is_killed_its_log_is_tried_again_and_the_others_are_well(home, large, pids, monkeypatch):
    write = deliveries.ingest

    def killing(db, parts, outcome, **how):
        def watched():
            for number, part in enumerate(parts):
                if number == 1 and outcome.delivery == "d1":
                    os.kill(pids[0], signal.SIGKILL)
                yield part

        write(db, watched(), outcome, **how)

    with monkeypatch.context() as patch:
        patch.setattr(deliveries, "ingest", killing)
        first, killed, *others = import_all(home, large)
    assert "was killed" in killed
    assert [one["accepted"] for one in (first, *others)] == [3000] * 3
    assert rows(home, "SELECT delivery, attempts, failure FROM import_attempt") == [
        ("d1", 1, f"ReaderKilled: {killed}")
    ]
    # It is known now that something is wrong: the next try reads it in its turn, with nobody to be killed
    pids.clear()
    assert import_all(home, large)[1]["accepted"] == 3000
    assert pids == []
    assert rows(home, "SELECT * FROM import_attempt") == []
    assert len(results(home)) == 12_000


def test_logs_that_were_begun_before_are_not_read_ahead(home, logs, pids):
    with database.writing(home):
        pass
    with database.opened(home) as db:
        ledger.begin_attempt(db, "d3")
    import_all(home, logs)
    assert pids == []


def test_it_does_without_when_no_process_can_be_started(home, logs, monkeypatch):
    def refuse():
        raise BlockingIOError

    monkeypatch.setattr(reading_ahead, "_fork", refuse)
    files = set(Path("/proc/self/fd").iterdir())
    assert import_all(home, logs)[0]["accepted"] == 60
    assert set(Path("/proc/self/fd").iterdir()) == files


def test_a_database_that_cannot_be_asked_is_told_of_by_each_import(home, logs, pids):
    home.database.write_text("this is no database" * 100)
    told = import_all(home, logs[:3])
    assert pids == []
    assert ["database" in one for one in told] == [True] * 3


def test_a_night_in_one_process_tells_how_far_it_is_over_all_its_batches(home, logs, monkeypatch):
    monkeypatch.setattr(importing, "BATCH_LOGS", 2)
    spool.prepare(home)
    for log in (logs[0], logs[1], logs[3]):
        shutil.copy(log, home.spool / "incoming")
    claims = spool.collect(home).claims
    told: list[tuple[int, int]] = []
    nightly._import(home, claims, lambda *done: told.append(done))
    assert sorted(set(told)) == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert rows(home, "SELECT count(*) FROM import_file") == [(3,)]


STORE = """
import sys, time
from pathlib import Path
from pdk_pipeline.intake import reading, reading_ahead
fork = reading_ahead._fork
def noted():
    pid = fork()
    if pid:
        print(pid, flush=True)
    return pid
reading_ahead._fork = noted
reading_ahead.readers_of_use = lambda sizes: 1
logs = [Path(name) for name in sys.argv[1:]]
with reading_ahead.begun(logs, [1] * len(logs), reading.How(None, {}, None, 1 << 20)) as read:
    next(read(logs[0], reading.How(None, {}, None, 1 << 20)))
    print("reading", flush=True)
    sys.stdin.read()
"""


def test_a_reader_does_not_outlive_the_one_it_reads_for(large):
    command = [sys.executable, "-c", STORE, *map(str, large)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as storing:
        assert storing.stdout
        pid = int(storing.stdout.readline())
        assert storing.stdout.readline() == "reading\n"
        assert Path(f"/proc/{pid}").exists()
        storing.kill()
        storing.wait()
        assert gone(pid)


def test_an_error_that_nobody_thought_of_is_raised_where_the_log_is_stored(logs, monkeypatch):
    def broken(path, _how):
        raise ZeroDivisionError(str(path))
        yield

    monkeypatch.setattr(reading, "read", broken)
    with reading_ahead.begun(logs, [1] * 7, HOW) as read, pytest.raises(ZeroDivisionError, match=r"0\.pdklog"):
        read_parts(read, logs[0])


# Shares -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "processors", "readers"),
    [([10 << 20] * 2, 4, 3), ([10 << 20] * 2, 2, 1), ([10 << 20] * 2, 1, 0), ([1 << 40], 4, 0), ([1000] * 100, 4, 0)],
)
def test_there_are_as_many_readers_as_are_of_use(monkeypatch, sizes, processors, readers):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(processors))
    assert readers_of_use(sizes) == readers


def test_who_stores_reads_too_when_there_is_time_for_it(monkeypatch):
    monkeypatch.undo()
    logs = [Path(str(number)) for number in range(100)]
    (share,) = shares(logs, [1000] * 100, 1)
    assert 75 <= len(share) <= 85
    several = shares(logs, [1000] * 100, 3)
    assert sum(map(len, several)) >= 99
    assert max(map(len, several)) - min(map(len, several)) <= 1
