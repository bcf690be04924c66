"""The spool: incoming/ → processing/ → archive/, every step a rename, so that no log is ever half anywhere.

incoming/…              where test machines and file servers put logs; sub-directories are looked into
processing/CLAIM/NAME   claimed, by a rename into a directory of its own; CLAIM names the delivery
archive/YYYY/MM/DD/     what has been imported
quarantine/             see `quarantine`
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pdk_pipeline.durable import sync
from pdk_pipeline.errors import SpoolUnusable
from pdk_pipeline.formats.text import in_one_line, readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pdk_pipeline.config import Settings

CLOCK_SLACK_SECONDS = 60
"""A file's time may be this much ahead of the file system's clock, on top of the settle time, and still be growth."""

LONGEST_RESEND_SECONDS = 3600
"""A claimed log is handed over again at least so often."""

LEFTOVER_SECONDS = 7 * 86400
"""What we have hidden in the spool for so long is half of something whose process was killed."""

LONGEST_NAME_BYTES = 240
"""Of a file; the 15 left over are for a number."""

_RECEIVING, _CLOCK = ".receiving-", ".clock-"
"""How our own files in incoming/ begin; what else is hidden there is somebody's who is writing it."""

_CLAIMED_AT = "%Y%m%dT%H%M%SZ"

DIRECTORIES = ("incoming", "processing", "archive", "quarantine")


@dataclass
class Collected:
    """What a sweep through incoming/ found."""

    claims: list[tuple[str, str]] = field(default_factory=list)
    """Logs to import now, claim and name: newly claimed ones, and those that an earlier import left behind."""
    growing: int = 0
    """Logs that changed too recently."""
    left: list[str] = field(default_factory=list)
    """What is no log or cannot be taken: a path and why."""


