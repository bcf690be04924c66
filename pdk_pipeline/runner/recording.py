"""From pytest's hooks to the log.

The process that runs a test adds to its reports what only the test knows: its name, its attributes. The process that
hears of all results writes them: with pytest-xdist that is the controller alone, so none is written twice.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pdk_pipeline.errors import BadEnvironment
from pdk_pipeline.formats.text import counted
from pdk_pipeline.results import Status
from pdk_pipeline.runner import journal
from pdk_pipeline.runner.batch import Batch, batch_of, refuse_relative
from pdk_pipeline.runner.log_writer import LogWriter, result_of, text_of
from pdk_pipeline.runner.naming import Names
from pdk_pipeline.runner.outcome import Outcome, skip_reason
from pdk_pipeline.runner.plugin import DEFINITION, INSIDE, MEASURED

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from types import FrameType

RUNNER = "pytest"
PHASES = ("setup", "call", "teardown")


def begin(config: pytest.Config) -> None:
    """Watch the tests of this process, and write the log unless another process does.

    Raises pytest.UsageError when there is no writing it, or the test run is another one every day.
    """
    names = _names(config.rootpath, config.option)
    watcher = Watcher(names)
    config.pluginmanager.register(watcher, "pdk-watcher")
    if not hasattr(config, "workerinput"):
        recorder = Recorder(config, names, watcher)
        config.pluginmanager.register(recorder, "pdk-recorder")


def _names(root: Path, options: Any) -> Names:
    prefix = options.pdk_prefix
    top = options.pdk_top
    if prefix is None:
        prefix = os.environ.get("PDK_TESTPREFIX", "")
        # Inside `pdk run` the prefix stands for the directory that it runs the tests of.
        top = top or (os.environ.get("PDK_DIRECTORY") if prefix else None)
    if prefix and not prefix.endswith(("/", ".")):
        prefix += "/"
    return Names(root, Path(top).resolve() if top else None, prefix)


def _absolute(path: str) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100  (Path.absolute keeps `..`)


def _batch(options: Any) -> Batch:
    given = {"test_run": options.pdk_run} | {
        part: getattr(options, f"pdk_{part}") for part in ("project", "host", "context", "custom")
    }
    batch = batch_of(given, os.environ)
    try:
        refuse_relative(batch)
    except BadEnvironment as error:
        raise pytest.UsageError(f"--pdk-run or PDK_TEST_RUN: {error.particulars}; say which by its date") from None
    return batch


class Watcher:
    """In the process that runs the tests: tells each report what only the test knows."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.running: pytest.Item | None = None
        self._name_key = pytest.StashKey[str]()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Name the tests, before some are left out or put in another order."""
        self.names.learn((item.nodeid, item.path) for item in items)
        for item in items:
            # xdist may add to the node id later on.
            item.stash[self._name_key] = self.names.of(item.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Know the test that is running; after an interruption it stays known."""
        self.running = item
        result = yield
        self.running = None
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Add to the report what xdist can carry from one process to another."""
        report = yield
        own = getattr(item, "_instance", None)  # of a unittest.TestCase, which can have no fixtures
        nothing: dict[str, object] = {}
        definition = _dict(own, "tda") | item.stash.get(DEFINITION, nothing)
        attributes = _dict(own, "tra") | item.stash.get(MEASURED, nothing)
        for name, value in item.user_properties:
            if name.startswith("tda_"):
                definition[name[4:]] = value
            else:
                attributes[name.removeprefix("tra_")] = value
        report.pdk = {
            "name": item.stash.get(self._name_key, None) or self.names.of(item.nodeid, item.path),
            "location": text_of(item.path),
            "definition": {text_of(name): text_of(value) for name, value in definition.items()},
            "attributes": {text_of(name): text_of(value) for name, value in attributes.items()},
        }
        return report


def _dict(instance: object, name: str) -> dict[str, object]:
    value = getattr(instance, name, None)
    return value if isinstance(value, dict) else {}


class Recorder:
    """In the process that hears of all results: writes each one as soon as it is known."""

    def __init__(self, config: pytest.Config, names: Names, watcher: Watcher) -> None:
        options = config.option
        self._names = names
        self._watcher = watcher
        self._batch = _batch(options)
        self._log = LogWriter(_absolute(options.pdk_log))
        self._journal = Path(options.pdk_journal) if options.pdk_journal else None
        self._disabled: str | None = options.pdk_disabled
        self._begun: dict[str, Outcome] = {}
        """Tests that have begun and of which no report has come, by node id."""
        self._open: dict[tuple[str, str], Outcome] = {}
        """Tests that have not ended, by xdist's worker and node id: with --dist=each several run one at a time."""
        self._collected: set[str] = set()
        self._interruption: pytest.ExceptionInfo[BaseException] | None = None
        self._internal_error = ""
        self._number = 0
        self._was_inside = os.environ.get(INSIDE)
        self._check()
        os.environ[INSIDE] = "1"

    def _check(self) -> None:
        try:
            self._log.check()
        except OSError as error:
            raise pytest.UsageError(f"--pdk-log: {self._log.path}: {error.strerror}") from None

    # Tests ---------------------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)  # what is shown on the terminal is in the log
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins, or, after a crash or a failure, begins again."""
        with _undisturbed():
            self._begin(nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A phase of a test has ended."""
        with _undisturbed():
            self._take(report)

    def _begin(self, node: str) -> None:
        if node in self._begun or any(node == open_ for _, open_ in self._open):
            return
        outcome = self._begun[node] = Outcome(self._names.of(node), str(self._names.path(node)))
        if self._journal:
            journal.begun(self._journal, node, outcome.name, outcome.start)

    def _take(self, report: pytest.TestReport) -> None:
        node = report.nodeid
        key = getattr(report, "worker_id", ""), node
        if report.when not in PHASES:  # a crash, told by the controller itself
            key = next((known for known in self._open if known[1] == node), key)
        if key not in self._open:
            begun = self._begun.pop(node, None)
            self._open[key] = begun or Outcome(self._names.of(node), str(self._names.path(node)))
        if self._open[key].take(report):
            self._write(node, self._open.pop(key))
        elif report.when not in PHASES:  # a crash, and another worker will try again
            self._begun[node] = self._open.pop(key)

    def _write(self, node: str, outcome: Outcome) -> None:
        if outcome.has_run:
            self._add(
                outcome.status, outcome.name, outcome.location, node, start=outcome.start, end=outcome.end,
                definition=outcome.definition, attributes=outcome.told(), log=outcome.log(),
            )  # fmt: skip

    def _add(self, status: str, name: str, location: str, node: str, **particulars: Any) -> None:
        self._log.add(result_of(self._batch, name, status, runner=RUNNER, location=location, **particulars))
        self._number += 1
        if self._journal:
            journal.ended(self._journal, node, name, status)

    # Collection ----------------------------------------------------------------------------------------------

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file or directory could not be collected, or was skipped as a whole: a result of that name.

        Every worker of xdist tells of it; the first one counts.
        """
        if report.passed or self._disabled is not None or report.nodeid in self._collected:
            return
        self._collected.add(report.nodeid)
        about: dict[str, Any] = {"start": time.time(), "end": time.time()}
        if report.failed:
            status, about["log"] = Status.ERROR, f"Error in collection:\n{report.longreprtext}"
            about["attributes"] = {"error_in": "collection"}
        else:
            status, about["attributes"] = Status.DISABLED, {"skip": skip_reason(report.longrepr)}
        about["log"] = "\n\n".join(filter(None, [about.get("log"), *(text for _, text in report.sections)]))
        path = self._names.path(report.nodeid)
        self._add(status, self._names.of(report.nodeid), str(path), report.nodeid, **about)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Disabled tests are only named."""
        if self._disabled is not None:
            for item in session.items:
                name = self._names.of(item.nodeid, item.path)
                self._add(Status.DISABLED, name, str(item.path), item.nodeid, attributes={"skip": self._disabled})

    # The end -------------------------------------------------------------------------------------------------

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Ctrl-C, or pytest.exit(); but not the end that --exitfirst and its like make."""
        is_wanted = isinstance(excinfo.value, pytest.Session.Interrupted)
        if not is_wanted or "keyboard-interrupt" in str(excinfo.value):  # told so by a worker of xdist
            self._interruption = excinfo

    def pytest_internalerror(self, excrepr: object) -> None:
        """Something in pytest or in a plugin is broken."""
        self._internal_error = self._internal_error or str(excrepr)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Tell of the tests that did not end."""
        unended = [(node, outcome) for (_, node), outcome in self._open.items()] + list(self._begun.items())
        for node, outcome in unended:
            if outcome.has_run:  # --exitfirst with xdist: only the end of its teardown is not known
                self._write(node, outcome)
        unended = [(node, outcome) for node, outcome in unended if not outcome.has_run]
        if self._interruption or self._internal_error:
            for node, outcome in unended:
                self._write_unended(node, outcome)
            if self._internal_error and not unended:
                self._write_breakdown(session.config)
        self._log.flush()
        if self._log.problem:
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR

    def _write_breakdown(self, config: pytest.Config) -> None:
        """Tell that pytest broke down while no test was running: by the name of the file, if it was told to run one."""
        path = config.invocation_params.dir / config.args[0].partition("::")[0]
        if len(config.args) == 1 and path.is_file() and not self._collected:  # the result of that name is not there yet
            name, location = self._names.of("", path), str(path)
        else:
            name, location = self._names.of("") + "/internal_error", ""
        self._add(Status.ERROR, name, location, "", log=self._internal_error)

    def _write_unended(self, node: str, outcome: Outcome) -> None:
        reason = self._journal and journal.Journal(self._journal).read().reason
        text = reason or "The test was running when the tests were interrupted."
        if self._internal_error:
            text = f"The test was running when pytest broke down.\n\n{self._internal_error}"
        sections = None
        item = self._watcher.running
        if item is not None and item.nodeid == node:
            sections = getattr(item, "_report_sections", None)
            if self._interruption:
                text += f"\n\n{_where(self._interruption, item.path)}"
        outcome.add_text(text, sections)
        self._add(
            Status.ERROR, outcome.name, outcome.location, node, start=outcome.start, end=time.time(),
            definition=outcome.definition, attributes=outcome.told() | {"error_in": "interruption"}, log=outcome.log(),
        )  # fmt: skip

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say where the results are."""
        if self._log.problem:
            terminalreporter.write_line(f"pdk: results could not be written: {self._log.problem}", red=True)
        elif not self._journal:
            results = counted(self._number, "result")
            terminalreporter.write_sep("-", f"pdk log: {self._log.path} ({results})")

    def pytest_unconfigure(self) -> None:
        """Leave the environment as it was."""
        if self._was_inside is None:
            os.environ.pop(INSIDE, None)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C waits until we are done: a result is neither forgotten nor written twice."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            handler(*came[0])


def _where(interruption: pytest.ExceptionInfo[BaseException], path: Path) -> str:
    """Where a test was, from its own file on."""
    frames = traceback.extract_tb(interruption.tb)
    first = next((number for number, frame in enumerate(frames) if frame.filename == str(path)), 0)
    return "".join(traceback.format_list(frames[first:])) + interruption.exconly()


def record_broken_conftest(config: pytest.Config, options: Any, error: BaseException | None) -> None:
    """Leave a result that says why a conftest.py could not be imported."""
    path = getattr(error, "path", None)
    if path is None:
        return  # another mistake, which is that of the command line
    try:
        batch = _batch(options)
    except pytest.UsageError:
        return  # told once the conftest.py is mended; now pytest tells of that
    name = _names(config.rootpath, options).of("", Path(path))
    log = LogWriter(_absolute(options.pdk_log or os.environ["PDK_LOG"]))
    result = result_of(
        batch, name, Status.ERROR, runner=RUNNER, location=str(path),
        start=time.time(), attributes={"error_in": "collection"}, log=str(error),
    )  # fmt: skip
    log.add(result)
