"""One file of tests, run: by pytest, or as a program that is told by its exit status.

A pytest writes into the log itself, as it goes. A program may write records of its own: its PDK_LOG is a file that
already says what all of them have in common, and that is read when it has ended. What it leaves unfinished there
(attributes, as a rule) becomes part of the result that its exit status makes.

Nothing ends in silence: whatever is not explained by a result that is there leaves one of status E, named after the
test that was running, or after the file.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from pdk_pipeline.formats.pdk_writer import fields_as_text
from pdk_pipeline.formats.text import encodable, readable
from pdk_pipeline.results import Status
from pdk_pipeline.runner import journal, own_records
from pdk_pipeline.runner.journal import Journal
from pdk_pipeline.runner.log_writer import log_of, result_of
from pdk_pipeline.runner.process import Ended, Process
from pdk_pipeline.runner.tree import Folder, Kind, Suite

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pdk_pipeline.results import Result
    from pdk_pipeline.runner.batch import Batch
    from pdk_pipeline.runner.log_writer import LogWriter
    from pdk_pipeline.runner.own_records import OwnRecords

COLLECTION_SECONDS = 60.0
"""How long pytest may take to name the tests of a disabled file, unless the time limit is shorter."""

ALL_PASSED, SOME_FAILED, NONE_THERE = 0, 1, 5
"""Exit statuses of a pytest that got to its end. That of files that could not be collected is none of them."""


_numbers = itertools.count()


class Place(NamedTuple):
    """All that running a file of tests needs to know besides the file."""

    folder: Folder
    batch: Batch
    environment: Mapping[str, str]
    prefix: str
    """What stands before the names of all tests."""
    limit_seconds: float | None
    log: LogWriter
    scratch: Path
    """A directory for the files of one execution at a time."""


class Execution:
    """One file of tests, from its start to its results."""

    def __init__(self, suite: Suite, place: Place) -> None:
        self.suite = suite
        self.name = encodable(place.prefix + place.folder.prefix + suite.name)
        """Of the test, or what the names of its tests begin with."""
        self.began = time.time()
        self.counts: Counter[str] = Counter()
        """Results by status, once it is over."""
        self.problems: list[tuple[str, str]] = []
        """Status and name of the tests that failed or could not complete, once it is over."""
        self.identities: list[tuple[str, ...]] = []
        """Of the results, once it is over."""
        self._place = place
        self._journal = place.scratch / f"journal-{next(_numbers)}"  # its own: somebody may still read the last one
        self._own_log = place.scratch / "log"

    @property
    def context(self) -> str:
        """The context that the tests run in."""
        return self._place.batch.context

    def watch(self) -> Journal:
        """A view of a pytest while it runs."""
        return Journal(self._journal)

    def run(self, hold: Callable[[Process], None]) -> None:
        """Run the tests and write their results. `hold` is given the process once it has started. Raises OSError."""
        self._clear()
        if self.suite.kind is Kind.PYTEST:
            self._run_pytest(hold)
        else:
            self._run_program(hold)

    def disable(self, by: Path, hold: Callable[[Process], None]) -> None:
        """Write that the tests are disabled: each one by its name, when pytest can tell them. Raises OSError."""
        self._clear()
        reason = readable(by.read_bytes()[:1000]).strip() if by.is_file() else ""
        reason = f"{by.name}: {reason}" if reason else by.name
        if self.suite.kind is Kind.PYTEST:
            limit = min(self._place.limit_seconds or COLLECTION_SECONDS, COLLECTION_SECONDS)
            self._ended(self._pytest("--collect-only", f"--pdk-disabled={reason}"), hold, limit)
            self._take_over(self.watch().read())
        if not self.counts:
            self._add(Status.DISABLED, self.name, attributes={"skip": reason})

    def refuse(self, why: str) -> None:
        """Write that the tests cannot be run."""
        self._add(Status.ERROR, self.name, log=why)

    def _clear(self) -> None:
        for file in self._place.scratch.iterdir():
            file.unlink()

    def _ended(self, command: list[str], hold: Callable[[Process], None], limit_seconds: float | None) -> Ended:
        """Run a command to its end. Raises OSError when it cannot be started."""
        self._own_log.write_bytes(own_records.preamble(self._place.batch, self.suite.path, self._runner))
        is_pytest = self.suite.kind is Kind.PYTEST
        process = Process(
            command,
            self._place.folder.path,
            {**self._place.environment, "PDK_FILE": self.suite.path.name, "PDK_LOG": str(self._own_log)},
            # Of pytest, an interruption tells where the test was, and clears away.
            asked_to_stop_by=signal.SIGINT if is_pytest else signal.SIGTERM,
            on_stop=lambda reason: journal.stopping(self._journal, reason),
        )
        hold(process)
        return process.wait(limit_seconds)

    @property
    def _runner(self) -> str:
        return "pytest" if self.suite.kind is Kind.PYTEST else "run"

    # Python tests -----------------------------------------------------------------------------------------------

    def _run_pytest(self, hold: Callable[[Process], None]) -> None:
        ended = self._ended(self._pytest(), hold, self._place.limit_seconds)
        seen = self.watch().read()
        self._take_over(seen)
        for test in seen.running.values():
            self._add(Status.ERROR, test.name, start=test.since, attributes=_told(ended), log=_why(ended))
        if not self._is_explained(ended):
            self._add(Status.ERROR, self.name, start=self.began, attributes=_told(ended), log=_why(ended))
        own = self._write_own_records()
        if own.bad or own.is_unfinished_test:
            text = "\n\n".join(filter(None, [own.bad, readable(own.unfinished)]))
            self._add(Status.ERROR, self.name, log=f"Records in PDK_LOG that cannot be used:\n\n{text}")

    def _pytest(self, *options: str) -> list[str]:
        batch = self._place.batch
        return [
            sys.executable,
            "-P",  # what lies beside the tests must not stand in for what pytest imports
            *("-m", "pytest", "-p", "pdk", *options),
            f"--pdk-log={self._place.log.path}",
            f"--pdk-journal={self._journal}",
            f"--pdk-run={batch.test_run}",
            f"--pdk-project={batch.project}",
            f"--pdk-host={batch.host}",
            f"--pdk-context={batch.context}",
            f"--pdk-custom={batch.custom}",
            f"--pdk-prefix={self._place.prefix}",
            f"--pdk-top={self._place.folder.top}",
            str(self.suite.path),
        ]

    def _take_over(self, seen: Journal) -> None:
        self.counts += seen.counts
        self.problems += seen.problems
        self.identities += [(*self._place.batch, name) for name in seen.names]

    def _is_explained(self, ended: Ended) -> bool:
        """Whether the results that are there say why pytest ended as it did."""
        if ended.reason or ended.exit_status not in {ALL_PASSED, SOME_FAILED, NONE_THERE}:
            return any(status == Status.ERROR for status, _ in self.problems)
        if ended.exit_status == SOME_FAILED:
            return bool(self.problems)
        return bool(self.counts) or ended.exit_status == NONE_THERE

    # Programs ---------------------------------------------------------------------------------------------------

    def _run_program(self, hold: Callable[[Process], None]) -> None:
        path = self.suite.path
        command = [str(path)] if path.suffix != ".sh" or _starts_itself(path) else ["/bin/sh", str(path)]
        try:
            ended = self._ended(command, hold, self._place.limit_seconds)
        except OSError as error:
            self._add(Status.ERROR, self.name, start=self.began, log=f"{path} cannot be started: {error.strerror}")
            return
        own = self._write_own_records()
        status = _status_of(ended)
        is_explained = status == Status.PASS or (status == Status.FAIL and bool(self.problems))
        if not own.results or not is_explained or own.bad or own.is_unfinished_test:
            self._add_from_exit(ended, Status.ERROR if own.bad or own.is_unfinished_test else status, own)

    def _write_own_records(self) -> OwnRecords:
        own = own_records.read(self._own_log)
        for result in own.results:
            self._write(result)
        return own

    def _add_from_exit(self, ended: Ended, status: Status, own: OwnRecords) -> None:
        """The result that the exit status makes, with the fields that the program has written for it."""
        log = ended.output if ended.reason == "" and ended.exit_status >= 0 else _why(ended).encode()
        if own.bad:
            log = f"Records in PDK_LOG that cannot be used:\n\n{own.bad}\n\n".encode() + log
        fields = {"status": status, "start_time": f"{self.began:.6f}", "end_time": f"{time.time():.6f}"}
        fields |= {f"tra_{name}": str(value) for name, value in _told(ended).items()}
        if not own.is_unfinished_test:
            fields["test_name"] = self.name
        # As a script with `echo tda_x=3 >> $PDK_LOG` expects it: the rest of its record is ours.
        text = own_records.preamble(self._place.batch, self.suite.path, self._runner)
        text += own.unfinished + b"\n\n" + fields_as_text(fields, log_of(log)) + b"END\n"
        result = own_records.completed(text)
        if result:
            self._write(result)
        else:
            log = b"Fields in PDK_LOG that cannot be used:\n\n" + own.unfinished + b"\n\n" + log
            self._add(Status.ERROR, self.name, start=self.began, attributes=_told(ended), log=log)

    # Results ----------------------------------------------------------------------------------------------------

    def _add(
        self,
        status: Status,
        name: str,
        *,
        start: float | None = None,
        attributes: Mapping[str, object] | None = None,
        log: str | bytes = "",
    ) -> None:
        end = time.time() if start else None
        result = result_of(
            self._place.batch, name, status, runner=self._runner, location=str(self.suite.path),
            start=start, end=end, attributes=attributes, log=log,
        )  # fmt: skip
        self._write(result)

    def _write(self, result: Result) -> None:
        self._place.log.add(result)
        self.counts[result.status] += 1
        self.identities.append(result[:6])
        if result.status in "FE":
            self.problems.append((result.status, result.test_name))


def _starts_itself(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"#!" and os.access(path, os.X_OK)


def _status_of(ended: Ended) -> Status:
    """Source: Pandokia's shell_runner. 128 and more is what a shell says of a command that a signal killed."""
    if ended.reason or not 0 <= ended.exit_status < 128:
        return Status.ERROR
    return Status.PASS if ended.exit_status == 0 else Status.FAIL


def _told(ended: Ended) -> dict[str, object]:
    return {"exitcode": ended.exit_status} if ended.exit_status >= 0 else {"signal": -ended.exit_status}


def _why(ended: Ended) -> str:
    """What happened, and what was printed."""
    return f"{ended.reason or 'The process ended unexpectedly.'} ({ended})\n\n{readable(ended.output)}"
