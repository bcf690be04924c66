"""Processes that are supervised together: started, their output collected, restarted when they die, stopped in order.

One thread does all of it, so that a child can be told to die with us (which the kernel ties to the thread).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from logging.handlers import RotatingFileHandler
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
"""Seconds before a process that died is started again; they double each time …"""

STEADY_SECONDS = 60.0
"""… until one has lived for so long."""

LOG_BYTES = 10_000_000
LOG_FILES = 5

_PR_SET_PDEATHSIG = 1


@dataclass
class Process:
    """One process to keep running."""

    name: str
    command: Sequence[str]
    ready_when: str = ""
    """What its output says once it is ready; empty: as soon as it runs."""
    keep_open: tuple[int, ...] = ()
    """File descriptors that it inherits: a lock that is to last as long as it lives."""
    is_shown: bool = True
    """Whether its output is shown; its log has it in any case."""
    popen: subprocess.Popen[bytes] | None = None
    is_ready: bool = False
    started_at: float = 0.0
    start_again_at: float | None = None
    pause: float = FIRST_PAUSE
    _partial: bytes = b""
    _log: logging.Logger | None = field(default=None, repr=False)

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self.popen is not None and self.popen.poll() is None

    def signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.popen and self.is_running:
            self.popen.send_signal(number)


class _LogFile(RotatingFileHandler):
    """Lines for which there is no room are left out, without a word to the person who watches for each of them."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Nothing."""


class Supervisor:
    """Keeps processes running, shows and keeps what they print."""

    def __init__(
        self, log_directory: Path, environment: Mapping[str, str], working_directory: Path, show: Callable[[str], None]
    ) -> None:
        """`show` is given each line to show to the person who watches."""
        self.log_directory = log_directory
        self.environment = environment
        self.working_directory = working_directory
        self.show = show
        self.processes: list[Process] = []
        self.selector = selectors.DefaultSelector()
        self.signals_received = 0
        log_directory.mkdir(parents=True, exist_ok=True)

    # Signals ------------------------------------------------------------------------------------------------

    def listen_to_signals(self) -> None:
        """From now on SIGINT and SIGTERM are counted instead of ending us."""
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) if hasattr(os, "pipe2") else os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self.selector.register(read, selectors.EVENT_READ, None)

    def _on_signal(self, _number: int, _frame: object) -> None:
        self.signals_received += 1

    # Running ------------------------------------------------------------------------------------------------

    def start(self, process: Process) -> None:
        """Start a process, and keep it running from now on."""
        if process not in self.processes:
            self.processes.append(process)
            process._log = self._log_of(process)  # noqa: SLF001
        process.is_ready = not process.ready_when
        process.start_again_at = None
        process.started_at = time.monotonic()
        process.popen = subprocess.Popen(
            process.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(self.environment),
            cwd=self.working_directory,
            start_new_session=True,  # a Ctrl-C in the terminal is ours alone: we stop them in order
            pass_fds=process.keep_open,
            preexec_fn=functools.partial(_die_with, os.getpid()),  # noqa: PLW1509  (there is one thread)
        )
        assert process.popen.stdout is not None  # noqa: S101
        os.set_blocking(process.popen.stdout.fileno(), False)
        self.selector.register(process.popen.stdout, selectors.EVENT_READ, process)

    def run_until(self, is_done: Callable[[], bool], *, timeout: float | None = None) -> bool:
        """Look after the processes until `is_done`. Returns whether it came to that before the `timeout` (seconds)."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not is_done():
            if deadline is not None and time.monotonic() >= deadline:
                return False
            self.look_after(seconds=0.2)
        return True

    def look_after(self, *, seconds: float) -> None:
        """Wait at most so long for something to happen, and see to it."""
        for key, _ in self.selector.select(timeout=seconds):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(key.fd, 1024)
            else:
                self._collect(key.data, cast("IO[bytes]", key.fileobj))
        self._restart_the_dead()

    def stop(self, processes: Sequence[Process], number: int = signal.SIGTERM) -> None:
        """Ask processes to end, and do not start them again."""
        for process in processes:
            process.start_again_at = None
            if process in self.processes:
                self.processes.remove(process)
            process.signal(number)

    def _collect(self, process: Process, stdout: IO[bytes]) -> None:
        try:
            data = os.read(stdout.fileno(), 1 << 16)
        except BlockingIOError:
            return
        lines = (process._partial + data).split(b"\n")  # noqa: SLF001
        process._partial = lines.pop() if data else b""  # noqa: SLF001
        for line in lines:
            self._take_line(process, line.decode("utf-8", "backslashreplace").rstrip())
        if not data:
            self.selector.unregister(stdout)
            stdout.close()

    def _take_line(self, process: Process, line: str) -> None:
        if not line:
            return
        if process.ready_when and process.ready_when in line:
            process.is_ready = True
        if process._log:  # noqa: SLF001
            process._log.info(line)  # noqa: SLF001
        if process.is_shown:
            self.show(f"{process.name:<7} | {line}")

    def _restart_the_dead(self) -> None:
        for process in list(self.processes):
            if process.is_running:
                continue
            now = time.monotonic()
            if process.start_again_at is None:
                if now - process.started_at > STEADY_SECONDS:
                    process.pause = FIRST_PAUSE
                code = process.popen.returncode if process.popen else None
                self.show(f"{process.name:<7} ! ended {_how(code)}; it is started again in {process.pause:.0f} s")
                process.start_again_at = now + process.pause
                process.pause = min(2 * process.pause, LONGEST_PAUSE)
            elif now >= process.start_again_at:
                self.start(process)

    def _log_of(self, process: Process) -> logging.Logger:
        log = logging.Logger(process.name)  # noqa: LOG001  (not one of the tree: its lines go to one file alone)
        path = self.log_directory / f"{process.name}.log"
        log.addHandler(_LogFile(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8"))
        return log


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f"with exit status {code}"
    return f"by {signal.Signals(-code).name}"


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with(parent: int) -> None:
    """In the child: be stopped when the supervisor is gone, however it went, and even if it is gone already."""
    if _libc:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)
