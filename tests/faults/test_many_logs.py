"""Very many logs at once: none is handed over again and again while the writer has not come to it yet."""

from __future__ import annotations

import os
import time

import pytest

from pdk_pipeline import config, database, night_steps, nightly, nights
from pdk_pipeline.config import Settings
from pdk_pipeline.intake import spool
from tests import stored
from tests.conftest import log_of, record, rows
from workers import health, receiving, sending
from workers.importing import import_claimed
from workers.queues import WRITER

LONG_AGO_SECONDS = 600


@pytest.fixture
def claims(home: Settings) -> list[str]:
    """Claims that were handed over long ago and are not imported."""
    incoming = home.spool / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    for number in range(20):
        (incoming / f"{number}").write_text(log_of(record(f"t{number}")))
    claimed = [claim for claim, _ in spool.collect(home).claims]
    for claim in claimed:
        os.utime(home.spool / "processing" / claim, (time.time() - LONG_AGO_SECONDS,) * 2)
    return claimed


@pytest.mark.parametrize(("waiting", "handed_over"), [(0, 20), (receiving.FEW_TASKS, 20), (20, 0)])
def test_claims_are_handed_over_again_only_when_their_tasks_must_be_lost(
    waiting, handed_over, claims, broker_url, monkeypatch
):
    monkeypatch.setenv("PDK_BROKER_URL", broker_url)
    config.settings.cache_clear()
    sending._connect(broker_url)
    for claim in claims[:waiting]:
        import_claimed.apply_async(([claim],))
    assert receiving.sweep()["logs"] == handed_over
    with health.client(broker_url) as redis:
        assert health.waiting(redis, WRITER) == waiting + bool(handed_over)  # all of them by one message


def test_however_busy_the_writer_is_a_claim_is_handed_over_again_within_an_hour(claims, home: Settings):
    assert spool.collect(home, is_busy=True).claims == []
    for claim in claims:
        os.utime(home.spool / "processing" / claim, (time.time() - spool.LONGEST_RESEND_SECONDS,) * 2)
    assert sorted(claim for claim, _ in spool.collect(home, is_busy=True).claims) == sorted(claims)


def do_night(home: Settings):
    night, _ = nightly.start(home, "daily", "daily_2026-11-23", reason="a test", now=time.time())
    nightly.run_here(home, night.id, progress=lambda *_: None)
    with database.reading(home) as db:
        return {step.name: step for step in nights.steps(db, night)}


def test_a_night_hands_over_its_logs_a_few_at_a_time_and_imports_all(claims, monkeypatch, home: Settings):
    for module in (night_steps, nightly):
        monkeypatch.setattr(module, "LOGS_AT_ONCE", 6)
    at_once = []
    real = night_steps.STEPS["import"]

    def seen(work):
        result = real.do(work)
        if isinstance(result, night_steps.Again):
            at_once.append(len(result.logs))
        return result

    monkeypatch.setitem(night_steps.STEPS, "import", night_steps.Kind(seen))
    assert do_night(home)["import"].outcome["accepted"] == len(claims)
    assert at_once == [6, 6, 6, 2]


def test_logs_that_cannot_be_imported_do_not_keep_the_others_waiting(claims, monkeypatch, home: Settings):
    # Given a night of which the first few logs cannot be imported
    for module in (night_steps, nightly):
        monkeypatch.setattr(module, "LOGS_AT_ONCE", 6)
    bad = sorted(claims)[:7]
    night, _ = nightly.start(home, "daily", "daily_2026-11-23", reason="a test", now=time.time())
    step = nightly.next_step(home, night.id, time.time())
    nightly.perform(home, night.id, step.id, step.token, time.time())
    step = nightly.next_step(home, night.id, time.time())
    # When it comes back for them time and again, as a worker does
    for _ in range(8):
        again = nightly.perform(home, night.id, step.id, step.token, time.time())
        for claim, _ in again.logs:
            if claim not in bad:
                stored.import_claimed(home, claim)
    # Then all the others are imported
    assert rows(home, "SELECT count(*) FROM import_file") == [(len(claims) - len(bad),)]
