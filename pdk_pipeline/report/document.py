"""A report's structure: what is told, before it is text or a page."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pdk_pipeline.comparison import Category, Change


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
    """Statuses: F, E, or what it changed from and to, P→D."""
    test: str
    """Or, of a whole place, what is the matter: nothing arrived, 5,012 tests expected."""
    where: str
    """banana (py311); on all 12 hosts."""
    note: str
    """since daily_2026-11-20, 4 nights."""
    results: int
    """How many results it stands for."""
    is_place: bool = False


class Group(NamedTuple):
    """What one project has of one category."""

    category: Category
    title: str
    lines: tuple[Line, ...]
    more: int
    """So many lines were cut off."""
    tests: int
    """How many different tests it stands for, those cut off included."""
    results: int
    """How many results: a test that breaks on 12 hosts is one test and 12 results."""


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
    """Of the statuses other than P."""


class Part(NamedTuple):
    """One project."""

    project: str
    essence: str
    """3 newly failing, 1 host silent, 12 missing."""
    groups: tuple[Group, ...]
    rows: tuple[Row, ...]
    nights: tuple[Point, ...]
    statuses: Mapping[str, int]


@dataclass(frozen=True)
class Document:
    """A report for one reader."""

    kind: Kind
    run: str
    against: str | None
    subject: str
    """One plain line: [pdk] calib daily_2026-11-23: 3 newly failing, 1 host silent, 12 missing."""
    essence: str
    """The numbers of it alone: 3 newly failing, 1 host silent, 12 missing. Or: all is well, 812 passed."""
    parts: tuple[Part, ...]
    changes: tuple[Change, ...]
    """Everything that the reader is told of, what was cut off for length included."""
    is_addendum: bool = False

    @property
    def is_all_well(self) -> bool:
        """Nothing that concerns the reader is failing, missing or silent."""
        raise NotImplementedError

    @property
    def is_empty(self) -> bool:
        """There is nothing in it that is so since this run (an addendum: nothing since the first mail)."""
        raise NotImplementedError

    @property
    def told(self) -> list[list[str | None]]:
        """What the reader knows then, JSON-able: keep it with the mail, `addendum` wants it back."""
        raise NotImplementedError

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        raise NotImplementedError
