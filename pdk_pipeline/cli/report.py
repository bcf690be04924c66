"""`pdk report`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from pdk_pipeline.cli.base import Command, as_json, print_json, say, write_whole

if TYPE_CHECKING:
    from pdk_pipeline.comparison import Comparison
    from pdk_pipeline.report import Document

STYLES: dict[str, dict[str, Any]] = {
    "bad": {"fg": "red", "bold": True},
    "odd": {"fg": "yellow"},
    "good": {"fg": "green"},
    "dim": {"dim": True},
    "strong": {"bold": True},
}

PIPE_COLUMNS = 80


@click.command(cls=Command)
@click.argument("run", default="daily_latest")
@click.option("--against", metavar="RUN", help="Compare with this run; otherwise with the one before of the same kind.")
@click.option("-p", "--project", "projects", multiple=True, metavar="PATTERN", help="Only of these projects.")
@click.option(
    "--kind",
    type=click.Choice(["full", "summary", "changes"]),
    default="full",
    show_default=True,
    help="Everything; the numbers; only what is so since this run.",
)
@click.option(
    "--most-lines",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    metavar="N",
    help="List at most so many tests, the most urgent first.",
)
@click.option(
    "--html", type=click.Path(dir_okay=False), metavar="FILE", help="Write a page instead; - is standard output."
)
@as_json
def report(
    run: str,
    against: str | None,
    projects: tuple[str, ...],
    kind: str,
    most_lines: int,
    html: str | None,
    as_json: bool,
) -> None:
    """Tell what a run brought: what broke, is missing, goes on failing, was fixed, is new.

    \b
        pdk report
        pdk report daily_2026-11-23 --against daily_2026-11-16
        pdk report --project calib --html calib.html

    RUN is daily_latest when it is not given, the run of today.
    """
    from pdk_pipeline import report as domain

    comparison = _compare(run, against, with_passed=as_json)
    document = domain.build(
        comparison, projects=_chosen(comparison, projects), kind=domain.Kind(kind), most_lines=most_lines
    )
    if as_json:
        print_json(document.as_json())
    elif html:
        _write(html, domain.render_html(document))
    else:
        click.echo(_text(document), nl=False)


def _compare(run: str, against: str | None, *, with_passed: bool) -> Comparison:
    from pdk_pipeline import comparison, runs
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading

    with reading(settings()) as db:
        found = runs.find(settings(), db, run)
        base = runs.find(settings(), db, against) if against else comparison.previous(db, found)
        if against and base == found:
            raise click.BadParameter("a run is compared with another one", param_hint="--against")
        return comparison.compare(db, found, base, with_passed=with_passed)


def _chosen(comparison: Comparison, patterns: tuple[str, ...]) -> set[str] | None:
    """The projects that the patterns name; None is all. Raises UnknownProject."""
    from fnmatch import fnmatchcase

    from pdk_pipeline.errors import UnknownProject
    from pdk_pipeline.selection import glob

    known = {count.project for count in comparison.counts} | {change.project for change in comparison.changes}
    chosen: set[str] = set()
    for pattern in patterns:
        named = {project for project in known if fnmatchcase(project, glob(pattern))}
        if not named:
            there = ", ".join(sorted(known)) or "none"
            raise UnknownProject(pattern, advice=f"{comparison.run.name} has {there}.")
        chosen |= named
    return chosen if patterns else None


def _text(document: Document) -> str:
    from shutil import get_terminal_size

    from pdk_pipeline.report import render_text

    if not sys.stdout.isatty():
        return render_text(document, width=PIPE_COLUMNS)
    return render_text(
        document, width=get_terminal_size().columns, paint=lambda text, style: click.style(text, **STYLES[style])
    )


def _write(path: str, page: str) -> None:
    if path == "-":
        click.echo(page, nl=False)
        return
    write_whole(path, [page.encode()])
    say(f"written to {path}")
