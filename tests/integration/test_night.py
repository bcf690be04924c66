"""The night through real workers: the manual's scripts as they stand, and nights whose workers are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pdk_pipeline.config import Settings
from tests.conftest import log_of, record, rows
from tests.integration.processes import CELERY, PDK
from workers.queues import DEFAULT, WRITER

# The manual's sample for the server, with its own comments and paths; FILESERVER stands for the site's directory.
SERVER_SCRIPT = """
set -e
cd FILESERVER/pdk_logs
mkdir -p old
pdk import FILESERVER/pdk_logs/*
mv * old || true

pdk gen_expected daily daily_latest
pdk check_expected daily daily_latest

pdk notify -email daily_latest
"""

RESULTS = "SELECT test_run, project, host, test_name, status, attn FROM result_scalar ORDER BY 1, 2, 3, 4"
MAILS = "SELECT run, recipient, kind, state FROM notification ORDER BY 1, 2, 3"


@pytest.fixture
def shell(environment, tmp_path):
    """Run a script as cron does, with `pdk` on the path."""

    def run(script: str) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["sh", "-c", script.replace("FILESERVER", str(tmp_path / "fileserver"))],
            env=environment | {"PATH": path},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return run


def test_the_manuals_script_for_the_server_works_as_it_stands(shell, home: Settings, tmp_path, pdk):
    # Given the logs of two machines on the file server, someone to be told, and nothing else
    logs = tmp_path / "fileserver" / "pdk_logs"
    logs.mkdir(parents=True)
    today = f"daily_{time.strftime('%Y-%m-%d', time.gmtime())}"
    (logs / f"banana.{today}").write_text(log_of(record("t1"), record("t2", "F"), test_run=today))
    (logs / f"apple.{today}").write_text(log_of(record("t1"), test_run=today, host="apple"))
    assert pdk("subscribe", "ann@example.org").returncode == 0
    assert pdk("import_contact", input="calib,,dev@example.org\n").returncode == 0
    # When the script runs
    done = shell(SERVER_SCRIPT)
    # Then it has worked, on a fresh installation without a broker and without a mail server
    assert done.returncode == 0, done.stderr
    assert rows(home, RESULTS) == [
        (today, "calib", "apple", "t1", "P", "N"),
        (today, "calib", "banana", "t1", "P", "N"),
        (today, "calib", "banana", "t2", "F", "Y"),
    ]
    assert sorted(path.name for path in (logs / "old").iterdir()) == [f"apple.{today}", f"banana.{today}"]
    assert len(list((home.home / "outbox").glob("*.eml"))) == 2


def test_the_night_under_pdk_up(start_up, pdk, home: Settings):
    start_up("--no-flower")
    incoming = home.spool / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    (incoming / "a").write_text(log_of(record("t1"), record("t2")))
    assert pdk("nightly", "daily", "daily_2026-11-23").returncode == 0
    (incoming / "b").write_text(log_of(record("t1", "F"), test_run="daily_2026-11-24"))
    done = pdk("nightly", "daily", "daily_2026-11-24")
    assert done.returncode == 0, done.stderr
    assert "check_expected  done" in done.stdout
    assert [row[3:5] for row in rows(home, RESULTS) if row[0].endswith("24")] == [("t1", "F"), ("t2", "M")]
    told = pdk("status", "--json")
    assert told.returncode == 0, told.stdout


HOSTS = ("apple", "banana", "cherry", "damson")

RECORDS = 10_000
"""Of each host: to import them takes longer than to kill a few workers. (What is lost on the way later waits for a
lease to run out, ten minutes.)"""


def _fill(home: Settings, pdk) -> None:
    with (home.home / "pdk.toml").open("a") as toml:
        toml.write("most_attempts = 100\n")  # more kills than any log here can meet by chance
    incoming = home.spool / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    for host in HOSTS:
        records = [record(f"group/test_{number}", "PF"[number % 50 == 0]) for number in range(RECORDS)]
        (incoming / host).write_text(log_of(*records, host=host))
    assert pdk("subscribe", "ann@example.org").returncode == 0


@pytest.mark.parametrize("seed", range(2))
def test_a_night_whose_workers_are_killed_ends_as_if_they_were_not(
    seed, start, start_worker, broker_url, pdk, home: Settings
):
    chance = random.Random(seed)
    _fill(home, pdk)
    # Given a night under way in real workers
    writer, general = start_worker(WRITER), start_worker(DEFAULT)
    beat = start(
        *CELERY, "beat", f"--schedule={home.home / 'beat'}", "--pidfile=", "--loglevel=INFO", PDK_BROKER_URL=broker_url
    )
    beat.wait_for("beat: Starting")
    command = start(*PDK, "nightly", "daily", "daily_2026-11-23", PDK_BROKER_URL=broker_url)
    # When they are killed at moments of chance, the writer's child or the whole of it, and started again
    for _ in range(3):
        writer.wait_for("[", after=len(writer.lines))
        time.sleep(chance.random() * 0.15)
        children = writer.children()
        if chance.random() < 0.5 and children:
            os.kill(children[0], signal.SIGKILL)
        else:
            writer.kill()
            writer = start_worker(WRITER)
        if chance.random() < 0.3:
            general.kill()
            general = start_worker(DEFAULT)
        if command.popen.poll() is not None:
            break
    # Then the night ends, every result is there once, and everybody has one message
    assert command.wait() == 0, command.lines
    assert rows(home, "SELECT host, count(*), count(DISTINCT test_name) FROM result_scalar GROUP BY 1 ORDER BY 1") == [
        (host, RECORDS, RECORDS) for host in HOSTS
    ]
    assert rows(home, "PRAGMA integrity_check") == [("ok",)]
    assert rows(home, "PRAGMA foreign_key_check") == []
    assert [row[:3] for row in rows(home, MAILS)] == [("daily_2026-11-23", "ann@example.org", "report")]
    assert rows(home, "SELECT count(*) FROM import_file") == [(len(HOSTS),)]
    assert not list((home.spool / "incoming").iterdir())
    assert len([path for path in (home.spool / "archive").rglob("*") if path.is_file()]) == len(HOSTS)
