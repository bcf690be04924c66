"""`pdk run`."""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from pdk_pipeline.cli.base import Command, Seconds, as_json, print_json, quiet, run_meant, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pdk_pipeline.runner.session import Session

INTERVAL_SECONDS = 0.25
"""How often the display is drawn."""

MOST_TOLD = 100
"""Problem tests that are listed at the end."""


@click.command(cls=Command)
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("-r", "--recursive", is_flag=True, help="Directories with all that is beneath them.")
@click.option(
    "--parallel", metavar="N", type=click.IntRange(min=1), default=1, show_default=True, envvar="PDK_PARALLEL",
    help="Run the tests of N directories side by side.",
)  # fmt: skip
@click.option(
    "--log", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), envvar="PDK_LOG",
    help="Append the results to this log; by default PDK_DEFAULT.LOG.RUN.",
)  # fmt: skip
@click.option("--test_run", metavar="NAME", help="Name of the test run; by default user_NAME_DATE-TIME.")
@click.option("--project", metavar="NAME", help="Project of the tests; by default `default`.")
@click.option("--host", metavar="NAME", help="Name of this machine; by default its own.")
@click.option("--context", metavar="NAME", help="Configuration that the tests run in; by default `default`.")
@click.option("--custom", metavar="TEXT", help="A free further part of the results' identity.")
@click.option(
    "--timeout", metavar="S", type=Seconds(may_be_none=False),
    help="Stop each file of tests that takes longer than S seconds.",
)  # fmt: skip
@click.option("--exclude", metavar="PATTERN", multiple=True, help="Leave directories of this name or path out.")
@click.option("--submit", is_flag=True, help="Send the log to the server when all is done.")
@quiet
@as_json
def run(
    paths: tuple[Path, ...],
    recursive: bool,
    parallel: int,
    log: Path | None,
    timeout: float | None,
    exclude: tuple[str, ...],
    submit: bool,
    quiet: bool,
    as_json: bool,
    **given: str | None,
) -> int:
    """Run the tests of a test machine and write their results into a log.

    \b
        pdk run --parallel 4 --log $logname --test_run $testrun --project $proj -r .

    Tests are test*.py and *_test.py, run by pytest, and test*.sh and other executables named test*, told by their
    exit status. Without a PATH: -r and the directory that you are in. Exit status 0 when all passed or are disabled,
    1 when something failed or could not complete, when there are no tests, or two of the same name.

    PDK_LOG, PDK_PARALLEL, PDK_TEST_RUN, PDK_PROJECT, PDK_HOST, PDK_CONTEXT, PDK_CUSTOM and PDK_TIMEOUT stand in for
    the options; PDK_TESTPREFIX stands before the names of all tests.
    """
    import os

    from pdk_pipeline.runner import tree
    from pdk_pipeline.runner.batch import batch_of
    from pdk_pipeline.runner.log_writer import LogWriter
    from pdk_pipeline.runner.session import Session

    began = time.monotonic()
    if submit:
        _check_broker()
    batch = batch_of(given, os.environ)
    batch = batch._replace(test_run=run_meant(batch.test_run))
    if given["test_run"]:
        given["test_run"] = batch.test_run
    log = (log or Path(f"PDK_DEFAULT.LOG.{batch.test_run.replace('/', '_')}")).absolute()
    writer = LogWriter(log)
    writer.check()
    folders = tree.find(paths or (Path(),), is_recursive=recursive or not paths, exclude=exclude)
    if not folders:
        from pdk_pipeline.formats.text import in_one_line

        where = in_one_line(", ".join(map(str, paths))) or "this directory"
        say(f"no tests in {where}{'' if recursive or not paths else '; -r looks deeper'}")
        return 1
    session = Session(
        folders, writer, batch, given=given, environment=os.environ, parallel=parallel, limit_seconds=timeout
    )
    signal_number = _watched(session, is_quiet=quiet)
    writer.flush()
    if writer.problem:
        say(f"results could not be written: {writer.problem}")
    if session.named_alike:
        _say_named_alike(session)
    if as_json:
        print_json(_as_json(session, log, time.monotonic() - began))
    else:
        _print_problems(session)
        if not quiet:
            _print_counts(session, log, time.monotonic() - began)
    is_empty = not session.counts and not signal_number
    if is_empty:
        say("no tests in the files that were run")
    status = 1 if session.problems or writer.problem or session.named_alike or is_empty else 0
    if submit and not is_empty:
        from pdk_pipeline.cli.submit import submit as submit_command

        words = [str(log), *(["--quiet"] if quiet or as_json else [])]
        sent = submit_command.main(words, prog_name="pdk submit", standalone_mode=False)
        status = status or int(sent)
    return 128 + signal_number if signal_number else status


