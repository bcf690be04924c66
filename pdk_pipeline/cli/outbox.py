"""`pdk outbox`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pdk_pipeline.cli.base import Group, as_json, local, print_json, say, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pdk_pipeline.outbox import Entry


@click.group(cls=Group)
def outbox() -> None:
    """Messages to people: list, show, try again, drop.

    A message that cannot be delivered now is tried again by itself, after pauses that grow, for days. One that was
    refused for good stays here until somebody has mended what was wrong.
    """


@outbox.command("list")
@click.argument("run", required=False)
@click.option("--all", "everything", is_flag=True, help="Also what was sent or dropped.")
@as_json
def list_(run: str | None, everything: bool, as_json: bool) -> None:
    """List the messages that were not sent, or all those about a run, the oldest first."""
    from pdk_pipeline import outbox as domain
    from pdk_pipeline import runs
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading
    from pdk_pipeline.outbox import State

    open_ = (State.PENDING, State.REFUSED, State.GIVEN_UP)
    with reading(settings()) as db:
        name = runs.canonical_name(settings(), db, run) if run else None
        entries = domain.entries(db, run=name, states=() if everything or run else open_)
    if as_json:
        print_json([entry.as_json() for entry in entries])
    elif entries:
        print_entries(entries)
    else:
        say("there is no such message" if run or everything else "everything has been sent")


def print_entries(entries: Sequence[Entry]) -> None:
    """Print messages as a table."""
    from pdk_pipeline.channels import shown as masked
    from pdk_pipeline.cli.tables import print_table
    from pdk_pipeline.outbox import State

    rows = [
        (
            entry.id,
            masked(entry.recipient),
            entry.channel,
            entry.kind,
            entry.lines,
            str(entry.state) if entry.is_tried else "under way",
            entry.subject,
            "" if entry.state is State.SENT else entry.detail,
        )
        for entry in entries
    ]
    print_table(("id #", "to", "by", "what", "lines #", "state", "subject", "why"), rows)


@outbox.command()
@click.argument("message", metavar="ID", type=int)
@click.option("--html", is_flag=True, help="Print the page that it holds.")
@as_json
def show(message: int, html: bool, as_json: bool) -> None:
    """Show one message: to whom, what became of it, and its text."""
    from pdk_pipeline import outbox as domain
    from pdk_pipeline.channels import shown as masked
    from pdk_pipeline.cli.tables import when
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading
    from pdk_pipeline.formats.text import counted

    with reading(settings()) as db:
        entry = domain.entry(db, message)
        content = domain.content(db, message)
    zone = settings().zone
    if as_json:
        print_json(entry.as_json() | {"text": content.text, "html": content.html})
        return
    if html:
        click.echo(content.html, nl=False)
        return
    click.echo(f"to          {masked(entry.recipient)}, by {entry.channel}")
    click.echo(f"about       {shown(entry.run)}, {entry.kind}")
    click.echo(f"message id  {entry.message_id}")
    under_way = ", under way" if entry.is_in_hand else ""
    click.echo(f"state       {entry.state}, {counted(entry.attempts, 'attempt')}{under_way}")
    click.echo(f"last said   {shown(entry.detail)}")
    click.echo(f"made        {when(entry.created_at, zone)}")
    if entry.closed_at is None:
        click.echo(f"next try    {when(entry.due_at, zone)}")
    else:
        click.echo(f"closed      {when(entry.closed_at, zone)}")
    click.echo(f"subject     {shown(entry.subject)}\n")
    click.echo(shown(content.text), nl=False)


@outbox.command()
@click.argument("messages", metavar="ID...", nargs=-1, type=int, required=True)
@local
@as_json
def retry(messages: tuple[int, ...], local: bool, as_json: bool) -> None:
    """Deliver messages now that were refused, given up or dropped, or that wait for their next try."""
    from pdk_pipeline.cli.waiting import outcome
    from pdk_pipeline.formats.text import counted
    from workers.dispatch import Call

    _check(messages)
    done = outcome(Call("outbox_retry", (list(messages),), f"{len(messages)} messages"), local=local)
    if as_json:
        print_json(done)
        return
    click.echo(f"{counted(done['due'], 'message')} to deliver; `pdk outbox show ID` tells what became of one")


@outbox.command()
@click.argument("messages", metavar="ID...", nargs=-1, type=int, required=True)
@local
@as_json
def drop(messages: tuple[int, ...], local: bool, as_json: bool) -> None:
    """Never deliver messages. Their recipients count as told: later they are sent only what is new."""
    from pdk_pipeline.cli.waiting import outcome
    from pdk_pipeline.formats.text import counted
    from workers.dispatch import Call

    _check(messages)
    done = outcome(Call("outbox_drop", (list(messages),), f"{len(messages)} messages"), local=local)
    if as_json:
        print_json(done)
        return
    click.echo(f"{counted(done['dropped'], 'message')} dropped")


def _check(messages: tuple[int, ...]) -> None:
    """All of them are there, or nothing is done."""
    from pdk_pipeline import outbox as domain
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading

    with reading(settings()) as db:
        for message in messages:
            domain.entry(db, message)
