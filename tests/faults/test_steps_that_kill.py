"""What kills its process each time does so a few times and not for ever, and holds up nobody else."""

from __future__ import annotations

from pathlib import Path

from pdk_pipeline import database, nightly, nights
from pdk_pipeline.config import Settings
from tests.conftest import log_of, record, rows
from tests.integration.processes import CELERY
from workers.queues import WRITER

ROOT = Path(__file__).parents[2]
NOW = 1_795_000_000.0


def test_a_step_that_never_ends_fails_in_the_end_and_the_night_goes_on(home: Settings):
    # Given a night whose first step kills whoever does it
    incoming = home.spool / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    (incoming / "a").write_text(log_of(record("t1")))
    night, _ = nightly.start(home, "daily", "daily_2026-11-23", reason="a test", now=NOW)
    clock = NOW
    for _ in range(nights.MOST_ATTEMPTS):
        assert nightly.next_step(home, night.id, clock).name == "collect"
        clock += nights.LEASE_SECONDS + 1
    # When it has been begun often enough
    following = nightly.next_step(home, night.id, clock)
    # Then it has failed, with a word why, and the next one is due
    assert following.name == "import"
    with database.reading(home) as db:
        step = nights.steps(db, night)[0]
    assert step.state == "failed"
    assert step.error.startswith("begun 6 times and never ended")


def test_a_task_that_kills_its_process_each_time_is_given_up_and_the_one_who_waits_is_told(
    start, broker_url, pdk, make_log, home: Settings
):
    # Given a writer that dies over a certain task
    worker = start(
        *CELERY, "worker", f"--queues={WRITER}", "--concurrency=1", "--without-mingle", "--without-gossip",
        "--include=tests.integration.mortal", "--loglevel=INFO",
        PDK_BROKER_URL=broker_url, PYTHONPATH=str(ROOT), DIES="before pdk_pipeline.runs.set_note",
    )  # fmt: skip
    worker.wait_for(" ready.")
    assert pdk("import", make_log("a.pdklog", record("t1")), PDK_BROKER_URL=broker_url).returncode == 0
    # When somebody asks for that
    told = pdk("note", "daily_2026-11-23", "why", PDK_BROKER_URL=broker_url)
    # Then it is refused in the end, in one line, and the next task is done
    assert told.returncode == 1
    assert told.stderr.splitlines()[-1].startswith("pdk: It could not be done: each of 5 processes that did it")
    assert pdk("import", make_log("b.pdklog", record("t2")), PDK_BROKER_URL=broker_url).returncode == 0
    assert rows(home, "SELECT count(*) FROM result") == [(2,)]
