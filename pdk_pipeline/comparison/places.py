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
    was_silent: bool
    """Nothing had arrived from it in the run compared with either."""


@dataclass
class Tally:
    """What a place had in the two runs, and which of its cells are to be told."""

    results: int = 0
    """In the run, M included."""
    arrived: int = 0
    results_before: int = 0
    arrived_before: int = 0
    was_seen: bool = False
    """One of its cells at least was known before the run."""
    cells: defaultdict[Category, list[Cell]] = field(default_factory=lambda: defaultdict(list))

    def add(self, other: Tally) -> None:
        """Count another place in."""
        self.results += other.results
        self.arrived += other.arrived
        self.results_before += other.results_before
        self.arrived_before += other.arrived_before
        self.was_seen |= other.was_seen
        for category, cells in other.cells.items():
            self.cells[category] += cells

    def whole(self) -> tuple[Category, list[Cell]]:
        """What the place as a whole is, with the cells that are told by that; none when it is nothing in particular."""
        if not self.arrived and (self.results or self.arrived_before):
            return Category.SILENT, self.cells[Category.MISSING] + self.cells[Category.GONE]
        if not self.arrived:
            return Category.GONE, self.cells[Category.GONE]
        category = Category.BACK if self.was_seen else Category.NEW
        return category, [] if self.arrived_before else self.cells[category]


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
        category, cells = host_tally.whole()
        if category is Category.SILENT or len(cells) > 1:
            yield WholePlace(category, project, host, None, None, cells, not host_tally.arrived_before)
            continue
        for environment, tally in environments if len(environments) > 1 else ():
            category, cells = tally.whole()
            if len(cells) > 1:
                yield WholePlace(category, project, *environment, cells, not tally.arrived_before)
