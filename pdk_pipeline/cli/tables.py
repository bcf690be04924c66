"""Tables, progress bars and times, as people read them."""

from __future__ import annotations

import contextlib
import sys
from datetime import datetime
from typing import TYPE_CHECKING

import click

from pdk_pipeline.cli.base import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import tzinfo

STATUS_STYLES = {"P": "green", "F": "red", "E": "red", "M": "yellow", "D": "dim"}
GAP = "  "
"""Between two columns."""

LEAST_FOLDED = 20
"""Letters in a line of a column that does not fit."""

MOST_DRAWN = 1_000
"""Rows of a table that is drawn for a terminal; drawing costs 0.3 ms a row, so a longer one is only lined up."""


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, footer: Sequence[object] = ()) -> None:
    """Print rows under headings. Numbers stand to the right; a heading that ends in ` #` says so of its column."""
    heads = [column.removesuffix(" #") for column in columns]
    are_right = [column.endswith(" #") for column in columns]
    cells = [list(map(_cell, row)) for row in rows]
    foot = list(map(_cell, footer))
    if not (sys.stdout.isatty() and len(cells) <= MOST_DRAWN and _draw(heads, cells, foot, are_right)):
        _line_up([heads, *cells, *([foot] if foot else [])], are_right)


def _draw(heads: list[str], cells: list[list[str]], foot: list[str], are_right: list[bool]) -> bool:
    """Draw the table for a terminal; False: that is too narrow.

    Only the widest column is folded: a name or a number in pieces can be neither read nor copied.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    feet = foot or [""] * len(heads)
    widths = [max(map(_width, column)) for column in zip(heads, feet, *cells, strict=True)]
    console = Console(highlight=False)
    widest = widths.index(max(widths))
    left_for_it = console.width - (sum(widths) - widths[widest]) - len(GAP) * (len(widths) - 1)
    if left_for_it < min(widths[widest], LEAST_FOLDED):
        return False
    widths[widest] = min(widths[widest], left_for_it)
    table = Table(
        box=box.SIMPLE_HEAD, show_footer=bool(foot), show_edge=False, pad_edge=False, padding=(0, len(GAP) - 1, 0, 0)
    )
    for head, end, width, is_right in zip(heads, feet, widths, are_right, strict=True):
        table.add_column(head, Text(end), justify="right" if is_right else "left", overflow="fold", width=width)
    for row in cells:
        table.add_row(*(Text(cell, STATUS_STYLES.get(cell, "")) for cell in row))
    console.print(table)
    return True


def _line_up(table: list[list[str]], are_right: list[bool]) -> None:
    """Columns by spaces alone, nothing folded or cut off."""
    lined_up = []
    for cells, is_right in zip(zip(*table, strict=True), are_right, strict=True):
        taken = [_width(cell) for cell in cells]
        widest = max(taken)
        gaps = [" " * (widest - width) for width in taken]
        pairs = zip(gaps, cells, strict=True) if is_right else zip(cells, gaps, strict=True)
        lined_up.append(["".join(pair) for pair in pairs])
    click.echo("\n".join(GAP.join(line).rstrip() for line in zip(*lined_up, strict=True)))


def _width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return shown(str(value)).replace("\n", "\\n").replace("\t", " ")


def when(seconds: float | None, zone: tzinfo | None) -> str:
    """A time as a person reads it, in the site's zone."""
    if seconds is None:
        return ""
    return f"{datetime.fromtimestamp(seconds, tz=zone).astimezone(zone):%Y-%m-%d %H:%M:%S}"


def size(number_of_bytes: float) -> str:
    """A size as a person reads it: 3.4 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number_of_bytes < 1000:
            return f"{number_of_bytes:.0f} {unit}" if unit == "bytes" else f"{number_of_bytes:.1f} {unit}"
        number_of_bytes /= 1000
    return f"{number_of_bytes:.1f} TB"


@contextlib.contextmanager
def progress_bar(what: str, *, is_wanted: bool = True) -> Iterator[Callable[[float], None]]:
    """A bar on a terminal's standard error; yields what is told the part that is done, from 0 to 1.

    It appears once there is something to tell; in a pipe it never does.
    """
    if not (is_wanted and sys.stderr.isatty()):
        yield lambda _part: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=1.0)
        yield lambda part: progress.update(task, completed=part)
