"""The pytest plugin: silent, and next to free, unless a log is asked for.

It is loaded by every pytest where this package is installed, so it imports nothing until there is something to do.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

    from pluggy import Result

INSIDE = "PDK_INSIDE_PYTEST"
"""Set while a pytest writes a log: one that its tests start must not take the same log from the environment."""

OPTIONS = {
    "--pdk-log": ("FILE", "append each result to this PDK log as soon as it is known (PDK_LOG)"),
    "--pdk-run": ("NAME", "name of the test run, by default user_NAME_DATE-TIME (PDK_TEST_RUN)"),
    "--pdk-project": ("NAME", "project of the results, by default `default` (PDK_PROJECT)"),
    "--pdk-host": ("NAME", "host of the results, by default this one (PDK_HOST)"),
    "--pdk-context": ("NAME", "context of the results, by default `default` (PDK_CONTEXT)"),
    "--pdk-custom": ("TEXT", "a free further part of the results' identity (PDK_CUSTOM)"),
    "--pdk-prefix": ("TEXT", "stands before the name of each test (PDK_TESTPREFIX)"),
    "--pdk-top": ("DIR", "names of tests begin here; by default at the pandokia_top above the test, else at rootdir"),
    "--pdk-disabled": ("REASON", "with --collect-only: log every test as disabled"),
    "--pdk-journal": ("FILE", "tell `pdk run` here which test has begun and which has ended"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("pdk", "PDK log of the results")
    for option, (value, meaning) in OPTIONS.items():
        group.addoption(option, metavar=value, default=None, help=meaning)


def pytest_configure(config: pytest.Config) -> None:
    """Begin to record, when a log is asked for."""
    log = wanted_log(config.option)
    if log and not (config.option.collectonly and config.option.pdk_disabled is None):
        from pdk_pipeline.runner import recording  # noqa: PLC0415  (see above)

        config.option.pdk_log = log  # xdist hands the options on to its workers
        recording.begin(config)


def wanted_log(options: Any) -> str:
    """The log that the options or the environment name."""
    given: str | None = options.pdk_log
    return given or ("" if INSIDE in os.environ else os.environ.get("PDK_LOG", ""))


@pytest.hookimpl(hookwrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, Result[Any], None]:
    """Leave a result when a conftest.py cannot be imported, since no test of it will tell."""
    outcome = yield
    options = early_config.known_args_namespace
    if outcome.excinfo and wanted_log(options) and not options.pdk_journal:
        from pdk_pipeline.runner import recording  # noqa: PLC0415

        recording.record_broken_conftest(early_config, options, outcome.excinfo[1])


@pytest.fixture
def tda(request: pytest.FixtureRequest) -> dict[str, object]:
    """Attributes of the test's definition (inputs, thresholds …), for the PDK log: `tda["exposure"] = 30`."""
    stash: pytest.Stash = request.node.stash
    return stash.setdefault(DEFINITION, {})


@pytest.fixture
def tra(request: pytest.FixtureRequest) -> dict[str, object]:
    """Attributes of the test's result (measured values …), for the PDK log: `tra["mean"] = 1021.7`."""
    stash: pytest.Stash = request.node.stash
    return stash.setdefault(MEASURED, {})


DEFINITION = pytest.StashKey[dict[str, object]]()
MEASURED = pytest.StashKey[dict[str, object]]()
