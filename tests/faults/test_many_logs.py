"""Very many logs at once: none is handed over again and again while the writer has not come to it yet."""

from __future__ import annotations

import os
import time

import pytest

from pdk_pipeline import config, spool
from pdk_pipeline.config import Settings
from tests.conftest import log_of, record
from workers import health, receiving, sending
from workers.queues import WRITER
from workers.tasks import import_claimed

LONG_AGO_SECONDS = 600


@pytest.fixture
def claims(home: Settings) -> list[str]:
    """Claims that were handed over long ago and are not imported."""
    incoming = home.spool / "incoming"
    incoming.mkdir(parents=True)
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
        import_claimed.apply_async((claim,))
    assert receiving.sweep()["logs"] == handed_over
    with health.client(broker_url) as redis:
        assert health.waiting(redis, WRITER) == waiting + handed_over


def test_however_busy_the_writer_is_a_claim_is_handed_over_again_within_an_hour(claims, home: Settings):
    assert spool.collect(home, is_busy=True).claims == []
    for claim in claims:
        os.utime(home.spool / "processing" / claim, (time.time() - spool.LONGEST_RESEND_SECONDS,) * 2)
    assert sorted(claim for claim, _ in spool.collect(home, is_busy=True).claims) == sorted(claims)
