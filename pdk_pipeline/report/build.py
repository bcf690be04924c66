"""A comparison → the document that one reader gets."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pdk_pipeline.comparison import Category, Key
from pdk_pipeline.comparison.changes import PROBLEMS
from pdk_pipeline.report import fold, wording
from pdk_pipeline.report.document import Document, Group, Kind, Line, Part, Point, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from pdk_pipeline.comparison import Change, Comparison

MOST_PROJECTS_NAMED = 3
"""So many projects are named in a subject."""


@dataclass(frozen=True)
class Wish:
    """What a reader wants to see of a project."""

    tests: Callable[[str, str], bool] | None = None
    """Given project and test name: whether the test concerns the reader. None: every test does."""
    results: Collection[int] | None = None
    """Ids of the results that concern the reader; results that passed have none here and are left out."""
    kind: Kind = Kind.FULL
    most_lines: int | None = None
    """So many lines of tests at most, the most urgent first; None: no limit."""

    @property
    def is_of_everything(self) -> bool:
        """Whether the reader sees the whole project."""
        return self.tests is None and self.results is None

    def lists(self, change: Change) -> bool:
        """Whether the reader wants to see this change by its name."""
        if self.kind is Kind.SUMMARY:
            return change.category is Category.SILENT
        return self.kind is Kind.FULL or change.is_news


def build(
    comparison: Comparison,
    *,
    projects: Collection[str] | None = None,
    tests: Callable[[str, str], bool] | None = None,
    results: Collection[int] | None = None,
    kind: Kind = Kind.FULL,
    most_lines: int | None = None,
    wishes: Mapping[str, Wish] | None = None,
) -> Document:
    """What a reader is told who is concerned with some results only.

    `projects`: None is all of them. `tests(project, test name)`: whether the reader wants to hear of a test.
    `results`: ids of the run's results that the reader is concerned with (see `Wish`). All that are given must hold.
    A silent host is told with the number of the reader's own tests.
    `most_lines`: so many lines of tests at most in all, the most urgent of every project first; None is no limit.
    `wishes`: by project, when they differ from one to the other; the rest is not looked at then.
    """
    chosen = _wishes(comparison, projects, Wish(tests, results, kind, most_lines), wishes)
    changes = _concerned(comparison, chosen)
    told = [change for of_project in changes.values() for change in of_project]
    at_once = fold.wholly_silent(comparison, told)
    parts = [_part(comparison, project, wish, changes[project], at_once) for project, wish in chosen.items()]
    silent, parts = _cut_parts(fold.silent_hosts(at_once), parts, most_lines, wishes)
    statuses = sum((Counter(part.statuses) for part in parts), Counter[str]())
    essence = _essence(told, statuses, is_whole=all(wish.is_of_everything for wish in chosen.values()))
    return _document(comparison, parts, essence, (change.key for change in told), silent)


def addendum(
    comparison: Comparison,
    told: Iterable[Sequence[str | None]],
    *,
    projects: Collection[str] | None = None,
    tests: Callable[[str, str], bool] | None = None,
    results: Collection[int] | None = None,
    kind: Kind = Kind.FULL,
    most_lines: int | None = None,
    wishes: Mapping[str, Wish] | None = None,
    whole: Comparison | None = None,
) -> Document:
    """Only what changed since a first document of the same run, whose `told` is given. The rest is as in `build`.

    `whole`: when `comparison` is the part of it that concerns the reader now, all of it.

    What is new is listed as always; what was told as failing, missing or silent and is so no more (a host's log
    arrived late) is listed as settled. `document.is_empty` says that there is nothing to send.
    """
    before = {Key._make(key) for key in told}
    chosen = _wishes(comparison, projects, Wish(tests, results, kind, most_lines), wishes)
    changes = _concerned(comparison, chosen)
    now = {change.key for of_project in changes.values() for change in of_project}
    # What is no longer the reader's is not settled by that.
    as_bad_as_ever = {change.key[1:] for change in (whole or comparison).changes if change.category in PROBLEMS}
    fresh_of = {
        project: [change for change in of_project if change.key not in before]
        for project, of_project in changes.items()
    }
    at_once = fold.wholly_silent(comparison, [change for fresh in fresh_of.values() for change in fresh])
    parts = []
    for project, wish in chosen.items():
        fresh = fresh_of[project]
        settled = [key for key in before - now if key.project == project and key[1:] not in as_bad_as_ever]
        part = _part(comparison, project, wish, fresh, at_once)
        groups = [*part.groups, *_settled(settled, fresh, wish)]
        if groups:
            essence = ", ".join(group.phrase for group in groups)
            parts.append(part._replace(groups=tuple(groups), essence=essence, rows=(), nights=()))
    silent, parts = _cut_parts(fold.silent_hosts(at_once), parts, most_lines, wishes)
    essence = "; ".join(part.essence for part in parts) or "nothing changed"
    return _document(comparison, parts, essence, sorted(now, key=_as_text), silent, is_addendum=True)


def _as_text(key: Key) -> tuple[str, ...]:
    return tuple(part or "" for part in key)


# What concerns the reader ------------------------------------------------------------------------------------


def _wishes(
    comparison: Comparison, projects: Collection[str] | None, same: Wish, wishes: Mapping[str, Wish] | None
) -> dict[str, Wish]:
    """The wish for each project that the document has, by name."""
    known = {count.project for count in comparison.counts} | {change.project for change in comparison.changes}
    if wishes is not None:
        return {project: wishes[project] for project in sorted(known & wishes.keys())}
    return dict.fromkeys(sorted(known if projects is None else known & set(projects)), same)


def _concerned(comparison: Comparison, wishes: Mapping[str, Wish]) -> dict[str, list[Change]]:
    """The changes that concern the reader, by project."""
    concerned: dict[str, list[Change]] = {project: [] for project in wishes}
    for change in comparison.changes:
        wish = wishes.get(change.project)
        part = change.part(wish.tests, wish.results) if wish else None
        if part is not None:
            concerned[change.project].append(part)
    return concerned


# Parts -------------------------------------------------------------------------------------------------------


def _part(
    comparison: Comparison, project: str, wish: Wish, changes: Sequence[Change], told_elsewhere: Collection[str]
) -> Part:
    """One project. `told_elsewhere`: the silent hosts that are told once for all projects."""
    places: defaultdict[tuple[str, str, str], dict[str, int]] = defaultdict(dict)
    statuses: defaultdict[str, int] = defaultdict(int)
    for count in comparison.counts:
        if count.project == project:
            places[count.host, count.context, count.custom][count.status] = count.results
            statuses[count.status] += count.results
    is_whole = wish.is_of_everything
    return Part(
        project,
        _essence(changes, statuses, is_whole=is_whole),
        fold.groups(
            comparison,
            changes,
            wish.lists,
            wish.most_lines,
            told_elsewhere,
        ),
        dict(statuses),
        tuple(Row(*place, held) for place, held in sorted(places.items())) if is_whole else (),
        tuple(Point(night.run, night.statuses.get(project, {})) for night in comparison.nights) if is_whole else (),
        tuple(changes),
    )


def _essence(changes: Sequence[Change], statuses: Mapping[str, int], *, is_whole: bool) -> str:
    """The numbers in a line. `is_whole`: the reader sees all of what the `statuses` count."""
    if not changes and not any(statuses.values()):
        return "no results"  # which is not the same as: all well
    told = fold.phrases(changes)
    if not any(change.category in PROBLEMS for change in changes):
        told.insert(0, f"all well, {statuses.get('P', 0):,} passed" if is_whole else "all well")
    return ", ".join(told)


def _settled(keys: Collection[Key], fresh: Collection[Change], wish: Wish) -> list[Group]:
    """What was told before and is so no more, and is not told of in another way either."""
    elsewhere = {change.key[1:] for change in fresh}
    lines: defaultdict[Category, list[Line]] = defaultdict(list)
    for key in sorted(keys, key=_as_text):
        category = Category(key.category)
        if category in PROBLEMS and key[1:] not in elsewhere:
            where = wording.key_place(key)
            lines[category].append(
                Line("", where, "", "", is_place=True) if key.test is None else Line("", key.test, where, "")
            )
    groups = []
    for category in Category:
        number = len(lines[category])
        if number:
            listed = lines[category] if wish.kind is not Kind.SUMMARY or category is Category.SILENT else []
            told = f"{number:,} no longer {wording.PROBLEM_NAMES[category]}"
            more = number - len(listed)
            groups.append(Group(category, told, "", number, tuple(listed), more, is_settled=True))
    return groups


def _cut_parts(
    silent: tuple[Group, ...],
    parts: Sequence[Part],
    most_lines: int | None,
    wishes: Mapping[str, Wish] | None,
) -> tuple[tuple[Group, ...], list[Part]]:
    """All of it with no more lines than wanted: in all, or of each project as its wish says."""
    if wishes is None:
        silent, *cut = _cut([silent, *(part.groups for part in parts)], most_lines)
    else:
        limits = [wishes[part.project].most_lines for part in parts]
        (silent,) = _cut([silent], None if None in limits else max(filter(None, limits), default=0))
        cut = [_cut([part.groups], limit)[0] for part, limit in zip(parts, limits, strict=True)]
    return silent, [part._replace(groups=groups) for part, groups in zip(parts, cut, strict=True)]


def _cut(every: Sequence[tuple[Group, ...]], most_lines: int | None) -> list[tuple[Group, ...]]:
    """The groups with at most so many lines in all: the most urgent category everywhere before the next."""
    if most_lines is None:
        return list(every)
    order = list(Category)
    numbered = [
        (group.is_settled, order.index(group.category), number, place, group)
        for number, groups in enumerate(every)
        for place, group in enumerate(groups)
    ]
    left = max(most_lines, 0)
    kept: dict[tuple[int, int], Group] = {}
    for _, _, number, place, group in sorted(numbered, key=lambda each: each[:4]):
        lines = group.lines[:left]
        left -= len(lines)
        kept[number, place] = group._replace(lines=lines, more=group.more + len(group.lines) - len(lines))
    return [tuple(kept[number, place] for place in range(len(groups))) for number, groups in enumerate(every)]


def _document(
    comparison: Comparison,
    parts: Sequence[Part],
    essence: str,
    state: Iterable[Key],
    groups: tuple[Group, ...],
    *,
    is_addendum: bool = False,
) -> Document:
    names = [part.project for part in parts]
    if len(names) > MOST_PROJECTS_NAMED:
        names = [f"{len(names)} projects"]
    about = " ".join(filter(None, (", ".join(names), comparison.run.name)))
    return Document(
        comparison.run.name,
        comparison.against.name if comparison.against else None,
        wording.plain(f"[pdk] {about}{', addendum' if is_addendum else ''}: {essence}"),
        essence,
        groups,
        tuple(parts),
        tuple(state),
        is_addendum,
    )
