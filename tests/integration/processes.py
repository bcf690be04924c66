"""Real processes for tests: started, waited for by what they print, killed for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

PDK = (sys.executable, "-c", "from pdk_pipeline.cli import main; main()")
CELERY = (sys.executable, "-m", "celery", "-A", "workers", "--quiet")
PATIENCE_SECONDS = 60
"""How long to wait for what comes in a second; only a failing test ever waits so long."""


class Background:
    """A process in a session of its own, whose output can be waited for."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], directory: Path) -> None:
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._has_ended = False
        self.popen = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.popen.pid

    def _read(self) -> None:
        for line in self.popen.stdout:
            with self._news:
                self.lines.append(line.rstrip())
                self._news.notify_all()
        with self._news:
            self._has_ended = True
            self._news.notify_all()

    def wait_for(self, text: str, *, after: int = 0) -> int:
        """Wait until it has printed `text`, in a line after the first `after` ones. Returns that line's number + 1."""

        def found() -> int | None:
            return next((n + 1 for n, line in enumerate(self.lines) if n >= after and text in line), None)

        with self._news:
            self._news.wait_for(lambda: found() or self._has_ended, timeout=PATIENCE_SECONDS)
            number = found()
        assert number, f"{text!r} was never printed:\n" + "\n".join(self.lines)
        return number

    def children(self) -> list[int]:
        """The process ids of its living children."""
        found = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(pid) for pid in found if "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()]

    def interrupt(self) -> int:
        """As Ctrl-C does, and wait for the end. Returns the exit status."""
        self.popen.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self) -> int:
        status = self.popen.wait(timeout=PATIENCE_SECONDS)
        self._reader.join(timeout=PATIENCE_SECONDS)
        self.popen.stdout.close()
        return status

    def kill(self) -> None:
        """SIGKILL, to it alone."""
        self.popen.kill()
        self.popen.wait(timeout=PATIENCE_SECONDS)

    def clean_up(self) -> None:
        """Whatever is left of it and its session goes."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self.popen.wait()
        self._reader.join(timeout=10)
        if not self.popen.stdout.closed:
            self.popen.stdout.close()
