"""A run of the tests in many directories, several of them side by side, never two files of one directory at once."""

from __future__ import annotations

import tempfile
import time
from collections import Counter, deque
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, NamedTuple

from pdk_pipeline.errors import BadEnvironment
from pdk_pipeline.formats.seen import Seen
from pdk_pipeline.runner.batch import Batch, batch_of, refuse_relative
from pdk_pipeline.runner.environment import Environments
from pdk_pipeline.runner.execute import Execution, Place
from pdk_pipeline.runner.tree import Folder, disabled_by

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pdk_pipeline.runner.journal import Journal
    from pdk_pipeline.runner.log_writer import LogWriter
    from pdk_pipeline.runner.process import Process


class Now(NamedTuple):
    """What one slot is doing."""

    suite: str
    test: str
    """The test that is running, when it is known."""
    since: float
    """Seconds since 1970: when the file was begun."""


class View(NamedTuple):
    """A run at one moment."""

    running: list[Now]
    counts: Counter[str]
    done: int
    """Files of tests."""
    total: int


class _Slot:
    """One of the directories that are run side by side."""

    def __init__(self, number: int, scratch: Path) -> None:
        self.number = number
        self.scratch = scratch
        self.execution: Execution | None = None
        self.process: Process | None = None
        self.journal: Journal | None = None


class Session:
    """Run all tests of some directories: `start`, `wait`, and, when it must end early, `stop`."""

    def __init__(
        self,
        folders: Sequence[Folder],
        log: LogWriter,
        batch: Batch,
        *,
        given: Mapping[str, str | None],
        environment: Mapping[str, str],
        parallel: int = 1,
        limit_seconds: float | None = None,
    ) -> None:
        """`given`: the parts of `batch` that win over the environment of a directory, as `limit_seconds` does.

        `environment`: that of `pdk run`.
        """
        self.batch = batch
        self.counts: Counter[str] = Counter()
        self.problems: list[tuple[str, str]] = []
        """Status and name of the tests that failed or could not complete."""
        self.named_alike: Counter[str] = Counter()
        """Results that are called as one before them, by their name, the first name first: an import drops them."""
        self._seen = Seen()
        self._log = log
        self._given = given
        self._prefix = environment.get("PDK_TESTPREFIX", "")
        if self._prefix and not self._prefix.endswith(("/", ".")):
            self._prefix += "/"
        self._limit_seconds = limit_seconds
        self._parallel = max(1, min(parallel, len(folders)))
        self._environments = Environments({**environment, **self.batch.variables(), "PDK_PARALLEL": str(parallel)})
        self._waiting = deque(folders)
        self._total = sum(len(folder.suites) for folder in folders)
        self._done = 0
        self._lock = Lock()
        self._stop_reason = ""
        self._slots: list[_Slot] = []
        self._threads: list[Thread] = []
        self._scratch = tempfile.TemporaryDirectory(prefix="pdk-run-", ignore_cleanup_errors=True)

    def start(self) -> None:
        """Begin."""
        for number in range(self._parallel):
            scratch = Path(self._scratch.name) / str(number)
            scratch.mkdir()
            self._slots.append(_Slot(number, scratch))
        self._threads = [Thread(target=self._work, args=(slot,), daemon=True) for slot in self._slots]
        for thread in self._threads:
            thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until all is over. Returns whether it is."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self, reason: str) -> None:
        """Begin nothing more, and stop what runs; each test that was running leaves a result that says `reason`."""
        with self._lock:
            self._stop_reason = reason
            self._waiting.clear()
            processes = [slot.process for slot in self._slots if slot.process]
        for process in processes:
            process.ask_to_stop(reason)
        for process in processes:
            process.insist()

    def kill(self) -> None:
        """Stop what runs, now."""
        for slot in self._slots:
            if slot.process:
                slot.process.kill()

    def close(self) -> None:
        """Remove the scratch files."""
        self._scratch.cleanup()

    def view(self) -> View:
        """What is going on. To be called by one thread."""
        with self._lock:
            counts = self.counts.copy()
            executions = [(slot, slot.execution) for slot in self._slots if slot.execution]
            done = self._done
        running = []
        for slot, execution in executions:
            slot.journal = slot.journal or execution.watch()
            seen = slot.journal.read()
            counts += seen.counts
            test = next((test.name for test in seen.running.values()), "")
            running.append(Now(execution.name, test, execution.began))
        return View(running, counts, done, self._total)

    # In the threads ---------------------------------------------------------------------------------------------

    def _work(self, slot: _Slot) -> None:
        while folder := self._next():
            place, refusal = self._place(folder, slot)
            for suite in folder.suites:
                if self._stop_reason:
                    return
                self._run(Execution(suite, place), refusal, slot)

    def _next(self) -> Folder | None:
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def _place(self, folder: Folder, slot: _Slot) -> tuple[Place, str]:
        """Where the tests of a directory are run, and why they cannot be, or nothing."""
        refusal = ""
        limit_seconds = None
        try:
            environment = self._environments.of(folder.path, folder.top)
            limit_seconds = self._limit_seconds or _limit(environment.get("PDK_TIMEOUT", ""), folder.path)
            batch = batch_of(self._given, environment, self.batch)
            refuse_relative(batch)
        except BadEnvironment as error:
            environment, refusal = dict(self._environments.outside), str(error)
            batch = batch_of(self._given, environment, self.batch)
        environment |= batch.variables() | {
            "PDK_DIRECTORY": str(folder.path),
            "PDK_TOP": str(folder.top),
            "PDK_TESTPREFIX": self._prefix + folder.prefix,
            "PDK_PROCESS_SLOT": str(slot.number),
        }
        if limit_seconds:
            environment["PDK_TIMEOUT"] = f"{limit_seconds:g}"
        return Place(folder, batch, environment, self._prefix, limit_seconds, self._log, slot.scratch), refusal

    def _run(self, execution: Execution, refusal: str, slot: _Slot) -> None:
        def hold(process: Process) -> None:
            with self._lock:
                slot.process = process
                reason = self._stop_reason
            if reason:
                process.ask_to_stop(reason)

        with self._lock:
            slot.execution, slot.journal = execution, None
        try:
            if refusal:
                execution.refuse(refusal)
            elif by := disabled_by(execution.suite, execution.context):
                execution.disable(by, hold)
            else:
                execution.run(hold)
        except Exception as error:  # noqa: BLE001  (what keeps one file from being run must not keep the others)
            execution.refuse(f"The tests could not be run: {str(error) or type(error).__name__}")
        finally:
            with self._lock:
                slot.process, slot.execution, slot.journal = None, None, None
                self.counts += execution.counts
                self.problems += execution.problems
                self.named_alike.update(one[-1] for one in execution.identities if not self._seen.is_first(one))
                self._done += 1


def _limit(text: str, directory: Path) -> float | None:
    """Seconds, from the environment of a directory; None is no limit."""
    try:
        seconds = float(text or 0)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < float("inf"):
        raise BadEnvironment(f"PDK_TIMEOUT={text} for {directory}", advice="It is a number of seconds.")
    return seconds or None
