"""`pdk doctor`."""

from __future__ import annotations

import click

from pdk_pipeline.cli.base import Command, as_json, print_json, say

MARKS = {"good": "ok", "odd": "!", "bad": "BAD"}


@click.command(cls=Command)
@click.option("--quick", is_flag=True, help="Do not look through the whole database: all of it is read for that.")
@as_json
def doctor(quick: bool, as_json: bool) -> int:
    """Say what is wrong with this installation, and what to do. Exit status 1 when something is.

    \b
        pdk doctor
    """
    from pdk_pipeline import doctor as domain
    from pdk_pipeline.config import settings
    from workers import health

    if domain.is_large(settings()) and not quick and not as_json:
        say(f"looking through all of {settings().database}; --quick leaves that out")
    findings = [*domain.examine(settings(), is_quick=quick), *health.examine(settings())]
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        from pdk_pipeline.cli.tables import print_table

        rows = [(MARKS[one.state], one.subject, _sentences(one.text, one.advice)) for one in findings]
        print_table(("", "what", "finding"), rows)
    return 1 if any(finding.state == domain.State.BAD for finding in findings) else 0


def _sentences(text: str, advice: str) -> str:
    return f"{text.rstrip('.')}. {advice}" if advice else text
