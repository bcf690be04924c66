"""Hosts that a night waited for in vain and of which nothing is expected yet: new ones, which never reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdk_pipeline import nights, runs
from pdk_pipeline.comparison.changes import Category, Change
from pdk_pipeline.comparison.history import MOST_RUNS, Streak
from pdk_pipeline.results import Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from pdk_pipeline.database import Connection
    from pdk_pipeline.runs import Count, Run


def silent(
    db: Connection, run: Run, against: Run | None, counts: Sequence[Count], told: Collection[Change]
) -> Iterator[Change]:
    """Each as a silent host of every project of the run: nobody knows yet which of them it belongs to.

    `told`: the other changes; a host that is silent there is not told once more.
    """
    known = {count.host for count in counts} | {change.host for change in told if change.category is Category.SILENT}
    hosts = _unheard_of(db, run) - known
    if not hosts:
        return
    silent_before = _unheard_of(db, against) if against else set()
    streaks = _streaks(db, hosts, run)
    for project in sorted({count.project for count in counts}):
        for host in sorted(hosts):
            before = Status.MISSING.value if host in silent_before else None
            yield Change(Category.SILENT, project, host, None, None, None, before, None, None, *streaks[host])


def _unheard_of(db: Connection, run: Run) -> set[str]:
    """The hosts that the nights of a run waited for and that are not in it."""
    awaited = nights.awaited_hosts(db, run.name)
    return set(nights.silent_hosts(db, run.name, awaited)) if awaited else set()


def _streaks(db: Connection, hosts: Collection[str], run: Run) -> dict[str, Streak]:
    """Since when each host has been waited for in vain, one run after the other."""
    streaks = {host: Streak(run.name, 1, is_longer=False) for host in hosts}
    waiting = set(hosts)
    past = runs.earlier(db, run.name, MOST_RUNS)
    for before in past:
        waiting &= _unheard_of(db, before)
        if not waiting:
            break
        for host in waiting:
            streaks[host] = Streak(before.name, streaks[host].nights + 1, is_longer=False)
    is_all_known = len(past) < MOST_RUNS
    return {host: streak._replace(is_longer=host in waiting and not is_all_known) for host, streak in streaks.items()}
