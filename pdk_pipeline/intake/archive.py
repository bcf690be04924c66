"""The archive: logs that were imported, by day; and how a file is moved so that it is never lost."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from datetime import date, datetime
from typing import TYPE_CHECKING

from pdk_pipeline.durable import sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pdk_pipeline.config import Settings

LONGEST_NAME_BYTES = 240
"""Of a file; the 15 left over are for a number."""


def put(settings: Settings, path: Path, name: str = "") -> Path:
    """Move a file into today's directory of the archive, under its name or `name`, or one like it that is free.

    Returns where it lies then.
    """
    return move(path, _root(settings) / f"{datetime.now(tz=settings.zone):%Y/%m/%d}", name or path.name)


def holds(settings: Settings, path: Path) -> bool:
    """Whether a file lies in the archive, of whatever day."""
    return path.parent.resolve().is_relative_to(_root(settings).resolve())


def _root(settings: Settings) -> Path:
    return settings.spool / "archive"


def days(settings: Settings) -> list[tuple[date, Path]]:
    """The days of the archive that there are, the oldest first, each with its directory."""
    found = []
    for directory in _root(settings).glob("????/??/??"):
        with contextlib.suppress(ValueError):
            found.append((date(*(int(part) for part in directory.parts[-3:])), directory))
    return sorted(found)


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


def move(path: Path, directory: Path, name: str) -> Path:
    """Move a file, to another file system too, and never over another one. Returns where it lies then.

    What cannot be removed where it lay is not left in the other place either.
    """
    directory.mkdir(parents=True, exist_ok=True)
    there = directory.stat()
    if os.path.samestat(path.parent.stat(), there):
        return path  # or it would be taken for a move that was killed, and its only name removed
    source = path
    if path.is_symlink() or path.stat().st_dev != there.st_dev:
        # Whole beside its place first, so that a kill leaves the original or both, never less.
        source = directory / f".{secrets.token_hex(6)}"
        try:
            shutil.copy2(path, source)
            sync(source)
        except OSError:  # a full disk
            source.unlink(missing_ok=True)
            raise
    for target in _free_names(directory, name):
        try:
            _link(source, target)
        except FileExistsError:
            if not os.path.samestat(target.lstat(), source.lstat()):
                continue
            # The same file: an earlier move was killed before its last step.
        try:
            source.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        except OSError:
            if path.exists():
                target.unlink()
            raise
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
