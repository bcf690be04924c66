"""What every test may use: a home of its own, and logs to put into it."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pdk_pipeline import config
from pdk_pipeline.config import Settings

# Started in the background, a shell has us ignore SIGINT, and so would every process that is interrupted in a test.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # likewise, under nohup

REAL_LOGS = Path(__file__).parents[2] / "shared" / "data"
"""Real input that is not part of the project; tests that want it are skipped where it is absent."""


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No setting of whoever runs the tests, and never their home directory."""
    import os

    for name in list(os.environ):
        if name.startswith("PDK_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PDK_HOME", str(tmp_path / "home"))
    config.settings.cache_clear()
    yield
    config.settings.cache_clear()


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    """The settings of a home that is still empty. Its incoming logs count as settled at once."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "pdk.toml").write_text('settle_seconds = 0\ntimezone = "UTC"\n')
    return config.settings()


def record(test_name: str = "flat/test_bias", status: str = "P", log: str = "", **fields: str) -> str:
    """A record as a test runner writes it; everything that names the run must come from elsewhere."""
    lines = [f"{name}={value}\n" for name, value in {"test_name": test_name, "status": status, **fields}.items()]
    if log:
        lines.append("log:\n" + "".join(f".{line}\n" for line in log.splitlines()) + "\n")
    return "".join(lines) + "END\n\n"


def log_of(*records: str, test_run: str = "daily_2026-11-23", project: str = "calib", host: str = "banana") -> str:
    """A log of one machine."""
    head = f"\n\nSTART\ntest_run={test_run}\nproject={project}\nhost={host}\ncontext=py311\nSETDEFAULT\n\n"
    return head + "".join(records)


@pytest.fixture
def make_log(tmp_path: Path) -> Callable[..., Path]:
    """Write a log: `make_log("a.pdklog", record(...), record(...), host="apple")`."""

    def make(name: str, *records: str, **head: str) -> Path:
        path = tmp_path / name
        path.write_text(log_of(*records, **head))
        return path

    return make


def rows(settings: Settings, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """What the database says."""
    db = sqlite3.connect(settings.database)
    try:
        return db.execute(sql, values).fetchall()
    finally:
        db.close()


@pytest.fixture(scope="session")
def broker_server() -> Iterator[str]:
    """The address of a real broker, one for all tests: Celery keeps its connections to the first that it is given."""
    import os
    import shutil
    import tempfile

    from tests.integration.processes import Background
    from workers import redis_server

    # Not in pytest's directory: a socket's path is short.
    directory = Path(tempfile.mkdtemp(prefix="pdk-test-"))
    configuration = redis_server.write_configuration(directory, directory / "broker.sock")
    server = Background((redis_server.find(), str(configuration)), os.environ, directory)
    server.wait_for("Ready to accept connections")
    yield f"redis+socket://{directory / 'broker.sock'}"
    server.clean_up()
    shutil.rmtree(directory)
