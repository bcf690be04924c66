"""A writer that is killed: the next one goes on at once with what it had in hand, lost messages or not."""

from __future__ import annotations

import os
import signal
import time

from pdk_pipeline.config import Settings
from tests.conftest import log_of, record
from tests.integration.processes import PDK
from workers import health
from workers.queues import WRITER, WRITER_UNACKED


def test_a_night_whose_message_was_lost_with_the_writer_goes_on_when_there_is_another(
    start_worker, start, broker_url, home: Settings
):
    # Given a night under way in a writer
    incoming = home.spool / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    (incoming / "long").write_text(log_of(*(record(f"many/test_{number}") for number in range(100_000))))
    writer = start_worker(WRITER)
    start_worker("default")
    command = start(*PDK, "nightly", "daily", "daily_2026-11-23", PDK_BROKER_URL=broker_url)
    with health.client(broker_url) as redis:
        while not any("PROGRESS" in str(redis.get(key)) for key in redis.scan_iter("celery-task-meta-*")):
            time.sleep(0.005)
        # When it is killed, and every message with it
        os.kill(writer.pid, signal.SIGKILL)
        for key in [*redis.scan_iter(f"{WRITER}*"), WRITER_UNACKED]:
            redis.delete(key)
    start_worker(WRITER)
    # Then the next writer does the rest, long before any lease runs out
    assert command.wait() == 0, command.lines
