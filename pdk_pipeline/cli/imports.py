"""`pdk import`."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from pdk_pipeline.cli.base import Command, as_json, local, no_wait, print_json, quiet, run_meant, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pdk_pipeline.config import Settings
    from workers.call import Call

COUNTED = ("records", "accepted", "replaced_missing", "duplicates", "skipped", "quarantined")
OF_THIS_PROCESS = ("/dev/fd/", "/dev/stdin", "/proc/self/", "/proc/thread-self/")
"""Beginnings of paths that mean another file in another process."""

HEADINGS = ("records", "imported", "replaced missing", "duplicates", "skipped", "quarantined")


@click.command("import", cls=Command)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--host", metavar="NAME", help="Host of the records that name none.")
@click.option("--context", metavar="NAME", help="Context of the records that name none.")
@click.option("--custom", metavar="TEXT", help="Custom part of the records that have none.")
@click.option("--project", metavar="NAME", help="Project of the records that name none.")
@click.option("--test_runner", metavar="NAME", help="Test runner of the records that name none.")
@click.option("--test_run", metavar="NAME", help="Test run of the records that name none.")
@click.option(
    "--on-duplicate",
    type=click.Choice(["keep", "replace"]),
    default="keep",
    show_default=True,
    help="What becomes of a result that is there already.",
)
@click.option("--format", "format_", metavar="NAME", help="Format of the logs; otherwise told by their content.")
@click.option("--archive", is_flag=True, help="Move each log into the archive afterwards.")
@local
@no_wait
@quiet
@as_json
def import_(
    files: tuple[str, ...],
    on_duplicate: str,
    format_: str | None,
    archive: bool,
    local: bool,
    no_wait: bool,
    quiet: bool,
    as_json: bool,
    **defaults: str | None,
) -> int:
    """Import logs that the server can read; - is standard input.

    \b
        pdk import /fileserver/pdk_logs/*
        zcat old.log.gz | pdk import -host=banana -

    Good records are imported whatever else a log holds; bad ones go to the quarantine, and the exit status is 1.
    A result that is there already stays (or is replaced), one recorded missing is replaced. Logs may be plain, or
    compressed with gzip, zstandard or xz.
    """
    from pdk_pipeline.config import settings
    from pdk_pipeline.intake.deliveries import Options, sender
    from pdk_pipeline.intake.ingest import OnDuplicate

    said = {name: value.strip() for name, value in defaults.items() if value}
    if "test_run" in said:
        said["test_run"] = run_meant(said["test_run"])
    options = Options(said, OnDuplicate(on_duplicate), format_, sender())
    if format_:
        from pdk_pipeline import formats

        formats.named(format_)
    imports, absent = _imports(settings(), files, options.as_json(), archive=archive)
    try:
        if no_wait:
            _hand_over(imports, as_json=as_json)
            return 1 if absent else 0
        return finish(imports, failed=absent, local=local, quiet=quiet, as_json=as_json)
    except BaseException:
        if any(one.call.task == "import_claimed" for one in imports):
            say("what was piped is kept in the spool, with its options: if no worker has it, `pdk collect` imports it")
        raise


def _imports(
    settings: Settings, files: Sequence[str], options: dict[str, Any], *, archive: bool
) -> tuple[list[Import], list[dict[str, str]]]:
    """Tasks for the files, in their order; and those that are not there, as `finish` tells of them."""
    import uuid

    from pdk_pipeline.intake import importing, spool
    from workers.call import Call, label

    imports = []
    sizes: dict[str, int] = {}
    absent = []
    for file in files:
        try:
            if file == "-" or file.startswith(OF_THIS_PROCESS):
                imports.append(Import(Call("import_claimed", ([_put_piped(settings, file, options)],), file), [file]))
                continue
            about = os.stat(file)  # noqa: PTH116  (once a file, and twice as quick as pathlib's)
        except OSError as error:
            why = "there is no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
            absent.append({"file": spool.shown(file), "error": why})
            say(f"{file}: {why}")
            continue
        if stat.S_ISDIR(about.st_mode):
            # `pdk import *` in a directory of logs that has an old/ in it.
            say(f"{file}: a directory, left alone; the logs in it are {os.path.join(file, '*')}")  # noqa: PTH118
        else:
            sizes[file] = about.st_size
    for batch in importing.batches(sizes, sizes.__getitem__):
        # A link keeps the name that it was given.
        logs = [[os.path.abspath(path), uuid.uuid4().hex] for path in batch]  # noqa: PTH100
        names = [spool.shown(path) for path in batch]
        imports.append(Import(Call("import_logs", (logs, options, archive), label(names)), names))
    return imports, absent


def _put_piped(settings: Settings, file: str, options: dict[str, Any]) -> str:
    """Put into the spool what only this process can read, with how it is to be imported. Returns the claim."""
    from pdk_pipeline.intake import spool

    name = "stdin" if file == "-" else os.path.basename(file)  # noqa: PTH119
    with contextlib.nullcontext(sys.stdin.buffer) if file == "-" else open(file, "rb") as piped:  # noqa: PTH123
        chunks = iter(lambda: piped.read(1 << 20), b"")
        return spool.put_claimed(settings, f"{name}-{os.getpid()}.pdklog", chunks, options)


def _hand_over(imports: Sequence[Import], *, as_json: bool) -> None:
    """Send the tasks and print which has which file."""
    from pdk_pipeline.config import settings
    from workers import dispatch

    ids = dispatch.send(settings(), [one.call for one in imports])
    sent = [(file, task) for one, task in zip(imports, ids, strict=True) for file in one.files]
    if as_json:
        print_json([{"file": file, "task": task} for file, task in sent])
    else:
        for file, task in sent:
            click.echo(f"{task}  {file}")


class Import(NamedTuple):
    """A task that imports, and what people know each of its logs by."""

    call: Call
    files: list[str]


def finish(
    imports: Sequence[Import],
    *,
    failed: Sequence[dict[str, str]] = (),
    is_whole: bool = True,
    local: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Have the import tasks done, print what came of them. Returns the exit status.

    `failed`: files that have failed already, each with its error. `is_whole`: nothing else has gone wrong so far.
    """
    from pdk_pipeline.cli.waiting import outcomes
    from pdk_pipeline.errors import PdkError

    began = time.perf_counter()
    done: dict[int, list[dict[str, Any]]] = {}
    failed = list(failed)
    calls = [one.call for one in imports]
    for index, outcome in outcomes(calls, "importing", local=local, is_quiet=quiet or as_json):
        names = imports[index].files
        logs = [{"error": str(outcome)}] * len(names) if isinstance(outcome, PdkError) else outcome["logs"]
        done[index] = []
        for file, log in zip(names, logs, strict=True):
            if "error" in log:
                failed.append({"file": file, "error": log["error"]})
                say(log["error"] if file in log["error"] else f"{file}: {log['error']}")
            else:
                done[index].append(log | {"file": file})
                _tell(file, log)
    files = [log for index in sorted(done) for log in done[index]]
    totals = {name: sum(outcome[name] for outcome in files) for name in COUNTED}
    if as_json:
        print_json({"files": files, "failed": failed, "totals": totals, "seconds": time.perf_counter() - began})
    elif files and not quiet:
        _print(files, totals)
    is_whole = is_whole and not any(log["is_left"] for log in files)
    return 0 if is_whole and not failed and not totals["quarantined"] else 1


def _tell(file: str, outcome: dict[str, Any]) -> None:
    for message in outcome["messages"]:
        say(f"{file}: {message}")
    more = outcome["warnings"] + outcome["duplicates"] - outcome["replaced"] + outcome["skipped"]
    more -= len(outcome["messages"])
    if more > 0:
        say(f"{file}: … and {more:,} more of this kind")
    if outcome["quarantine_item"]:
        say(
            f"{file}: {outcome['quarantined']:,} quarantined; "
            f"`pdk quarantine show {outcome['quarantine_item']}` shows them"
        )


def _print(files: list[dict[str, Any]], totals: dict[str, int]) -> None:
    from pdk_pipeline.cli.tables import print_table

    rows = [(outcome["file"], *(outcome[name] for name in COUNTED)) for outcome in files]
    footer = (f"{len(files):,} files", *totals.values()) if len(files) > 1 else ()
    print_table(("file", *(f"{heading} #" for heading in HEADINGS)), rows, footer=footer)
