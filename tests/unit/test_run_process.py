"""Stopping what does not want to stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pdk_pipeline.runner import process, tree
from pdk_pipeline.runner.batch import Batch
from pdk_pipeline.runner.log_writer import LogWriter
from pdk_pipeline.runner.process import Process
from pdk_pipeline.runner.session import Session
from tests.unit.reading import log_text, read, results

STUBBORN = "trap '' INT TERM; echo ready > ready; echo so far; while :; do sleep 0.05; done\n"


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.1)


@pytest.fixture
def start(tmp_path: Path) -> Callable[[str], Process]:
    def start(script: str) -> Process:
        return Process(
            ["/bin/sh", "-c", script], tmp_path, os.environ, asked_to_stop_by=signal.SIGTERM, on_stop=reasons.append
        )

    reasons: list[str] = []
    start.reasons = reasons
    return start


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_process_that_does_not_stop_when_asked_is_killed(start, tmp_path):
    stubborn = start(STUBBORN)
    wait_for(tmp_path / "ready")
    ended = stubborn.wait(0.01)
    assert ended[:2] == (-signal.SIGKILL, b"so far\n")
    assert str(ended) == "killed by SIGKILL"
    assert [ended.reason] == start.reasons == ["The time limit of 0.01 s was reached."]


def test_a_process_that_was_asked_to_stop_before_anybody_waited_for_it_stops(start):
    stubborn = start("trap '' TERM; while :; do sleep 0.05; done")
    stubborn.ask_to_stop("enough")
    assert stubborn.wait(None).reason == "enough"


def test_a_process_that_has_ended_by_itself_is_not_told_to_stop(start):
    quick = start("exit 3")
    ended = quick.wait(60)
    quick.ask_to_stop("too late")
    quick.insist()
    assert (ended.exit_status, ended.reason, start.reasons) == (3, "", [])


def test_of_very_much_output_the_beginning_and_the_end_are_kept(start, monkeypatch):
    monkeypatch.setattr(process, "MOST_LOG", 8)
    assert start("printf 0123456789abcdef").wait(60).output == "0123\n… 8 bytes left out …\ncdef".encode()


def test_a_run_that_is_stopped_does_not_wait_for_a_test_that_does_not_want_to(tmp_path):
    (tmp_path / "test_a.sh").write_text(STUBBORN)
    (tmp_path / "test_b.sh").write_text("exit 0\n")
    log = LogWriter(tmp_path / "log")
    batch = Batch("night", "calib", "hal", "default", "")
    session = Session(tree.find([tmp_path], is_recursive=False), log, batch, given={}, environment=os.environ)
    session.start()
    wait_for(tmp_path / "ready")
    stopping = threading.Thread(target=session.stop, args=("The run was ended by somebody.",))
    stopping.start()
    assert session.wait(60)
    stopping.join()
    session.close()
    (result,) = results(read((tmp_path / "log").read_bytes()))
    assert (result.test_name, result.status) == ("test_a", "E")
    assert log_text(result).startswith("The run was ended by somebody. (killed by SIGKILL)\n\nso far\n")
    assert session.counts == {"E": 1}
