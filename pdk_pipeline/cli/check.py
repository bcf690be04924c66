"""`pdk check`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import click

from pdk_pipeline.cli.base import Command, as_json, opened, print_json, quiet, say


@dataclass
class Checked:
    """What stands in a log."""

    file: str
    results: int = 0
    skipped: int = 0
    bad: int = 0
    warnings: int = 0
    problems: list[dict[str, object]] = field(default_factory=list)
    """Line (0: none), kind and text of each."""

    def note(self, line: int, kind: str, text: str) -> None:
        """Keep a problem."""
        self.problems.append({"line": line, "kind": kind, "text": text})


@click.command(cls=Command)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--format", "format_", metavar="NAME", help="Format of the logs; otherwise told by their content.")
@quiet
@as_json
def check(files: tuple[str, ...], format_: str | None, quiet: bool, as_json: bool) -> int:
    """Read logs and say what is wrong with them, without a database.

    \b
        pdk check banana.daily_2026-11-23

    Says each record that an import would quarantine, skip or warn of, and each result that it would not keep, since one
    of the same name stands before it. Exit status 1 when one would be quarantined.
    """
    from pdk_pipeline.cli.tables import print_table
    from pdk_pipeline.errors import UnreadableLog

    checked = []
    is_good = True
    for file in files:
        try:
            one = _check(file, format_)
        except (UnreadableLog, OSError) as error:  # of this one; the others may be well
            say(f"{file}: {error.strerror}" if isinstance(error, OSError) else str(error))
            is_good = False
            continue
        checked.append(one)
        is_good = is_good and not one.bad
        if not as_json:
            for problem in one.problems:
                where = f"{file}:{problem['line']}" if problem["line"] else file
                say(f"{where}: {problem['kind']}: {problem['text']}")
    if as_json:
        print_json([asdict(one) for one in checked])
    elif checked and not quiet:
        rows = [(one.file, one.results, one.bad, one.skipped, one.warnings) for one in checked]
        print_table(("file", "good #", "bad #", "skipped #", "warnings #"), rows)
    return 0 if is_good else 1


def _check(file: str, format_: str | None) -> Checked:
    from pdk_pipeline import formats
    from pdk_pipeline.config import settings
    from pdk_pipeline.formats.seen import Seen
    from pdk_pipeline.results import Rejection, Result, Skipped, Status, singly

    checked = Checked(file)
    seen = Seen()
    with opened(file) as stream:
        reader = formats.named(format_) if format_ else formats.detect(stream.beginning())
        limit = settings().record_limit_mb << 20
        # What the command line of the import or the sender will say is not known here, and no reason to complain.
        unknown = {"test_run": "?", "project": "?"}
        readings = reader.read(stream, defaults=unknown, zone=settings().zone, record_limit=limit)
        for reading in singly(readings):
            if isinstance(reading, Result):
                checked.results += 1
                if not seen.is_first(reading[:6], is_missing=reading.status == Status.MISSING):
                    checked.warnings += 1
                    text = f"{reading.test_name} stands there before, of {reading.host}; an import keeps the first"
                    checked.note(0, "warning", text)
            elif isinstance(reading, Rejection):
                if not reading.is_continued:
                    checked.bad += 1
                    checked.note(reading.line, "bad", reading.reason)
            elif isinstance(reading, Skipped):
                checked.skipped += 1
                checked.note(reading.line, "skipped", reading.reason)
            else:
                checked.warnings += 1
                checked.note(reading.line, "warning", reading.text)
    return checked
