"""All commands, in the order in which `pdk --help` shows them, and what becomes of their errors.

Commands import what they need when they run, so that `pdk --help` stays quick.
"""

from __future__ import annotations

import contextlib
import io
import sys
from typing import TYPE_CHECKING, Any

import click

from pdk_pipeline import __version__
from pdk_pipeline.cli.backup import backup, restore
from pdk_pipeline.cli.base import Group, say
from pdk_pipeline.cli.check import check
from pdk_pipeline.cli.clean import clean, retention
from pdk_pipeline.cli.collect import collect
from pdk_pipeline.cli.config import config
from pdk_pipeline.cli.contacts import contacts, gen_contact, import_contact
from pdk_pipeline.cli.convert import convert
from pdk_pipeline.cli.database import initdb
from pdk_pipeline.cli.deletion import delete_run, undelete_run
from pdk_pipeline.cli.doctor import doctor
from pdk_pipeline.cli.expected import check_expected, expected, gen_expected
from pdk_pipeline.cli.imports import import_
from pdk_pipeline.cli.metrics import metrics
from pdk_pipeline.cli.nightly import nightly, nights
from pdk_pipeline.cli.notify import notify
from pdk_pipeline.cli.ok import ok
from pdk_pipeline.cli.outbox import outbox
from pdk_pipeline.cli.quarantine import quarantine
from pdk_pipeline.cli.report import report
from pdk_pipeline.cli.results import export, history, show
from pdk_pipeline.cli.run import run
from pdk_pipeline.cli.runs import note, run_info, runs, valuable
from pdk_pipeline.cli.status import status
from pdk_pipeline.cli.submit import submit
from pdk_pipeline.cli.subscriptions import subscribe, subscriptions, unsubscribe
from pdk_pipeline.cli.up import up
from pdk_pipeline.errors import PdkError, in_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class _HadEnough(Exception):
    """Whoever read our output does so no longer (`pdk runs | head`)."""


@contextlib.contextmanager
def _listened_to() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # which click would take for an error
        raise _HadEnough from None


class _Pdk(Group):
    def make_context(self, *args: Any, **options: Any) -> click.Context:
        with _listened_to():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with _listened_to():
            return super().invoke(ctx)


@click.group(cls=_Pdk, context_settings={"help_option_names": ["--help"], "max_content_width": 100})
@click.option("-v", "--verbose", is_flag=True, help="Show where an error comes from.")
@click.version_option(__version__, prog_name="pdk")
def pdk(verbose: bool) -> None:  # `main` looks at it
    """What runs the morning after every night of tests: takes in PDK logs and keeps their results."""


LOWEST_FREE = 3
"""Of the numbers of open files; those below are standard input, output and error."""

for command in (
    up,
    import_,
    nightly,
    nights,
    status,
    metrics,
    collect,
    run,
    ok,
    submit,
    check,
    convert,
    gen_expected,
    check_expected,
    expected,
    gen_contact,
    import_contact,
    contacts,
    subscribe,
    unsubscribe,
    subscriptions,
    notify,
    outbox,
    report,
    runs,
    run_info,
    valuable,
    note,
    show,
    history,
    export,
    delete_run,
    undelete_run,
    clean,
    retention,
    backup,
    restore,
    quarantine,
    initdb,
    config,
    doctor,
):
    pdk.add_command(command)


def run_command(arguments: Sequence[str]) -> int:
    """Run a command and tell errors in one line. Returns the exit status: 0, 1 (our error) or 2 (usage)."""
    _open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no text, a terminal may speak ASCII
    return _exit_status(arguments)


def _open_closed_streams() -> None:
    """Let what is said to nobody (`pdk … >&-`, a daemon's child) go nowhere, and no other file be in its place."""
    import os

    if all((sys.stdin, sys.stdout, sys.stderr)):
        return
    while (number := os.open(os.devnull, os.O_RDWR)) < LOWEST_FREE:
        pass
    os.close(number)
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def _exit_status(arguments: Sequence[str]) -> int:
    try:
        return pdk.main(list(arguments), prog_name="pdk", standalone_mode=False) or 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        say(error.format_message())
        if context is not None:
            say(f"`{context.command_path} --help` tells more.")
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("interrupted")
        return 130
    except _HadEnough:
        sys.stdout = None  # Python must not try to flush it again
        return 0
    except Exception as error:
        if _is_verbose(arguments):
            raise
        say(_told(error))
        return 1


def _is_verbose(arguments: Sequence[str]) -> bool:
    before_command = list(arguments[: next((i for i, word in enumerate(arguments) if not word.startswith("-")), None)])
    return bool({"-v", "--verbose", "-verbose"} & set(before_command))


def _told(error: Exception) -> str:
    import sqlite3

    if isinstance(error, (PdkError, OSError)):
        return in_words(error)
    if isinstance(error, sqlite3.Error):
        return f"The database cannot be used: {error}. `pdk doctor` looks for the cause."
    return f"This is a fault in pdk itself: {type(error).__name__}: {error}. `pdk -v …` shows where."
