"""Numbers, places and times in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdk_pipeline.comparison import Category, CauseKind, Environment
from pdk_pipeline.formats.text import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from pdk_pipeline.comparison import Change, Key
    from pdk_pipeline.report.document import Row

MOST_NAMES = 6
"""So many hosts are named in a line."""

DEFAULT_CONTEXT = "default"

COUNTED = {
    Category.NEWLY_FAILING: "newly failing",
    Category.MISSING: "missing",
    Category.STILL_FAILING: "still failing",
    Category.FIXED: "fixed",
    Category.DISABLED: "disabled",
    Category.CHANGED: "otherwise changed",
    Category.BACK: "back again",
    Category.NEW: "new",
    Category.GONE: "gone",
}

HEADINGS = {**COUNTED, Category.SILENT: "silent"}

PROBLEM_NAMES = {
    Category.NEWLY_FAILING: "failing",
    Category.SILENT: "silent",
    Category.MISSING: "missing",
    Category.STILL_FAILING: "failing",
}

AWAITED = "nothing arrived, though its night waited for it"
"""Of a host of the timetable from which nothing was expected yet."""

STATUS_NAMES = {"P": "passed", "F": "failed", "E": "error", "D": "disabled", "M": "missing"}


def number(value: int, noun: str = "", plural: str = "") -> str:
    """1 host; 5,012 hosts; of nothing in particular 5,012."""
    return counted(value, noun, plural) if noun else f"{value:,}"


def place(environment: Environment) -> str:
    """A host, with what tells its environments apart: banana (py311)."""
    rest = [part for part in (environment.context, environment.custom) if part and part != DEFAULT_CONTEXT]
    return f"{environment.host} ({', '.join(rest)})" if rest else environment.host


def whole_place(host: str, context: str | None, custom: str | None) -> str:
    """A place that is told at once: the host, or one environment of it, named even where it is the usual one."""
    if context is None:
        return host
    return f"{host} ({', '.join(filter(None, (context, custom))) or DEFAULT_CONTEXT})"


def place_of(row: Row) -> str:
    """The place that a row of numbers is about."""
    return place(Environment(row.host, row.context, row.custom))


def where(changed: Collection[Environment], ran: Collection[Environment]) -> str:
    """In which environments, of all those that ran the test: on all 12 hosts; on 3 of 12 hosts: a, b, c."""
    if len(changed) == 1:
        return place(*changed)
    hosts, all_hosts = {one.host for one in changed}, {one.host for one in ran}
    contexts = {one[1:] for one in changed}
    if len(hosts) == 1:
        every = {one for one in ran if one.host in hosts} <= set(changed)
        return f"{next(iter(hosts))}, in {'all ' if every else ''}{number(len(changed), 'context')}"
    if set(ran) <= set(changed):
        return f"on all {number(len(hosts), 'host')}"
    if len(contexts) == 1 and {one for one in ran if one[1:] in contexts} <= set(changed):
        name = ", ".join(part for part in next(iter(contexts)) if part) or DEFAULT_CONTEXT
        return f"{name} only, on all {number(len(hosts), 'host')}"
    if {one for one in ran if one.host in hosts} <= set(changed):
        return f"on {len(hosts):,} of {number(len(all_hosts), 'host')}: {several(sorted(hosts))}"
    return f"in {len(changed):,} of {number(len(ran), 'environment')}: {several(place(one) for one in sorted(changed))}"


def several(names: Iterable[str]) -> str:
    """The first few names: a, b, c, and that there are more."""
    names = list(names)
    return ", ".join(names[:MOST_NAMES]) + (" …" if len(names) > MOST_NAMES else "")


def several_places(environments: Collection[Environment]) -> str:
    """The first few environments of many, hosts only where that says it all."""
    if len(environments) == 1:
        return place(*environments)
    hosts = {one.host for one in environments}
    if len(hosts) == len(environments):
        return f"on {number(len(hosts), 'host')}: {several(sorted(hosts))}"
    return f"in {number(len(environments), 'environment')}: {several(place(one) for one in sorted(environments))}"


def key_place(key: Key) -> str:
    """Where something was, of which only the key is left."""
    if key.test is None or key.context is None:
        return whole_place(key.host, key.context, key.custom)
    return place(Environment(key.host, key.context, key.custom or ""))


def plain(text: str) -> str:
    r"""One line of text that cannot steer a terminal or a mail header: what cannot be shown as \x1b or \u202e."""
    return "".join(letter if letter.isprintable() or letter == " " else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def since(changes: Sequence[Change]) -> str:
    """How long it has been so; empty when it is so since this run."""
    longest = max(changes, key=lambda change: (change.nights, change.is_longer))
    if longest.nights <= 1:
        return ""
    if longest.is_longer:
        told = f"for {number(longest.nights, 'night')} or more"
    else:
        told = f"since {longest.since}, {number(longest.nights, 'night')}"
    spans = {(change.since, change.nights, change.is_longer) for change in changes}
    if len(spans) == 1:
        return told
    # Where one of them may be older than is known, nothing is "at most".
    return f"in part {told}" if any(change.is_longer for change in changes) else f"{told} at most"


def note(changes: Sequence[Change], *more: str) -> str:
    """What else is to be said of tests with the same change: since when, why."""
    causes = {change.cause.name for change in changes if change.cause and change.cause.kind is CauseKind.QUARANTINED}
    told = [since(changes), *more, f"{several(sorted(causes))} is in the quarantine" if causes else ""]
    return "; ".join(filter(None, told))


def whole(change: Change) -> str:
    """What is the matter with a whole place."""
    tests = number(change.tests, "test")
    if change.category is Category.SILENT and not change.tests:
        return AWAITED
    if change.category is Category.SILENT:
        return f"nothing arrived, {tests} expected" if change.now else f"nothing arrived, it had {tests} before"
    if change.category is Category.BACK:
        return f"reports again, {tests}"
    if change.category is Category.NEW:
        return f"reports for the first time, {tests}"
    return f"neither reports nor is expected, {tests}"


def whole_in_projects(changes: Sequence[Change]) -> str:
    """What is the matter with a host that is silent in several projects."""
    tests = sum(change.tests for change in changes)
    if not tests:
        return AWAITED
    return f"nothing arrived, {number(tests, 'test')} of {number(len(changes), 'project')} expected"
