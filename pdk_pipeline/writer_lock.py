"""The lock of whoever writes the database of a home."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from typing import IO, TYPE_CHECKING

from pdk_pipeline.errors import DatabaseUnusable, WriterBusy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pdk_pipeline.config import Settings

COURTESY_SECONDS = 1.0
"""Whoever comes for the writer's lock and finds others waiting lets them go first, so long at most."""

LONGEST_PAUSE_SECONDS = 0.1
"""Who waits for the lock looks at least so often whether it is free."""


@contextlib.contextmanager
def held(
    settings: Settings, role: str, *, wait_seconds: float, on_wait: Callable[[str], None] = lambda _holder: None
) -> Iterator[None]:
    """Be the one process that writes the database of this home.

    SQLite alone would keep the data whole; the lock keeps two writers from taking each other's tasks. Who takes it
    again and again, as `pdk clean` does, lets those go first that wait for it.
    `role` is what others are told holds it. `on_wait` is called once, with the holder, when waiting begins.
    Raises WriterBusy after `wait_seconds`.
    """
    path = settings.database.with_name("pdk.db.writer")
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise DatabaseUnusable(
            f"{settings.home} cannot be written: {error.strerror}", advice="PDK_HOME names another place."
        ) from None
    with os.fdopen(handle, "r+") as lock:
        try:
            _acquire(lock, path.with_suffix(".waiting"), wait_seconds, on_wait)
        except OSError as error:  # a file system without locks
            raise DatabaseUnusable(f"{path} cannot be locked: {error.strerror}") from None
        lock.seek(0)
        lock.truncate()
        json.dump({"pid": os.getpid(), "role": role, "host": socket.gethostname()}, lock)
        lock.flush()
        yield


def _acquire(lock: IO[str], mark: Path, wait_seconds: float, on_wait: Callable[[str], None]) -> None:
    """Take the lock. Whoever waits for it shares a lock on the file `mark` meanwhile."""
    now = time.monotonic()
    deadline = now + wait_seconds
    pause = 0.0
    with mark.open("w") as waiting:
        while time.monotonic() < min(deadline, now + COURTESY_SECONDS) and not _is_free(waiting):
            time.sleep(0.01)
        while not _is_free(lock):
            holder = _holder(lock)
            if time.monotonic() >= deadline:
                raise WriterBusy(holder, advice="Try again when it has finished.")
            if not pause:
                fcntl.flock(waiting, fcntl.LOCK_SH)
                on_wait(holder)
            pause = min(pause + 0.02, LONGEST_PAUSE_SECONDS)
            time.sleep(pause)


def _is_free(lock: IO[str]) -> bool:
    """Whether nobody else has the lock; it is ours then."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(lock: IO[str]) -> str:
    try:
        lock.seek(0)
        told = json.load(lock)
        return f"{told['role']}, process {told['pid']}"
    except (ValueError, KeyError, TypeError):
        return "a process that is just starting"
