"""Everything that is measured, in one table: `python -m benchmarks`, or with the names of some."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sqlite3
import sys
import tempfile
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks import commands, comparison, expecting, importing, looking_up, night, purge, soak, submitters
from benchmarks.measuring import Measured, Workplace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

MEASURES: dict[str, Callable[[Workplace], Iterator[Measured]]] = {
    "process": importing.whole_process,
    "import": importing.speed,
    "memory": importing.memory,
    "queue": importing.through_the_queue,
    "night": night.million,
    "comparison": comparison.million,
    "expected": expecting.million,
    "purge": purge.ten_million,
    "lookup": looking_up.ten_million,
    "commands": commands.start,
    "submitters": submitters.at_once,
    "soak": soak.weeks,
}
"""By the name to ask for, in the order of the table; to add one, write a function that yields what it has measured."""

ON_REQUEST = {"soak"}
"""Takes so long that it is only done when it is named."""

LAST = "purge"
"""Takes apart the database in which others look something up."""


def main() -> int:
    """Measure, and print the table. Exit status 1 when something could not be measured, not when it is slow."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speeds, sizes and memory.")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"one of {', '.join(MEASURES)}; all but {', '.join(ON_REQUEST)} if none is named",
    )
    parser.add_argument("--repeats", type=int, default=5, help="runs of each; the median counts")
    parser.add_argument("--logs", nargs="+", type=Path, default=[], help="logs of your own in place of made-up ones")
    parser.add_argument("--pandokia", default="", help="a command that imports: COMMAND DATABASE LOG...")
    parser.add_argument("--directory", type=Path, help="where to work, on the disk that is meant")
    wanted = parser.parse_args()
    unknown = set(wanted.names) - MEASURES.keys()
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(machine())
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pdk-benchmarks-", dir=wanted.directory) as directory:
        place = Workplace(Path(directory), wanted.repeats, wanted.logs, shlex.split(wanted.pandokia))
        names = [name for name in MEASURES if name in (wanted.names or MEASURES.keys() - ON_REQUEST)]
        measured, failed = measure(place, names)
    console.print(table(measured))
    console.print(f"{verdict(measured)}; measured in {(time.monotonic() - began) / 60:.1f} minutes")
    if failed:
        console.print(f"[red]could not be measured: {', '.join(failed)}[/red]")
    return 1 if failed else 0


def machine() -> str:
    """The date, what it is measured on, and whether that had other work."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (
        f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC, {models[0] if models else platform.machine()}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )


def measure(place: Workplace, names: Sequence[str]) -> tuple[dict[str, list[Measured]], list[str]]:
    """Measure what is named. Returns the lines by name, and the names of what could not be measured."""
    measured: dict[str, list[Measured]] = {name: [] for name in names}
    failed = []
    for name in sorted(names, key=LAST.__eq__):
        began = time.monotonic()
        try:
            measured[name] += MEASURES[name](place)
        except Exception:  # noqa: BLE001  (whatever it is, the others can be measured)
            traceback.print_exc()
            failed.append(name)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return measured, failed


def verdict(measured: Mapping[str, Sequence[Measured]]) -> str:
    """How many targets were reached."""
    held = [one.is_reached for lines in measured.values() for one in lines if one.is_reached is not None]
    return f"{sum(held)} of {len(held)} targets reached"


def table(measured: Mapping[str, Sequence[Measured]]) -> Table:
    """All lines, by name; ratios come first, since absolute times differ from machine to machine."""
    made = Table("", "what", "median", "lowest … highest", "target", "")
    for column in made.columns[2:5]:
        column.justify = "right"
    for name, lines in measured.items():
        for number, one in enumerate(sorted(lines, key=lambda line: line.unit != "times")):
            target = _number(one.at_most if one.at_most is not None else one.at_least or 0)
            made.add_row(
                "" if number else name,
                one.what,
                f"{_number(one.median)} {one.unit}",
                f"{_number(min(one.values))} … {_number(max(one.values))}" if len(one.values) > 1 else "",
                f"≤ {target}" if one.at_most is not None else f"≥ {target}" if one.at_least is not None else "",
                {True: "reached", False: "[red]missed[/red]", None: ""}[one.is_reached],
            )
        made.add_section()
    return made


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
