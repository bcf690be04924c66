"""In which order and how much of a document is shown, as text and as a page alike."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from pdk_pipeline.comparison import Category
from pdk_pipeline.report import wording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pdk_pipeline.report.document import Document, Group, Line, Part, Row

ALWAYS_SHOWN = "PFEM"
"""The statuses that are counted in every table; others are when they occur."""

IN_ORDER = "PFEDM"

OTHER = "other"
MOST_OWN = 2
"""So many of a site's own statuses have a column each."""

MOST_ROWS = 30
"""So many places are shown in numbers; of more, the worst."""

FEWEST_SHARED = 3
"""From so many lines on, what is the same of them is told once."""

TABLE = (Category.NEWLY_FAILING, Category.SILENT, Category.MISSING, Category.STILL_FAILING, Category.FIXED)
"""What the table of projects counts."""


def failing(statuses: Mapping[str, int]) -> int:
    """How many results failed or ended with an error."""
    return statuses.get("F", 0) + statuses.get("E", 0)


def missing(statuses: Mapping[str, int]) -> int:
    """How many results are missing."""
    return statuses.get("M", 0)


def is_bad(statuses: Mapping[str, int]) -> bool:
    """Whether anything failed or is missing."""
    return bool(failing(statuses) or missing(statuses))


def statuses_of(document: Document) -> list[str]:
    """The statuses to show; OTHER stands for a site's own when they are many."""
    occur = {status for status, results in document.statuses.items() if results} | set(ALWAYS_SHOWN)
    own = sorted(occur - set(IN_ORDER))
    return [status for status in IN_ORDER if status in occur] + (own if len(own) <= MOST_OWN else [OTHER])


def figures(statuses: Mapping[str, int], shown: Sequence[str]) -> list[int]:
    """How many results there are of each of the statuses that are shown."""
    other = sum(results for status, results in statuses.items() if status not in IN_ORDER)
    return [other if status == OTHER else statuses.get(status, 0) for status in shown]


class Places(NamedTuple):
    """The table of places."""

    rows: tuple[tuple[str, tuple[Row, ...]], ...]
    """By project: the numbers of the worst places."""
    well: int
    """In so many places nothing failed or is missing; they are not shown, unless all can be."""
    more: int
    """So many others are not shown."""


def places(document: Document) -> Places:
    """The places to show, in the order of their names."""
    every = [(part.project, row) for part in document.parts for row in part.rows]
    bad = [each for each in every if is_bad(each[1].statuses)]
    shown, well = every, 0
    if len(every) > MOST_ROWS:
        shown = sorted(bad, key=lambda each: (-failing(each[1].statuses), -missing(each[1].statuses)))[:MOST_ROWS]
        well = len(every) - len(bad)
    by_project: dict[str, list[Row]] = {}
    for project, row in sorted(shown, key=lambda each: (each[0], *each[1][:3])):
        by_project.setdefault(project, []).append(row)
    rows = tuple((project, tuple(of_it)) for project, of_it in by_project.items())
    return Places(rows, well, len(every) - len(shown) - well)


def labels(rows: Sequence[Row]) -> list[str]:
    """What tells the places of a project apart: the host, with its context where it has several."""
    hosts = Counter(row.host for row in rows)
    return [row.host if hosts[row.host] == 1 else wording.place_of(row) for row in rows]


class Cluster(NamedTuple):
    """Lines of which the same is said; it is said once when they are many."""

    where: str
    note: str
    lines: tuple[Line, ...]


def clusters(lines: Sequence[Line]) -> list[Cluster]:
    """The lines in the order of the first of their cluster; a line of which nobody shares the place stands alone."""
    shared = Counter((line.where, line.note) for line in lines if not line.is_place)
    found: dict[object, list[Line]] = {}
    for number, line in enumerate(lines):
        told = line.where, line.note
        is_alone = line.is_place or shared[told] < FEWEST_SHARED
        found.setdefault(number if is_alone else told, []).append(line)
    return [
        Cluster(of_it[0].where, of_it[0].note, tuple(of_it)) if len(of_it) > 1 else Cluster("", "", tuple(of_it))
        for of_it in found.values()
    ]


class Projects(NamedTuple):
    """The projects of a document by how they are."""

    troubled: tuple[Part, ...]
    """Of these something is to be told, the worst first."""
    only_silent: tuple[str, ...]
    """Of these nothing but the silent hosts that are told for all projects at once."""
    well: tuple[str, ...]


def projects(document: Document) -> Projects:
    """How each project of a document is."""
    told_at_once = any(group.category is Category.SILENT for group in document.groups)

    def is_told(group: Group) -> bool:
        return bool(group.lines or group.more or not (told_at_once and group.category is Category.SILENT))

    def order(part: Part) -> tuple[object, ...]:
        counts = {group.category: group.number for group in part.groups}
        return (*(-counts.get(category, 0) for category in Category), part.project)

    troubled = [part for part in document.parts if any(map(is_told, part.groups))]
    return Projects(
        tuple(sorted(troubled, key=order)),
        tuple(part.project for part in document.parts if part.groups and part not in troubled),
        tuple(part.project for part in document.parts if not part.groups),
    )
