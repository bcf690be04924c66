"""`pdk convert`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from pdk_pipeline.cli.base import Command, opened, run_meant, say, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pdk_pipeline.results import Other, Result

_FIELDS = {
    "test_run": "Test run of the results that name none.",
    "project": "Project of the results that name none.",
    "host": "Host of the results that name none.",
    "context": "Context of the results that name none.",
    "custom": "Custom part of the results that have none.",
    "test_runner": "Test runner of the results that name none.",
}


def _defaults(function: Callable[..., Any]) -> Callable[..., Any]:
    for name, text in reversed(_FIELDS.items()):
        function = click.option(f"--{name}", metavar="TEXT" if name == "custom" else "NAME", help=text)(function)
    return function


@click.command(cls=Command)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@_defaults
@click.option("--format", "format_", metavar="NAME", help="Format of the files; otherwise told by their content.")
@click.option("--output", "-o", type=click.Path(dir_okay=False), help="Write to this file instead of standard output.")
def convert(files: tuple[str, ...], format_: str | None, output: str | None, **defaults: str | None) -> int:
    """Write reports of other tools (JUnit XML, CTest's Test.xml) as a PDK log; - is standard input.

    \b
        pdk convert -test_run=daily_2026-11-23 -project=calib target/surefire-reports/*.xml -o calib.pdklog
        pdk convert -test_run=user_ann -project=calib junit.xml | ssh server pdk import -

    Importing the log gives the same results as importing the report with the same options. What cannot be converted
    is named and left out, and the exit status is 1.
    """
    from pdk_pipeline import formats
    from pdk_pipeline.formats.text import readable

    if format_:
        formats.named(format_)
    given = {name: readable(os.fsencode(value.strip())) for name, value in defaults.items() if value}
    if "test_run" in given:
        given["test_run"] = run_meant(given["test_run"])
    left_out: list[str] = []
    records = _records(files, format_, given, left_out)
    if output:
        write_whole(output, records)
    else:
        sys.stdout.buffer.writelines(records)
        sys.stdout.buffer.flush()
    return 1 if left_out else 0


def _records(
    files: Iterable[str], format_: str | None, defaults: dict[str, str], left_out: list[str]
) -> Iterator[bytes]:
    """The records of the files as text; what is no result is told, and named in `left_out`."""
    from pdk_pipeline.formats.pdk_writer import record_as_text
    from pdk_pipeline.results import Rejection, Result, Skipped

    yield b"START\n"
    for file in files:
        for reading in _readings(file, format_, defaults):
            if isinstance(reading, Result):
                yield record_as_text(reading)
            elif isinstance(reading, Rejection):
                if not reading.is_continued:
                    left_out.append(file)
                    say(f"{file}:{reading.line}: left out: {reading.reason}")
            elif isinstance(reading, Skipped):
                say(f"{file}:{reading.line}: skipped: {reading.reason}")
            else:
                say(f"{file}:{reading.line}: {reading.text}")


def _readings(file: str, format_: str | None, defaults: dict[str, str]) -> Iterator[Result | Other]:
    from pdk_pipeline import formats
    from pdk_pipeline.config import settings
    from pdk_pipeline.errors import LacksFields
    from pdk_pipeline.results import singly

    with opened(file) as stream:
        reader = formats.named(format_) if format_ else formats.detect(stream.beginning())
        limit = settings().record_limit_mb << 20
        try:
            yield from singly(reader.read(stream, defaults=defaults, zone=settings().zone, record_limit=limit))
        except LacksFields as error:
            raise LacksFields(f"{file}: {error.particulars}", advice=error.advice) from None
