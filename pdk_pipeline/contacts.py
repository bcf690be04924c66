"""Who is told about which tests: rules from `pdk_contacts` files in, the addresses of a run's problems out.

A rule covers every test of its project whose name is the rule's prefix or goes on from where a part of a name
ends, at one of `/ . : [`: `flat/bias` covers `flat/bias`, `flat/bias/dark`, `flat/bias.test_one` and
`flat/bias[2]`, not `flat/biased`. The empty prefix covers the project. Rules add up: a test's contacts are those of
every rule that covers it, the outer ones and the inner ones, so that whoever stands at the top of a test tree hears
of all of it (in Pandokia the contact files are applied "hierarchically but cumulatively").
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pdk_pipeline import addresses
from pdk_pipeline.errors import BadAddress, BadContacts
from pdk_pipeline.formats.fields import clean_name
from pdk_pipeline.formats.text import readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pdk_pipeline.config import Settings
    from pdk_pipeline.database import Connection
    from pdk_pipeline.runs import Run

CONTACTS_FILE = "pdk_contacts"
"""In a directory of tests: who is told about the tests in it and beneath, an address a line."""

TOP_FILE = "pandokia_top"
"""Marks the top of a test tree, from where the tests' names begin."""

_BOUNDARY = re.compile("[/.:[]")
_COMMENT = re.compile(r"(?:^|\s)#.*")


class Rule(NamedTuple):
    """One address for the tests of a project beneath a prefix."""

    project: str
    prefix: str
    address: str


class BadLine(NamedTuple):
    """A line of contacts that cannot be used."""

    line: int
    """Counted from 1."""
    reason: str


class Replaced(NamedTuple):
    """What became of the contacts of a project."""

    project: str
    before: int
    """Rules."""
    now: int


class Responsible(NamedTuple):
    """Who is told about the problems of a run."""

    tests: dict[str, set[int]]
    """By address: the ids of the tests."""
    without: set[int]
    """Ids of the tests that nobody is told about."""


# Rules in ----------------------------------------------------------------------------------------------------


def clean_prefix(prefix: str) -> str:
    """A prefix as it is kept: cleaned as the tests' names are, without a final `/` or `*` (Pandokia adds the `*`)."""
    return clean_name(prefix.rstrip("*") + "/").rstrip("/")


def in_tree(project: str, directory: Path, mail_domain: str) -> Iterator[Rule]:
    """The rules that the `pdk_contacts` files of a test tree say, for the tests in `directory` and beneath.

    Prefixes begin at the nearest directory with a `pandokia_top` file, at `directory` when there is none above.
    What stands above `directory` in its tree counts for it too. Links to directories are not followed.
    Raises BadContacts with file and line; OSError.
    """
    directory = Path(os.path.abspath(directory))  # noqa: PTH100  (Path.absolute keeps `..`)
    top = next((above for above in (directory, *directory.parents) if (above / TOP_FILE).exists()), directory)
    tops = {directory.parent: top}
    for above in reversed(directory.parents):
        if above.is_relative_to(top):
            yield from _in_directory(project, above, directory.relative_to(top), mail_domain)
    for name, directories, files in os.walk(directory, onerror=_raise):
        directories.sort()
        path = Path(name)
        tops[path] = path if TOP_FILE in files else tops[path.parent]
        yield from _in_directory(project, path, path.relative_to(tops[path]), mail_domain)


def _raise(error: OSError) -> None:
    raise error


def _in_directory(project: str, directory: Path, prefix: Path, mail_domain: str) -> Iterator[Rule]:
    path = directory / CONTACTS_FILE
    if not path.is_file():
        return
    for number, line in enumerate(readable(path.read_bytes()).split("\n"), 1):
        address = _COMMENT.sub("", line).strip()
        if address:
            try:
                address = addresses.clean(address, mail_domain)
            except BadAddress as error:
                raise BadContacts(f"{path}, line {number}: {_no_address(error)}") from None
            yield Rule(project, clean_prefix(readable(os.fsencode(prefix))), address)


def written(rules: Iterable[Rule]) -> str:
    """The lines `project,prefix,address` that `parse` reads."""
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows(rules)
    return lines.getvalue()


