"""The words that a comparison is told in: categories, changes, nights."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from pdk_pipeline.results import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from pdk_pipeline.runs import Count, Run

FAILING = frozenset({Status.FAIL, Status.ERROR})


class Category(StrEnum):
    """What became of a test in one environment; the most urgent first. Every changed or bad result has exactly one.

    Three things decide: what the test reported *now*, what stands in the run compared with (*before*), and what it
    *last* reported: `before` when that is a report, else the newest report in the runs of the same kind before it.
    A test that was absent or missing for a night has therefore not changed; a test that failed, was
    missing while its host was off and fails again is still failing, not newly.

    | category      | now           | and                                                                     |
    | ------------- | ------------- | ----------------------------------------------------------------------- |
    | NEWLY_FAILING | F, E          | last not F or E, or it never reported                                   |
    | SILENT        | M, or nothing | nothing at all arrived from the place that it belongs to (below)        |
    | MISSING       | M             | its place is not silent                                                 |
    | STILL_FAILING | F, E          | last F or E                                                             |
    | FIXED         | P             | last F or E                                                             |
    | DISABLED      | D             | last any other                                                          |
    | CHANGED       | P, lower case | last any other, and it is no fix: D → P, P → x, F → x                   |
    | BACK          | P, D, l. case | last the same, but M or absent before; or it was expected and never seen |
    | NEW           | P, D, l. case | it never reported before and was not expected before this run           |
    | GONE          | nothing       | in the run before, missing or not; not expected now; no silent place    |

    A *place* is a project on a host, or, when the rest of the host reports, in one environment
    (host, context, custom) of it that has several tests. It is silent when it has expected tests (M), or reported in
    the run before, and not one result of it arrived now. (An M that a log itself reports did arrive; but it is no
    report of the test.) A host of which nothing is known yet is silent, without tests, in every project of a run
    whose night waited for it in vain.

    Without a run to compare with there are only NEWLY_FAILING, SILENT and MISSING.
    """

    NEWLY_FAILING = "newly_failing"
    SILENT = "silent"
    MISSING = "missing"
    STILL_FAILING = "still_failing"
    FIXED = "fixed"
    DISABLED = "disabled"
    CHANGED = "changed"
    BACK = "back"
    NEW = "new"
    GONE = "gone"


PROBLEMS = frozenset({Category.NEWLY_FAILING, Category.SILENT, Category.MISSING, Category.STILL_FAILING})
"""What somebody should look at. The others are good to know."""


class CauseKind(StrEnum):
    """Why something is missing."""

    COLLECTION_ERROR = "collection_error"
    """A test that contains it ended with an error before it could run."""
    QUARANTINED = "quarantined"
    """A log of its host could not be read, or not all of it."""


class Cause(NamedTuple):
    """Why tests are missing or a place is silent, where that can be told."""

    kind: CauseKind
    name: str
    """Of the test that ended with an error; of the log."""


class Key(NamedTuple):
    """What makes a change the same one, in whichever comparison it is found. As JSON it is a list."""

    category: str
    project: str
    host: str
    context: str | None
    custom: str | None
    test: str | None


class Environment(NamedTuple):
    """Where a test ran."""

    host: str
    context: str
    custom: str


class Members(NamedTuple):
    """The tests that one change stands for, in parallel."""

    tests: Sequence[str]
    result_ids: Sequence[int]
    """Rows of the run; 0 where there is none (GONE, and silent with nothing expected)."""


@dataclass(frozen=True, slots=True)
class Change:
    """One test in one environment that is not as it was, or not as it should be; or a whole place (`test` is None).

    Whole places are told at once when they are SILENT, BACK, NEW or GONE. `context` and `custom` are None when
    the whole host is meant.
    """

    category: Category
    project: str
    host: str
    context: str | None
    custom: str | None
    test: str | None
    before: str | None
    """Status in the run compared with; None: it was not there. Of a place: M when it was silent there too."""
    last: str | None
    """What it reported last, up to the run compared with; None: never, or it is missing as before."""
    now: str | None
    """Status in the run; None: it is not there. Of a place: M when it is silent and tests of it are expected."""
    since: str | None = None
    """Of failing, missing and silent: name of the run that it began in, among all runs of this kind.

    None, too, when the run compared with is not before this one.
    """
    nights: int = 0
    """… and in how many runs of this kind it was so, this one included."""
    is_longer: bool = False
    """… at least: it is not known where it began, since only so many runs are looked back."""
    cause: Cause | None = None
    """Why it is missing or silent, where that can be told."""
    members: Members = field(default=Members((), ()), repr=False, compare=False)

    @property
    def key(self) -> Key:
        """Stable from one comparison to the next."""
        return Key(self.category.value, self.project, self.host, self.context, self.custom, self.test)

    @property
    def tests(self) -> int:
        """How many tests it stands for; one in two contexts counts twice."""
        return len(self.members.tests)

    @property
    def is_news(self) -> bool:
        """Whether it was not so in the run compared with already."""
        if self.category in {Category.MISSING, Category.SILENT}:
            return self.before != Status.MISSING
        return self.category is not Category.STILL_FAILING

    def part(
        self, tests: Callable[[str, str], bool] | None = None, results: Collection[int] | None = None
    ) -> Change | None:
        """As somebody sees it who is concerned with some tests only (see `report.build`); None: not at all."""
        if tests is None and results is None:
            return self
        kept = [
            (test, result_id)
            for test, result_id in zip(self.members.tests, self.members.result_ids, strict=True)
            if (tests is None or tests(self.project, test)) and (results is None or result_id in results)
        ]
        if not kept:
            return None
        return replace(self, members=Members([test for test, _ in kept], [result_id for _, result_id in kept]))

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "category": self.category.value,
            "project": self.project,
            "host": self.host,
            "context": self.context,
            "custom": self.custom,
            "test": self.test,
            "tests": self.tests,
            "before": self.before,
            "last": self.last,
            "now": self.now,
            "since": self.since,
            "nights": self.nights,
            "is_longer": self.is_longer,
            "cause": self.cause._asdict() if self.cause else None,
        }


class Night(NamedTuple):
    """One of the last runs of the same kind, in numbers."""

    run: str
    statuses: Mapping[str, Mapping[str, int]]
    """By project: how many results have each status other than P; P too, where `compare` was asked for it."""


@dataclass(frozen=True)
class Comparison:
    """What changed from one run to another."""

    run: Run
    against: Run | None
    """None: there was nothing to compare with."""
    changes: tuple[Change, ...]
    """Ordered by project, category, test, host, context, custom."""
    counts: tuple[Count, ...]
    """The results of `run` by project, host, context, custom and status."""
    nights: tuple[Night, ...]
    """The newest runs of the kind up to `run`, which is the last."""
    environments: Mapping[tuple[str, str], tuple[Environment, ...]]
    """By project and test: where it ran in `run`. Only of tests with the same change in several environments."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "run": self.run.name,
            "against": self.against.name if self.against else None,
            "changes": [change.as_json() for change in self.changes],
            "counts": [count._asdict() for count in self.counts],
            "nights": [night._asdict() for night in self.nights],
        }
