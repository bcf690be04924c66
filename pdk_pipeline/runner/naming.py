"""The names of Python tests: `flat/test_bias/Class/test_mean[fast]`, the same every day and everywhere.

The file's path from where names begin, without `.py`; then what holds the test, and the test, as pytest names them.
Names begin at the top of the test tree (the nearest directory above the file with a `pandokia_top`), or at pytest's
rootdir when there is none. Addresses of objects are left out of parameters. Of tests that are then named alike, the
second one gets `~2`, in the order of collection.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pdk_pipeline.formats.fields import clean_name
from pdk_pipeline.formats.text import encodable

if TYPE_CHECKING:
    from collections.abc import Iterable

TOP_FILE = "pandokia_top"
"""Marks the top of a test tree."""

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@cache
def top_above(directory: Path) -> Path | None:
    """The nearest directory with a `pandokia_top`, from `directory` upwards."""
    if (directory / TOP_FILE).exists():
        return directory
    return top_above(directory.parent) if directory != directory.parent else None


class Names:
    """The names of the tests of one pytest session."""

    def __init__(self, root: Path, top: Path | None = None, prefix: str = "") -> None:
        """`root`: pytest's rootdir. `top`: where names begin, when it is known. `prefix`: stands before each."""
        self._root = root
        self._top = top
        self._prefix = prefix
        self._known: dict[str, str] = {}
        self._taken: set[str] = set()
        self._files: dict[Path, str] = {}

    def learn(self, tests: Iterable[tuple[str, Path]]) -> None:
        """Name tests, given as node id and file, in the order of collection."""
        for node, path in tests:
            if node in self._known:
                continue
            name = plain = self._named(node, path)
            number = 1
            while name in self._taken:
                number += 1
                name = f"{plain}~{number}"
            self._taken.add(name)
            self._known[node] = name

    def of(self, node: str, path: Path | None = None) -> str:
        """The name of a test, or of a file or directory of tests, by its node id."""
        return self._known.get(node) or self._named(node, path or self.path(node))

    def path(self, node: str) -> Path:
        """The file of a node."""
        return Path(os.path.normpath(self._root / node.partition("::")[0]))

    def _named(self, node: str, path: Path) -> str:
        inside, bracket, parameters = node.partition("::")[2].partition("[")
        parts = filter(None, (self._file(path), inside.replace("::", "/")))
        name = self._prefix + "/".join(parts) + bracket + parameters
        return clean_name(encodable(_ADDRESS.sub("", name))) or self._root.name

    def _file(self, path: Path) -> str:
        if path not in self._files:
            top = self._top or top_above(path) or self._root
            where = path if path.is_relative_to(top) else path.resolve()
            # Of a file elsewhere: what its path has of its own.
            self._files[path] = os.path.relpath(where, top).replace("../", "").strip(".").removesuffix(".py")
        return self._files[path]
