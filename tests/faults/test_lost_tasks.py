"""Tasks that the broker has lost: whoever waits for one has it sent again."""

from __future__ import annotations

import os
import signal
import time

import pytest

from pdk_pipeline.config import Settings
from tests.conftest import log_of, record, rows
from tests.integration.processes import PDK
from workers import health
from workers.queues import WRITER, WRITER_UNACKED


@pytest.fixture
def long_log(tmp_path):
    path = tmp_path / "long.pdklog"
    path.write_text(log_of(*(record(f"many/test_{number}") for number in range(150_000))))
    return path


def test_a_task_that_is_lost_after_it_was_begun_is_sent_again(
    start_worker, start, broker_url, long_log, home: Settings
):
    # Given an import that is under way
    writer = start_worker(WRITER)
    command = start(*PDK, "import", long_log, PDK_BROKER_URL=broker_url)
    with health.client(broker_url) as redis:
        while not any("PROGRESS" in str(redis.get(key)) for key in redis.scan_iter("celery-task-meta-*")):
            time.sleep(0.005)
        # When its worker is killed and the broker has forgotten that it had it in hand
        os.kill(writer.pid, signal.SIGKILL)
        assert redis.delete(WRITER_UNACKED)
    start_worker(WRITER)
    # Then the command gets its outcome all the same
    assert command.wait() == 0, command.lines
    assert rows(home, "SELECT count(*) FROM result") == [(150_000,)]
