"""`pdk initdb`."""

from __future__ import annotations

import click

from pdk_pipeline.cli.base import Command, as_json, local, print_json


@click.command(cls=Command)
@click.argument("which", type=click.Choice(["db", "qdb"]), required=False)
@local
@as_json
def initdb(which: str | None, local: bool, as_json: bool) -> None:  # noqa: ARG001  (both names mean the one database)
    """Make the database and the home directory, or bring them up to date.

    \b
        pdk initdb

    Safe to repeat: what is there stays. `db` and `qdb` were two databases once; either name makes the one there is.
    """
    from pdk_pipeline.cli.waiting import outcome
    from workers.dispatch import Call

    made = outcome(Call("initdb", (), "initdb"), local=local)
    if as_json:
        print_json(made)
    elif made["migrations"]:
        click.echo(f"{made['database']}: ready, version {made['version']}")
    else:
        click.echo(f"{made['database']}: was ready, version {made['version']}")
