"""`pdk runs`, `pdk run-info`, `pdk valuable` and `pdk note`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from pdk_pipeline.cli.base import Command, as_json, local, print_json, say, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pdk_pipeline.runs import Count

STATUSES = "PFEDM"


@click.command(cls=Command)
@click.argument("pattern", default="*")
@as_json
def runs(pattern: str, as_json: bool) -> None:
    """List test runs with the counts of their statuses, the oldest first.

    \b
        pdk runs 'daily_2026-11-*'

    P passed, F failed, E could not complete, D disabled, M missing; a V marks a valuable run.
    """
    from pdk_pipeline import runs as domain
    from pdk_pipeline.cli.tables import print_table, when
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading

    with reading(settings()) as db:
        found = [(run, domain.statuses(db, run)) for run in domain.matching(settings(), db, pattern)]
    if as_json:
        print_json([run._asdict() | {"results": sum(held.values()), "statuses": held} for run, held in found])
        return
    if not found:
        say("there is no such run" if pattern != "*" else "there are no runs yet; `pdk import` brings them")
        return
    others = sorted({status for _, held in found for status in held} - set(STATUSES))
    shown_statuses = [*STATUSES, *others]
    rows = [
        (
            run.name,
            "V" if run.is_valuable else "",
            sum(held.values()),
            *(held.get(status) for status in shown_statuses),
            when(run.created_at, settings().zone),
            run.note,
        )
        for run, held in found
    ]
    print_table(("run", "", "results #", *(f"{status} #" for status in shown_statuses), "first import", "note"), rows)


@click.command("run-info", cls=Command)
@click.argument("run")
@as_json
def run_info(run: str, as_json: bool) -> None:
    """Show what one run holds: counts by project, host and context, and the logs it came from.

    \b
        pdk run-info daily_latest
    """
    from pdk_pipeline import runs as domain
    from pdk_pipeline.cli.tables import print_table, when
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading

    zone = settings().zone
    with reading(settings()) as db:
        found = domain.find(settings(), db, run)
        counts = domain.counts(db, found)
        imports = domain.imports(db, found)
    if as_json:
        told = {"counts": [count._asdict() for count in counts], "imports": [one._asdict() for one in imports]}
        print_json(found._asdict() | told)
        return
    click.echo(f"run           {shown(found.name)}{'  (valuable)' if found.is_valuable else ''}")
    click.echo(f"note          {shown(found.note)}")
    click.echo(f"first import  {when(found.created_at, zone)}\n")
    _print_counts(counts)
    click.echo()
    print_table(
        ("log", "from", "imported", "results #"),
        [(one.file, one.sender, when(one.imported_at, zone), one.results) for one in imports],
    )


def _print_counts(counts: Iterable[Count]) -> None:
    from pdk_pipeline.cli.tables import print_table

    places: dict[tuple[str, str, str, str], Counter[str]] = {}
    for count in counts:
        place = (count.project, count.host, count.context, count.custom)
        places.setdefault(place, Counter())[count.status] += count.results
    totals: Counter[str] = sum(places.values(), Counter())
    others = sorted(set(totals) - set(STATUSES))
    statuses = [*STATUSES, *others]
    rows = [(*place, sum(held.values()), *(held.get(status) for status in statuses)) for place, held in places.items()]
    print_table(
        ("project", "host", "context", "custom", "results #", *(f"{status} #" for status in statuses)),
        rows,
        footer=("all", "", "", "", sum(totals.values()), *(totals.get(status) for status in statuses)),
    )


@click.command(cls=Command)
@click.argument("run")
@click.option("--off", is_flag=True, help="No longer.")
@local
@as_json
def valuable(run: str, off: bool, local: bool, as_json: bool) -> None:
    """Protect a run from being deleted, by hand or by age.

    \b
        pdk valuable daily_2026-11-23
    """
    from pdk_pipeline.cli.waiting import outcome
    from workers.dispatch import Call

    marked = outcome(Call("valuable", (meant(run), not off), run), local=local)
    if as_json:
        print_json(marked)
    else:
        click.echo(f"{shown(marked['run'])} is {'valuable' if marked['valuable'] else 'not valuable'} now")


@click.command(cls=Command)
@click.argument("run")
@click.argument("words", metavar="TEXT...", nargs=-1, required=True)
@local
@as_json
def note(run: str, words: tuple[str, ...], local: bool, as_json: bool) -> None:
    """Put a note to a run, in place of the one it has; '' takes it away.

    \b
        pdk note daily_latest the file server was down until 3
    """
    from pdk_pipeline.cli.waiting import outcome
    from pdk_pipeline.formats.text import in_one_line
    from workers.dispatch import Call

    noted = outcome(Call("note", (meant(run), " ".join(words)), run), local=local)
    if as_json:
        print_json(noted)
    else:
        click.echo(in_one_line(f"{noted['run']}: {noted['note'] or 'no note'}"))


def meant(run: str) -> str:
    """The name of the run that is meant now: the task may have to wait until after midnight."""
    from pdk_pipeline import runs as domain
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading

    with reading(settings()) as db:
        return domain.canonical_name(settings(), db, run)
