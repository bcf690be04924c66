"""Sessions of pytest with the plugin, in this process, and what they leave in their log."""

from __future__ import annotations

from pathlib import Path

import pytest

from pdk_pipeline.results import Result
from pdk_pipeline.runner import recording  # noqa: F401  (what is loaded here is not loaded again for every session)
from tests.unit.reading import read, rejections, results


class Sessions:
    """Run pytest on a file of tests: `run("def test_a(): ...", "--pdk-host=x")`. Returns its results by name."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pytester = pytester
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # it takes a second to look for the others
        monkeypatch.setenv("PYTEST_ADDOPTS", "-p pdk_pipeline.runner.plugin -p no:cacheprovider")

    def __call__(self, source: str, *options: str, name: str = "test_it.py") -> dict[str, Result]:
        path = self.pytester.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        log = self.pytester.path / "it.pdklog"
        self.pytester.runpytest_inprocess(f"--pdk-log={log}", "--pdk-run=night", *options)
        return logged(log)


def logged(log: Path) -> dict[str, Result]:
    readings = read(log.read_bytes())
    assert not rejections(readings)
    found = results(readings)
    assert len({result.test_name for result in found}) == len(found)
    return {result.test_name: result for result in found}


def statuses(found: dict[str, Result]) -> dict[str, str]:
    return {name: result.status for name, result in found.items()}
