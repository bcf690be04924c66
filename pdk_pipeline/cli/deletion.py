"""`pdk delete_run` and `pdk undelete_run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pdk_pipeline.cli.base import Command, as_json, local, print_json, say, selecting, selection, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pdk_pipeline.runs import Run
    from pdk_pipeline.selection import Selection

Row = dict[str, Any]
"""Of one run: its name, how many results are concerned, and what became of them."""

IS_VALUABLE = "is valuable and stays"


@click.command("delete_run", cls=Command)
@click.argument("names", metavar="RUN...", nargs=-1, required=True)
@click.option("--wild", is_flag=True, help="RUN is a pattern: * and % stand for any letters, ? for one.")
@click.option("--count", "only_count", is_flag=True, help="Only say how many results it would be; nothing is changed.")
@selecting
@local
@as_json
def delete_run(
    names: tuple[str, ...], wild: bool, only_count: bool, local: bool, as_json: bool, **where: tuple[str, ...]
) -> int:
    """Delete runs, or parts of them.

    \b
        pdk delete_run daily_2009-03-10
        pdk delete_run --wild 'daily_2009-03-*'
        pdk delete_run daily_latest -host=banana

    A whole run is hidden at once, whatever its size; `pdk undelete_run` brings it back until `pdk clean` removes it.
    A part (-p -h -c -m -s) is removed for good, and the run with the last of it. A valuable run stays, the others are
    deleted, and the exit status is 1.
    """
    runs, unknown = _named(names, wild=wild)
    wanted = selection(where)
    rows: list[Row] = []
    problems = list(unknown)
    found = _counted(runs, wanted) if only_count else _deleted(runs, wanted, local=local, is_quiet=as_json)
    for row, problem in found:
        rows.append(row)
        if problem:
            problems.append(problem)
    for problem in problems:
        say(problem)
    total = sum(row["results"] for row in rows if row["outcome"] != IS_VALUABLE)
    if as_json:
        print_json({"runs": rows, "results": total, "problems": problems})
    elif rows:
        from pdk_pipeline.cli.tables import print_table

        footer = ("all that goes", total, "") if len(rows) > 1 else ()
        print_table(("run", "results #", ""), [tuple(row.values()) for row in rows], footer=footer)
    elif not unknown:
        say("no run is called so")
    return 1 if problems else 0


def _named(names: Sequence[str], *, wild: bool) -> tuple[list[Run], list[str]]:
    """The runs that are meant, and what is wrong with the names of others."""
    from pdk_pipeline import runs as domain
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading
    from pdk_pipeline.errors import UnknownRun
    from pdk_pipeline.selection import is_pattern

    found: dict[int, Run] = {}
    unknown = []
    with reading(settings()) as db:
        for name in names:
            try:
                named = domain.matching(settings(), db, name) if wild else [domain.find(settings(), db, name)]
            except UnknownRun as error:
                if is_pattern(name):
                    raise click.UsageError(f"{shown(name)} is no run; if it is meant as a pattern: --wild") from None
                unknown.append(str(error))
            else:
                found |= {run.id: run for run in named}
    return list(found.values()), unknown


def _counted(runs: Sequence[Run], wanted: Selection) -> Iterator[tuple[Row, str]]:
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading
    from pdk_pipeline.purge import deletion

    would = "would be removed" if wanted.as_json() else "would be hidden"
    with reading(settings()) as db:
        for run in runs:
            results = deletion.count(db, run, wanted)
            yield {"run": run.name, "results": results, "outcome": IS_VALUABLE if run.is_valuable else would}, ""


def _deleted(runs: Sequence[Run], wanted: Selection, *, local: bool, is_quiet: bool) -> Iterator[tuple[Row, str]]:
    """What became of each run, and what is wrong where it stays."""
    from pdk_pipeline.errors import ValuableRun

    if not wanted.as_json():
        yield from _hidden(runs, local=local)
        return
    for run in runs:
        try:
            results = _part_removed(run, wanted, local=local, is_quiet=is_quiet)
        except ValuableRun as error:
            yield {"run": run.name, "results": 0, "outcome": IS_VALUABLE}, str(error)
        else:
            yield {"run": run.name, "results": results, "outcome": "removed"}, ""


def _hidden(runs: Sequence[Run], *, local: bool) -> Iterator[tuple[Row, str]]:
    from pdk_pipeline.cli.waiting import outcomes
    from pdk_pipeline.errors import PdkError, ValuableRun
    from workers.dispatch import Call

    calls = [Call("delete_run", (run.id, run.name), run.name) for run in runs]
    for index, outcome in outcomes(calls, "deleting", local=local):
        run = runs[index]
        if isinstance(outcome, ValuableRun):
            yield {"run": run.name, "results": 0, "outcome": IS_VALUABLE}, str(outcome)
        elif isinstance(outcome, PdkError):
            yield {"run": run.name, "results": 0, "outcome": "stays"}, f"{run.name}: {outcome}"
        else:
            yield {"run": run.name, "results": outcome["results"], "outcome": "hidden until `pdk clean` removes it"}, ""


def _part_removed(run: Run, wanted: Selection, *, local: bool, is_quiet: bool) -> int:
    """Remove the selected results of a run. Returns how many they were."""
    from pdk_pipeline.cli.waiting import in_steps
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading
    from pdk_pipeline.purge import deletion
    from workers.dispatch import Call

    with reading(settings()) as db:
        part = deletion.part(db, run, wanted)
        total = deletion.count(db, run, wanted)
    steps = in_steps(
        lambda place: Call("delete_part", (list(part), run.name, place), run.name),
        f"deleting from {run.name}",
        total=total,
        local=local,
        is_quiet=is_quiet,
    )
    return sum(step["removed"].get("results", 0) for step in steps)


@click.command("undelete_run", cls=Command)
@click.argument("name", metavar="[RUN]", required=False)
@click.option("--instead", is_flag=True, help="Delete the run that has its name now.")
@local
@as_json
def undelete_run(name: str | None, instead: bool, local: bool, as_json: bool) -> None:
    """Bring a deleted run back, all of it, until `pdk clean` has begun to remove it.

    \b
        pdk undelete_run daily_2009-03-10

    Without a RUN it lists those that are deleted and not yet removed.
    """
    from pdk_pipeline.cli.waiting import outcome
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading
    from pdk_pipeline.formats.text import counted
    from pdk_pipeline.purge import deletion
    from workers.dispatch import Call

    if name is None:
        _list_deleted(as_json=as_json)
        return
    with reading(settings()) as db:
        run = deletion.find_deleted(settings(), db, name)
    brought_back = outcome(Call("undelete_run", (run.id, run.name, instead), run.name), local=local)
    if as_json:
        print_json(brought_back)
    else:
        click.echo(f"{shown(run.name)} is back: {counted(brought_back['results'], 'result')}")


def _list_deleted(*, as_json: bool) -> None:
    from pdk_pipeline.cli.tables import print_table, when
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading
    from pdk_pipeline.purge import deletion

    with reading(settings()) as db:
        found = [(run, deletion.results_of(db, run.id)) for run in deletion.deleted(db)]
    if as_json:
        print_json([run._asdict() | {"results": results} for run, results in found])
    elif found:
        zone = settings().zone
        rows = [
            (run.name, results, when(run.deleted_at, zone), "is being removed" if run.clean_begun_at else "")
            for run, results in found
        ]
        print_table(("deleted run", "results #", "deleted", ""), rows)
    else:
        say("no run is deleted and not yet removed")
