"""`pdk notify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pdk_pipeline.cli.base import Command, as_json, local, print_json, say, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pdk_pipeline.audience import Test
    from pdk_pipeline.notify import Plan
    from pdk_pipeline.outbox import Entry

WAIT_SECONDS = 10
"""So long a person waits to see what becomes of the messages that workers deliver."""

MOST_NAMED = 5
"""So many tests are told by name."""


@click.command(cls=Command)
@click.argument("run", default="daily_latest")
@click.option("--email", is_flag=True, help="Tell them. Without it, what would be sent is printed.")
@click.option("--channel", "among", multiple=True, metavar="NAME", help="Only by this channel: smtp, eml, apprise.")
@click.option("--test", "test", metavar="ADDRESS", help="Send a test message there, and nothing else.")
@local
@as_json
def notify(run: str, email: bool, among: tuple[str, ...], test: str | None, local: bool, as_json: bool) -> int:
    """Tell the contacts and the subscribers about a run, each in one message.

    \b
        pdk notify
        pdk notify -email daily_latest
        pdk notify --test ann@example.org

    RUN is daily_latest when it is not given, the run of today. Whoever was told of it before is sent only what
    changed since. Exit status 1 when a failing or missing test has no contact, or a message was refused.
    """
    _check(among)
    if test is not None:
        return _send_test(test, as_json=as_json)
    if email:
        return _tell(run, list(among) or None, local=local, as_json=as_json)
    return _preview(run, list(among) or None, as_json=as_json)


def _check(among: Sequence[str]) -> None:
    from pdk_pipeline.channels import names

    for name in among:
        if name not in names():
            raise click.BadParameter(f"{name} is none; there are {', '.join(names())}", param_hint="--channel")


# Looking -----------------------------------------------------------------------------------------------------


def _preview(run: str, among: list[str] | None, *, as_json: bool) -> int:
    from pdk_pipeline import channels, runs
    from pdk_pipeline import notify as domain
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading

    with reading(settings()) as db:
        planned = domain.plan(settings(), db, runs.find(settings(), db, run), among=among)
    if as_json:
        print_json(_as_json(planned))
    elif planned.notices:
        for notice, _ in planned.notices:
            click.echo(f"To: {channels.shown(notice.recipient)}\nSubject: {shown(notice.subject)}\n")
            click.echo(f"{shown(notice.text).rstrip()}\n\n{'=' * 80}\n")
        _print_plan(planned)
    _say_unreachable(len(planned.unreachable))
    if not planned.notices:
        say(f"there is nothing (more) to tell anybody about {planned.run}")
    return _say_without_contact(len(planned.without_contact), planned.without_contact)


def _print_plan(planned: Plan) -> None:
    from pdk_pipeline.channels import shown as masked
    from pdk_pipeline.cli.tables import print_table

    rows = [
        (masked(notice.recipient), notice.channel, "addendum" if known else "report", notice.lines, notice.subject)
        for notice, known in planned.notices
    ]
    print_table(("would be told", "by", "what", "lines #", "subject"), rows)


def _as_json(planned: Plan) -> dict[str, Any]:
    from pdk_pipeline.channels import shown as masked

    return {
        "run": planned.run,
        "messages": [
            {
                "recipient": masked(notice.recipient),
                "channel": notice.channel,
                "kind": "addendum" if known else "report",
                "lines": notice.lines,
                "subject": notice.subject,
                "text": notice.text,
            }
            for notice, known in planned.notices
        ],
        "without_contact": [{"project": project, "test": name} for project, name in planned.without_contact],
        "unreachable": [masked(recipient) for recipient in planned.unreachable],
    }


# Telling -----------------------------------------------------------------------------------------------------


def _tell(run: str, among: list[str] | None, *, local: bool, as_json: bool) -> int:
    from pdk_pipeline.cli.outbox import print_entries
    from pdk_pipeline.cli.waiting import outcome
    from workers.dispatch import Call

    newest = _newest_message()
    told = outcome(Call("notify", (run, among), f"notify {run}"), local=local)
    # Looked up by what was there before: a task that was killed and done again remembers half of what it put.
    entries = _wait_for(told["run"], newest)
    if as_json:
        print_json(told | {"messages": [entry.as_json() for entry in entries]})
    elif entries:
        print_entries(entries)
    else:
        say(f"there is nothing (more) to tell anybody about {told['run']}")
    _say_unreachable(told["unreachable"])
    is_wrong = _say_what_became(entries)
    return _say_without_contact(told["without_contact"], told["examples"]) or int(is_wrong)


def _newest_message() -> int:
    from pdk_pipeline import outbox
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading
    from pdk_pipeline.errors import NoDatabase

    try:
        with reading(settings()) as db:
            return outbox.newest(db)
    except NoDatabase:
        return 0


def _wait_for(run: str, newest: int) -> list[Entry]:
    """The messages about a run that are newer than that, once each has been tried or that has taken too long."""
    import time

    from pdk_pipeline import outbox
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading

    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        with reading(settings()) as db:
            entries = [entry for entry in outbox.entries(db, run=run) if entry.id > newest]
        if all(entry.is_tried for entry in entries) or time.monotonic() > deadline:
            return entries
        time.sleep(0.05)


def _say_what_became(entries: Sequence[Entry]) -> bool:
    """Say what a person should know of what was not simply sent. Returns whether something is wrong.

    It is when something was refused, or when nobody is there to try again.
    """
    from pdk_pipeline.channels import eml
    from pdk_pipeline.config import settings
    from pdk_pipeline.formats.text import counted
    from pdk_pipeline.outbox import State
    from workers import broker

    if any(entry.channel == eml.NAME for entry in entries):
        say(f"mails are files in {settings().outbox}: no mail server is set up (PDK_SMTP_HOST)")
    refused = [entry for entry in entries if entry.state in (State.REFUSED, State.GIVEN_UP)]
    if refused:
        say(f"{counted(len(refused), 'message')} refused; `pdk outbox retry` tries again what was mended")
    failed = [entry for entry in entries if entry.state is State.PENDING and entry.is_tried]
    is_left = bool(failed) and broker.address(settings()) is None
    if failed:
        what_then = "the next `pdk notify` or `pdk nightly` tries again" if is_left else "it will be tried again"
        say(f"{counted(len(failed), 'message')} could not be delivered now, {what_then}: {failed[0].detail}")
    under_way = [entry for entry in entries if not entry.is_tried]
    if under_way:
        say(f"{counted(len(under_way), 'message')} still under way; `pdk outbox list` shows what becomes of them")
    return bool(refused) or is_left


def _say_unreachable(number: int) -> None:
    from pdk_pipeline.formats.text import counted

    if number:
        say(f"{counted(number, 'recipient')} left out, whom that channel does not serve")


def _say_without_contact(number: int, examples: Sequence[Test]) -> int:
    from pdk_pipeline.channels import shown as masked
    from pdk_pipeline.config import settings
    from pdk_pipeline.formats.text import counted

    if not number:
        return 0
    names = ", ".join(f"{project} {name:.100}" for project, name in examples[:MOST_NAMED])
    more = f" and {number - MOST_NAMED:,} more" if number > MOST_NAMED else ""
    if settings().fallback_address:
        advice = f"{masked(settings().fallback_address)} is told instead."
    else:
        advice = "`pdk import_contact` gives them one; the setting fallback_address names who is told otherwise."
    say(f"{counted(number, 'failing or missing test')} without a contact: {names}{more}. {advice}")
    return 1


# Testing -----------------------------------------------------------------------------------------------------


def _send_test(address: str, *, as_json: bool) -> int:
    """Send a message from here, as things are set up here: nothing of it is in the outbox."""
    import socket
    import time
    import uuid

    from pdk_pipeline import addresses, channels
    from pdk_pipeline.channels import mail
    from pdk_pipeline.config import settings
    from pdk_pipeline.errors import BadAddress

    recipient = addresses.clean(address, settings().mail_domain, may_be_url=True)
    channel = channels.for_recipient(settings(), recipient)
    if channel is None:
        raise BadAddress(channels.shown(recipient))
    text = f"Messages of pdk on {socket.gethostname()} arrive here.\n"
    message = channels.Message(
        f"{uuid.uuid4().hex}@{mail.domain(settings())}",
        recipient,
        "[pdk] test message",
        text,
        f"<!DOCTYPE html><html><body><p>{text}</p></body></html>\n",
        time.time(),
    )
    told = channel.send(settings(), message, seconds=4 * settings().smtp_timeout_seconds)
    if as_json:
        print_json({"recipient": channels.shown(recipient), "channel": channel.NAME, "detail": told})
    else:
        click.echo(f"{channels.shown(recipient)}: sent by {channel.NAME}: {shown(told)}")
    return 0
