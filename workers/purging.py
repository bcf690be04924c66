"""Tasks that delete, clean, keep and back up runs.

Long work is done in short steps (see `purge.steps`). A command that waits hands over one step after the other, each
when the one before has ended, so that it sees how far it is and everything else gets its turn in between; when it
is killed, the rest is left to the next clean. `clean` and `retention` without somebody who waits go on by themselves.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdk_pipeline import backup as backups
from pdk_pipeline import database, runs
from pdk_pipeline.config import settings
from pdk_pipeline.purge import clean as cleaning
from pdk_pipeline.purge import deletion
from pdk_pipeline.purge import retention as keeping
from pdk_pipeline.purge.steps import Place, Time
from workers.app import Reporting, app
from workers.queues import CLEANING
from workers.tasks import AGAIN_LATER

if TYPE_CHECKING:
    from celery import Task

    from pdk_pipeline.purge.steps import Step


@app.task(**AGAIN_LATER, name="delete_run")
def delete_run(run_id: int, name: str) -> dict[str, Any]:
    """Hide a run everywhere, at once."""
    with database.opened(settings()) as db:
        with database.transaction(db):
            is_new = deletion.delete(db, run_id, now=time.time())
        # Counted when it is hidden already: a million takes longer to count than to hide.
        return {"run": name, "results": deletion.results_of(db, run_id), "is_new": is_new}


@app.task(**AGAIN_LATER, name="undelete_run")
def undelete_run(run_id: int, name: str, instead: bool = False) -> dict[str, Any]:
    """Bring a deleted run back."""
    with database.writing(settings()) as db:
        deletion.undelete(db, run_id, now=time.time(), instead=instead)
        return {"run": name, "results": deletion.results_of(db, run_id)}


@app.task(**AGAIN_LATER, name="delete_part")
def delete_part(part: list[Any], name: str, place: Place = None) -> dict[str, Any]:
    """Remove some more results of a part of a run."""
    a_moment = Time(place)
    with database.writing(settings()) as db:
        step = deletion.delete_part(db, deletion.Part(*part), place, a_moment, now=time.time())
    if step.next:
        step.next["seconds"] = a_moment.for_next()
    return {"run": name} | _outcome(step)


@app.task(**AGAIN_LATER, name="clean", bind=True)
def clean(self: Task, place: Place = None, goes_on: bool = True) -> dict[str, Any]:
    """Clean for a moment; `goes_on`: hand over to the next step."""
    step = cleaning.step(settings(), place, now=time.time())
    if goes_on:
        _go_on(self, step.next)
    return _outcome(step)


@app.task(**AGAIN_LATER, name="retention", bind=True)
def retention(self: Task, place: Place = None, goes_on: bool = True) -> dict[str, Any]:
    """Have go, for a moment, what the settings say is old; `goes_on`: hand over to the next step."""
    step = keeping.step(settings(), place, now=time.time())
    if goes_on:
        _go_on(self, step.next)
    return _outcome(step)


def _outcome(step: Step) -> dict[str, Any]:
    """For who waits, and in words for the log and Flower."""
    return step.as_json() | {"did": ", ".join(f"{count} {what}" for what, count in (+step.removed).items())}


def _go_on(task: Task, place: Place) -> None:
    if place is not None:
        task.apply_async((place,), priority=CLEANING, argsrepr=f"({place['phase']!r})")


@app.task(**AGAIN_LATER, name="backup", bind=True)
def backup(self: Reporting, target: str | None = None, keep: int = 0) -> dict[str, Any]:
    """Make a backup while the system runs. It only reads, and so it is nothing for the writer."""
    path = Path(target) if target else None
    return backups.make(settings(), path, keep=keep, now=time.time(), progress=self.progress).as_json()


@app.task(**AGAIN_LATER, name="valuable")
def valuable(run: str, is_valuable: bool) -> dict[str, Any]:
    """Protect a run from being deleted, or no longer."""
    with database.writing(settings()) as db:
        found = runs.find(settings(), db, run)
        runs.set_valuable(db, found, is_valuable=is_valuable)
        return {"run": found.name, "valuable": is_valuable}


@app.task(**AGAIN_LATER, name="note")
def note(run: str, text: str) -> dict[str, Any]:
    """Put a note to a run."""
    with database.writing(settings()) as db:
        found = runs.find(settings(), db, run)
        runs.set_note(db, found, text)
        return {"run": found.name, "note": text.strip()}
