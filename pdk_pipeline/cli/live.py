"""What a run of tests is doing, drawn on a terminal while it does it."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

from pdk_pipeline.cli.base import shown
from pdk_pipeline.cli.tables import STATUS_STYLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import RenderableType

    from pdk_pipeline.runner.session import View


@contextlib.contextmanager
def display(test_run: str, *, is_wanted: bool) -> Iterator[Callable[[View], None]]:
    """A few lines on a terminal's standard error, gone at the end; in a pipe there are none. Yields what draws them."""
    if not (is_wanted and sys.stderr.isatty()):
        yield lambda _view: None
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), transient=True, auto_refresh=False) as live:
        yield lambda view: live.update(_drawn(test_run, view), refresh=True)


def _drawn(test_run: str, view: View) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    head = Text(f"{shown(test_run)}  file {view.done + len(view.running)} of {view.total}  ", overflow="ellipsis")
    for status in ("P", "F", "E", "D"):
        head.append(f"  {view.counts[status]:,} ", "bold" if view.counts[status] else "dim")
        head.append(status, STATUS_STYLES[status])
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(justify="right", width=7)
    table.add_column(no_wrap=True, overflow="ellipsis")
    for now in view.running:
        table.add_row(Text(f"{time.time() - now.since:.0f} s", "dim"), Text(shown(now.test or now.suite)))
    return Group(head, table)
