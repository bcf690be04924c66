"""`pdk quarantine`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pdk_pipeline.cli.base import Group, as_json, local, print_json, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pdk_pipeline.intake.quarantine import Note


@click.group(cls=Group)
def quarantine() -> None:
    """Bad records and files: list, show, try again, drop.

    To mend one, edit the file that `show` names, then `retry` it: it is a log like any other.
    """


@quarantine.command("list")
@as_json
def list_(as_json: bool) -> None:
    """List what is in the quarantine, the oldest first."""
    from dataclasses import asdict

    from pdk_pipeline.cli.tables import print_table, when
    from pdk_pipeline.config import settings
    from pdk_pipeline.intake import quarantine as domain

    notes = domain.notes(settings())
    if as_json:
        print_json([asdict(note) for note in notes])
    elif notes:
        zone = settings().zone
        rows = [(note.id, when(note.quarantined_at, zone), note.records, note.file, note.reason) for note in notes]
        print_table(("id", "when", "records #", "file", "reason"), rows)
    else:
        click.echo("The quarantine is empty.")


@quarantine.command()
@click.argument("item", metavar="ID")
@as_json
def show(item: str, as_json: bool) -> None:
    """Show one item: where it came from, and each bad record with its line, offset and reason.

    ID may be the beginning of one.
    """
    from dataclasses import asdict

    from pdk_pipeline.cli.tables import when
    from pdk_pipeline.config import settings
    from pdk_pipeline.intake import quarantine as domain

    note = domain.note(settings(), item)
    content = domain.content_path(settings(), note.id)
    records = domain.records(settings(), note.id)
    if as_json:
        told = [asdict(record) | {"text": text} for record, text in records]
        print_json(asdict(note) | {"content": str(content), "bad_records": told})
        return
    click.echo(f"item     {note.id}")
    click.echo(f"file     {shown(note.file)}")
    click.echo(f"sha256   {note.sha256}")
    click.echo(f"when     {when(note.quarantined_at, settings().zone)}")
    click.echo(f"reason   {shown(note.reason)}")
    click.echo(f"to mend  {content}")
    for record, text in records:
        click.echo(f"\nline {record.line}, byte {record.offset}: {shown(record.reason)}")
        click.echo("".join(f"    {shown(line)}\n" for line in text.splitlines()), nl=False)


@quarantine.command()
@click.argument("items", metavar="ID...", nargs=-1, required=True)
@local
@as_json
def retry(items: tuple[str, ...], local: bool, as_json: bool) -> int:
    """Import items again, mended or not. What is still bad stays here; what was good is archived."""
    from pdk_pipeline.cli.imports import Import, finish
    from pdk_pipeline.config import settings
    from pdk_pipeline.intake import quarantine as domain
    from workers.dispatch import Call

    notes = _each_once(domain.note(settings(), item) for item in items)
    imports = [Import(Call("quarantine_retry", ([note.id],), note.id), [note.id]) for note in notes]
    return finish(imports, local=local, quiet=False, as_json=as_json)


@quarantine.command()
@click.argument("items", metavar="ID...", nargs=-1, required=True)
@local
@as_json
def drop(items: tuple[str, ...], local: bool, as_json: bool) -> None:
    """Delete items for good."""
    from pdk_pipeline.cli.waiting import outcome
    from pdk_pipeline.config import settings
    from pdk_pipeline.formats.text import counted
    from pdk_pipeline.intake import quarantine as domain
    from workers.dispatch import Call

    notes = _each_once(domain.note(settings(), item) for item in items)  # all of them are there, or none is dropped
    for note in notes:
        outcome(Call("quarantine_drop", (note.id,), note.id), local=local)
        if as_json:
            continue
        click.echo(f"{note.id} is dropped: {shown(note.file)}, {counted(note.records, 'record')}")
    if as_json:
        print_json({"dropped": [note.id for note in notes]})


def _each_once(notes: Iterable[Note]) -> list[Note]:
    return list({note.id: note for note in notes}.values())
