"""`pdk submit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pdk_pipeline.cli.base import Command, Seconds, as_json, print_json, quiet, say

if TYPE_CHECKING:
    from workers.submission import Parcel


@click.command(cls=Command)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--again", is_flag=True, help="Have a log imported again that the server has had already.")
@click.option(
    "--wait", "wait_seconds", type=Seconds(), default=120.0, show_default=True, help="Seconds to wait for the server."
)
@quiet
@as_json
def submit(files: tuple[str, ...], again: bool, wait_seconds: float, quiet: bool, as_json: bool) -> int:
    """Send logs from a test machine to the server, through the broker.

    \b
        PDK_BROKER_URL_FILE=/etc/pdk/submit_url pdk submit banana.daily_2026-11-23

    Each is read for sense first, and sent compressed. When the command returns with 0, the server has all of them on
    its disk. To send one twice does no harm.
    """
    from pdk_pipeline.config import settings
    from pdk_pipeline.errors import BrokerUnavailable, BrokerUntrusted, NotPermitted, PdkError
    from pdk_pipeline.formats.text import counted, in_one_line
    from workers import submission

    told: list[dict[str, object]] = []
    is_whole = True
    for number, file in enumerate(files, 1):
        shown = in_one_line(file)
        try:
            parcel = submission.pack(settings(), Path(file), again=again)
            if parcel.bad:
                say(f"{shown}: into the quarantine there: {counted(parcel.bad, 'bad record')}; {parcel.first_problem}")
            received = submission.submit(settings(), parcel, wait_seconds=wait_seconds, on_note=say)
        except (PdkError, OSError) as error:
            reason = str(error.strerror) if isinstance(error, OSError) else str(error)
            say(in_one_line(reason if file in reason else f"{file}: {reason}"))
            told.append({"file": file, "error": reason})
            is_whole = False
            if isinstance(error, (BrokerUnavailable, BrokerUntrusted, NotPermitted)) and number < len(files):
                # It would be the same with each of them.
                say(f"{len(files) - number:,} more were not sent")
                told.extend({"file": unsent, "error": "not sent"} for unsent in files[number:])
                break
            continue
        about = {"file": file, "results": parcel.results, "bad": parcel.bad, "bytes_sent": len(parcel.content)}
        told.append(about | {"received": received})
        is_whole = is_whole and received is not None
        if not (quiet or as_json) or received is None:
            _tell(shown, parcel, received)
    if as_json:
        print_json(told)
    return 0 if is_whole else 1


def _tell(file: str, parcel: Parcel, received: dict[str, object] | None) -> None:
    from pdk_pipeline.cli.tables import size
    from pdk_pipeline.formats.text import counted

    if received is None:
        kept = "it is kept for three days and taken as soon as somebody is there"
        say(f"{file}: is in the broker, but nobody there has taken it yet; {kept}")
    elif received.get("imported_at") and not parcel.again:
        click.echo(f"{file}: the server has had this log already; --again has it imported again")
    else:
        click.echo(f"{file}: received, {counted(parcel.results, 'result')}, {size(len(parcel.content))} sent")