def prepare(settings: Settings) -> None:
    """Make the spool's directories. Raises SpoolUnusable."""
    try:
        for name in DIRECTORIES:
            (settings.spool / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpoolUnusable(f"{error.filename}: {error.strerror}", advice="PDK_HOME names another place.") from None


def collect(settings: Settings, *, is_busy: bool = False) -> Collected:
    """Claim every log in incoming/ that has settled; name again those that were claimed long ago and are still there.

    `is_busy`: many imports wait for their turn, so one that has not come yet need not be lost.
    Two sweeps at once are harmless: a rename succeeds once. Raises SpoolUnusable.
    """
    prepare(settings)
    collected = Collected()
    incoming = settings.spool / "incoming"
    settled_before = _clock_of(incoming) - settings.settle_seconds
    for path, about in _files(incoming, collected.left):
        if not stat.S_ISREG(about.st_mode):
            collected.left.append(f"{shown(path)}: it is not a regular file")
        elif settled_before < about.st_mtime <= settled_before + 2 * settings.settle_seconds + CLOCK_SLACK_SECONDS:
            # A time further ahead is no growth, but a clock that was wrong.
            collected.growing += 1
        elif not os.access(path, os.R_OK):
            collected.left.append(f"{shown(path)}: it may not be read")
        else:
            try:
                collected.claims.append((_claim(settings, path), shown(path.name)))
            except FileNotFoundError:
                continue  # another sweep has it
            except OSError as error:
                collected.left.append(f"{shown(path)}: {error.strerror}")
    collected.claims.extend(_left_behind(settings, is_busy=is_busy))
    _tidy(settings)
    return collected


def shown(path: Path | str) -> str:
    """A file's name or path as people are shown it."""
    return in_one_line(readable(os.fsencode(path)))


def _clock_of(directory: Path) -> float:
    """The time of the file system, which may be a file server's: the only clock that its files' times compare with."""
    try:
        with tempfile.NamedTemporaryFile(dir=directory, prefix=_CLOCK) as probe:
            return os.fstat(probe.fileno()).st_mtime
    except OSError as error:
        raise SpoolUnusable(f"{directory}: {error.strerror}", advice="`pdk doctor` looks for the cause.") from None


def _files(directory: Path, left: list[str]) -> Iterator[tuple[Path, os.stat_result]]:
    """Everything in and below a directory that is not itself one, by name; hidden names are files being written.

    A directory below it that cannot be looked into is told of in `left`. Raises SpoolUnusable when it cannot be itself.
    """
    waiting = [directory]
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except FileNotFoundError:
            continue
        except OSError as error:
            if place == directory:
                raise SpoolUnusable(f"{place}: {error.strerror}") from None
            left.append(f"{shown(place)}: {error.strerror}")
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
                continue
            with contextlib.suppress(FileNotFoundError):
                yield Path(entry.path), entry.stat(follow_symlinks=False)


def _new_claim() -> str:
    return f"{datetime.now(tz=UTC):{_CLAIMED_AT}}-{secrets.token_hex(6)}"


def _claim(settings: Settings, path: Path) -> str:
    claim = _new_claim()
    place = settings.spool / "processing" / claim
    place.mkdir()
    try:
        path.rename(place / path.name)
    except OSError as error:
        place.rmdir()
        if error.errno == errno.EXDEV:
            return _claim_from_elsewhere(settings, path)
        raise
    return claim


def _claim_from_elsewhere(settings: Settings, path: Path) -> str:
    """Claim a log of another file system (a file server's, say): copied whole, then removed there.

    The claim tells the file: one still there because we were killed, or copied by two sweeps at once, is imported once.
    """
    about = path.stat()
    at = datetime.fromtimestamp(min(max(about.st_mtime, 0), time.time()), tz=UTC)
    identity = f"{path}\0{about.st_ino}\0{about.st_size}\0{about.st_mtime_ns}"
    claim = f"{at:{_CLAIMED_AT}}-{hashlib.sha256(os.fsencode(identity)).hexdigest()[:12]}"

    def content() -> Iterator[bytes]:
        with path.open("rb") as file:
            yield from iter(lambda: file.read(1 << 20), b"")
        if path.stat().st_mtime_ns != about.st_mtime_ns:
            raise OSError(errno.EAGAIN, "it has changed while it was copied")

    _put(settings, claim, path.name, content())
    path.unlink(missing_ok=True)
    return claim


def _left_behind(settings: Settings, *, is_busy: bool) -> Iterator[tuple[str, str]]:
    """Claims that nobody has finished for so long that their task must be lost, or their import killed."""
    shortest = LONGEST_RESEND_SECONDS if is_busy else settings.resend_seconds
    for place in sorted((settings.spool / "processing").iterdir()):
        if place.name.startswith("."):
            continue
        with contextlib.suppress(OSError):
            handed_over = place.stat().st_mtime
            # Each wait is as long as all before it, or a writer that is down overnight would wake to a flood.
            so_far = handed_over - _claimed_at(place.name, handed_over)
            wait = min(max(shortest, so_far), LONGEST_RESEND_SECONDS)
            # A time further ahead than any clock is: it was wrong, and nobody can say how long ago that was.
            if -LONGEST_RESEND_SECONDS < time.time() - handed_over < wait:
                continue
            log = next(place.iterdir(), None)
            if log is None:
                place.rmdir()  # killed between making it and filling it
            else:
                os.utime(place)  # handed over now: the next sweep waits again
                yield place.name, shown(log.name)


def claims(settings: Settings) -> list[tuple[str, str]]:
    """Every claim that is not finished with, and the name of its log."""
    processing = settings.spool / "processing"
    if not processing.is_dir():
        return []
    found = []
    for place in sorted(processing.iterdir()):
        with contextlib.suppress(OSError):
            log = None if place.name.startswith(".") else next(place.iterdir(), None)
            if log:
                found.append((place.name, shown(log.name)))
    return found


def _tidy(settings: Settings) -> None:
    """Remove what killed processes left half made: no log that was taken in is among it."""
    ours = ("processing/.*", "quarantine/.*", f"incoming/{_RECEIVING}*", f"incoming/{_CLOCK}*")
    for place in (place for pattern in ours for place in settings.spool.glob(pattern)):
        with contextlib.suppress(OSError):
            if time.time() - place.stat().st_mtime > LEFTOVER_SECONDS:
                shutil.rmtree(place) if place.is_dir() else place.unlink()


def _claimed_at(claim: str, otherwise: float) -> float:
    try:
        return datetime.strptime(claim.partition("-")[0], _CLAIMED_AT).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return otherwise


def claimed_file(settings: Settings, claim: str) -> Path | None:
    """The log of a claim; None when it is finished with."""
    try:
        return next((settings.spool / "processing" / Path(claim).name).iterdir(), None)
    except (FileNotFoundError, NotADirectoryError):
        return None


def receive(settings: Settings, name: str, content: bytes | memoryview) -> Path:
    """Write a log that came whole from elsewhere into incoming/, safe from a power cut. Returns where it lies.

    A log of that name which is there already is replaced in one step: names of what is received tell their content.
    """
    prepare(settings)
    incoming = settings.spool / "incoming"
    hidden = incoming / f"{_RECEIVING}{secrets.token_hex(8)}"
    try:
        with hidden.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        hidden.rename(incoming / name)
    finally:
        hidden.unlink(missing_ok=True)
    sync(incoming)
    return incoming / name


def holds(settings: Settings, *names: str) -> bool:
    """Whether a log whose name matches one of these patterns waits in incoming/ or is being imported."""
    # In this order: a log that is being claimed is seen in the one place or the other.
    return any(
        next(settings.spool.glob(f"{place}/{name}"), None) for place in ("incoming", "processing/*") for name in names
    )


def put_claimed(settings: Settings, name: str, chunks: Iterable[bytes]) -> str:
    """Write bytes that came from elsewhere (standard input) as a claimed log, safe from a power cut. Returns the claim.

    `name` is what the log is to be called; only what a file can be called is taken of it.
    """
    prepare(settings)
    _put(settings, claim := _new_claim(), _file_name(name), chunks)
    return claim


def _put(settings: Settings, claim: str, name: str, chunks: Iterable[bytes]) -> None:
    processing = settings.spool / "processing"
    hidden = processing / f".{claim}-{secrets.token_hex(4)}"
    hidden.mkdir()
    try:
        with (hidden / name).open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        sync(hidden)
        hidden.rename(processing / claim)
    except BaseException as error:
        shutil.rmtree(hidden, ignore_errors=True)
        if not isinstance(error, OSError) or not (processing / claim).exists():  # another sweep was quicker
            raise
    sync(processing)


def _file_name(name: str) -> str:
    last = os.fsencode(name).replace(b"\0", b"").rstrip(b"/").rpartition(b"/")[2].lstrip(b".")
    return os.fsdecode(last[:LONGEST_NAME_BYTES]) or "log"


def archive_claimed(settings: Settings, claim: str, *, imported_bytes: int) -> Path | None:
    """Move a claimed log into the archive, and the claim is finished. Returns where it went.

    A log that has grown since `imported_bytes` were read goes back to incoming/ instead: the rest is not lost.
    """
    path = claimed_file(settings, claim)
    if path is None:
        return None
    try:
        if path.lstat().st_size != imported_bytes:
            target = _move(path, settings.spool / "incoming", path.name)
        else:
            target = archive(settings, path)
    except FileNotFoundError:
        return None  # another process was quicker
    with contextlib.suppress(OSError):
        path.parent.rmdir()
    return target


def archive(settings: Settings, path: Path, name: str = "") -> Path:
    """Move a file into today's directory of the archive, under its name or `name`, or one like it that is free.

    Returns where it went.
    """
    return _move(path, settings.spool / "archive" / f"{datetime.now(tz=settings.zone):%Y/%m/%d}", name or path.name)


def archived_days(settings: Settings) -> list[tuple[date, Path]]:
    """The days of the archive that there are, the oldest first, each with its directory."""
    days = []
    for directory in (settings.spool / "archive").glob("????/??/??"):
        with contextlib.suppress(ValueError):
            days.append((date(*(int(part) for part in directory.parts[-3:])), directory))
    return sorted(days)


def files_of(directory: Path) -> list[Path]:
    """The files that lie in a directory itself, hidden ones too."""
    with contextlib.suppress(FileNotFoundError):
        return [path for path in directory.iterdir() if path.is_symlink() or path.is_file()]
    return []


def remove_day(directory: Path) -> None:
    """Remove an empty day of the archive, and its month and year if they are empty then."""
    with contextlib.suppress(OSError):
        for place in (directory, directory.parent, directory.parent.parent):
            place.rmdir()


def _move(path: Path, directory: Path, name: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    source = path
    if path.is_symlink() or path.stat().st_dev != directory.stat().st_dev:
        # Whole beside its place first, so that a kill leaves the original or both, never less.
        source = directory / f".{secrets.token_hex(6)}"
        shutil.copy2(path, source)
        sync(source)
    for target in _free_names(directory, name):
        try:
            _link(source, target)
        except FileExistsError:
            if not os.path.samestat(target.lstat(), source.lstat()):
                continue
            # The same file: an earlier move was killed before its last step.
        source.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        return target
    raise AssertionError


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, unlike a rename never over an older file of that name (FileExistsError)."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links, or somebody else's file
        if os.path.lexists(target):
            raise FileExistsError(target) from None
        source.rename(target)


def _free_names(directory: Path, name: str) -> Iterator[Path]:
    yield directory / name
    stem = os.fsdecode(os.fsencode(name)[:LONGEST_NAME_BYTES])
    number = 1
    while True:
        yield directory / f"{stem}.{number}"
        number += 1
