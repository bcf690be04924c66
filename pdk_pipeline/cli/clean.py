"""`pdk clean` and `pdk retention`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from pdk_pipeline.cli.base import Command, Seconds, as_json, local, print_json, quiet, say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pdk_pipeline.config import Settings
    from pdk_pipeline.purge.retention import Going

ONES = {
    "runs": "run",
    "results": "result",
    "log blocks": "log block",
    "tests": "test",
    "environments": "environment",
    "imports": "old import",
    "messages": "old message",
    "logs": "log",
    "archived logs": "archived log",
}
"""What is told of, and what one of it is called."""


def _in_words(removed: Counter[str]) -> str:
    from pdk_pipeline.formats.text import counted

    return ", ".join(counted(removed[what], one) for what, one in ONES.items() if removed[what])


@click.command(cls=Command)
@click.option("--max-seconds", type=Seconds(), metavar="N", help="Begin nothing more after N seconds.")
@local
@quiet
@as_json
def clean(max_seconds: float | None, local: bool, quiet: bool, as_json: bool) -> None:
    """Remove what was deleted and what nothing refers to any more, and give its space back.

    \b
        pdk clean --max-seconds 600

    In steps of a fraction of a second, so that imports go on meanwhile. It may be stopped or killed at any time: the
    next clean does the rest.
    """
    from pdk_pipeline.cli.tables import size
    from pdk_pipeline.cli.waiting import in_steps
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading
    from pdk_pipeline.purge import clean as domain
    from workers.dispatch import Call
    from workers.queues import CLEANING

    with reading(settings()) as db:
        there = domain.survey(db)
    before = _bytes(settings())
    removed: Counter[str] = Counter()
    notes: list[str] = []
    is_over = True
    # A page is freed for some 20 results, and has its share of the time.
    for step in in_steps(
        lambda place: Call("clean", (place, False), place["phase"] if place else "clean", priority=CLEANING),
        "cleaning",
        total=there.results + there.runs + there.free_pages + there.results // 20,
        local=local,
        is_quiet=quiet or as_json,
        max_seconds=max_seconds,
    ):
        removed.update(step["removed"])
        notes += step["notes"]
        is_over = step["next"] is None
    after = _bytes(settings())
    if not is_over:
        notes.append("the time is over; the next clean does the rest")
    for note in notes:
        say(note)
    if as_json:
        print_json({"removed": removed, "bytes_before": before, "bytes_after": after, "is_over": is_over})
    elif not quiet:
        click.echo(f"removed: {_in_words(removed) or 'nothing, there was nothing to remove'}")
        shrunk = f", {size(before - after)} less than before" if before > after else ""
        click.echo(f"the database takes {size(after)}{shrunk}")


def _bytes(settings: Settings) -> int:
    """What the database takes on the disk."""
    files = (settings.database, settings.database.with_name(settings.database.name + "-wal"))
    return sum(path.stat().st_size for path in files if path.exists())


@click.command(cls=Command)
@click.option("--dry-run", is_flag=True, help="Only say what would go, and by which rule.")
@local
@quiet
@as_json
def retention(dry_run: bool, local: bool, quiet: bool, as_json: bool) -> None:
    """Have go what the settings say is old: runs, logs of passing results, archived logs.

    \b
        pdk retention --dry-run

    In pdk.toml:

    \b
        keep_archive_days = 400    # logs in the archive
        size_limit_gb = 50         # beyond it the oldest runs go too
        [keep.daily]               # daily_2009-03-10 and the like, or a pattern: [keep."user_*"]
        days = 90                  # no younger run goes, …
        last = 10                  # … nor one of the last 10
        passing_logs_days = 14     # then the logs of passing results go, and the results stay

    The first table that fits a run counts; a run that none fits stays, and so does a valuable one. `pdk clean` gives
    the space back. What lies in the quarantine stays until a person has seen to it.
    """
    import time

    from pdk_pipeline.cli.waiting import in_steps
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading
    from pdk_pipeline.purge import retention as domain
    from workers.dispatch import Call
    from workers.queues import CLEANING

    with reading(settings()) as db:
        going = domain.plan(settings(), db, now=time.time())
    removed: Counter[str] = Counter()
    runs: list[str] = []
    if not dry_run:
        for step in in_steps(
            lambda place: Call(
                "retention", (place, False), place["phase"] if place else "retention", priority=CLEANING
            ),
            "retention",
            total=sum(1 if one.what == "run" else one.results for one in going),
            local=local,
            is_quiet=quiet or as_json,
        ):
            removed.update(step["removed"])
            runs += step["runs"]
            for note in step["notes"]:
                say(note)
    if as_json:
        print_json({"going": [one._asdict() for one in going], "removed": removed, "runs": runs, "is_dry_run": dry_run})
    elif not quiet:
        _print_going(going, dry_run=dry_run)


def _print_going(going: Iterable[Going], *, dry_run: bool) -> None:
    from pdk_pipeline.cli.tables import print_table, size

    rows: list[tuple[Any, ...]] = [(one.what, one.name, one.results, size(one.bytes), one.rule) for one in going]
    if not rows:
        say("nothing is older than the settings allow (`pdk config` shows `keep` and what is near it)")
        return
    total = size(sum(one.bytes for one in going))
    what = "would go" if dry_run else "goes"
    print_table((what, "", "results or logs #", "about #", "by the rule"), rows, footer=("all", "", "", total, ""))
