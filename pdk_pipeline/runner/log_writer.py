"""Appending results to a log that other processes append to at the same time.

Every record is complete in itself: it says all that identifies it and relies on no SETDEFAULT, because between two
records of ours another process may have said START, which forgets the defaults. Nor are logs of single processes put
together at the end, because a run that is killed would not get there. Each record is one write() to a file opened
for appending, so it stands in one piece and after everything that is there already, on a disk as well as on a file
server that one machine writes to. An flock on top of that keeps out even a record that needs more than one write;
where the file server has no locks it goes without.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import time
from threading import Lock
from typing import TYPE_CHECKING

from pdk_pipeline.formats.fields import clean_name
from pdk_pipeline.formats.pdk_writer import record_as_text
from pdk_pipeline.formats.text import dotted, encodable
from pdk_pipeline.results import Result
from pdk_pipeline.runner.batch import Batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


MOST_LOG = 8 << 20
"""Bytes of output kept of one test; of more, the beginning and the end."""
LOCK_SECONDS = 10.0
"""How long to wait for another process: one that was stopped in the middle must not stop the tests as well."""

_FRESH_START = b"\n\nSTART\n"
_WHOLE = b"END\n\n"
_NOT_IN_NAMES = re.compile(r"[^\w.-]+", re.ASCII)


class LogWriter:
    """One process's way to a log. What cannot be written is kept, and tried again with the next result."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""
        """Why results are waiting to be written, or empty."""
        self._process = os.getpid()
        self._lock = Lock()
        self._has_written = False
        self._unwritten: list[bytes] = []

    def check(self) -> None:
        """Raises OSError when there is no writing to the log."""
        self.path.open("ab").close()

    def add(self, result: Result) -> None:
        """Append a result."""
        if os.getpid() == self._process:  # not in a child that a test has forked, and that came back out of the test
            self._write(record_as_text(result))

    def flush(self) -> None:
        """Write what could not be written before."""
        self._write(b"")

    def _write(self, record: bytes) -> None:
        with self._lock:
            self._unwritten.append(record)
            try:
                append(self.path, b"".join(self._unwritten), is_first=not self._has_written)
            except OSError as error:
                self.problem = f"{self.path}: {error.strerror}"
            else:
                self.problem = ""
                self._unwritten.clear()
                self._has_written = True


def append(path: Path, records: bytes, *, is_first: bool) -> None:
    """Append whole records to the log at `path`, all or nothing. Raises OSError.

    `is_first`: forget what others have set before. The log is opened anew each time: when the server has taken it
    away meanwhile, the record begins a new one instead of following the old one unseen.
    """
    if not records:
        return
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        with _locked(file) as is_alone:
            about = os.fstat(file)
            is_plain = stat.S_ISREG(about.st_mode)
            if is_first or not is_plain or not _ends_whole(file, about.st_size):
                records = _FRESH_START + records
            try:
                rest = records[os.write(file, records) :]
                while rest:  # a full disk, told by the next write
                    rest = rest[os.write(file, rest) :]
            except OSError:
                if is_alone and is_plain:
                    os.ftruncate(file, about.st_size)
                raise
    finally:
        os.close(file)


def _ends_whole(file: int, size: int) -> bool:
    """Whether the log ends with a record. A writer that was killed, or ran out of disk, may have left a part of one."""
    return size == 0 or os.pread(file, len(_WHOLE), max(0, size - len(_WHOLE))) == _WHOLE


@contextlib.contextmanager
def _locked(file: int) -> Iterator[bool]:
    """Yields whether we have the file for ourselves."""
    is_locked = False
    deadline = time.monotonic() + LOCK_SECONDS
    while not is_locked:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_locked = True
        except BlockingIOError:
            if time.monotonic() > deadline:
                break
            time.sleep(0.002)
        except OSError:
            break  # a file server without locks
    try:
        yield is_locked
    finally:
        if is_locked:
            fcntl.flock(file, fcntl.LOCK_UN)


def result_of(
    batch: Batch,
    test_name: str,
    status: str,
    *,
    runner: str,
    location: str = "",
    start: float | None = None,
    end: float | None = None,
    definition: Mapping[str, object] | None = None,
    attributes: Mapping[str, object] | None = None,
    log: str | bytes = "",
) -> Result:
    """A result, of whatever text the tests gave.

    `definition` and `attributes`: the `tda_` and `tra_` fields, without that prefix.
    """
    return Result(
        *Batch(*map(text_of, batch)),
        clean_name(text_of(test_name)),
        status,
        "",  # whether it needs attention follows from the status
        start,
        end,
        runner,
        text_of(location),
        _attributes(definition or {}),
        _attributes(attributes or {}),
        log_of(log if isinstance(log, bytes) else text_of(log).encode()),
    )


def _attributes(values: Mapping[str, object]) -> dict[str, str]:
    return {_NOT_IN_NAMES.sub("_", name): text_of(value) for name, value in values.items()}


def text_of(value: object) -> str:
    """Anything as text that UTF-8 can write: a file's name may hold what it cannot."""
    try:
        text = str(value)
    except Exception:  # noqa: BLE001  (whatever a test has made of it, it must not take the results down)
        text = f"(a {type(value).__name__} that cannot be shown)"
    return encodable(text)


def log_of(text: bytes) -> bytes:
    """What was put out, as the log of a result: whole lines, dotted, without its middle when it is very long."""
    if len(text) > MOST_LOG:
        text = shortened(text[: MOST_LOG // 2], text[-(MOST_LOG // 2) :], len(text) - MOST_LOG)
    return dotted(text if text.endswith(b"\n") or not text else text + b"\n")


def shortened(beginning: bytes, end: bytes, left_out: int) -> bytes:
    """A log without its middle, of which `left_out` bytes are left out."""
    return beginning + f"\n… {left_out:,} bytes left out …\n".encode() + end
