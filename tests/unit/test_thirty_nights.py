"""Thirty nights in which tests come, go, break and are fixed, and hosts fall silent: every category, every night.

The oracle below says what each result is from the plain story, one test at a time, and shares nothing with the
comparison but the words.
"""

from __future__ import annotations

import datetime as dt
import random
from collections import defaultdict
from dataclasses import dataclass, field

import pytest

from pdk_pipeline import database, expected
from pdk_pipeline.comparison import Category
from pdk_pipeline.selection import Selection
from tests.night_after_night import Identity, check, compared, learn, put

NIGHTS = 30


# The story ---------------------------------------------------------------------------------------------------


@dataclass
class Night:
    name: str
    results: dict[Identity, str] = field(default_factory=dict)
    arrived: set[Identity] = field(default_factory=set)
    """Those that a log brought."""
    expected_before: frozenset[Identity] = frozenset()
    """What was expected before this night taught anything."""


class World:
    """Some hosts, some tests, and a bad fairy."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.tests = [(f"p{n % 3}", f"dir{n % 4}/test_{n:02d}") for n in range(14)]
        self.environments = [(host, context, "") for host in ("apple", "banana", "cherry", "thor") for context in "ab"]
        self.environments += [("solo", "a", "x"), ("solo", "a", "y")]
        self.lives: dict[Identity, str] = {}
        """What each test says when it is asked."""
        self.silent: dict[object, int] = {}
        """Hosts and environments that are off, and for how many nights more."""
        for project, test in self.tests:
            for environment in self.environments:
                if self.random.random() < 0.6:
                    self.lives[project, *environment, test] = "P"

    def reports(self) -> dict[Identity, str]:
        """What arrives tonight."""
        self._meddle()
        arriving = {}
        for identity, status in self.lives.items():
            _, host, context, custom, _ = identity
            if host in self.silent or (host, context, custom) in self.silent or self.random.random() < 0.03:
                continue
            arriving[identity] = status
        return arriving

    def _meddle(self) -> None:
        self._silence()
        self._break()
        self._grow()

    def _silence(self) -> None:
        for place, nights in list(self.silent.items()):
            if nights == 1:
                del self.silent[place]
            else:
                self.silent[place] = nights - 1
        for place in [*{host for host, *_ in self.environments}, *self.environments]:
            if self.random.random() < 0.05:
                self.silent.setdefault(place, self.random.choice([1, 1, 2, 5]))

    def _break(self) -> None:
        for identity in list(self.lives):
            if self.random.random() < 0.08:
                self.lives[identity] = self.random.choice("PPPPFFEDxyM")
            if self.random.random() < 0.005:
                del self.lives[identity]

    def _grow(self) -> None:
        chance = self.random.random
        if chance() < 0.3:  # a new test, everywhere or in one place
            project, test = f"p{self.random.randrange(4)}", f"new/test_{self.random.randrange(1000)}"
            for environment in self.environments:
                if chance() < 0.5:
                    self.lives[project, *environment, test] = self.random.choice("PPPF")
        if chance() < 0.1:  # a new host
            host = f"new{self.random.randrange(4)}"
            self.environments.append((host, "a", ""))
            for project, test in self.random.sample(self.tests, 5):
                self.lives[project, host, "a", "", test] = self.random.choice("PPPPE")


# The oracle --------------------------------------------------------------------------------------------------


def told_by_oracle(night: Night, base: Night | None, past: list[Night], older: list[Night]) -> dict[tuple, tuple]:
    """By key: (before, last, now, since, nights, is longer) and the tests.

    `past`: the nights before, the newest first. `older`: those before `base`.
    """
    kinds: dict[Identity, str] = {}
    lasts: dict[Identity, str | None] = {}
    before = base.results if base else {}
    for identity in night.results.keys() | before.keys():
        lasts[identity] = last = last_report(identity, [base, *older] if base else [])
        kind = kind_of(identity, night, before.get(identity), last, is_first=base is None)
        if kind:
            kinds[identity] = kind
    told: dict[tuple, tuple] = {}
    for (kind, project, host, context, custom), members in places(night, base, kinds, older).items():
        for identity in members:
            del kinds[identity]
        since = since_silent(night, past if base else [], project, members) if kind == "silent" else NEVER
        there = [i for i in (base.results if base else ()) if belongs(i, project, host, context, custom)]
        was_silent = kind == "silent" and bool(there) and all(base.results[i] == "M" for i in there)
        is_expected = any(identity in night.results for identity in members)
        told[kind, project, host, context, custom, None] = (
            ("M" if was_silent else None, None, "M" if kind == "silent" and is_expected else None, *since),
            sorted(identity[4] for identity in members),
        )
    for identity, kind in kinds.items():
        same = {"newly_failing": "FE", "still_failing": "FE", "missing": "M"}.get(kind)
        since = since_when(identity, same, night, past if base else []) if same else NEVER
        last = lasts[identity]
        if kind in ("missing", "gone") and before.get(identity) == "M":
            last = None  # nobody asks
        told[kind, *identity] = (
            (before.get(identity), last, night.results.get(identity), *since),
            [identity[4]],
        )
    return told


NEVER = (None, 0, False)


def last_report(identity: Identity, nights: list[Night]) -> str | None:
    return next((n.results[identity] for n in nights if n.results.get(identity, "M") != "M"), None)


def kind_of(  # noqa: PLR0911  (one line of the table each)
    identity: Identity, night: Night, before: str | None, last: str | None, *, is_first: bool
) -> str | None:
    now = night.results.get(identity)
    if now in ("F", "E"):
        return "still_failing" if last in ("F", "E") else "newly_failing"
    if now == "M":
        return "missing"
    if is_first:
        return None
    if now is None:
        return "gone"
    if last is None:
        return "back" if before == "M" or identity in night.expected_before else "new"
    if last == now:
        return "back" if before in (None, "M") else None
    if now == "P" and last in ("F", "E"):
        return "fixed"
    return "disabled" if now == "D" else "changed"


def places(night: Night, base: Night | None, kinds: dict[Identity, str], older: list[Night]) -> dict[tuple, list]:
    """The hosts, and then the environments, that are told at once."""
    found: dict[tuple, list] = {}
    told: set[Identity] = set()
    everything = night.results.keys() | (base.results.keys() if base else set())
    by_host, by_environment = defaultdict(list), defaultdict(list)
    for identity in everything:
        by_host[identity[:2]].append(identity)
        by_environment[identity[:4]].append(identity)
    for wanted, groups in ((1, by_host), (2, by_environment)):
        for place, identities in groups.items():
            if told & set(identities):
                continue  # its host is told already
            hosts_environments = {identity[1:4] for identity in by_host[place[:2]]}
            if len(place) == 4 and len(hosts_environments) == 1:
                continue
            kind = kind_of_place(identities, night, base, older)
            if kind is None:
                continue
            members = [i for i in identities if kinds.get(i) in ({"missing", "gone"} if kind == "silent" else {kind})]
            if len(members) >= (1 if kind == "silent" and wanted == 1 else 2):
                key = (kind, *place) if len(place) == 4 else (kind, *place, None, None)
                found[key] = members
                told |= set(identities)
    return found


def kind_of_place(identities: list[Identity], night: Night, base: Night | None, older: list[Night]) -> str | None:
    arrives = any(identity in night.arrived for identity in identities)
    arrived = base is not None and any(base.results.get(identity, "M") != "M" for identity in identities)
    is_there = any(identity in night.results for identity in identities)
    if not arrives:
        return "silent" if is_there or arrived else "gone"
    if arrived:
        return None
    known = base is not None and any(
        identity in base.results or identity in night.expected_before or last_report(identity, older)
        for identity in identities
    )
    return "back" if known else "new"


def since_when(identity: Identity, same: str, night: Night, past: list[Night]) -> tuple[str, int, bool]:
    since, nights = night.name, 1
    for one in past:
        status = one.results.get(identity)
        if status is None or (status == "M" and same != "M"):
            continue
        if status not in same:
            return since, nights, False
        since, nights = one.name, nights + 1
    return since, nights, bool(past) and since == past[-1].name


def since_silent(night: Night, past: list[Night], project: str, members: list[Identity]) -> tuple[str, int, bool]:
    since, nights = night.name, 1
    environments = {identity[1:4] for identity in members}
    for one in past:
        there = {i for i in one.results if i[0] == project and i[1:4] in environments}
        if any(one.results[i] != "M" for i in there):
            return since, nights, False
        if there:
            since, nights = one.name, nights + 1
    return since, nights, bool(past) and since == past[-1].name


def belongs(identity: Identity, project, host, context, custom) -> bool:
    return identity[:2] == (project, host) and (context is None or identity[2:4] == (context, custom))


# The tests ---------------------------------------------------------------------------------------------------


def told_by_comparison(db, name: str, against: str | None) -> dict[tuple, tuple]:
    comparison = compared(db, name, against)
    told = {
        tuple(change.key): (
            (change.before, change.last, change.now, change.since, change.nights, change.is_longer),
            sorted(change.members.tests),
        )
        for change in comparison.changes
    }
    assert len(told) == len(comparison.changes), "two changes have the same key"
    return told


def forget(db, identity: Identity) -> None:
    project, host, context, custom, test = identity
    where = Selection((project,), (host,), (context,), (custom,), (test,))
    expected.forget(db, "daily", where)


@pytest.mark.parametrize("seed", range(4))
def test_every_category_is_right_on_every_night(home, seed):
    world = World(seed)
    fate = random.Random(-seed)
    nights: list[Night] = []
    taught: set[Identity] = set()
    seen: set[str] = set()
    date = dt.date(2026, 10, 1)
    with database.writing(home) as db:
        for number in range(NIGHTS):
            date += dt.timedelta(days=fate.choice([1, 1, 1, 1, 3]))
            night = Night(f"daily_{date}", expected_before=frozenset(taught))
            arriving = world.reports()
            put(db, night.name, arriving)
            night.results, night.arrived = dict(arriving), set(arriving)
            if fate.random() < 0.8:
                learn(db, night.name)
                taught |= arriving.keys()
            if fate.random() < 0.8 and taught:
                check(db, night.name)
                night.results |= dict.fromkeys(taught - arriving.keys(), "M")
            past = nights[::-1]
            bases = [past[0] if past else None]
            if number % 5 == 4 and past:
                bases += [None, fate.choice(past)]
            for base in bases:
                older = past[past.index(base) + 1 :] if base else []
                told = told_by_comparison(db, night.name, base.name if base else "")
                if base is None and past:
                    continue
                wanted = told_by_oracle(night, base, past, older)
                assert told == wanted, f"{night.name} against {base and base.name}"
                seen |= {key[0] for key in told}
            nights.append(night)
            if fate.random() < 0.1:  # a night is deleted, another forgotten by whoever expects
                gone = nights.pop(fate.randrange(len(nights)))
                db.execute("UPDATE run SET deleted_at = 1 WHERE name = ?", (gone.name,))
            if fate.random() < 0.1 and taught:
                forgotten = fate.choice(sorted(taught))
                taught.discard(forgotten)
                forget(db, forgotten)
    assert seen == set(Category), "the story was too dull"
