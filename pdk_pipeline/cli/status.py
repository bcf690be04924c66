"""`pdk status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pdk_pipeline.cli.base import Command, as_json, print_json, shown

if TYPE_CHECKING:
    from pdk_pipeline.status import Status


@click.command(cls=Command)
@as_json
def status(as_json: bool) -> int:
    """Say how it stands: workers and queues, logs that wait, the last nights, messages, sizes.

    \b
        pdk status

    Exit status 1 when something needs a person; what it is stands at the end.
    """
    from pdk_pipeline import status as domain
    from pdk_pipeline.config import settings
    from workers import health

    found = domain.look(settings())
    work = health.look(settings())
    found.needs.extend(work.needs)
    if as_json:
        print_json(found.as_json() | {"broker": work.broker, "workers": work.workers, "queues": work.queues})
    else:
        _print(found, work)
    return 1 if found.needs else 0


def _print(status: Status, work: Any) -> None:
    from pdk_pipeline.cli.tables import print_table, size
    from pdk_pipeline.formats.text import counted

    click.echo(f"home        {shown(status.home)}")
    click.echo(f"broker      {work.broker or 'none: commands do the work in their own process'}")
    for queue, waiting in work.queues.items():
        click.echo(f"queue       {queue}: {waiting:,} waiting, {', '.join(work.workers.get(queue, [])) or 'no worker'}")
    click.echo(f"logs        {status.incoming:,} in incoming/, {status.processing:,} being imported")
    click.echo(
        f"quarantine  {counted(status.quarantine_records, 'record')} in {counted(status.quarantine_items, 'item')}"
    )
    click.echo(f"messages    {status.pending_messages:,} to be sent, {len(status.failed_messages):,} failed")
    click.echo(
        f"database    {size(status.database_bytes)}, {counted(status.runs, 'run')}; "
        f"{status.results_a_day:,.0f} results a day of late; archive {size(status.archive_bytes)}"
    )
    room = "there is no home yet" if status.free_bytes is None else f"{size(status.free_bytes)} free"
    click.echo(f"disk        {room}\n")
    if status.nights:
        print_table(("night", "started", "took", "why then", "steps"), [_night(*night) for night in status.nights])
        click.echo()
    if status.failed_messages:
        print_table(("message", "run", "to", "state", "why"), status.failed_messages)
        click.echo()
    for need in status.needs:
        click.secho(f"! {shown(need.what).rstrip('.')}. {need.advice}".rstrip(), fg="red")
    if not status.needs:
        click.secho("Nothing needs you.", fg="green")


def _night(night: Any, steps: Any) -> tuple[str, str, str, str, str]:
    from pdk_pipeline.cli.tables import when
    from pdk_pipeline.config import settings

    took = f"{night.ended_at - night.started_at:.1f} s" if night.ended_at else "under way"
    worth_saying = [f"{step.name} {step.state}" for step in steps if step.state not in {"done", "left out"}]
    return (
        night.run_name,
        when(night.started_at, settings().zone),
        took,
        night.reason,
        ", ".join(worth_saying) or f"all {len(steps)} done",
    )
