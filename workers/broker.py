"""Which broker there is: one that the settings name, that of a running `pdk up`, or none."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pdk_pipeline.errors import AlreadyUp, SpoolUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pdk_pipeline.config import Settings

LONGEST_SOCKET_PATH = 100
"""The kernel takes 107 bytes, 103 on macOS."""

_PASSWORD = re.compile(r"(?<=://)([^:@/]*):.*@")


def address(settings: Settings) -> str | None:
    """The broker's address; None when neither the settings name one nor a `pdk up` of this home is running."""
    if settings.broker_url:
        return settings.broker_url.plain
    return socket_address(settings) if holder(settings) else None


def shown(url: str) -> str:
    """An address without its password."""
    return _PASSWORD.sub(r"\1:…@", url)


def is_networked(url: str | None) -> bool:
    """Whether other machines can send tasks through this broker; a unix socket belongs to its machine."""
    return url is not None and not url.startswith("redis+socket://")


def socket_address(settings: Settings) -> str:
    """The address of the embedded broker of this home."""
    return f"redis+socket://{socket_path(settings)}"


def socket_path(settings: Settings) -> Path:
    """Where the embedded broker of this home listens: in the home, or where a socket and its address can be.

    A socket's path must be short, and some letters mean something else in an address.
    """
    inside = settings.run_directory / "broker.sock"
    if len(os.fsencode(inside)) <= LONGEST_SOCKET_PATH and set("#?%").isdisjoint(str(inside)):
        return inside
    digest = hashlib.sha256(os.fsencode(settings.home)).hexdigest()[:16]
    return Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"pdk-{os.getuid()}-{digest}.sock"


# The one `pdk up` of a home ----------------------------------------------------------------------------------


def _lock_path(settings: Settings) -> Path:
    return settings.run_directory / "up.json"


def holder(settings: Settings) -> dict[str, Any] | None:
    """What the running `pdk up` of this home says of itself (its pid, Flower's address); None when none is running."""
    with contextlib.suppress(FileNotFoundError), _lock_path(settings).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            with contextlib.suppress(ValueError):
                told: dict[str, Any] = json.load(lock)
                return told
            return {}
    return None


@contextlib.contextmanager
def only_one_up(settings: Settings) -> Iterator[IO[str]]:
    """Be the one `pdk up` of this home; yields the file in which it tells others of itself. Raises AlreadyUp."""
    try:
        settings.run_directory.mkdir(parents=True, exist_ok=True)
        settings.run_directory.chmod(0o700)  # the broker's socket lies there
        handle = os.open(_lock_path(settings), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SpoolUnusable(f"{error.filename}: {error.strerror}", advice="PDK_HOME names another place.") from None
    with os.fdopen(handle, "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            told = holder(settings) or {}
            raise AlreadyUp(
                f"{settings.home}, process {told.get('pid', '?')}",
                advice="Its commands go there by themselves; Ctrl-C there, or `kill -TERM` of that process, stops it.",
            ) from None
        tell(lock, pid=os.getpid())
        yield lock
        tell(lock)


def tell(lock: IO[str], **about: object) -> None:
    """Write what others may know of the running `pdk up`."""
    lock.seek(0)
    lock.truncate()
    json.dump(about, lock)
    lock.flush()
