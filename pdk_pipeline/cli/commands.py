"""All commands, in the order in which `pdk --help` shows them, and what becomes of their errors.

A command is imported when it is asked for, and imports what it needs when it runs: only `pdk --help` loads them all.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections import UserDict
from typing import TYPE_CHECKING, Any

import click

from pdk_pipeline import __version__
from pdk_pipeline.cli.base import Group, say
from pdk_pipeline.errors import PdkError, in_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


MODULE_OF = {
    "up": "up",
    "import": "imports",
    "nightly": "nightly",
    "nights": "nightly",
    "status": "status",
    "metrics": "metrics",
    "collect": "collect",
    "run": "run",
    "ok": "ok",
    "submit": "submit",
    "check": "check",
    "convert": "convert",
    "gen_expected": "expected",
    "check_expected": "expected",
    "expected": "expected",
    "gen_contact": "contacts",
    "import_contact": "contacts",
    "contacts": "contacts",
    "subscribe": "subscriptions",
    "unsubscribe": "subscriptions",
    "subscriptions": "subscriptions",
    "notify": "notify",
    "outbox": "outbox",
    "report": "report",
    "runs": "runs",
    "run-info": "runs",
    "valuable": "runs",
    "note": "runs",
    "show": "results",
    "history": "results",
    "export": "results",
    "delete_run": "deletion",
    "undelete_run": "deletion",
    "clean": "clean",
    "retention": "clean",
    "backup": "backup",
    "restore": "backup",
    "quarantine": "quarantine",
    "initdb": "database",
    "config": "config",
    "doctor": "doctor",
}
"""Which file each command is in."""


class _Commands(UserDict[str, Any]):
    """The commands by name, each loaded when it is asked for: to load them all takes longer than many of them do."""

    def __getitem__(self, name: str) -> click.Command:
        module = importlib.import_module(f"pdk_pipeline.cli.{self.data[name]}")
        return next(one for one in vars(module).values() if isinstance(one, click.Command) and one.name == name)


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


@click.group(
    cls=_Pdk,
    commands=_Commands(MODULE_OF),
    context_settings={"help_option_names": ["--help"], "max_content_width": 100},
)
@click.option("-v", "--verbose", is_flag=True, help="Show where an error comes from.")
@click.version_option(__version__, prog_name="pdk")
def pdk(verbose: bool) -> None:  # `main` looks at it
    """What runs the morning after every night of tests: takes in PDK logs and keeps their results."""


LOWEST_FREE = 3
"""Of the numbers of open files; those below are standard input, output and error."""


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