def _check_broker() -> None:
    """A whole night is too long to wait for the news that there is no place to send its log to."""
    from pdk_pipeline.config import settings
    from pdk_pipeline.errors import BrokerUnavailable
    from workers import broker

    if broker.address(settings()) is None:
        raise BrokerUnavailable("none is named, and --submit needs one", advice="PDK_BROKER_URL names the server's.")


# While they run ----------------------------------------------------------------------------------------------


class _Signalled(KeyboardInterrupt):
    """Somebody wants us to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _told_to_stop() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP raise _Signalled, except those that whoever started us has us ignore (nohup)."""

    def stop(number: int, _frame: object) -> NoReturn:
        raise _Signalled(number)

    wanted = [number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if _is_heeded(number)]
    before = {number: signal.signal(number, stop) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_heeded(number: int) -> bool:
    return signal.getsignal(number) is not signal.SIG_IGN


def _watched(session: Session, *, is_quiet: bool) -> int:
    """Run a session to its end, and show how it goes. Returns the signal that ended it early, or 0."""
    from pdk_pipeline.cli.live import display

    with _told_to_stop():
        try:
            with display(session.batch.test_run, is_wanted=not is_quiet) as show:
                session.start()
                while not session.wait(INTERVAL_SECONDS):
                    show(session.view())
        except _Signalled as signalled:
            _stop(session, signal.Signals(signalled.number).name)
            return signalled.number
        finally:
            session.close()
    return 0


def _stop(session: Session, name: str) -> None:
    say(f"{name}: the tests that run are asked to stop; once more ends them at once")
    try:
        session.stop(f"The run was ended by {name}.")
        session.wait(60)
    except _Signalled:
        session.kill()
        session.wait(10)


# What came of them -------------------------------------------------------------------------------------------


def _print_problems(session: Session) -> None:
    from pdk_pipeline.cli.tables import print_table

    if session.problems:
        print_table(("", "test"), sorted(session.problems, key=itemgetter(1))[:MOST_TOLD])
        if len(session.problems) > MOST_TOLD:
            click.echo(f"… and {len(session.problems) - MOST_TOLD:,} more")
        click.echo()


def _say_named_alike(session: Session) -> None:
    from pdk_pipeline.formats.text import counted

    many, first = counted(session.named_alike.total(), "result"), next(iter(session.named_alike))
    say(
        f"{many} too many of one name, first {first}: an import keeps only one of each name; "
        "a file pandokia_top in a directory above them all tells them apart"
    )


def _print_counts(session: Session, log: Path, seconds: float) -> None:
    from pdk_pipeline.cli.tables import print_table
    from pdk_pipeline.formats.text import counted, in_one_line

    columns = _statuses(session)
    print_table([f"{status} #" for status in columns], [[session.counts[status] for status in columns]])
    click.echo()
    many = counted(session.counts.total(), "result")
    click.echo(in_one_line(f"{many} of {session.batch.test_run} in {seconds:.1f} s: {log}"))


def _statuses(session: Session) -> Sequence[str]:
    return ["P", "F", "E", "D", *sorted(set(session.counts) - set("PFED"))]


def _as_json(session: Session, log: Path, seconds: float) -> dict[str, Any]:
    return {
        **session.batch._asdict(),
        "log": str(log),
        "seconds": round(seconds, 3),
        "counts": {status: session.counts[status] for status in _statuses(session)},
        "named_alike": dict(session.named_alike),
        "problems": [{"status": status, "test_name": name} for status, name in session.problems],
    }
