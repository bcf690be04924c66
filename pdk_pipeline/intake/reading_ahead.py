"""Several logs read ahead of the writer, by processes that know of no database.

To read a log takes twice as long as to store it, and needs nothing but the log. So readers are forked, each reads its
share of the logs and writes the parts into a pipe; the process that stores takes them in the logs' order. A full pipe
holds a reader up: no more than a few logs are ever ahead. A reader ends when its pipe does, whatever becomes of the
process that it reads for.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import signal
import sys
import warnings
from typing import TYPE_CHECKING, Any, NoReturn, cast

from pdk_pipeline.errors import ReaderKilled
from pdk_pipeline.intake import reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pdk_pipeline.intake.reading import How, Part

    Read = Callable[[Path, How], Iterator[Part]]  # as reading.read does it

LEAST_BYTES = 8 << 20
"""Less is read before a reader is there."""

STORING = 0.6
"""How long it takes to store a log, against reading it."""

MOST_READERS = 3
"""More would wait for the one that stores."""

PIPE_BYTES = 1 << 20
"""What a system lets everybody ask for."""


def readers_of_use(sizes: Sequence[int]) -> int:
    """How many readers are worth their start for logs of so many bytes; 0: none."""
    if sys.platform != "linux" or len(sizes) < 2 or sum(sizes) < LEAST_BYTES:
        return 0
    return min(len(os.sched_getaffinity(0)) - 1, MOST_READERS)


@contextlib.contextmanager
def begun(logs: Sequence[Path], sizes: Sequence[int], how: How) -> Iterator[Read]:
    """Readers at work on the logs, for as long as the inside lasts.

    What the inside gets is used in the place of `reading.read`, for these logs in their order. One may be left out.
    It raises ReaderKilled when a log was the end of its reader. `sizes`: bytes of each log, about.
    """
    shares = _shares(logs, sizes, readers_of_use(sizes))
    readers: list[_Reader] = []
    try:
        for share in filter(None, shares):
            with contextlib.suppress(OSError):  # no more processes or files are allowed; it does without
                readers.append(_Reader(share, how))
        whose = {log: reader for reader in readers for log in reader.logs}

        def read(path: Path, how: How) -> Iterator[Part]:
            reader = whose.get(path)
            return reading.read(path, how) if reader is None else reader.parts(path, how)

        yield read
    finally:
        for reader in readers:
            reader.end()


def _shares(logs: Sequence[Path], sizes: Sequence[int], readers: int) -> list[list[Path]]:
    """Which logs each reader is to read, so that all end at the same time; the one that stores reads the others."""
    shares: list[list[Path]] = [[] for _ in range(readers)]
    loads = [0.0] * (readers + 1)  # the last is of the one that stores
    for number, (log, size) in enumerate(zip(logs, sizes, strict=True)):
        loads[-1] += STORING * size
        # The first log it reads itself: there is nothing to store before.
        lightest = loads.index(min(loads)) if number else readers
        loads[lightest] += size
        if lightest < readers:
            shares[lightest].append(log)
    return shares


class _Reader:
    """A reader process, seen from the one that stores."""

    def __init__(self, logs: list[Path], how: How) -> None:
        self.logs = logs
        self._left = iter(logs)
        self._is_between_logs = True
        receiving, sending = os.pipe()
        with contextlib.suppress(OSError):  # no more than it gives everybody
            fcntl.fcntl(sending, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        try:
            self._pid = _fork()
        except OSError:
            os.close(receiving)
            os.close(sending)
            raise
        if not self._pid:
            _read_all(logs, how, sending)
        os.close(sending)
        self._pipe = os.fdopen(receiving, "rb", PIPE_BYTES)

    def parts(self, path: Path, how: How) -> Iterator[Part]:
        """The parts of one of its logs, as `reading.read` gives them; by that when this reader is no more."""
        if not self._is_at(path):
            yield from reading.read(path, how)
            return
        self._is_between_logs = False
        while not self._is_between_logs:
            part = self._next()
            if isinstance(part, BaseException):
                raise part
            yield part

    def _is_at(self, path: Path) -> bool:
        """Leave out what comes before the parts of a log. Returns whether they are what comes next."""
        try:
            while True:
                while not self._is_between_logs:
                    self._next()
                if next(self._left) == path:
                    return True
                self._is_between_logs = False
        except (ReaderKilled, StopIteration):
            return False

    def _next(self) -> Part | BaseException:
        """What comes next. Raises ReaderKilled when nothing does."""
        try:
            told: Any = pickle.load(self._pipe)  # noqa: S301  (it comes from a fork of this process)
        except (EOFError, pickle.UnpicklingError):
            raise ReaderKilled(
                advice="Was the machine short of memory? A log that is imported alone is read alone."
            ) from None
        is_error: bool = isinstance(told, BaseException)
        self._is_between_logs = is_error or told.ending is not None
        return cast("Part | BaseException", told)

    def end(self) -> None:
        """It reads no more, and is gone."""
        self._pipe.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


def _fork() -> int:
    with warnings.catch_warnings():
        # Of threads that do not live on in the fork. What it does needs no lock that one of them may hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


# In the fork ------------------------------------------------------------------------------------------------


def _read_all(logs: Sequence[Path], how: How, sending: int) -> NoReturn:
    """Read each log and tell its parts, or its error."""
    try:
        # Ctrl-C is for the one that stores; when it goes, so does the pipe.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # What that one holds is not held on to: its locks, its connections.
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  (their names are all that is wanted)
            if int(name) > 2 and int(name) != sending:
                with contextlib.suppress(OSError):  # the one that this list was read by
                    os.close(int(name))
        with os.fdopen(sending, "wb") as pipe:
            for log in logs:
                try:
                    for part in reading.read(log, how):
                        pickle.dump(part, pipe, pickle.HIGHEST_PROTOCOL)
                        pipe.flush()
                except BrokenPipeError:
                    break
                except Exception as error:  # noqa: BLE001  (raised again where the log is stored)
                    pickle.dump(error, pipe, pickle.HIGHEST_PROTOCOL)
                    pipe.flush()
    finally:
        os._exit(0)
