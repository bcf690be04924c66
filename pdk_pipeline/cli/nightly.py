"""`pdk nightly` and `pdk nights`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from pdk_pipeline.cli.base import NUMBER, Command, as_json, local, no_wait, print_json, say

if TYPE_CHECKING:
    from pdk_pipeline.nights import Night, Step


@click.command(cls=Command)
@click.argument("class_name", metavar="[CLASS]", default="daily")
@click.argument("run", required=False)
@click.option("--again", is_flag=True, help="Do a night again that has ended.")
@local
@no_wait
@as_json
def nightly(class_name: str, run: str | None, again: bool, local: bool, no_wait: bool, as_json: bool) -> int:
    """Do the whole night now: import what has arrived, check what is missing, tell people, tidy up.

    \b
        pdk nightly
        pdk nightly daily daily_2026-11-23

    Without RUN it is the latest night whose time (`at`) has come: a crontab's line that is earlier does the one before.
    A night that is under way is joined, one that was cut off goes on. Exit status 1 when a step has failed.
    """
    from pdk_pipeline.cli.waiting import outcome
    from pdk_pipeline.config import settings
    from workers import dispatch

    if run is not None and not run.strip():
        raise click.BadParameter("a run has a name, for example daily_latest", param_hint="RUN")
    call = dispatch.Call("nightly", (class_name, run, "on demand", again), f"{class_name} {run or ''}".strip())
    if no_wait:
        click.echo(dispatch.send(settings(), [call])[0])
        return 0
    began = time.time()
    begun = outcome(call, local=local)
    night, steps = _wait_for(begun["night"])
    if as_json:
        print_json(_as_json(night, steps))
    else:
        _print(night, steps)
    failed = [step for step in steps if step.state == "failed"]
    if night.ended_at is not None and night.ended_at < began:
        say(f"{night.run_name}: it had ended before, and nothing was done now; --again does it once more")
    if night.ended_at is None:
        say(f"{night.run_name}: not ended yet; the same command goes on with it")
    return 1 if failed or night.ended_at is None else 0


def _wait_for(night_id: int) -> tuple[Night, list[Step]]:
    """Wait until a night has ended, or nobody works on it; say each step as it ends."""
    from pdk_pipeline import nights
    from pdk_pipeline.cli.tables import progress_bar
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading
    from workers import broker

    with progress_bar("the night") as show:
        while True:
            with reading(settings()) as db:
                night = nights.by_id(db, night_id)
                steps = nights.steps(db, night)
            show(sum(step.is_over for step in steps) / len(steps))
            if night.ended_at is not None or broker.address(settings()) is None:
                return night, steps
            time.sleep(0.2)


@click.command(cls=Command)
@click.option("--most", type=NUMBER, default=7, show_default=True, help="So many nights, the newest.")
@as_json
def nights(most: int, as_json: bool) -> None:
    """Show the last nights: when they ran, and how each step ended.

    \b
        pdk nights
    """
    from pdk_pipeline import nights as domain
    from pdk_pipeline.config import settings
    from pdk_pipeline.database import reading

    with reading(settings()) as db:
        found = [(night, domain.steps(db, night)) for night in domain.latest(db, most)]
    if as_json:
        print_json([_as_json(night, steps) for night, steps in found])
        return
    if not found:
        say("there was no night yet; `pdk nightly` does one, beat starts them by itself under `pdk up`")
    for night, steps in found:
        _print(night, steps)
        click.echo()


def _as_json(night: Night, steps: list[Step]) -> dict[str, object]:
    return night._asdict() | {"steps": [step._asdict() for step in steps]}


def _print(night: Night, steps: list[Step]) -> None:
    from pdk_pipeline.cli.tables import print_table, when
    from pdk_pipeline.config import settings
    from pdk_pipeline.formats.text import in_one_line

    zone = settings().zone
    ended = f"ended {when(night.ended_at, zone)}" if night.ended_at else "under way"
    click.echo(f"{in_one_line(night.run_name)}: started {when(night.started_at, zone)} ({night.reason}), {ended}")
    rows = []
    for step in steps:
        seconds = f"{step.ended_at - step.started_at:.1f} s" if step.ended_at and step.started_at else ""
        rows.append((step.name, step.state, seconds, step.error or _facts(step.outcome)))
    print_table(("step", "state", "time", "what"), rows)


def _facts(outcome: dict[str, object] | None) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_in_words(value)}" for name, value in (outcome or {}).items() if value)


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{part} {name}" for name, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
