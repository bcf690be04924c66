"""The pytest plugin where there is more than one process, and where processes die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pdk_pipeline.results import Result
from tests.unit.reading import log_text, read, rejections, results

XDIST = ("-p", "xdist", "-n2")
RERUNS = ("-p", "rerunfailures")


class Session:
    """A real pytest in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "it.pdklog"
        self.popen: subprocess.Popen[str] | None = None

    def start(self, source: str, *options: str) -> subprocess.Popen[str]:
        (self.directory / "test_it.py").write_text(source)
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-p", "pdk", f"--pdk-log={self.log}", "--pdk-run=night", *options],
            cwd=self.directory,
            env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "HERE": str(self.directory)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        return self.popen

    def run(self, source: str, *options: str) -> dict[str, Result]:
        """Run it to its end. Returns the results by name."""
        self.start(source, *options).communicate(timeout=60)
        return self.logged()

    def wait_for(self, name: str) -> None:
        """Wait until a test has made a file of that name."""
        deadline = time.monotonic() + 60
        while not (self.directory / name).exists():
            assert time.monotonic() < deadline
            assert self.popen.poll() is None
            time.sleep(0.01)

    def wait_to_say(self, text: str) -> None:
        """Wait until it has printed `text`, on a whole line or not."""
        said = b""
        while text.encode() not in said:
            piece = os.read(self.popen.stdout.fileno(), 4096)
            assert piece, said
            said += piece

    def logged(self) -> dict[str, Result]:
        readings = read(self.log.read_bytes())
        assert not rejections(readings)
        found = results(readings)
        assert len({one.test_name for one in found}) == len(found)
        return {one.test_name.removeprefix("test_it/"): one for one in found}


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path)


def statuses(found: dict[str, Result]) -> dict[str, str]:
    return {name: one.status for name, one in found.items()}


MANY = """
import pytest
@pytest.fixture
def broken(): raise RuntimeError
@pytest.mark.parametrize("number", range(40))
def test_many(number, tra):
    print("number", number)
    tra["number"] = number
    tra["no UTF-8"] = "\\udcff"
    assert number % 5
def test_broken(broken): pass
@pytest.mark.skip(reason="off")
def test_off(): pass
@pytest.mark.parametrize("text", ["a b", "a_b"])
def test_alike(text): pass
"""


def test_workers_of_xdist_tell_the_same_results_as_one_process(session: Session):
    alone = session.run(MANY)
    session.log.unlink()
    together = session.run(MANY, *XDIST)
    told = {name: (one.status, one.result_attributes, one.location) for name, one in alone.items()}
    assert {name: (one.status, one.result_attributes, one.location) for name, one in together.items()} == told
    assert len(told) == 44
    assert "number 7\n" in log_text(together["test_many[7]"])


def test_a_file_that_no_worker_can_collect_is_one_error(session: Session):
    found = session.run("import os\nraise RuntimeError(f'in process {os.getpid()}')", *XDIST)
    assert statuses(found) == {"test_it": "E"}


def test_a_test_that_kills_its_worker_is_an_error_and_the_others_are_run(session: Session):
    found = session.run(
        """
import os, pytest
@pytest.mark.parametrize("number", range(6))
def test_it(number):
    if number == 2:
        os._exit(1)
""",
        *XDIST,
    )
    assert statuses(found) == {f"test_it[{number}]": "E" if number == 2 else "P" for number in range(6)}
    assert "crashed" in log_text(found["test_it[2]"])


RERUN = """
import os, pytest
from pathlib import Path
count = Path(os.environ["HERE"], "count")
@pytest.mark.flaky(reruns=3)
def test_flaky():
    count.write_text(count.read_text() + "x" if count.exists() else "x")
    print("attempt", len(count.read_text()))
    assert len(count.read_text()) == 3, "not yet"
@pytest.mark.flaky(reruns=1)
def test_hopeless(): assert 0, "never"
def test_steady(): pass
"""


@pytest.mark.parametrize("options", [RERUNS, (*RERUNS, *XDIST)], ids=["alone", "xdist"])
def test_a_test_that_is_run_again_is_one_result_that_keeps_its_attempts(session: Session, options):
    found = session.run(RERUN, *options)
    assert statuses(found) == {"test_flaky": "P", "test_hopeless": "F", "test_steady": "P"}
    attempts = found["test_flaky"].result_attributes
    assert attempts["attempts"] == "3"
    assert attempts["attempt_1"] == "F: AssertionError: not yet"
    assert attempts["attempt_2"] == "F: AssertionError: not yet"
    assert "attempt_3" not in attempts
    assert "attempt 3\n" in log_text(found["test_flaky"])
    assert found["test_hopeless"].result_attributes["attempts"] == "2"
    assert found["test_steady"].result_attributes == {}


