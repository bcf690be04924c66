"""Many changes → few lines: the same change of the same test in several environments is told once."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from pdk_pipeline.comparison import Category, CauseKind, Environment
from pdk_pipeline.comparison.changes import FAILING
from pdk_pipeline.report import wording
from pdk_pipeline.report.document import Group, Line
from pdk_pipeline.results import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from pdk_pipeline.comparison import Change, Comparison

ARROW = "→"


def by_category(changes: Iterable[Change]) -> dict[Category, list[Change]]:
    """The changes of each category that has any, the most urgent category first."""
    found: defaultdict[Category, list[Change]] = defaultdict(list)
    for change in changes:
        found[change.category].append(change)
    return {category: found[category] for category in Category if category in found}


def phrases(changes: Iterable[Change]) -> list[str]:
    """How much there is of each category, the most urgent first: 3 newly failing; 1 host silent; 12 missing."""
    return [phrase(category, found) for category, found in by_category(changes).items()]


def phrase(category: Category, changes: Collection[Change]) -> str:
    """How much there is of a category. A test that breaks on 12 hosts is one, and so is a silent host."""
    if category is not Category.SILENT:
        return f"{_tests(changes):,} {wording.COUNTED[category]}"
    hosts = {change.host for change in changes if change.context is None}
    contexts = {environment(change) for change in changes if change.context is not None}
    told = [wording.number(len(hosts), "host silent", "hosts silent")] if hosts else []
    told += [wording.number(len(contexts), "context silent", "contexts silent")] if contexts else []
    return ", ".join(told)


def _count(category: Category, changes: Collection[Change]) -> int:
    """The number in the phrase."""
    return len({change.key[2:] for change in changes}) if category is Category.SILENT else _tests(changes)


def _tests(changes: Iterable[Change]) -> int:
    """How many different tests the changes stand for."""
    return len({(change.project, test) for change in changes for test in change.members.tests})


def groups(
    comparison: Comparison,
    changes: Iterable[Change],
    is_listed: Callable[[Change], bool],
    most_lines: int | None,
    told_elsewhere: Collection[str] = (),
) -> tuple[Group, ...]:
    """The changes of one project, by category; those that are not listed are counted.

    `most_lines`: no more of any category are made up; None is no limit. `told_elsewhere`: the silent hosts that are
    told once for all projects.
    """
    found = by_category(changes)
    known = _Known(comparison, found.get(Category.MISSING, ()))

    def group(category: Category, changes: Sequence[Change]) -> Group:
        here = [change for change in changes if not (_is_silent_host(change) and change.host in told_elsewhere)]
        listed = list(filter(is_listed, here))
        foldings = _foldings(listed)
        lines = tuple(_line(known, folding) for folding in foldings[:most_lines])
        in_all = foldings if len(listed) == len(here) else _foldings(here)
        more = len(in_all) - len(lines)
        return Group(
            category, phrase(category, changes), _detail(category, changes), _count(category, changes), lines, more
        )

    return tuple(group(category, of_it) for category, of_it in found.items())


def _is_silent_host(change: Change) -> bool:
    return change.category is Category.SILENT and change.context is None


def _detail(category: Category, changes: Sequence[Change]) -> str:
    """What the phrase leaves out: in how many places, and how much of it is old."""
    told = []
    results = sum(change.tests for change in changes)
    if results != _tests(changes) or (category is Category.SILENT and results):
        told.append(wording.number(results, "missing result" if category is Category.SILENT else "result"))
    older = [change for change in changes if not change.is_news]
    if category in {Category.SILENT, Category.MISSING} and older:
        count = _count(category, older)
        told.append("not new" if len(older) == len(changes) else f"{count:,} of them not new")
    return ", ".join(told)


# Hosts that are silent in several projects ----------------------------------------------------------------------


def wholly_silent(comparison: Comparison, changes: Iterable[Change]) -> dict[str, list[Change]]:
    """The hosts from which nothing arrived in any project, where the changes are of several projects."""
    by_host: defaultdict[str, list[Change]] = defaultdict(list)
    for change in changes:
        if _is_silent_host(change):
            by_host[change.host].append(change)
    reporting = {count.host for count in comparison.counts if count.status != Status.MISSING}
    return {host: found for host, found in by_host.items() if len(found) > 1 and host not in reporting}


def silent_hosts(hosts: Mapping[str, Sequence[Change]]) -> tuple[Group, ...]:
    """Those hosts, told once for all of their projects."""
    if not hosts:
        return ()
    every = [change for of_it in hosts.values() for change in of_it]
    lines = [
        Line(
            "",
            host,
            wording.whole_in_projects(of_it),
            wording.note(of_it),
            is_place=True,
        )
        for host, of_it in sorted(hosts.items())
    ]
    category = Category.SILENT
    return (Group(category, phrase(category, every), _detail(category, every), len(hosts), tuple(lines)),)


# Lines -------------------------------------------------------------------------------------------------------


class _Known:
    """What else is known of the tests: where they ran, and what is missing."""

    def __init__(self, comparison: Comparison, missing: Iterable[Change]) -> None:
        self.environments = comparison.environments
        self.has_past = comparison.against is not None
        self.missing: defaultdict[str | None, set[Environment]] = defaultdict(set)
        self.beneath: defaultdict[str, set[str | None]] = defaultdict(set)
        """By the test that could not be collected: the tests that are missing for that."""
        for change in missing:
            self.missing[change.test].add(environment(change))
            if change.cause is not None and change.cause.kind is CauseKind.COLLECTION_ERROR:
                self.beneath[change.cause.name].add(change.test)

    def ran(self, changes: Sequence[Change]) -> set[Environment]:
        """Where the test could have had the same change."""
        first = changes[0]
        changed = {environment(change) for change in changes}
        ran = set(self.environments.get((first.project, first.test or ""), ()))
        if first.category is not Category.MISSING:
            ran -= self.missing[first.test]
        return ran | changed


def environment(change: Change) -> Environment:
    """Where a change is."""
    return Environment(change.host, change.context or "", change.custom or "")


class _Folding(NamedTuple):
    """The changes that one line tells."""

    name: str
    changes: list[Change]
    is_place: bool = False
    is_beneath: bool = False
    """Of tests beneath `name`, which could not be collected."""


def _foldings(changes: Iterable[Change]) -> list[_Folding]:
    """What is told in a line each: the places first; of tests the latest, and what is wrong in most environments."""
    places: list[_Folding] = []
    tests: defaultdict[tuple[str, bool], list[Change]] = defaultdict(list)
    for change in changes:
        if change.test is None:
            name = wording.whole_place(change.host, change.context, change.custom)
            places.append(_Folding(name, [change], is_place=True))
        elif change.cause is not None and change.cause.kind is CauseKind.COLLECTION_ERROR:
            tests[change.cause.name, True].append(change)
        else:
            tests[change.test, False].append(change)
    order = sorted(tests.items(), key=lambda each: (min(one.nights for one in each[1]), -len(each[1]), each[0]))
    return places + [_Folding(name, of_it, is_beneath=is_beneath) for (name, is_beneath), of_it in order]


def _line(known: _Known, folding: _Folding) -> Line:
    name, changes, *_ = folding
    if folding.is_place:
        return Line("", name, wording.whole(changes[0]), wording.note(changes), is_place=True)
    changed = {environment(change) for change in changes}
    if folding.is_beneath:
        beneath = f"{name}: {wording.number(_tests(changes), 'test')} beneath it"
        return Line(_mark(changes), beneath, wording.several_places(changed), "it could not be collected")
    where = wording.where(changed, known.ran(changes))
    return Line(_mark(changes), name, where, wording.note(changes, _remark(known, name, changes)))


def _remark(known: _Known, name: str, changes: Sequence[Change]) -> str:
    """What there is to say of a test that fails."""
    if changes[0].now not in FAILING:
        return ""
    if known.beneath[name]:
        return f"could not be collected, {wording.number(len(known.beneath[name]), 'test')} beneath it missing"
    is_new = known.has_past and all(change.last is None and change.before is None for change in changes)
    return "a new test" if is_new else ""


def _mark(changes: Sequence[Change]) -> str:
    first = changes[0]
    if first.category in {Category.DISABLED, Category.CHANGED, Category.FIXED}:
        marks: Mapping[str, None] = dict.fromkeys(f"{change.last}{ARROW}{change.now}" for change in changes)
    else:
        marks = dict.fromkeys(change.now or "" for change in changes)
    return " ".join(sorted(marks))
