"""Driving the nights: which are due, who does the next step, what becomes of one that fails.

The ledger (`nights`) says how far each is; `night_steps` says what a step does. Workers drive it a step a task, and
one process alone can do all of it (`run_here`).
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from pdk_pipeline import database, nights, notify, outbox, runs
from pdk_pipeline.errors import PassingFault, PdkError, UnknownNightClass, UnknownRun
from pdk_pipeline.intake import importing
from pdk_pipeline.night_steps import LOGS_AT_ONCE, PATIENCE_SECONDS, STEPS, Again, Kind, LeftOut, StepResult, Work
from pdk_pipeline.timetable import Timetable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pdk_pipeline.config import Settings
    from pdk_pipeline.database import Connection
    from pdk_pipeline.nights import Night, Step

LATE_SETTLE_SECONDS = 300.0
"""What comes after the night has ended is told of once nothing more has come for so long."""

LATE_DAYS = 7
"""So long after its night a run is still watched for what comes late."""

PASSING = (PassingFault, sqlite3.OperationalError, OSError)
"""What may work when it is tried again."""


class Failed(NamedTuple):
    """How a step failed."""

    error: str
    may_pass: bool


# Which nights ------------------------------------------------------------------------------------------------


def know_classes(settings: Settings, now: float) -> None:
    """From now on a night that is missed is made up for, of classes that are new too."""
    with database.writing(settings) as db:
        nights.know_classes(settings, db, now)


def due(settings: Settings, now: float) -> list[tuple[str, str, str]]:
    """Class, run and reason of every night that is to be started now."""
    starting = []
    with database.writing(settings) as db:
        for one in nights.due(settings, db, now):
            hosts = settings.nights[one.class_name].hosts
            silent = nights.silent_hosts(db, one.run_name, hosts)
            if not hosts:
                reason = "it was time"
            elif not silent:
                reason = "every host has reported"
            elif now >= one.deadline:
                reason = f"the deadline came; not reported: {', '.join(silent)}"
            else:
                continue
            starting.append((one.class_name, one.run_name, reason))
    return starting


def start(
    settings: Settings, class_name: str, run_name: str | None, *, reason: str, again: bool = False, now: float
) -> tuple[Night, bool]:
    """Start the night of a class and run, or join it. Returns it, and whether it is new.

    Without a name the run is the one that its timetable makes due. `again` has one that has ended done again.
    Raises UnknownNightClass.
    """
    with database.writing(settings) as db:
        if run_name is None:
            if class_name not in settings.nights:
                raise UnknownNightClass(
                    class_name, advice="Name the run too, or make a table [nights.NAME] in pdk.toml."
                )
            last = settings.nights[class_name].last_due(class_name, now, settings.zone)
            run_name = last.run_name if last else f"{class_name}_latest"
        run_name = runs.canonical_name(settings, db, run_name)
        night, is_new = nights.begin(db, class_name, run_name, steps=list(STEPS), reason=reason, now=now)
        if again and night.ended_at is not None:
            nights.reopen(db, night, reason=reason)
            night = nights.by_id(db, night.id)
        return night, is_new


def tell_late(settings: Settings, now: float, *, is_last_chance: bool = False) -> list[str]:
    """Tell of what came after its night had ended, only what changed by it. Returns the names of those runs.

    `is_last_chance`: nobody comes by once it has settled, so it is told of at once.
    """
    settle_seconds = 0 if is_last_chance else LATE_SETTLE_SECONDS
    with database.writing(settings) as db:
        late = nights.late(db, settled_before=now - settle_seconds, ended_after=now - LATE_DAYS * 86_400)
        told = []
        for night in late:
            if settings.nights.get(night.class_name, Timetable()).notify:
                with contextlib.suppress(UnknownRun):  # it was deleted meanwhile
                    notify.tell(settings, db, runs.find(settings, db, night.run_name), now=now)
                told.append(night.run_name)
            nights.told(db, night, now)
        return told


# Steps -------------------------------------------------------------------------------------------------------


def next_step(settings: Settings, night_id: int, now: float) -> Step | None:
    """Take the next step of a night that is due, under a new token; None when there is none."""
    with database.writing(settings) as db:
        return nights.take(db, nights.by_id(db, night_id), now)


def perform(
    settings: Settings, night_id: int, step_id: int, token: str, now: float, *, patience: float = PATIENCE_SECONDS
) -> Again | None:
    """Do a step, or go on with it, and record how it went; None when it is over, or in other hands.

    Raises nothing that the step raises: that is recorded.
    """
    with database.opened(settings) as db:
        work, kind = _work(settings, db, night_id, step_id, now, patience)
        if not kind.in_transaction:
            with database.transaction(db):
                is_ours = nights.renew(db, step_id, token, now)
            return record(settings, night_id, step_id, token, _tried(kind, work), now) if is_ours else None
        result: StepResult | Failed
        try:
            with database.transaction(db):
                if not nights.renew(db, step_id, token, now):
                    return None
                return _record(work, _done(kind, work))
        except Exception as error:  # noqa: BLE001  (whatever it is, the night goes on and tells of it)
            result = _failure(error)
        with database.transaction(db):
            return _record(work, result)


def perform_reading(settings: Settings, night_id: int, step_id: int, now: float) -> StepResult | Failed:
    """Do a step that only reads, anywhere. How it went is to be recorded by the writer (`record`)."""
    with database.reading(settings) as db:
        work, kind = _work(settings, db, night_id, step_id, now, PATIENCE_SECONDS)
    return _tried(kind, work)


def record(
    settings: Settings, night_id: int, step_id: int, token: str, result: StepResult | Failed, now: float
) -> Again | None:
    """Record how a step went, unless it is in other hands by now. Returns how it goes on, if it does."""
    with database.writing(settings) as db:
        if not nights.renew(db, step_id, token, now):
            return None
        work, _ = _work(settings, db, night_id, step_id, now, PATIENCE_SECONDS)
        return _record(work, result)


def _work(
    settings: Settings, db: Connection, night_id: int, step_id: int, now: float, patience: float
) -> tuple[Work, Kind]:
    night = nights.by_id(db, night_id)
    step = nights.step(db, step_id)
    # A class that has no timetable is started by hand alone.
    timetable = settings.nights.get(night.class_name) or Timetable()
    return Work(settings, db, night, timetable, step, now, patience, time.monotonic()), STEPS[step.name]


def _tried(kind: Kind, work: Work) -> StepResult | Failed:
    try:
        return _done(kind, work)
    except Exception as error:  # noqa: BLE001  (as in `perform`)
        return _failure(error)


def _done(kind: Kind, work: Work) -> StepResult:
    with database.faults_in_words(work.settings.database):
        return kind.do(work)


def _failure(error: Exception) -> Failed:
    told = str(error) if isinstance(error, (PdkError, OSError)) else f"{type(error).__name__}: {error}"
    return Failed(told, isinstance(error, PASSING))


def _record(work: Work, result: StepResult | Failed) -> Again | None:
    db, step, now = work.db, work.step, work.now + time.monotonic() - work.began
    if isinstance(result, Again):
        nights.note(db, step, result.note)
        return result
    if isinstance(result, LeftOut):
        nights.finish(db, step, "left out", now, error=result.why)
    elif not isinstance(result, Failed):
        nights.finish(db, step, "done", now, outcome=result)
    elif not result.may_pass:
        nights.finish(db, step, "failed", now, error=result.error)
    else:
        due_at = nights.postpone(db, step, now, result.error)
        return Again({}, [], pause=due_at - now) if due_at else None
    return None


def release(settings: Settings, *, reading_too: bool = False) -> None:
    """Have the steps handed out again that were in the hands of a writer which is no more.

    `reading_too`: also those that only read, which others do.
    """
    reading = {name for name, kind in STEPS.items() if kind.only_reads}
    with database.writing(settings) as db:
        for night in nights.under_way(db):
            for step in nights.steps(db, night):
                if reading_too or step.name not in reading:
                    nights.release(db, step)


# In one process ----------------------------------------------------------------------------------------------


def run_here(settings: Settings, night_id: int, *, progress: Callable[[int, int], None]) -> None:
    """Do all that is left of a night in this process, one step after the other, and deliver its messages.

    It is the only one that writes the database now: whoever had a step in hand was killed.
    """
    release(settings, reading_too=True)
    while step := next_step(settings, night_id, time.time()):
        _run_step(settings, night_id, step, progress)
    tell_late(settings, time.time(), is_last_chance=True)
    outbox.deliver_here(settings, progress=progress)


def _run_step(settings: Settings, night_id: int, step: Step, progress: Callable[[int, int], None]) -> None:
    patience = PATIENCE_SECONDS
    token = step.token or ""
    while again := perform(settings, night_id, step.id, token, time.time(), patience=patience):
        if again.pause and not again.logs:
            return  # a fault that may pass: it is due again later
        _import(settings, again.logs, progress)
        if again.note.get("looks") or len(again.logs) < LOGS_AT_ONCE:
            patience = 0.0  # what could not be imported now is told of, and left for the sweep


def _import(settings: Settings, logs: Sequence[tuple[str, str]], progress: Callable[[int, int], None]) -> None:
    before = 0

    def tell(done: float) -> None:
        progress(before + int(done), len(logs))

    for batch in importing.batches_of_claims(settings, logs):
        importing.import_claims(settings, [claim for claim, _ in batch], progress=tell)
        before += len(batch)


def as_json(result: StepResult | Failed) -> dict[str, Any]:
    """A result for a task's argument; of a step that only reads none goes on."""
    if isinstance(result, (LeftOut, Failed)):
        return {"kind": type(result).__name__, **result._asdict()}
    return {"kind": "done", "outcome": result}


def from_json(told: dict[str, Any]) -> StepResult | Failed:
    """What `as_json` told."""
    kind, rest = told["kind"], {name: value for name, value in told.items() if name != "kind"}
    outcome: dict[str, Any] = rest.get("outcome", {})
    return LeftOut(**rest) if kind == "LeftOut" else Failed(**rest) if kind == "Failed" else outcome
