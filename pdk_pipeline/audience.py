"""Whom a comparison of two runs concerns, and what of it each of them wants to see.

| who                            | is told                                                         | when             |
| ------------------------------ | --------------------------------------------------------------- | ---------------- |
| a contact                      | of the tests that the contact is for                            | one is a problem |
| subscribed, `full`             | of the whole project                                            | one is a problem |
| subscribed, `full-always`      | of the whole project                                            | always           |
| subscribed, `changes`          | of the whole project: only what is so since this run            | something is     |
| subscribed, `summary`          | the project's numbers, and which of its own tests are a problem | always           |
| subscribed, `none`             | nothing of the project, not even as a contact                   | never            |
| the setting `fallback_address` | as if it were the contact of the tests that have none           | one is a problem |

A problem is a test that fails, ended with an error, is missing, or belongs to a place that is silent. A subscription
says what somebody wants of a project as a contact, too, or else the same test would be told twice.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pdk_pipeline import addresses, contacts, report, subscriptions
from pdk_pipeline.comparison import Key
from pdk_pipeline.comparison.changes import PROBLEMS
from pdk_pipeline.report import Wish
from pdk_pipeline.subscriptions import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from pdk_pipeline.comparison import Change, Comparison
    from pdk_pipeline.config import Settings
    from pdk_pipeline.database import Connection
    from pdk_pipeline.outbox import Known
    from pdk_pipeline.subscriptions import Subscription

USUAL_LINES = 100
"""So many lines a project are told to who has not said how many: a mail is to be read, and long ones are cut off."""

MOST_LINES = 1000
"""Nobody is listed more tests of a project: mail servers do not take mails of any size."""

Test = tuple[str, str]
"""Project and name."""


@dataclass
class Reader:
    """One address, and all that concerns it."""

    address: str
    known: Known | None
    """None: nobody has told it of the run before."""
    contact_in: frozenset[str] = frozenset()
    """Projects that it is a contact in."""
    is_fallback: bool = False
    """Whether it stands in for the contacts of tests that have none."""
    own: set[Test] = field(default_factory=set)
    """Tests that it is a contact for, of those that changed or are bad."""
    changes: set[int] = field(default_factory=set)
    """Numbers of the changes that such tests are in."""
    subscribed: dict[str, Subscription] = field(default_factory=dict)
    """By project."""

    @functools.cached_property
    def told(self) -> list[list[str | None]]:
        """What it has been told of the run before."""
        return self.known.told if self.known else []

    @functools.cached_property
    def told_projects(self) -> frozenset[str]:
        """Projects that it has been told of before, of those that are its business still."""
        told = {Key._make(key).project for key in self.told}
        return frozenset(told if self.is_fallback else told & (self.contact_in | self.subscribed.keys()))

    @functools.cached_property
    def sees(self) -> object:
        """The same for readers who see the same."""
        wishes = frozenset((one.project, one.kind, one.most_lines) for one in self.subscribed.values())
        return frozenset(self.own), wishes, self.told_projects, self.known.packed if self.known else None

    def is_contact(self, project: str, test: str) -> bool:
        """Whether it is a contact for a test."""
        return (project, test) in self.own


@dataclass(frozen=True)
class _Summary(Wish):
    """The numbers; by its name only what a contact should know."""

    is_own: Callable[[str, str], bool] = lambda _project, _test: False
    kind: report.Kind = report.Kind.SUMMARY

    def lists(self, change: Change) -> bool:
        """Whether the reader wants to see this change by its name."""
        is_own_problem = change.category in PROBLEMS and change.part(self.is_own) is not None
        return is_own_problem or super().lists(change)


class Audience:
    """Everybody whom a comparison may concern."""

    def __init__(self, settings: Settings, db: Connection, comparison: Comparison, known: dict[str, Known]) -> None:
        """`known`: what has been told of the run before, by address."""
        self.comparison = comparison
        self.without_contact: set[Test] = set()
        """Problem tests that nobody is a contact for."""
        self.by_project: defaultdict[str, set[int]] = defaultdict(set)
        """Numbers of changes."""
        rules = contacts.rules(db, settings.mail_domain)
        self._known = known
        self._contact_in: defaultdict[str, set[str]] = defaultdict(set)
        for rule in rules:
            self._contact_in[rule.address].add(rule.project)
        self._fallback = _fallback(settings)
        self._readers: dict[str, Reader] = {}
        for address in known:
            self._reader(address)
        self._add_contacts(contacts.Cover(rules))
        projects = {count.project for count in comparison.counts} | self.by_project.keys()
        for address, wishes in subscriptions.of(db, projects, settings.mail_domain).items():
            self._reader(address).subscribed = wishes

    def _reader(self, address: str) -> Reader:
        if address not in self._readers:
            contact_in = frozenset(self._contact_in.get(address, ()))
            self._readers[address] = Reader(
                address, self._known.get(address), contact_in, is_fallback=address in self._fallback
            )
        return self._readers[address]

    def _add_contacts(self, cover: contacts.Cover) -> None:
        contacts_of: dict[Test, set[str]] = {}
        for number, change in enumerate(self.comparison.changes):
            self.by_project[change.project].add(number)
            for name in change.members.tests:
                test = change.project, name
                if test not in contacts_of:
                    contacts_of[test] = cover.of(*test)
                if not contacts_of[test] and change.category in PROBLEMS:
                    self.without_contact.add(test)
                for address in contacts_of[test] or self._fallback:
                    reader = self._reader(address)
                    reader.own.add(test)
                    reader.changes.add(number)

    def readers(self) -> list[Reader]:
        """Everybody, by address."""
        return [reader for _, reader in sorted(self._readers.items())]

    def seen_by(self, reader: Reader) -> Comparison:
        """The comparison without what cannot concern a reader: quicker than to look at all of it for each one."""
        numbers = reader.changes.union(*(self.by_project.get(project, ()) for project in reader.subscribed))
        return replace(self.comparison, changes=tuple(self.comparison.changes[number] for number in sorted(numbers)))

    def wishes(self, reader: Reader, seen: Comparison) -> dict[str, Wish]:
        """What a reader is told of which project now; of one of which something was told before, what is new of it."""
        by_project: defaultdict[str, list[Change]] = defaultdict(list)
        for change in seen.changes:
            by_project[change.project].append(change)
        return {
            project: wish
            for project in by_project.keys() | reader.subscribed.keys() | reader.told_projects
            if (wish := _wish(reader, project))
            and (project in reader.told_projects or _is_wanted(reader, project, by_project[project]))
        }


def _fallback(settings: Settings) -> set[str]:
    if not settings.fallback_address:
        return set()
    return {addresses.clean(settings.fallback_address, settings.mail_domain, may_be_url=True)}


def _wish(reader: Reader, project: str) -> Wish | None:
    subscription = reader.subscribed.get(project)
    if subscription is None:
        return Wish(tests=reader.is_contact, most_lines=USUAL_LINES)
    most_lines = min(subscription.most_lines or USUAL_LINES, MOST_LINES)
    match subscription.kind:
        case Kind.NONE:
            return None
        case Kind.SUMMARY:
            return _Summary(is_own=reader.is_contact, most_lines=most_lines)
        case Kind.CHANGES:
            return Wish(kind=report.Kind.CHANGES, most_lines=most_lines)
        case Kind.FULL | Kind.FULL_ALWAYS:
            return Wish(most_lines=most_lines)


def _is_wanted(reader: Reader, project: str, changes: list[Change]) -> bool:
    """Whether there is reason enough to tell a reader of a project."""
    kind = reader.subscribed[project].kind if project in reader.subscribed else Kind.FULL
    match kind:
        case Kind.SUMMARY | Kind.FULL_ALWAYS:
            return True
        case Kind.CHANGES:
            return any(change.is_news for change in changes)
        case _:
            return any(change.category in PROBLEMS for change in changes)
