"""A real broker, real workers, a real `pdk up`, real commands: what the integration tests stand on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pdk_pipeline.config import Settings
from tests.integration.processes import CELERY, PDK, Background
from workers import health


@pytest.fixture
def broker_url(broker_server: str) -> str:
    """A broker of one's own, empty. It is a unix socket: not networked."""
    with health.client(broker_server) as redis:
        redis.flushall()
    return broker_server


@pytest.fixture
def environment(home: Settings) -> dict[str, str]:
    """What the processes of a test find in their environment: its home, and no broker unless the test adds one."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PDK_")} | {
        "PDK_HOME": str(home.home)
    }


@pytest.fixture
def pdk(environment: dict[str, str], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command as a person does: `pdk("import", path)`. What follows from a keyword goes to the environment."""

    def run(*words: object, input: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:  # noqa: A002
        return subprocess.run(
            [*PDK, *map(str, words)],
            env=environment | variables,
            cwd=tmp_path,
            input=input,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return run


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Background]]:
    """Start a process that runs in the background until the test is over: `start(*CELERY, "worker", …)`."""
    started: list[Background] = []

    def run(*command: object, **variables: str) -> Background:
        started.append(Background([str(word) for word in command], environment | variables, tmp_path))
        return started[-1]

    yield run
    for process in reversed(started):
        process.clean_up()


@pytest.fixture
def start_worker(start: Callable[..., Background], broker_url: str) -> Callable[..., Background]:
    """Start a real worker, `start_worker("writer")`, ready when this returns (unless `is_ready=False`)."""

    def run(queue: str, *, is_ready: bool = True, **variables: str) -> Background:
        worker = start(
            *CELERY, "worker", f"--queues={queue}", "--concurrency=1", f"--hostname={queue}-{os.urandom(3).hex()}@%h",
            "--loglevel=INFO", "--without-mingle", "--without-gossip",
            **{"PDK_BROKER_URL": broker_url, **variables},
        )  # fmt: skip
        if is_ready:
            worker.wait_for(" ready.")
        return worker

    return run


@pytest.fixture
def start_up(start: Callable[..., Background]) -> Callable[..., Background]:
    """Start `pdk up`, ready when this returns."""

    def run(*words: str, is_ready: bool = True, **variables: str) -> Background:
        up = start(*PDK, "up", *words, **variables)
        if is_ready:
            up.wait_for("ready; Ctrl-C stops everything")
        return up

    return run
