"""A tree of tests: which files hold some, what they are called, which of them are disabled.

A directory is run by itself, so what is found is grouped by directory.
"""

from __future__ import annotations

import os
from collections import Counter
from enum import Enum
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pdk_pipeline.runner.naming import top_above

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

NEVER = "pandokia_never_recurse"
"""A file that keeps us out of its directory and what is beneath."""

EXCLUDED = ("CVS", "__pycache__", "node_modules", "okfile", "out", "ref", "tmp")
"""Directories without tests: besides these, each whose name begins with a dot, and Python's virtual environments."""

_NO_PROGRAMS = (
    *("~", ".bak", ".disable", ".enable", ".log", ".o", ".okfile", ".old", ".orig", ".pyc", ".rej", ".so", ".swp"),
    *(".cfg", ".csv", ".dat", ".fits", ".ini", ".json", ".md", ".rst", ".toml", ".txt", ".xml", ".yaml", ".yml"),
)
"""Endings of files that are no tests even where every file counts as executable."""

_SCRIPTS = (".py", ".sh", ".csh")
"""Endings that are no part of a test's name."""


class Kind(Enum):
    """How the tests in a file are run."""

    PYTEST = "pytest"
    PROGRAM = "program"
    """One test, told by its exit status."""


class Suite(NamedTuple):
    """A file that holds tests."""

    path: Path
    kind: Kind
    name: str
    """Of the test, when there is one; else what the names of its tests begin with. Without the tree's prefix."""
    is_asked_for: bool = False
    """Named on the command line: it is run even when it is disabled."""


class Folder(NamedTuple):
    """A directory that holds tests, in the order in which they are run."""

    path: Path
    top: Path
    """Where the names of its tests begin."""
    suites: tuple[Suite, ...]

    @property
    def prefix(self) -> str:
        """What the names of its tests begin with: empty, or the path from the top and a `/`."""
        return "" if self.path == self.top else f"{self.path.relative_to(self.top)}/"


def find(paths: Sequence[Path], *, is_recursive: bool, exclude: Sequence[str] = ()) -> list[Folder]:
    """The tests at `paths`, each directory once however often it is named.

    `exclude`: patterns of directories to leave out, by their name or by their path from where the search began.
    Links to directories are followed only when they are named.
    """
    folders: dict[Path, tuple[Path, dict[str, Suite]]] = {}
    for path in paths:
        if path.is_dir():
            start = path.resolve()
            found = _walk(start, exclude) if is_recursive else [start]
            for directory in found:
                _, suites = folders.setdefault(directory, (top_above(directory) or start, {}))
                for suite in _in_directory(directory):
                    suites.setdefault(suite.path.name, suite)
        else:
            directory = path.parent.resolve()
            _, suites = folders.setdefault(directory, (top_above(directory) or directory, {}))
            kind = Kind.PYTEST if path.suffix == ".py" else Kind.PROGRAM
            suites[path.name] = Suite(directory / path.name, kind, _stem(path.name), is_asked_for=True)
    return [
        Folder(directory, top, tuple(_told_apart(suites[name] for name in sorted(suites))))
        for directory, (top, suites) in folders.items()
        if suites
    ]


def _walk(start: Path, exclude: Sequence[str]) -> Iterator[Path]:
    for name, directories, files in os.walk(start):
        here = Path(name)
        if NEVER in files or ("pyvenv.cfg" in files and here != start):
            directories.clear()
            continue
        directories[:] = sorted(
            directory for directory in directories if not _is_excluded(here / directory, start, exclude)
        )
        yield here


def _is_excluded(directory: Path, start: Path, exclude: Sequence[str]) -> bool:
    if directory.name.startswith(".") or directory.name in EXCLUDED:
        return True
    ways = (directory.name, str(directory.relative_to(start)))
    return any(fnmatch(way, pattern.rstrip("/")) for pattern in exclude for way in ways)


def _in_directory(directory: Path) -> Iterator[Suite]:
    try:
        with os.scandir(directory) as entries:
            files = [entry for entry in entries if entry.is_file()]
    except OSError:
        return  # not ours to read
    for entry in files:
        kind = _kind(entry)
        if kind:
            yield Suite(directory / entry.name, kind, _stem(entry.name))


def _kind(entry: os.DirEntry[str]) -> Kind | None:
    name = entry.name
    if name.endswith(".py"):
        return Kind.PYTEST if name.startswith("test") or name.endswith("_test.py") else None
    if not name.startswith("test") or name.endswith(_NO_PROGRAMS):
        return None
    return Kind.PROGRAM if name.endswith(".sh") or os.access(entry.path, os.X_OK) else None


def _stem(name: str) -> str:
    return next((name.removesuffix(ending) for ending in _SCRIPTS if name.endswith(ending)), name)


def _told_apart(suites: Iterable[Suite]) -> Iterator[Suite]:
    """The suites, those of one directory that would be called alike by their whole file names."""
    suites = list(suites)
    alike = Counter(suite.name for suite in suites)
    for suite in suites:
        is_plain = alike[suite.name] == 1 or suite.kind is Kind.PYTEST
        yield suite if is_plain else suite._replace(name=suite.path.name)


def disabled_by(suite: Suite, context: str) -> Path | None:
    """The file that disables a suite in this context: test_x.disable or test_x.CONTEXT.disable."""
    if suite.is_asked_for:
        return None
    stem = _stem(suite.path.name)
    endings = (".disable", f".{context}.disable")
    names = dict.fromkeys(base + ending for base in (stem, suite.path.name) for ending in endings)
    return next((path for name in names if (path := suite.path.with_name(name)).exists()), None)
