"""What a pytest process tells `pdk run` while it runs: which test has begun, and how each one ended.

A file that only grows, a line of JSON an event, so that it can be read while the process runs and after it was
killed. `pdk run` writes one kind of event itself: why it is about to stop the process.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


class Running(NamedTuple):
    """A test that has begun."""

    name: str
    since: float
    """Seconds since 1970."""


class Journal:
    """The journal as far as it has been read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self.running: dict[str, Running] = {}
        """By node id."""
        self.counts: Counter[str] = Counter()
        self.problems: list[tuple[str, str]] = []
        """Status and name of the tests that failed or could not complete."""
        self.names: list[str] = []
        """Of the tests that have ended."""
        self.reason = ""
        """Why the process is being stopped."""

    def read(self) -> Journal:
        """Take in what is new."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                text = file.read()
        except FileNotFoundError:
            return self
        whole = text[: text.rfind(b"\n") + 1]
        self._position += len(whole)
        for line in whole.splitlines():
            self._take(**json.loads(line))
        return self

    def _take(self, id: str = "", name: str = "", since: float = 0, status: str = "", reason: str = "") -> None:  # noqa: A002
        if reason:
            self.reason = reason
        elif status:
            self.running.pop(id, None)
            self.counts[status] += 1
            self.names.append(name)
            if status in "FE":
                self.problems.append((status, name))
        else:
            self.running[id] = Running(name, since)


def begun(path: Path, node: str, name: str, since: float) -> None:
    """Note that a test has begun."""
    _append(path, {"id": node, "name": name, "since": since})


def ended(path: Path, node: str, name: str, status: str) -> None:
    """Note how a test ended. To be called when its result is in the log, so that no result is only thought to be."""
    _append(path, {"id": node, "name": name, "status": status})


def stopping(path: Path, reason: str) -> None:
    """Note why the process is about to be stopped."""
    _append(path, {"reason": reason})


def _append(path: Path, event: dict[str, object]) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, json.dumps(event).encode() + b"\n")
    finally:
        os.close(file)
