"""`pdk up` in a terminal that is held, as by Ctrl-S, or into a pipe that nobody reads: the work goes on."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from pdk_pipeline.config import Settings
from tests.conftest import log_of, record, rows
from tests.integration.processes import PATIENCE_SECONDS, PDK
from workers import broker

LOGS = 250
"""Of such names that the worker's lines about them are more than any terminal or pipe takes unread."""


@pytest.mark.parametrize("make", [pty.openpty, os.pipe], ids=["terminal", "pipe"])
def test_up_goes_on_though_nobody_reads_what_it_says(
    make: Callable[[], tuple[int, int]], pdk, environment, home: Settings
):
    reader, writer = make()
    up = subprocess.Popen([*PDK, "up", "--no-flower"], env=environment, stdout=writer, stderr=writer)
    os.close(writer)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "started_at" not in (broker.holder(home) or {}):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        for number in range(LOGS):
            (home.spool / "incoming" / f"{number:0200}").write_text(log_of(record(f"t{number}")))
        done = pdk("collect", "--quiet")
        assert done.returncode == 0, done.stderr
        assert rows(home, "SELECT count(*) FROM result") == [(LOGS,)]
    finally:
        up.send_signal(signal.SIGTERM)
        assert up.wait(timeout=PATIENCE_SECONDS) == 0
        os.close(reader)
