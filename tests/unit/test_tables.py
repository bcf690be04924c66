"""Tables on a terminal: what is shown can be read and copied, however narrow it is."""

from __future__ import annotations

import sys

import click
import pytest

from pdk_pipeline.cli import tables

COLUMNS = ["run", "results #", "why"]
ROWS = [
    ("daily_2026-11-23", 7_560, "the deadline came; not reported: banana, cherry, elderberry"),
    ("daily_2026-11-24", 12, ""),
]


@pytest.fixture
def printed(monkeypatch, capsys):
    """What is printed on a terminal of so many columns, line by line."""

    def on_a_terminal(width: int) -> list[str]:
        with monkeypatch.context() as patch:
            patch.setenv("COLUMNS", str(width))
            patch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
            tables.print_table(COLUMNS, ROWS)
        return [line.rstrip() for line in click.unstyle(capsys.readouterr().out).splitlines()]

    return on_a_terminal


def test_what_fits_is_drawn_in_whole_lines(printed):
    head, rule, first, second = printed(100)
    assert head.split() == ["run", "results", "why"]
    assert set(rule) == {"─"}
    assert first == "daily_2026-11-23    7,560  the deadline came; not reported: banana, cherry, elderberry"
    assert second == "daily_2026-11-24       12"


def test_only_the_widest_column_is_folded(printed):
    lines = printed(60)
    assert lines[2].startswith("daily_2026-11-23    7,560  the deadline came")
    assert [line.split()[0] for line in lines if "daily" in line] == [row[0] for row in ROWS]
    text = " ".join(line.removeprefix("daily_2026-11-23    7,560").strip() for line in lines[2:-1])
    assert text.replace(" ", "") == ROWS[0][2].replace(" ", "")


def test_on_a_terminal_too_narrow_to_fold_into_rows_stay_whole(printed):
    assert printed(30) == [
        "run               results  why",
        "daily_2026-11-23    7,560  the deadline came; not reported: banana, cherry, elderberry",
        "daily_2026-11-24       12",
    ]


def test_of_two_widest_columns_one_is_folded(monkeypatch, capsys):
    one, other = "a" * 40, "b" * 40
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    tables.print_table(["one", "other"], [(one, other)])
    lines = click.unstyle(capsys.readouterr().out).split()
    assert other in lines
    assert one not in lines
