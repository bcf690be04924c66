"""`pdk up`."""

from __future__ import annotations

import contextlib

import click

from pdk_pipeline.cli.base import Command, shown


@click.command(cls=Command)
@click.option("--flower/--no-flower", default=True, help="Start Flower, the page on which to watch the tasks.")
def up(flower: bool) -> None:
    """Run everything on this machine: broker, workers, beat and Flower. Ctrl-C stops it.

    \b
        pdk up

    Commands of this home find it by themselves. Running tasks are finished before it stops; a second Ctrl-C puts
    them back into the queue. With PDK_BROKER_URL the broker is yours, and none is started.
    """
    from pdk_pipeline.config import settings
    from workers import standalone

    def show(line: str) -> None:
        with contextlib.suppress(OSError):  # a disk that is full, a terminal that is gone: no reason to stop all of it
            click.echo(shown(line))

    standalone.run(settings(), show=show, with_flower=flower)
