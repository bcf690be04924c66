"""What every command stands on: spelling of names and options, options in common, messages."""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pdk_pipeline.formats.stream import LogStream
    from pdk_pipeline.selection import Selection

_ONE_DASH = re.compile(r"--?([A-Za-z][\w-]+)(=.*)?", re.DOTALL)
_UNSHOWABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What steers a terminal, and what has a line read in another order than it is written."""


def _folded(name: str) -> str:
    return name.replace("-", "_")


def _is_path(param: click.Parameter) -> bool:
    return "FILE" in (param.metavar or "")


def _as_text(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_as_text(part) for part in value)
    if not isinstance(value, str) or value.isascii():
        return value
    from pdk_pipeline.formats.text import readable

    return readable(os.fsencode(value))


class Command(click.Command):
    """A command whose long options may also be written as people have them in scripts: -host=x, --on_duplicate.

    Names with bytes that are no text are read as those in logs are, so that they name the same: `x\\xff`.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put every long option into the one spelling that click knows."""
        known = {_folded(name[2:]): name for param in self.get_params(ctx) for name in param.opts if name[:2] == "--"}
        rest = args[args.index("--") :] if "--" in args else []
        spelled = []
        for arg in args[: len(args) - len(rest)]:
            match = _ONE_DASH.fullmatch(arg)
            name = known.get(_folded(match[1])) if match else None
            spelled.append(f"{name}{match[2] or ''}" if match and name else arg)
        left = super().parse_args(ctx, spelled + rest)
        for param in self.get_params(ctx):
            if param.name in ctx.params and isinstance(param.type, click.types.StringParamType) and not _is_path(param):
                ctx.params[param.name] = _as_text(ctx.params[param.name])
        return left


class Group(Command, click.Group):
    """Commands that may be written with a hyphen or an underscore: gen-expected, gen_expected."""

    command_class = Command

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, in either spelling."""
        folded = {_folded(name): name for name in self.list_commands(ctx)}
        return super().get_command(ctx, folded.get(_folded(cmd_name), cmd_name))

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order in which they were added, which is the order of use."""
        return list(self.commands)


# Options that several commands have --------------------------------------------------------------------------

NUMBER = click.IntRange(min=1, max=1_000_000_000)
"""How many of something; what is larger would be no number to SQLite."""


class Seconds(click.FloatRange):
    """A time that can be waited for: no more than 30 years, and a number."""

    def __init__(self, *, may_be_none: bool = True) -> None:
        super().__init__(min=0, max=1_000_000_000, min_open=not may_be_none)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click does it; but nan, which is in every range to it, is in none."""
        seconds = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value} is not a number of seconds.", param, ctx)
        return seconds

    def _describe_range(self) -> str:
        return "seconds"


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
LOCAL = (
    "Do the work in this process, whatever is running. While the workers of `pdk up` write the database it waits, for "
    "`writer_wait_seconds` at most."
)
local = click.option("--local", is_flag=True, help=LOCAL)
no_wait = click.option("--no-wait", is_flag=True, help="Hand the work over, print the tasks' ids and return.")
quiet = click.option("-q", "--quiet", is_flag=True, help="Only say what is wrong.")

_SELECTORS = {
    "projects": ("-p", "--project", "of these projects"),
    "hosts": ("-h", "--host", "of these hosts"),
    "contexts": ("-c", "--context", "of these contexts"),
    "customs": ("-m", "--custom", "with this custom part"),
    "statuses": ("-s", "--status", "with these statuses (P F E D M …)"),
}


def _selectors(kinds: Iterable[str], noun: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for kind in reversed(list(kinds)):
            short, long, what = _SELECTORS[kind]
            text = f"Only {noun} {what}; * and ? are wildcards. Several are an OR."
            function = click.option(short, long, kind, multiple=True, metavar="PATTERN", help=text)(function)
        return function

    return decorate


selecting = _selectors(_SELECTORS, "results")
"""Options that select results; `selection` makes a Selection of their values."""

selecting_tests = _selectors([kind for kind in _SELECTORS if kind != "statuses"], "tests")
"""The same for expected tests, which have no status."""


def selection(options: dict[str, tuple[str, ...]], tests: tuple[str, ...] = ()) -> Selection:
    """What the options of `selecting` or `selecting_tests` select."""
    from pdk_pipeline.selection import Selection

    return Selection(**options, tests=tests)


def run_meant(name: str) -> str:
    """The run that `--test_run` names; `daily_latest` is today's here too, or it would be a run that nothing finds."""
    from pdk_pipeline import runs

    if name.rpartition("_")[2] not in runs.RELATIVE:
        return name  # and no settings are needed to know it
    from pdk_pipeline.config import settings

    meant = runs.of_today(settings(), name)
    if runs.is_relative(settings(), meant):
        raise click.BadParameter(f"{name} is another run every day; say which by its date.", param_hint="--test_run")
    return meant


# Files -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(file: str) -> Iterator[LogStream]:
    """A log that a person named; - is standard input. Raises UnreadableLog."""
    from pathlib import Path

    from pdk_pipeline.formats.stream import LogStream, open_log

    if file == "-":
        yield LogStream(sys.stdin.buffer, 0)
        return
    with open_log(Path(file)) as stream:
        yield stream


def write_whole(output: str, pieces: Iterable[bytes]) -> None:
    """All of it under its name, or nothing; into what is no file (a pipe, /dev/stdout) as it comes.

    A link stays one: the file that it leads to is written.
    """
    from pathlib import Path

    if Path(output).exists() and not Path(output).is_file():
        with Path(output).open("wb") as file:
            file.writelines(pieces)
        return
    path = Path(os.path.realpath(output))  # Path.resolve raises where links go in a circle
    if not path.parent.is_dir():
        raise click.ClickException(f"{output} cannot be written: there is no directory {path.parent}")
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("wb") as file:
            file.writelines(pieces)
        beside.rename(path)
    finally:
        beside.unlink(missing_ok=True)


# Messages and data -------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """A message to the person, on standard error."""
    click.echo(f"pdk: {shown(text)}", err=True)


def shown(text: str) -> str:
    r"""Text from outside, such that it cannot steer a terminal: control characters as \x1b or \u202e."""
    return _UNSHOWABLE.sub(lambda match: f"\\x{code:02x}" if (code := ord(match[0])) < 256 else f"\\u{code:04x}", text)


def print_json(data: object) -> None:
    """Data for programs."""
    import json

    click.echo(json.dumps(data, indent=2, ensure_ascii=not _speaks_unicode()))


def _speaks_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
