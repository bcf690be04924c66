"""`pdk backup` and `pdk restore`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from pdk_pipeline.cli.base import Command, as_json, local, print_json, say, shown


@click.command(cls=Command)
@click.argument("target", metavar="[FILE|DIRECTORY]", required=False)
@click.option("--keep", type=click.IntRange(min=1), metavar="N", help="So many backups stay in the directory.")
@local
@as_json
def backup(target: str | None, keep: int | None, local: bool, as_json: bool) -> None:
    """Copy the database while the system runs; the copy is whole, checked, and of one moment.

    \b
        pdk backup /backups/pdk

    In a directory the backup is named by the time, and the last 7 (or N, or the setting keep_backups) stay. Without a
    target it goes into the setting backup_directory. The logs in the spool are plain files: copy them as you like.
    """
    from pdk_pipeline.cli.tables import size
    from pdk_pipeline.cli.waiting import outcome
    from pdk_pipeline.errors import BackupRefused
    from workers.dispatch import Call

    path = os.path.abspath(target) if target else None  # noqa: PTH100
    if target and path and target.endswith("/") and not os.path.isdir(path):  # noqa: PTH112
        raise BackupRefused(f"{path} is no directory", advice="Make it first.")
    made = outcome(Call("backup", (path, keep or 0), target or "backup"), local=local)
    if as_json:
        print_json(made)
        return
    click.echo(f"{shown(made['path'])}: {size(made['bytes'])}, checked, in {made['seconds']:.1f} s")
    for removed in made["removed"]:
        say(f"{removed} is removed")


@click.command(cls=Command)
@click.argument("file", type=click.Path(path_type=Path))
@as_json
def restore(file: Path, as_json: bool) -> None:
    """Put a backup in the place of the database, when nothing runs. The database before it is kept beside it.

    \b
        pdk restore /backups/pdk/pdk-2026-11-23T063000.db

    What was imported after the backup was made lies in the archive: import it again, what is there already stays.
    """
    import time

    from pdk_pipeline import backup as domain
    from pdk_pipeline.cli.tables import progress_bar, when
    from pdk_pipeline.config import settings
    from pdk_pipeline.errors import AlreadyUp
    from workers import broker

    if (running := broker.holder(settings())) is not None:
        raise AlreadyUp(f"process {running.get('pid', '?')}", advice="Stop it first: it has the database open.")
    with progress_bar("restoring", is_wanted=not as_json) as show:
        restored = domain.restore(
            settings(), file, now=time.time(), progress=lambda done, total: show(done / total if total else 1.0)
        )
    if as_json:
        print_json(restored.as_json())
        return
    click.echo(f"{settings().database} is as it was in {shown(str(file))}")
    if restored.aside:
        click.echo(f"the one before is {restored.aside}; it can be deleted")
    if restored.newest_import:
        since = when(restored.newest_import, settings().zone)
        archive = settings().spool / "archive"
        click.echo(f"its newest import is of {since}; `pdk import` brings back what came later and is in {archive}")
