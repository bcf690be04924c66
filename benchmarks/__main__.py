"""Everything that is measured, in one table: `python -m benchmarks`, or with the names of some."""

from __future__ import annotations

import argparse
import os
import shlex
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks import commands, expecting, importing, purge
from benchmarks.measuring import Measured, Workplace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEASURES: dict[str, Callable[[Workplace], Iterator[Measured]]] = {
    "commands": commands.start,
    "import": importing.speed,
    "process": importing.whole_process,
    "queue": importing.through_the_queue,
    "memory": importing.memory,
    "lookup": importing.lookup_of_one,
    "million": importing.million,
    "expected": expecting.million,
    "purge": purge.ten_million,
}
"""By the name to ask for; to add one, write a function that yields what it has measured."""


def main() -> None:
    """Measure, and print each line as soon as it is known."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speeds, sizes and memory.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(MEASURES)}; all if none is named")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each; the median counts")
    parser.add_argument("--logs", nargs="+", type=Path, default=[], help="logs of your own in place of made-up ones")
    parser.add_argument("--pandokia", default="", help="a command that imports: COMMAND DATABASE LOG...")
    parser.add_argument("--directory", type=Path, help="where to work, on the disk that is meant")
    wanted = parser.parse_args()
    unknown = set(wanted.names) - MEASURES.keys()
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    console = Console()
    console.print(_machine())
    with tempfile.TemporaryDirectory(prefix="pdk-benchmarks-", dir=wanted.directory) as directory:
        place = Workplace(Path(directory), wanted.repeats, wanted.logs, shlex.split(wanted.pandokia))
        measured: list[Measured] = []
        for name in wanted.names or MEASURES:
            with console.status(f"measuring: {name}"):
                measured += MEASURES[name](place)
    console.print(_table(measured))


def _machine() -> str:
    models = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
              if line.startswith("model name")]  # fmt: skip
    cores = len(os.sched_getaffinity(0))
    return f"{datetime.now(tz=UTC):%Y-%m-%d}, {models[0]}, {cores} cores, load {os.getloadavg()[0]:.1f}"


def _table(measured: list[Measured]) -> Table:
    table = Table("what", "median", "lowest … highest", "target", "")
    for column in table.columns[1:4]:
        column.justify = "right"
    for one in measured:
        target = _number(one.at_most or one.at_least or 0)
        table.add_row(
            one.what,
            f"{_number(one.median)} {one.unit}",
            f"{_number(min(one.values))} … {_number(max(one.values))}",
            f"≤ {target}" if one.at_most is not None else f"≥ {target}" if one.at_least is not None else "",
            {True: "reached", False: "[red]missed[/red]", None: ""}[one.is_reached],
        )
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    main()
