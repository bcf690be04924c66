"""`pdk gen_expected`, `pdk check_expected` and `pdk expected`."""

from __future__ import annotations

from typing import Any

import click

from pdk_pipeline.cli.base import (
    Command,
    Group,
    as_json,
    local,
    print_json,
    say,
    selecting_tests,
    selection,
    shown,
)
from pdk_pipeline.cli.runs import meant
from pdk_pipeline.cli.waiting import outcome

PLACE = ("project", "host", "context", "custom", "test")


def _class_name(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    if not name.strip():
        raise click.BadParameter("a class has a name, for example daily")
    return name.strip()


class_argument = click.argument("class_", metavar="CLASS", callback=_class_name)


@click.command("gen_expected", cls=Command)
@class_argument
@click.argument("run")
@selecting_tests
@local
@as_json
def gen_expected(class_: str, run: str, local: bool, as_json: bool, **where: tuple[str, ...]) -> None:
    """Add the tests that reported in a run to a class of expected tests.

    \b
        pdk gen_expected daily daily_latest
        pdk gen_expected marks_tests mark-25 -p calib -h banana

    Tests are added only, never removed (`pdk expected remove` does that). A class begins with its first test. Tests
    that `pdk check_expected` recorded as missing in the run are not added: they did not report.
    """
    from workers.dispatch import Call

    name = meant(run)
    learned = outcome(Call("gen_expected", (class_, name, selection(where).as_json()), name), local=local)
    if as_json:
        print_json(learned)
        return
    click.echo(f"{shown(class_)}: {learned['new']:,} new from {shown(name)}, {learned['expected']:,} expected")


@click.command("check_expected", cls=Command)
@class_argument
@click.argument("run")
@selecting_tests
@click.option("--verbose", "-v", is_flag=True, help="List the missing tests.")
@click.option("--create", is_flag=True, help="Begin the run if there is none: then all of the tests are missing.")
@local
@as_json
def check_expected(
    class_: str, run: str, verbose: bool, create: bool, local: bool, as_json: bool, **where: tuple[str, ...]
) -> None:
    """Record the expected tests that a run lacks, with status M (missing).

    \b
        pdk check_expected daily daily_latest
        pdk check_expected daily daily_latest --verbose -h banana

    A missing test that is imported later takes the place of its record. Checking again changes nothing, and that
    tests are missing is no failure of this command: its exit status is 0.
    """
    from pdk_pipeline.formats.text import counted
    from workers.dispatch import Call

    wanted = selection(where)
    name = meant(run)
    check = outcome(Call("check_expected", (class_, name, wanted.as_json(), create), name), local=local)
    told = (
        f"{shown(name)}: {check['missing']:,} of {counted(check['expected'], 'expected test')} missing, "
        f"{check['recorded']:,} of them newly recorded"
    )
    if as_json:
        print_json(check | ({"tests": _missing(class_, name, where)} if verbose else {}))
    elif verbose:
        _print_tests(_missing(class_, name, where))
        say(told)
    else:
        click.echo(told)


def _missing(class_: str, run: str, where: dict[str, tuple[str, ...]]) -> list[dict[str, str]]:
    from pdk_pipeline import expected, runs
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading

    with reading(settings()) as db:
        found = runs.find(settings(), db, run)
        return [test._asdict() for test in expected.missing(db, found, class_, selection(where))]


def _print_tests(tests: list[dict[str, str]]) -> None:
    from pdk_pipeline.cli.tables import print_table

    if tests:
        print_table(PLACE, [tuple(test.values()) for test in tests])


@click.group(cls=Group)
def expected() -> None:
    """The expected tests of each class of runs: see them, forget them."""


@expected.command("list")
@click.argument("class_", metavar="[CLASS]", required=False)
@click.argument("tests", metavar="[TEST]...", nargs=-1)
@selecting_tests
@as_json
def list_(class_: str | None, tests: tuple[str, ...], as_json: bool, **where: tuple[str, ...]) -> None:
    """List the classes of expected tests, or the tests of one.

    \b
        pdk expected list
        pdk expected list daily 'flat/*' -h banana
    """
    if class_ is None:
        if any(where.values()):
            raise click.UsageError("whose tests? The CLASS comes first: pdk expected list CLASS -h HOST")
        _list_classes(as_json=as_json)
        return
    from pdk_pipeline import expected as domain
    from pdk_pipeline.cli.tables import print_table, when
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading

    with reading(settings()) as db:
        domain.require(db, class_)
        found = list(domain.tests(db, class_, selection(where, tests)))
    if as_json:
        told = [{"since": one.since, "learned_from": one.learned_from} for one in found]
        print_json([one.test._asdict() | more for one, more in zip(found, told, strict=True)])
    elif found:
        zone = settings().zone
        rows = [(*one.test, when(one.since, zone), one.learned_from or "by hand") for one in found]
        print_table((*PLACE, "since", "learned from"), rows)
    else:
        say(f"none of the tests of {class_} is like that")


def _list_classes(*, as_json: bool) -> None:
    from pdk_pipeline import expected as domain
    from pdk_pipeline.cli.tables import print_table, when
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading

    with reading(settings()) as db:
        classes = domain.classes(db)
    if as_json:
        print_json([one._asdict() for one in classes])
    elif classes:
        zone = settings().zone
        rows = [(one.name, one.tests, one.hosts, when(one.since, zone), when(one.newest, zone)) for one in classes]
        print_table(("class", "tests #", "hosts #", "since", "newest test"), rows)
    else:
        say("nothing is expected yet; `pdk gen_expected CLASS RUN` learns it from a run")


@expected.command()
@class_argument
@click.argument("tests", metavar="[TEST]...", nargs=-1)
@selecting_tests
@click.option("--all", "everything", is_flag=True, help="All of the class.")
@click.option("--count", "only_count", is_flag=True, help="Only say how many they are; nothing is changed.")
@local
@as_json
def remove(
    class_: str,
    tests: tuple[str, ...],
    everything: bool,
    only_count: bool,
    local: bool,
    as_json: bool,
    **where: tuple[str, ...],
) -> None:
    """Expect tests no longer.

    \b
        pdk expected remove daily -h banana
        pdk expected remove daily 'flat/*' --count

    What is recorded missing already stays recorded. A test that reports again is learned again by the next
    `pdk gen_expected` of a run that has it.
    """
    from pdk_pipeline import expected as domain
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading
    from pdk_pipeline.formats.text import counted
    from workers.dispatch import Call

    wanted = selection(where, tests)
    is_restricted = bool(wanted.as_json())
    if everything == is_restricted:
        raise click.UsageError(
            "--all and a choice of tests exclude one another" if everything else "which tests? --all is all of them"
        )
    with reading(settings()) as db:
        domain.require(db, class_)
        selected = domain.count(db, class_, wanted) if only_count else 0
    if only_count:
        removed: dict[str, Any] = {"class": class_, "selected": selected, "removed": 0}
        told = f"{shown(class_)}: {counted(selected, 'test')} would be removed"
    else:
        removed = outcome(Call("expected_remove", (class_, wanted.as_json()), class_), local=local)
        told = f"{shown(class_)}: {counted(removed['removed'], 'test')} removed, {removed['expected']:,} still expected"
    if as_json:
        print_json(removed)
    else:
        click.echo(told)
