"""The spool: incoming/ → processing/ → archive/, every step a rename, so that no log is ever half anywhere.

incoming/…              where test machines and file servers put logs; sub-directories are looked into
processing/CLAIM/NAME   claimed, by a rename into a directory of its own; CLAIM names the delivery (beside it may lie
                        how it is to be imported)
archive/YYYY/MM/DD/     what has been imported, see `archive`
quarantine/             see `quarantine`
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pdk_pipeline.durable import sync
from pdk_pipeline.errors import SpoolUnusable
from pdk_pipeline.formats.text import in_one_line
from pdk_pipeline.intake import archive

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pdk_pipeline.config import Settings

CLOCK_SLACK_SECONDS = 60
"""A file's time may be this much ahead of the file system's clock, on top of the settle time, and still be growth."""

LONGEST_RESEND_SECONDS = 3600
"""A claimed log is handed over again at least so often."""

LEFTOVER_SECONDS = 7 * 86400
"""What we have hidden in the spool for so long is half of something whose process was killed."""

_RECEIVING, _CLOCK = ".receiving-", ".clock-"
"""How our own files in incoming/ begin; what else is hidden there is somebody's who is writing it."""

_OPTIONS = ".options.json"

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
    except FileExistsError as error:
        raise SpoolUnusable(f"{error.filename} {no_directory(Path(error.filename))}") from None
    except OSError as error:
        raise SpoolUnusable(f"{error.filename}: {error.strerror}", advice="PDK_HOME names another place.") from None


def no_directory(place: Path) -> str:
    """What is in the place of a directory of the spool; empty: it is one, or is still to be made."""
    if place.is_dir() or not os.path.lexists(place):
        return ""
    if place.is_symlink():
        return f"leads to {place.readlink()}, and there is no directory; is the file server mounted?"
    return "is no directory"


def collect(settings: Settings, *, is_busy: bool = False) -> Collected:
    """Claim every log in incoming/ that has settled; name again those that were claimed long ago and are still there.

    `is_busy`: many imports wait for their turn, so one that has not come yet need not be lost.
    Two sweeps at once are harmless: a rename succeeds once. Raises SpoolUnusable.
    """
    prepare(settings)
    collected = Collected()
    incoming = settings.spool / "incoming"
    now = _clock_of(incoming)
    for path, about in _files(incoming, collected.left):
        if _is_growing(settings, about, now):
            collected.growing += 1
        elif why := _why_unfit(path, about):
            collected.left.append(f"{shown(path)}: {why}")
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


def unfit(settings: Settings) -> list[str]:
    """What lies in incoming/ and stays there until somebody does something about it, and why. Raises SpoolUnusable."""
    left: list[str] = []
    now = time.time()
    for path, about in _files(settings.spool / "incoming", left):
        if not _is_growing(settings, about, now) and (why := _why_unfit(path, about)):
            left.append(f"{shown(path)}: {why}")
    return left


def _is_growing(settings: Settings, about: os.stat_result, now: float) -> bool:
    # A time further ahead is no growth, but a clock that was wrong.
    latest = now + settings.settle_seconds + CLOCK_SLACK_SECONDS
    return stat.S_ISREG(about.st_mode) and now - settings.settle_seconds < about.st_mtime <= latest


def _why_unfit(path: Path, about: os.stat_result) -> str:
    """Why a file in incoming/ cannot be claimed; empty when it can."""
    if not stat.S_ISREG(about.st_mode):
        return "it is not a regular file"
    return "" if os.access(path, os.R_OK) else "it may not be read"


def shown(path: Path | str) -> str:
    """A file's name or path as people are shown it."""
    return in_one_line(os.fspath(path))


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

    is_ours = _put(settings, claim, {path.name: content()})
    try:
        path.unlink(missing_ok=True)
    except OSError:  # it would be copied, and archived, by every sweep
        if is_ours:
            shutil.rmtree(_place(settings, claim), ignore_errors=True)
        raise
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
            log = _log_in(place)
            if log is None:
                _remove(place)  # killed between making it and filling it, or archiving and this
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
            log = None if place.name.startswith(".") else _log_in(place)
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
        return _log_in(_place(settings, claim))
    except (FileNotFoundError, NotADirectoryError):
        return None


def options_of(settings: Settings, claim: str) -> dict[str, Any] | None:
    """How a claimed log is to be imported, when whoever put it there has said so (see `put_claimed`)."""
    try:
        text = (_place(settings, claim) / _OPTIONS).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    return cast("dict[str, Any]", json.loads(text))


def _place(settings: Settings, claim: str) -> Path:
    return settings.spool / "processing" / Path(claim).name


def _log_in(place: Path) -> Path | None:
    """The log in a claim's directory."""
    return next((path for path in place.iterdir() if not path.name.startswith(".")), None)


def _remove(place: Path) -> None:
    """The directory of a claim that is finished with."""
    (place / _OPTIONS).unlink(missing_ok=True)
    place.rmdir()


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


def put_claimed(settings: Settings, name: str, chunks: Iterable[bytes], options: dict[str, Any]) -> str:
    """Write bytes that came from elsewhere (standard input) as a claimed log, safe from a power cut. Returns the claim.

    `name` is what the log is to be called; only what a file can be called is taken of it. `options`, how it is to be
    imported, lie beside it: whoever takes it must not need the one who put it there.
    """
    prepare(settings)
    said = json.dumps(options).encode()
    _put(settings, claim := _new_claim(), {_OPTIONS: [said], _file_name(name): chunks})
    return claim


def _put(settings: Settings, claim: str, files: dict[str, Iterable[bytes]]) -> bool:
    """Make a claim of files by name. Returns whether it is ours, and not one that another sweep made."""
    processing = settings.spool / "processing"
    hidden = processing / f".{claim}-{secrets.token_hex(4)}"
    hidden.mkdir()
    try:
        for name, chunks in files.items():
            with (hidden / name).open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
        sync(hidden)
        hidden.rename(processing / claim)
    except BaseException as error:
        shutil.rmtree(hidden, ignore_errors=True)
        if not isinstance(error, OSError) or not (processing / claim).exists():
            raise
        return False
    sync(processing)
    return True


def _file_name(name: str) -> str:
    last = os.fsencode(name).replace(b"\0", b"").rstrip(b"/").rpartition(b"/")[2].lstrip(b".")
    return os.fsdecode(last[: archive.LONGEST_NAME_BYTES]) or "log"


def archive_claimed(settings: Settings, claim: str, *, imported_bytes: int) -> Path | None:
    """Move a claimed log into the archive, and the claim is finished. Returns where it went.

    A log that has grown since `imported_bytes` were read goes back to incoming/ instead: the rest is not lost.
    """
    path = claimed_file(settings, claim)
    if path is None:
        return None
    try:
        if path.lstat().st_size != imported_bytes:
            target = archive.move(path, settings.spool / "incoming", path.name)
        else:
            target = archive.put(settings, path)
    except FileNotFoundError:
        return None  # another process was quicker
    with contextlib.suppress(OSError):
        _remove(path.parent)
    return target
