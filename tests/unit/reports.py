"""Reading reports of other tools, in tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pdk_pipeline import formats
from pdk_pipeline.results import Reading, Rejection, Result, Skipped
from tests.unit.reading import UTC, Pieces

DATA = Path(__file__).parents[1] / "data"

SAID = {"test_run": "daily_2026-11-23", "project": "calib"}
"""What the command line says in most tests."""


def read_as(
    name: str, report: bytes | str, *, piece: int = 1 << 22, limit: int = 64 << 20, **defaults: Any
) -> list[Reading]:
    """Everything that a reader makes of a report."""
    data = report.encode() if isinstance(report, str) else report
    reader = formats.named(name)
    return list(reader.read(Pieces(data, piece), defaults=SAID | defaults, zone=UTC, record_limit=limit))


def junit(report: bytes | str, **options: Any) -> list[Reading]:
    return read_as("junit", report, **options)


def ctest(report: bytes | str, **options: Any) -> list[Reading]:
    return read_as("ctest", report, **options)


def only(readings: list[Reading]) -> Result:
    """The one result, and nothing else."""
    (reading,) = readings
    assert isinstance(reading, Result), reading
    return reading


def records(readings: list[Reading]) -> int:
    """How many records they are, as an import counts them."""
    return sum(isinstance(reading, (Result, Rejection, Skipped)) for reading in whole(readings))


def whole(readings: list[Reading]) -> list[Reading]:
    """The same with the pieces of large rejections put together."""
    joined: list[Reading] = []
    pieces = b""
    for reading in readings:
        if not isinstance(reading, Rejection):
            joined.append(reading)
            continue
        pieces += reading.raw
        if not reading.is_continued:
            joined.append(reading._replace(raw=pieces))
            pieces = b""
    return joined


def suite(*cases: str, name: str = "calib.FlatTest", **attributes: str) -> str:
    """A suite of cases."""
    given = "".join(f' {key}="{value}"' for key, value in {"name": name, **attributes}.items())
    return f"<testsuite{given}>\n" + "".join(f"{case}\n" for case in cases) + "</testsuite>"


def case(name: str = "bias", inside: str = "", classname: str = "calib.FlatTest", **attributes: str) -> str:
    """A case."""
    given = "".join(f' {key}="{value}"' for key, value in {"classname": classname, "name": name, **attributes}.items())
    return f"<testcase{given}>{inside}</testcase>"
