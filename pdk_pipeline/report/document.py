"""A report's structure: what is told, before it is text or a page."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from pdk_pipeline.comparison.changes import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pdk_pipeline.comparison import Category, Change, Key


class Kind(StrEnum):
    """How much a reader wants."""

    SUMMARY = "summary"
    """The numbers, and the places that are silent."""
    FULL = "full"
    """Everything that is bad or changed."""
    CHANGES = "changes"
    """Only what is so since this run: what goes on failing or missing is counted, not listed."""


class Line(NamedTuple):
    """One test with the same change in one or several environments, or one place."""

    mark: str
    """Statuses: F; E F; what it changed from and to, P→D. Empty for a place."""
    name: str
    """Of the test, or of the place: thor, thor (py312)."""
    where: str
    """banana (py311); on all 12 hosts. Of a place, what is the matter: nothing arrived, 5,012 tests expected."""
    note: str
    """since daily_2026-11-20, 4 nights."""
    is_place: bool = False


class Group(NamedTuple):
    """What one project has of one category; or what several have at once, a silent host."""

    category: Category
    phrase: str
    """How much: 3 newly failing; 1 host silent. A test that breaks on 12 hosts is one."""
    detail: str
    """More of the same, or empty: 14 results."""
    number: int
    """The number in the phrase."""
    lines: tuple[Line, ...]
    more: int = 0
    """So many lines are not listed: they were cut off, or the reader does not want them."""
    is_settled: bool = False
    """In an addendum: what was told before and is so no more."""


class Row(NamedTuple):
    """One place's numbers."""

    host: str
    context: str
    custom: str
    statuses: Mapping[str, int]


class Point(NamedTuple):
    """A project's night in numbers."""

    run: str
    statuses: Mapping[str, int]
    """Of the statuses other than P; of P too, where the comparison has it."""


class Part(NamedTuple):
    """One project."""

    project: str
    essence: str
    """3 newly failing, 1 host silent, 12 missing. Or: all well, 812 passed."""
    groups: tuple[Group, ...]
    statuses: Mapping[str, int]
    """Of the whole project, whatever part of it the reader sees."""
    rows: tuple[Row, ...]
    """By host, context and custom; only when the reader sees the whole project."""
    nights: tuple[Point, ...]
    """The last runs of the kind, the oldest first; only when the reader sees the whole project."""
    changes: tuple[Change, ...]
    """Everything that the reader is told of, what is only counted or was cut off included."""


@dataclass(frozen=True)
class Document:
    """A report for one reader."""

    run: str
    against: str | None
    """None: there was nothing to compare with."""
    subject: str
    """One plain line: [pdk] calib daily_2026-11-23: 3 newly failing, 1 host silent, 12 missing."""
    essence: str
    """The numbers of it alone: 3 newly failing, 1 host silent, 12 missing. Or: all well, 812 passed."""
    groups: tuple[Group, ...]
    """What is told once for several projects: the hosts that are silent in all that they have."""
    parts: tuple[Part, ...]
    state: tuple[Key, ...]
    """What is the case when it is told, with an addendum also what was told before."""
    is_addendum: bool = False

    @property
    def changes(self) -> tuple[Change, ...]:
        """Everything that the reader is told of, what is only counted or was cut off included."""
        return tuple(change for part in self.parts for change in part.changes)

    @property
    def nights(self) -> tuple[Point, ...]:
        """The last runs of the kind, the oldest first, all projects together."""
        held: dict[str, Counter[str]] = {}
        for part in self.parts:
            for point in part.nights:
                held.setdefault(point.run, Counter()).update(point.statuses)
        return tuple(Point(run, statuses) for run, statuses in held.items())

    @property
    def statuses(self) -> Mapping[str, int]:
        """The results of all projects by status."""
        return sum((Counter(part.statuses) for part in self.parts), Counter[str]())

    @property
    def is_all_well(self) -> bool:
        """There are results, and nothing that concerns the reader is failing, missing or silent."""
        return any(self.statuses.values()) and not any(change.category in PROBLEMS for change in self.changes)

    @property
    def is_empty(self) -> bool:
        """Nothing in it is so since this run; of an addendum: nothing changed since the first mail."""
        if self.is_addendum:
            return not any(part.groups for part in self.parts)
        return not any(change.is_news for change in self.changes)

    @property
    def told(self) -> list[list[str | None]]:
        """What the reader knows then, JSON-able: keep it with the mail, `addendum` wants it back."""
        return [list(key) for key in self.state]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "run": self.run,
            "against": self.against,
            "subject": self.subject,
            "is_all_well": self.is_all_well,
            "projects": [
                {
                    "project": part.project,
                    "essence": part.essence,
                    "statuses": dict(part.statuses),
                    "places": [row._asdict() | {"statuses": dict(row.statuses)} for row in part.rows],
                    "nights": [night._asdict() | {"statuses": dict(night.statuses)} for night in part.nights],
                    "changes": [change.as_json() for change in part.changes],
                }
                for part in self.parts
            ],
        }
