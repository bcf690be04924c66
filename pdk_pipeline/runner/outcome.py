"""One test's reports from pytest, put together into one result."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from pdk_pipeline.results import Status

if TYPE_CHECKING:
    import pytest

_STATUS_OF_PHASE = {"setup": Status.ERROR, "call": Status.FAIL, "teardown": Status.ERROR}
"""What a failure in it means: a test that could not be set up or cleared away did not say that something is wrong."""


class Outcome:
    """What is known of a test so far: the reports of its phases, of its subtests and of the attempts before this one.

    An expected failure (xfail) counts as passed, and so does an unexpected pass unless it is strict; both are told
    in the attributes. A test that was not run (skip, xfail without a run) is disabled. A test that failed is
    failed, whatever comes of clearing away after it.
    """

    def __init__(self, name: str, location: str) -> None:
        self.name = name
        self.location = location
        self.start = time.time()
        self.end = self.start
        self.definition: dict[str, object] = {}
        self.attributes: dict[str, object] = {}
        self._phases: dict[str, pytest.TestReport] = {}
        self._subtests: Counter[str] = Counter()
        self._attempts: list[str] = []
        self._is_attempt_over = False
        self._texts: list[str] = []
        self._sections: list[tuple[str, str]] = []
        self._has_crashed = False

    def take(self, report: pytest.TestReport) -> bool:
        """Take a report in. Returns whether it is the last one of the test."""
        self._take_particulars(report)
        if getattr(report, "context", None) is not None:
            self._take_subtest(report)
            return False
        if str(report.outcome) == "rerun":  # pytest-rerunfailures
            self._begin_again(report)
            return False
        when = str(report.when)
        if self._is_attempt_over and when == "teardown":
            return False  # that of an attempt which is told of already
        self._is_attempt_over = False
        if when not in _STATUS_OF_PHASE:  # xdist: the worker has crashed
            self._has_crashed = True
            self._texts.append(report.longreprtext)
            return True
        self._phases[when] = report
        self._sections = report.sections
        if report.failed:
            heading = "" if when == "call" else f"Error in {when}:\n"
            self._texts.append(heading + report.longreprtext)
        return when == "teardown"

    def _take_particulars(self, report: pytest.TestReport) -> None:
        if report.start:
            self.start = min(self.start, report.start)
        self.end = max(self.end, report.stop)
        told: dict[str, Any] = getattr(report, "pdk", {})
        self.name = told.get("name", self.name)
        self.location = told.get("location", self.location)
        self.definition |= told.get("definition", {})
        self.attributes |= told.get("attributes", {})

    def _take_subtest(self, report: Any) -> None:
        outcome = "xfailed" if hasattr(report, "wasxfail") else report.outcome
        self._subtests[outcome] += 1
        if report.failed:
            about = report.context
            named = [f"[{about.msg}]"] if about.msg else []
            named += [f"{name}={value}" for name, value in about.kwargs.items()]
            self._texts.append(f"Subtest {' '.join(named)}:\n{report.longreprtext}\n{_shown(report.sections)}")

    def _begin_again(self, report: pytest.TestReport) -> None:
        if not self._is_attempt_over:
            status = _STATUS_OF_PHASE.get(str(report.when), Status.ERROR)
            self._attempts.append(f"{status}: {_in_a_line(report)}")
        self._texts.append(f"Attempt {len(self._attempts)}:\n{report.longreprtext}")
        self._phases.clear()
        self._subtests.clear()
        self._is_attempt_over = True

    @property
    def has_run(self) -> bool:
        """Whether it got as far as saying how it ended."""
        has_said = "call" in self._phases or any(not phase.passed for phase in self._phases.values())
        return has_said or self._has_crashed or bool(self._attempts)

    @property
    def status(self) -> Status:
        """The status of the result, from all that is known."""
        setup, call, teardown = (self._phases.get(when) for when in _STATUS_OF_PHASE)
        if self._has_crashed or (setup and setup.failed):
            return Status.ERROR
        if (call and call.failed) or self._subtests["failed"]:
            return Status.FAIL
        if teardown and teardown.failed:
            return Status.ERROR
        if (setup and setup.skipped) or (call and call.skipped and not hasattr(call, "wasxfail")):
            return Status.DISABLED
        return Status.PASS if call else Status.ERROR

    def told(self) -> dict[str, object]:
        """The attributes of the result, the tests' own ones included."""
        told: dict[str, object] = {}
        for phase in self._phases.values():
            if phase.failed and phase.when != "call":
                told["error_in"] = phase.when
            if hasattr(phase, "wasxfail"):
                told["xpass" if phase.passed else "xfail"] = phase.wasxfail.removeprefix("reason: ")
            elif phase.skipped:
                told["skip"] = skip_reason(phase.longrepr)
        told |= {f"subtests_{outcome}": number for outcome, number in self._subtests.items()}
        if self._attempts:
            told["attempts"] = len(self._attempts) + 1
            told |= {f"attempt_{number}": text for number, text in enumerate(self._attempts, 1)}
        return told | self.attributes

    def log(self) -> str:
        """Tracebacks, then what was captured."""
        return "\n\n".join(filter(None, [*self._texts, _shown(self._sections)]))

    def add_text(self, text: str, sections: list[tuple[str, str, str]] | None = None) -> None:
        """Add to the log what no report will tell: `text`, and what was captured as phase, stream and text."""
        self._texts.append(text)
        if sections:
            self._sections = [(f"Captured {stream} {when}", captured) for when, stream, captured in sections]


def skip_reason(longrepr: object) -> str:
    """Why something was skipped, from a report's longrepr."""
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr or "")
    return str(text).removeprefix("Skipped: ")


def _in_a_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message).partition("\n")[0] if crash else report.longreprtext.strip().rpartition("\n")[2]


def _shown(sections: list[tuple[str, str]]) -> str:
    return "\n".join(f"---- {heading} ----\n{text.rstrip()}" for heading, text in sections if text)
