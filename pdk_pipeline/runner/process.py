"""A process of tests, with all that it starts: run, timed, stopped together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from threading import Lock
from typing import IO, TYPE_CHECKING, NamedTuple

from pdk_pipeline.runner.log_writer import MOST_LOG, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

GRACE_SECONDS = 5.0
"""How long a process may take to stop when it is asked to, before it is killed."""


class Ended(NamedTuple):
    """How a process ended."""

    exit_status: int
    """0 to 255, or the negative number of the signal that killed it."""
    output: bytes
    """What it wrote to stdout and stderr."""
    reason: str
    """Why it was stopped, or empty when it ended by itself."""

    def __str__(self) -> str:
        """The end, in words."""
        if self.exit_status >= 0:
            return f"exit status {self.exit_status}"
        try:
            return f"killed by {signal.Signals(-self.exit_status).name}"
        except ValueError:
            return f"killed by signal {-self.exit_status}"


class Process:
    """A process in a session of its own, with stdout and stderr in one file, and nothing on stdin."""

    def __init__(
        self,
        command: Sequence[str],
        directory: Path,
        environment: Mapping[str, str],
        *,
        asked_to_stop_by: signal.Signals,
        on_stop: Callable[[str], None],
    ) -> None:
        """Start it. `on_stop` is told the reason before the process is stopped. Raises OSError."""
        self._gentle = asked_to_stop_by
        self._on_stop = on_stop
        self._lock = Lock()
        self._reason = ""
        # A file and not a pipe: what the test leaves running in the background may hold it open.
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed in `wait`)
        try:
            self._popen = subprocess.Popen(
                command,
                cwd=directory,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except BaseException:
            self._output.close()
            raise

    def wait(self, limit_seconds: float | None) -> Ended:
        """Wait until it has ended; stop it and what it started when that takes longer than the limit."""
        try:
            if not self._reason:
                self._popen.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            self.ask_to_stop(f"The time limit of {limit_seconds:g} s was reached.")
        if self._reason:
            self.insist()
        self._popen.wait()
        with self._output as file:
            return Ended(self._popen.returncode, _ends_of(file), self._reason)

    def ask_to_stop(self, reason: str) -> None:
        """Have it stop soon, if it has not ended; `insist` then sees to it that it does."""
        with self._lock:
            if self._reason or self._popen.poll() is not None:
                return
            self._reason = reason
            self._on_stop(reason)
        self._signal(self._gentle)

    def insist(self) -> None:
        """Wait until it has stopped as it was asked to, and end it and what it has left behind."""
        if not self._reason:
            return  # it had ended by itself
        for stronger in (signal.SIGTERM, signal.SIGKILL):
            try:
                self._popen.wait(GRACE_SECONDS)
                break
            except subprocess.TimeoutExpired:
                self._signal(stronger)
        self.kill()

    def kill(self) -> None:
        """End it and all that it started, now."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        # The session's number: its first process may be gone while others are not.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, number)


def _ends_of(file: IO[bytes]) -> bytes:
    """What was written; of very much, the beginning and the end."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size <= MOST_LOG:
        return file.read()
    first = file.read(MOST_LOG // 2)
    file.seek(-(MOST_LOG // 2), os.SEEK_END)
    return shortened(first, file.read(), size - MOST_LOG)
