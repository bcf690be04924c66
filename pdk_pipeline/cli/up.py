"""`pdk up`."""

from __future__ import annotations

import contextlib
import os
import select
import sys

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

    standalone.run(settings(), show=_Screen().show, with_flower=flower)


class _Screen:
    """Where the lines go. One that takes nothing must not stop all the rest: what it does not take is not shown.

    A terminal may be held (Ctrl-S) or gone, a pipe may be read by nobody, a file's disk may be full.
    """

    def __init__(self) -> None:
        self._file = sys.stdout.fileno()
        if os.isatty(self._file):
            with contextlib.suppress(OSError):
                # Opened anew, so that only we do not wait for it: whoever else writes there would be surprised.
                self._file = os.open(os.ttyname(self._file), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)

    def show(self, line: str) -> None:
        """Show as much of a line as is taken at once."""
        # A pipe that takes anything takes so many bytes.
        data = shown(line).encode(sys.stdout.encoding, "backslashreplace")[: select.PIPE_BUF - 1] + b"\n"
        with contextlib.suppress(OSError):
            if select.select([], [self._file], [], 0)[1]:
                os.write(self._file, data)
