"""What is measured still can be, in a small way, and the table says what came of it."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator

import pytest
from rich.console import Console

from benchmarks import __main__ as bench
from benchmarks import commands, comparison, expecting, importing, looking_up, night, purge, soak, submitters
from benchmarks.generate import Site, host_names
from benchmarks.large import Size
from benchmarks.measuring import Measured, Workplace
from workers.app import app

SITE = Site(hosts=host_names(3), tests=150, log_bytes=300)
SIZE = Size(nights=7, results=8_000, hosts=8, short_nights=3)

IN_SMALL = {
    "process": importing.whole_process,
    "import": importing.speed,
    "memory": importing.memory,
    "queue": importing.through_the_queue,
    "night": lambda place: night.million(place, SITE),
    "comparison": lambda place: comparison.million(place, results=2_000, nights=3),
    "expected": lambda place: expecting.million(place, tests=1_000),
    "purge": lambda place: purge.ten_million(place, SIZE),
    "lookup": lambda place: looking_up.ten_million(place, SIZE),
    "commands": commands.start,
    "submitters": lambda place: submitters.at_once(place, SITE),
    "soak": lambda place: soak.weeks(place, SITE, nights=1),
}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Iterator[Workplace]:
    """Where little is measured, and once."""
    monkeypatch.setattr(importing, "LARGE_LOG_BYTES", 1 << 20)
    monkeypatch.setattr(soak, "PERIODIC", {"sweep": 1, "tick": 1})
    (tmp_path / "here").mkdir()
    # Imports are sent from here to a broker of their own: whoever sent from this process before had another, and
    # whoever does so next.
    _forget_broker()
    yield Workplace(tmp_path / "here", 1, SITE.night(importing.NIGHT, tmp_path / "logs"))
    _forget_broker()


def _forget_broker() -> None:
    """As in a new process, Celery has no connection and no place for results."""
    app._after_fork()
    app._backend_cache = None
    vars(app._local).pop("backend", None)


@pytest.mark.parametrize("name", bench.MEASURES)
def test_everything_can_be_measured(name, place):
    lines = list(IN_SMALL[name](place))
    assert lines
    assert all(line.what and line.values for line in lines)
    assert all(math.isfinite(value) and value >= 0 for line in lines for value in line.values), lines
    assert [path.name for path in place.directory.iterdir() if path.name.startswith("home-")] == []


def printed(measured: dict[str, list[Measured]]) -> list[str]:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(bench.table(measured))
    return [line for line in console.export_text().splitlines() if "│" in line]


def test_the_table_has_the_targets_beside_what_was_measured_ratios_first():
    lines = printed(
        {
            "import": [
                Measured("speed", [50_000.0, 70_000.0, 61_000.0], "results/s", at_least=60_000),
                Measured("faster", [1.0, 2.0, 3.0], "times", at_least=30),
            ],
            "submitters": [Measured("lost", [0], "logs", at_most=0), Measured("seconds", [2.5], "s")],
        }
    )
    assert [[cell.strip() for cell in line.strip("│").split("│")] for line in lines] == [
        ["import", "faster", "2 times", "1 … 3", "≥ 30", "missed"],
        ["", "speed", "61,000 results/s", "50,000 … 70,000", "≥ 60,000", "reached"],
        ["submitters", "lost", "0 logs", "", "≤ 0", "reached"],
        ["", "seconds", "2.5 s", "", "", ""],
    ]


def test_what_cannot_be_measured_keeps_nothing_else_from_it(place, monkeypatch, capsys):
    def broken(_place):
        yield Measured("before", [1.0], "s", at_most=2)
        raise OSError("no such thing here")

    monkeypatch.setattr(
        bench, "MEASURES", {"purge": lambda _: [Measured("last", [3.0], "s", at_most=2)], "broken": broken}
    )
    measured, failed = bench.measure(place, ["purge", "broken"])
    assert failed == ["broken"]
    assert {name: [line.what for line in lines] for name, lines in measured.items()} == {
        "purge": ["last"],
        "broken": ["before"],
    }
    assert bench.verdict(measured) == "1 of 2 targets reached"
    assert "no such thing here" in capsys.readouterr().err