def parse(text: str, mail_domain: str) -> tuple[dict[str, set[Rule]], list[BadLine]]:
    """The rules of each project that `text` names, and the lines of it that are none.

    A line is `project,prefix,address`, quoted as CSV is; blank lines are passed over. One without an address only
    names its project, whose contacts are then the other lines', or none.
    Source: Pandokia's `import_contact`.
    """
    projects: defaultdict[str, set[Rule]] = defaultdict(set)
    bad: list[BadLine] = []
    for number, line in enumerate(text.removeprefix("\N{BYTE ORDER MARK}").split("\n"), 1):
        if not line.strip():
            continue
        try:
            rule = _parse_line(line, mail_domain)
        except (BadAddress, ValueError) as error:
            bad.append(BadLine(number, _no_address(error) if isinstance(error, BadAddress) else str(error)))
            continue
        of_project = projects[rule.project]
        if rule.address:
            of_project.add(rule)
    return dict(projects), bad


def _no_address(error: BadAddress) -> str:
    return f"{error.particulars} cannot be an address. {error.advice}"


def _parse_line(line: str, mail_domain: str) -> Rule:
    try:
        fields = [field.strip() for field in next(csv.reader([line], strict=True))]
    except csv.Error as error:
        raise ValueError(f"it is not CSV, {error}") from None
    if len(fields) != len(Rule._fields):
        raise ValueError(f"{len(fields)} fields instead of 3, which are project,prefix,address")
    project, prefix, address = fields
    if not project:
        raise ValueError("no project")
    return Rule(project, clean_prefix(prefix), addresses.clean(address, mail_domain) if address else "")


def replace(db: Connection, text: str, mail_domain: str) -> list[Replaced]:
    """Replace the contacts of the projects that `text` names (see `parse`); those of other projects stay.

    Raises BadContacts, and then nothing is changed, when a line is bad or there is none at all.
    """
    projects, bad = parse(text, mail_domain)
    if bad:
        raise BadContacts(f"line {bad[0].line}: {bad[0].reason}", advice=f"{len(bad):,} lines are bad.")
    if not projects:
        raise BadContacts("there is nothing in it", advice="`PROJECT,,` alone takes a project's contacts away.")
    replaced = []
    for project, new in sorted(projects.items()):
        before = db.execute("DELETE FROM contact_rule WHERE project = ?", (project,)).rowcount
        replaced.append(Replaced(project, before, len(new)))
    every = sorted(rule for new in projects.values() for rule in new)
    db.executemany("INSERT INTO contact_rule (project, prefix, address) VALUES (?, ?, ?)", every)
    return replaced


# Addresses out -----------------------------------------------------------------------------------------------


def rules(db: Connection, mail_domain: str, project: str = "") -> list[Rule]:
    """The rules of a project, or all. Those put in by SQL are cleaned as the others are; what is no address is none."""
    rows = db.execute(
        "SELECT project, prefix, address FROM contact_rule WHERE ? IN ('', project) ORDER BY 1, 2, 3", (project,)
    )
    found = []
    for name, prefix, address in rows:
        try:
            found.append(Rule(name, clean_prefix(prefix), addresses.clean(address, mail_domain)))
        except BadAddress:
            continue
    return found


class Cover:
    """Rules, arranged so that those which cover a test are found without looking at the others."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._addresses: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._longest: defaultdict[str, int] = defaultdict(int)
        for project, prefix, address in rules:
            self._addresses[project, prefix].add(address)
            self._longest[project] = max(self._longest[project], len(prefix))

    def of(self, project: str, test_name: str) -> set[str]:
        """The addresses of those who are told about a test."""
        if project not in self._longest:
            return set()
        longest = self._longest[project]
        # Only where a prefix can end, and no further than the longest one: a name may be very long.
        prefixes = {"", test_name}
        for boundary in _BOUNDARY.finditer(test_name, 0, longest + 1):
            prefixes |= {test_name[: boundary.start()], test_name[: boundary.end()]}
        return set().union(*(self._addresses.get((project, prefix), ()) for prefix in prefixes))


def of(settings: Settings, db: Connection, run: Run) -> Responsible:
    """Who is told about the problems of a run: the tests with a result F, E or M, on whatever host.

    An address without an @ gets the setting `mail_domain` here too, in case it was set after the rules came.
    """
    cover = Cover(rules(db, settings.mail_domain))
    tests = db.execute(
        """
        SELECT id, project, name
        FROM test
        WHERE id IN (SELECT test_id FROM result WHERE run_id = ? AND status IN ('F', 'E', 'M'))
        """,
        (run.id,),
    )
    by_address: defaultdict[str, set[int]] = defaultdict(set)
    without: set[int] = set()
    for id_, project, name in tests:
        told = cover.of(project, name)
        for address in told:
            by_address[address].add(id_)
        if not told:
            without.add(id_)
    return Responsible(dict(by_address), without)
