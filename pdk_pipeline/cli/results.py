"""`pdk show`, `pdk history` and `pdk export`."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, Any

import click

from pdk_pipeline.cli.base import NUMBER, Command, as_json, print_json, say, selecting, selection, shown, write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from pdk_pipeline.lookup import Past
    from pdk_pipeline.results import Result


@click.command(cls=Command)
@click.argument("run")
@click.argument("tests", metavar="TEST...", nargs=-1, required=True)
@selecting
@click.option("--most", type=NUMBER, default=20, show_default=True, help="Show at most so many results.")
@as_json
def show(run: str, tests: tuple[str, ...], most: int, as_json: bool, **where: tuple[str, ...]) -> int:
    """Show results whole, with their logs.

    \b
        pdk show daily_latest flat/test_bias
        pdk show daily_latest '*test_bias*' -host=banana -status=F

    In TEST, * and ? are wildcards.
    """
    from pdk_pipeline import lookup, runs
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading
    from pdk_pipeline.errors import UnknownTest
    from pdk_pipeline.purge import trim

    wanted = selection(where, tests)
    with reading(settings()) as db:
        found = runs.find(settings(), db, run)
        some = list(lookup.results(db, found, wanted, most=most))
        if not some:
            raise UnknownTest(f"{' '.join(tests)} in {found.name}", advice=lookup.suggestion(db, wanted))
        if as_json:
            print_json([_for_json(result) for result in some])
        else:
            for result in some:
                _print_result(result, settings().zone)
            if any(result.status == "P" and not result.log for result in some) and trim.has_begun(db, found.id):
                say("logs of passing results of this run are gone, by the rule passing_logs_days (`pdk config`)")
        more = lookup.count(db, found, wanted) - len(some)
        if more:
            say(f"… and {more:,} more; -host=, -context=, -project= and -status= narrow it, --most=N shows more")
        several = tests if len(tests) > 1 else ()
        without = [test for test in several if not lookup.count(db, found, selection(where, (test,)))]
        if without:
            say(f"there is no result of {' '.join(map(shown, without))} in {found.name}")
        return 1 if without else 0


def _for_json(result: Result) -> dict[str, Any]:
    return result._asdict() | {"log": _log_text(result)}


def _log_text(result: Result) -> str:
    from pdk_pipeline.formats.text import readable, undotted

    return readable(undotted(result.log))


def _print_result(result: Result, zone: tzinfo | None) -> None:
    from pdk_pipeline.cli.tables import when

    fields = {
        "test_name": result.test_name,
        "status": result.status,
        "test_run": result.test_run,
        "project": result.project,
        "host": result.host,
        "context": result.context,
        "custom": result.custom,
        "attn": result.attn,
        "test_runner": result.test_runner,
        "start_time": when(result.start_time, zone),
        "end_time": when(result.end_time, zone),
        "location": result.location,
    }
    attributes = {f"tda_{name}": value for name, value in result.definition_attributes.items()}
    attributes |= {f"tra_{name}": value for name, value in result.result_attributes.items()}
    for name, value in (fields | attributes).items():
        if value:
            click.echo(f"{name:<12} {shown(value)}")
    for line in _log_text(result).splitlines():
        click.echo(f"    {shown(line)}")
    click.echo()


@click.command(cls=Command)
@click.argument("tests", metavar="TEST...", nargs=-1, required=True)
@selecting
@click.option(
    "--runs", "most_runs", type=NUMBER, default=30, show_default=True, help="In at most so many runs, the newest."
)
@as_json
def history(tests: tuple[str, ...], most_runs: int, as_json: bool, **where: tuple[str, ...]) -> None:
    """Show a test through time: a letter a run, the newest last.

    \b
        pdk history flat/test_bias
        pdk history 'flat/*' -host=banana
    """
    from pdk_pipeline import lookup
    from pdk_pipeline.cli.tables import print_table
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading

    wanted = selection(where, tests)
    with reading(settings()) as db:
        past = lookup.history(db, wanted, most_runs=most_runs)
        if as_json:
            print_json([result._asdict() for result in past])
            return
        rows = []
        for identity, group in itertools.groupby(past, key=lambda result: result[1:6]):
            project, host, context, custom, name = identity
            results = list(group)
            letters = "".join(result.status for result in results)
            # How it is now is not told by those of one status alone.
            whole = lookup.whole_history(db, results[-1], most_runs=most_runs) if wanted.statuses else results
            rows.append((name, project, host, context, custom, letters, _now(whole)))
    print_table(("test", "project", "host", "context", "custom", "runs", "now"), rows)


def _now(results: Sequence[Past]) -> str:
    """How a test is, and since when."""
    from pdk_pipeline.formats.text import counted

    letters = "".join(result.status for result in results)
    now = letters[-1]
    same = len(letters) - len(letters.rstrip(now))
    return f"{now} since {results[-same].test_run} ({counted(same, 'run')})"


@click.command(cls=Command)
@click.argument("names", metavar="RUN...", nargs=-1, required=True)
@selecting
@click.option("--output", "-o", type=click.Path(dir_okay=False), help="Write to this file instead of standard output.")
def export(names: tuple[str, ...], output: str | None, **where: tuple[str, ...]) -> None:
    """Write runs as a PDK log that imports to the same results again.

    \b
        pdk export daily_2026-11-23 | ssh other-server pdk import -
    """
    from pdk_pipeline import export as domain
    from pdk_pipeline import runs
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading

    with reading(settings()) as db:
        found = [runs.find(settings(), db, name) for name in names]
        pieces = itertools.chain.from_iterable(domain.export(db, run, selection(where)) for run in found)
        if output:
            write_whole(output, pieces)
            return
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
