"""Logs imported by real workers through a real broker, and what remains when they are killed."""

from __future__ import annotations

import os
import signal

import pytest

from pdk_pipeline import config
from pdk_pipeline.config import Settings
from tests.conftest import log_of, record, rows
from tests.integration.processes import CELERY, PDK
from workers import health
from workers.app import app
from workers.queues import WRITER, WRITER_UNACKED

RESULTS = """
    SELECT test_run, project, host, context, custom, test_name, status FROM result_scalar ORDER BY 1, 2, 3, 4, 5, 6
"""
LARGE = 150_000
"""Records of a log whose import takes long enough to be caught in the middle."""


@pytest.fixture
def large_log(tmp_path):
    path = tmp_path / "large.pdklog"
    path.write_text(log_of(*(record(f"many/test_{number}") for number in range(LARGE))))
    return path


def wait_until_begun(broker_url):
    """Wait until the writer has taken a task and its import is under way."""
    with health.client(broker_url) as redis, redis.pubsub() as events:
        # The task's state is published with every change: `started` is the first.
        events.psubscribe("celery-task-meta-*")
        while not redis.hlen(WRITER_UNACKED):
            events.get_message(timeout=0.01)
        while not any("PROGRESS" in str(redis.get(key)) for key in redis.scan_iter("celery-task-meta-*")):
            events.get_message(timeout=0.01)


def test_a_log_is_imported_by_the_writer(pdk, start_worker, broker_url, make_log, home: Settings):
    start_worker(WRITER)
    done = pdk("import", make_log("a.pdklog", record("t1"), record("t2", "F")), PDK_BROKER_URL=broker_url)
    assert done.returncode == 0, done.stderr
    assert [row[5:7] for row in rows(home, RESULTS)] == [("t1", "P"), ("t2", "F")]


def test_a_worker_says_which_queue_it_is_for(start, broker_url):
    worker = start(*CELERY, "worker", PDK_BROKER_URL=broker_url)
    worker.wait_for("say which queue this worker is for: -Q writer, -Q default or -Q intake")
    assert worker.wait() != 0


def test_a_writer_has_one_process_and_no_other_queue(start, broker_url):
    for options in (["-Q", "writer,default"], ["-Q", "writer", "-c", "2"]):
        worker = start(*CELERY, "worker", *options, PDK_BROKER_URL=broker_url)
        worker.wait_for("the worker on writer has no other queue and one process")
        assert worker.wait() != 0


def test_a_second_writer_waits_for_the_first(start_worker, broker_url, pdk, make_log):
    first = start_worker(WRITER)
    second = start_worker(WRITER, is_ready=False)
    second.wait_for(f"waiting for the database: the writer worker, process {first.pid} writes it")
    first.interrupt()
    second.wait_for(" ready.")
    assert pdk("import", make_log("a.pdklog", record()), PDK_BROKER_URL=broker_url).returncode == 0


def test_a_command_in_its_own_process_waits_for_the_writer_and_says_so(start_worker, pdk, make_log):
    worker = start_worker(WRITER)
    done = pdk("import", "--local", make_log("a.pdklog", record()), PDK_WRITER_WAIT_SECONDS="0.2")
    assert done.returncode == 1
    waiting, busy = done.stderr.splitlines()
    assert waiting == f"pdk: waiting for the database: the writer worker, process {worker.pid} writes it"
    assert busy.startswith(f"pdk: Another process is writing this database: the writer worker, process {worker.pid}. ")


@pytest.mark.parametrize("victim", ["child", "main"])
def test_a_log_whose_writer_is_killed_is_imported_once_all_the_same(
    victim, start_worker, start, broker_url, large_log, home: Settings
):
    # Given an import that is under way in a worker
    worker = start_worker(WRITER)
    command = start(*PDK, "import", large_log, PDK_BROKER_URL=broker_url)
    wait_until_begun(broker_url)
    # When its process is killed, or that process's parent
    if victim == "child":
        os.kill(worker.children()[0], signal.SIGKILL)
    else:
        worker.kill()
        start_worker(WRITER).wait_for("1 tasks that a killed writer left unfinished are taken up again")
    # Then the command that waits is told of the whole import, and every result is there once
    assert command.wait() == 0
    assert f"{LARGE:,}" in command.lines[-1]
    assert rows(home, "SELECT count(*), count(DISTINCT test_name) FROM result_scalar") == [(LARGE, LARGE)]
    assert rows(home, "SELECT count(*) FROM import_file") == [(1,)]


def test_a_broker_that_does_not_answer_is_one_line_within_three_seconds(pdk, make_log):
    done = pdk("import", make_log("a.pdklog", record()), PDK_BROKER_URL="redis://:secret@127.0.0.1:1/0")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("pdk: The broker does not answer: redis://:…@127.0.0.1:1/0: ")
    assert "secret" not in line


def test_without_waiting_the_tasks_id_is_printed(pdk, start_worker, broker_url, make_log, home: Settings):
    sent = pdk("import", "--no-wait", make_log("a.pdklog", record()), PDK_BROKER_URL=broker_url)
    assert sent.returncode == 0
    task, file = sent.stdout.split()
    assert file.endswith("a.pdklog")
    start_worker(WRITER).wait_for(f"import_logs[{task}] file=")
    assert rows(home, "SELECT count(*) FROM result") == [(1,)]


def test_a_networked_broker_names_no_file_outside_the_roots(monkeypatch, make_log, tmp_path):
    from workers.importing import _may_be_named, import_logs

    (tmp_path / "roots").mkdir()
    inside, outside = make_log("roots/a.pdklog", record()), make_log("b.pdklog", record())
    (tmp_path / "roots" / "link.pdklog").symlink_to(outside)
    monkeypatch.setenv("PDK_BROKER_URL", "redis://127.0.0.1/0")
    monkeypatch.setenv("PDK_IMPORT_ROOTS", str(tmp_path / "roots"))
    config.settings.cache_clear()
    assert _may_be_named(inside)
    for path in (outside, tmp_path / "roots" / "link.pdklog", tmp_path / "roots" / ".." / "b.pdklog"):
        assert not _may_be_named(path)
    refused = import_logs.apply(([[str(outside), "one"], [str(inside), "two"]], {})).result
    assert ["error" in log for log in refused["logs"]] == [True, False]
    assert "import_roots" in refused["logs"][0]["error"]


def test_what_was_lost_on_the_way_is_sent_again(start_worker, start, broker_url, make_log, home: Settings):
    # Given a command whose task was taken out of the queue by a writer that was killed before it noted so
    command = start(*PDK, "import", make_log("a.pdklog", record()), PDK_BROKER_URL=broker_url)
    with health.client(broker_url) as redis:
        while not any(redis.delete(key) for key in redis.scan_iter(f"{WRITER}*")):
            pass
    # When there is a writer again
    start_worker(WRITER)
    # Then the command gets its outcome
    assert command.wait() == 0, command.lines
    assert rows(home, "SELECT count(*) FROM result") == [(1,)]


def test_every_scheduled_task_is_registered(home: Settings):
    import beat_schedule

    app.loader.import_default_modules()
    assert {entry["task"] for entry in beat_schedule.schedule(home).values()} <= set(app.tasks)
