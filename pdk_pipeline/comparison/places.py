"""Whole places, told at once: hosts, or environments of a host, that are silent, back, new or gone."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from pdk_pipeline.comparison.changes import Category, Environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pdk_pipeline.comparison.history import Cell


TOLD_AT_ONCE = (Category.MISSING, Category.GONE, Category.BACK, Category.NEW)
"""What the tests of a place are that can be told together; those missing make it silent."""


class WholePlace(NamedTuple):
    """A place that is told at once."""

    category: Category
    project: str
    host: str
    context: str | None
    """None, like `custom`: the whole host."""
    custom: str | None
    cells: list[Cell]
    reported: bool
    """It had other results than M in the run compared with."""
    was_silent: bool
    """It is silent, and had only M there."""


@dataclass
class Tally:
    """What a place had in the two runs, and which of its cells are to be told."""

    results: int = 0
    """In the run, M included."""
    arrived: int = 0
    """Those that a log brought."""
    results_before: int = 0
    """In the run compared with."""
    reported_before: int = 0
    """Those other than M."""
    was_seen: bool = False
    """One of its cells at least was known before the run."""
    cells: defaultdict[Category, list[Cell]] = field(default_factory=lambda: defaultdict(list))

    def add(self, other: Tally) -> None:
        """Count another place in."""
        self.results += other.results
        self.arrived += other.arrived
        self.results_before += other.results_before
        self.reported_before += other.reported_before
        self.was_seen |= other.was_seen
        for category, cells in other.cells.items():
            self.cells[category] += cells

    def told(self, project: str, host: str, context: str | None = None, custom: str | None = None) -> WholePlace:
        """The place as it is told at once; without cells when it is nothing in particular."""
        category, cells = self._whole()
        was_silent = bool(category is Category.SILENT and self.results_before and not self.reported_before)
        return WholePlace(category, project, host, context, custom, cells, self.reported_before > 0, was_silent)

    def _whole(self) -> tuple[Category, list[Cell]]:
        """What the place as a whole is, with the cells that are told by that; none when it is nothing in particular."""
        if not self.arrived and (self.results or self.reported_before):
            return Category.SILENT, self.cells[Category.MISSING] + self.cells[Category.GONE]
        if not self.arrived:
            return Category.GONE, self.cells[Category.GONE]
        category = Category.BACK if self.was_seen else Category.NEW
        return category, [] if self.reported_before else self.cells[category]


def whole_places(tallies: Mapping[tuple[str, Environment], Tally]) -> Iterator[WholePlace]:
    """The places that are told at once, each with its cells; no cell twice.

    A host before its environments. Where one test is all there is, the test is told by its name, but a host
    that is silent is always one.
    """
    hosts: defaultdict[tuple[str, str], list[tuple[Environment, Tally]]] = defaultdict(list)
    for (project, environment), tally in tallies.items():
        hosts[project, environment.host].append((environment, tally))
    for (project, host), environments in hosts.items():
        host_tally = Tally()
        for _, tally in environments:
            host_tally.add(tally)
        place = host_tally.told(project, host)
        if place.category is Category.SILENT or len(place.cells) > 1:
            yield place
        elif len(environments) > 1:
            parts = (tally.told(project, *environment) for environment, tally in environments)
            yield from (part for part in parts if len(part.cells) > 1)
