"""Trees of tests, and `pdk run` on them: what the tests of it have in common."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pdk_pipeline.results import Result
from tests.integration.processes import PDK, Background
from tests.unit.reading import read, rejections, results


class Ran(NamedTuple):
    """What came of a `pdk run`."""

    status: int
    results: dict[str, Result]
    out: str
    err: str

    @property
    def statuses(self) -> dict[str, str]:
        return {name: result.status for name, result in self.results.items()}


class Tree:
    """A tree of tests to run."""

    def __init__(self, path: Path, environment: dict[str, str]) -> None:
        self.path = path
        self.log = path.parent / "it.pdklog"
        # Looking for plugins takes pytest a second.
        self.environment = environment | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "HERE": str(path)}
        self.path.mkdir()
        self.grow(pandokia_top="")

    def grow(self, files: dict[str, str] | None = None, **more: str) -> None:
        """Make files; what begins with #! can be executed."""
        for name, text in ((files or {}) | more).items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            if text.startswith("#!"):
                path.chmod(0o755)

    def command(self, *words: object) -> list[str]:
        return [*PDK, "run", "--log", str(self.log), "--test_run", "night", *map(str, words)]

    def run(self, *words: object, **variables: str) -> Ran:
        done = subprocess.run(
            self.command(*words or ("-r", ".")), cwd=self.path, env=self.environment | variables,
            capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        return Ran(done.returncode, self.logged(), done.stdout, done.stderr)

    def start(self, start: Callable[..., Background], *words: object) -> Background:
        return start(*self.command(*words, self.path), **self.environment)

    def wait_for(self, name: str) -> None:
        deadline = time.monotonic() + 60
        while not (self.path / name).exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def logged(self) -> dict[str, Result]:
        readings = read(self.log.read_bytes()) if self.log.exists() else []
        assert not rejections(readings)
        found = results(readings)
        assert len({(one.context, one.test_name) for one in found}) == len(found)
        return {one.test_name: one for one in found}