@pytest.mark.skipif(not hasattr(pytest, "Subtests"), reason="pytest has subtests since 9")
def test_of_a_test_that_is_run_again_the_subtests_of_the_last_attempt_count(session: Session):
    found = session.run(
        """
import os, pytest
from pathlib import Path
count = Path(os.environ["HERE"], "count")
@pytest.mark.flaky(reruns=1)
def test_flaky(subtests):
    is_second = count.exists()
    count.touch()
    for number in range(3):
        with subtests.test(number=number):
            assert number or is_second
    assert is_second
""",
        *RERUNS,
    )
    assert statuses(found) == {"test_flaky": "P"}
    assert found["test_flaky"].result_attributes["subtests_passed"] == "3"
    assert "subtests_failed" not in found["test_flaky"].result_attributes


def test_a_test_that_was_run_again_is_not_taken_for_running_when_the_session_ends(session: Session):
    found = session.run(RERUN.replace("def test_steady(): pass", "def test_quits(): pytest.exit('enough')"), *RERUNS)
    assert statuses(found) == {"test_flaky": "P", "test_hopeless": "F", "test_quits": "E"}


def test_a_test_that_killed_its_worker_and_is_run_again_is_one_result(session: Session):
    found = session.run(
        """
import os, pytest, time
from pathlib import Path
died = Path(os.environ["HERE"], "died")
@pytest.mark.flaky(reruns=1)
def test_dies_once():
    if not died.exists():
        died.touch()
        time.sleep(0.3)  # rerunfailures is told through a socket that it may run again: death must not overtake that
        os._exit(1)
""",
        *RERUNS,
        *XDIST,
    )
    assert statuses(found) == {"test_dies_once": "P"}
    attempts = found["test_dies_once"].result_attributes
    assert attempts["attempts"] == "2"
    assert attempts["attempt_1"].startswith("E: worker ")
    assert "crashed" in attempts["attempt_1"]


HANGS = """
import os, time
from pathlib import Path
def test_before(): pass
def test_hangs():
    print("before the hang")
    Path(os.environ["HERE"], "hanging").touch()
    time.sleep(600)
def test_after(): pass
"""


def test_ctrl_c_leaves_an_error_that_says_where_the_running_test_was(session: Session):
    pytest_ = session.start(HANGS)
    session.wait_for("hanging")
    pytest_.send_signal(signal.SIGINT)
    pytest_.communicate(timeout=60)
    found = session.logged()
    assert statuses(found) == {"test_before": "P", "test_hangs": "E"}
    log = log_text(found["test_hangs"])
    assert "in test_hangs" in log
    assert "KeyboardInterrupt" in log
    assert "before the hang" in log


def test_ctrl_c_with_xdist_leaves_an_error_of_each_running_test(session: Session):
    pytest_ = session.start(HANGS.replace("def test_after(): pass", ""), *XDIST, "-v")
    session.wait_for("hanging")
    session.wait_to_say("::test_hangs")  # only now the controller knows of it
    os.killpg(pytest_.pid, signal.SIGINT)  # as a terminal does
    pytest_.communicate(timeout=60)
    found = session.logged()
    assert found["test_hangs"].status == "E"
    assert "was running when" in log_text(found["test_hangs"])


def test_exitfirst_with_xdist_leaves_the_failure(session: Session):
    found = session.run(
        "import pytest\n@pytest.mark.parametrize('n', range(50))\ndef test_a(n): assert n != 3", "-x", *XDIST
    )
    assert found["test_a[3]"].status == "F"
    assert {one.status for name, one in found.items() if name != "test_a[3]"} == {"P"}


@pytest.mark.parametrize("options", [(), XDIST], ids=["alone", "xdist"])
def test_a_session_that_is_killed_keeps_what_it_had(session: Session, options):
    pytest_ = session.start(HANGS.replace("def test_after", "def test_zzz"), *options)
    session.wait_for("hanging")
    deadline = time.monotonic() + 60
    while not session.log.exists() or "test_before" not in session.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(pytest_.pid, signal.SIGKILL)
    pytest_.communicate(timeout=60)
    found = session.logged()
    assert found["test_before"].status == "P"
    assert "test_hangs" not in found


def test_two_sessions_into_one_log_at_once_are_both_in_it(tmp_path: Path):
    # Given two sessions of different machines' names that run side by side
    both = []
    for host in ("hal", "dave"):
        directory = tmp_path / host
        directory.mkdir()
        both.append(Session(directory))
        both[-1].log = tmp_path / "it.pdklog"
        both[-1].start(MANY, f"--pdk-host={host}")
    for session in both:
        session.popen.communicate(timeout=60)
    # Then the log holds each result of each of them, once
    readings = read((tmp_path / "it.pdklog").read_bytes())
    found = results(readings)
    assert not rejections(readings)
    assert len(found) == 88
    assert len({(one.host, one.test_name) for one in found}) == 88
