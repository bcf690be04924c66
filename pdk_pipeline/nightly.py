"""The night: its steps, in their order, and what each does. Driven by whoever has a worker, or by one process alone.

A step's outcome and the record of it are one transaction wherever the step only writes the database; the others can
be done again without harm. See `nights` for the ledger.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from pdk_pipeline import channels, database, expected, intake, nights, notify, outbox, runs, spool
from pdk_pipeline.errors import NightUnfinished, PassingFault, PdkError, UnknownClass, UnknownNightClass, UnknownRun
from pdk_pipeline.selection import Selection
from pdk_pipeline.timetable import Timetable

if TYPE_CHECKING:
    from collections.abc import Callable

    from pdk_pipeline.config import Settings
    from pdk_pipeline.database import Connection
    from pdk_pipeline.nights import Night, Step

PATIENCE_SECONDS = 1800.0
"""Logs that could not be imported after so long (the disk is full) hold up the night no longer."""

LONGEST_PAUSE_SECONDS = 30.0
"""Between two looks at logs that ought to have been imported; the pauses double up to it."""

LATE_SETTLE_SECONDS = 300.0
"""What comes after the night has ended is told of once nothing more has come for so long."""

LATE_DAYS = 7
"""So long after its night a run is still watched for what comes late."""


class Again(NamedTuple):
    """A step that is not over yet: what to have done before it goes on."""

    logs: list[tuple[str, str]]
    """Claimed logs to import, claim and name."""
    pause: float
    """Seconds to wait besides."""


class LeftOut(NamedTuple):
    """A step that has nothing to do."""

    why: str


class Work(NamedTuple):
    """What a step works with."""

    settings: Settings
    db: Connection
    night: Night
    timetable: Timetable
    step: Step
    now: float
    patience: float = PATIENCE_SECONDS


StepResult = dict[str, Any] | Again | LeftOut

# Steps -------------------------------------------------------------------------------------------------------


def collect(work: Work) -> StepResult:
    """Claim the logs that lie in incoming/, and all that were claimed and are not imported yet."""
    collected = spool.collect(work.settings)
    claims = spool.claims(work.settings)
    nights.add_logs(work.db, work.night, claims)
    return {"logs": len(claims), "growing": collected.growing, "left": collected.left[:10]}


def import_logs(work: Work) -> StepResult:
    """Wait until every log of the night has been imported, each by a task of its own."""
    waiting = nights.unfinished_logs(work.db, work.night)
    if not waiting:
        return nights.logs_in_words(work.db, work.night)
    waited = work.now - (work.step.taken_at or work.now)
    if waited >= work.patience:
        names = ", ".join(name for _, name in waiting[:5])
        raise NightUnfinished(f"{len(waiting)} logs could not be imported: {names}", advice="`pdk doctor` looks why.")
    # At first they are as good as done when this step comes again, behind them in the queue; later something is amiss.
    looks = (work.step.outcome or {}).get("looks", 0)
    return Again(waiting, pause=min(looks and 2.0**looks, LONGEST_PAUSE_SECONDS))


def gen_expected(work: Work) -> StepResult:
    """Expect from now on what has reported."""
    try:
        run = runs.find(work.settings, work.db, work.night.run_name)
    except UnknownRun:
        return LeftOut("nothing of the run has arrived")
    new = expected.learn(work.db, run, _class_of(work), Selection(), now=work.now)
    return {"new": new, "expected": expected.count(work.db, _class_of(work), Selection())}


def check_expected(work: Work) -> StepResult:
    """Record what is missing; a run of which nothing at all has arrived lacks everything."""
    try:
        expected.require(work.db, _class_of(work))
    except UnknownClass:
        return LeftOut("nothing is expected yet")
    run = runs.make(work.settings, work.db, work.night.run_name, now=work.now)
    return dict(expected.check(work.db, run, _class_of(work), Selection())._asdict())


def tell(work: Work) -> StepResult:
    """Put into the outbox what people are to be told. Who delivers it is told nothing here: it looks there."""
    try:
        run = runs.find(work.settings, work.db, work.night.run_name)
    except UnknownRun:
        return LeftOut("nothing of the run has arrived, and nothing was expected")
    told = notify.tell(work.settings, work.db, run, now=work.now)
    nights.told(work.db, work.night, work.now)
    return {"messages": len(told.messages), "without_contact": told.without_contact, "unreachable": told.unreachable}


def _class_of(work: Work) -> str:
    return work.timetable.expected or work.night.class_name


def close(work: Work) -> StepResult:
    """End the night, and tell the administrator what went wrong."""
    failed = [step for step in nights.steps(work.db, work.night) if step.state == "failed"]
    nights.close(work.db, work.night, work.now)
    if failed and work.settings.administrator:
        _tell_administrator(work, failed)
    return {"failed": [step.name for step in failed]}


def _tell_administrator(work: Work, failed: list[Step]) -> None:
    address = work.settings.administrator
    channel = channels.for_recipient(work.settings, address)
    if channel is None:
        return
    names = ", ".join(step.name for step in failed)
    lines = [f"Of the night of {work.night.run_name} this could not be done; the rest was.", ""]
    lines += [f"{step.name}: {step.error} ({step.attempts} attempts)" for step in failed]
    lines += ["", "`pdk status` tells how it stands; `pdk nightly --again` does the night again."]
    subject = f"[pdk] the night of {work.night.run_name}: {names} failed"
    # Not under the run's own name: of that its readers are told what the tests say.
    about = f"{work.night.run_name}, the night"
    notice = outbox.Notice(about, address, channel.NAME, subject, "\n".join(lines), "", len(failed), [])
    outbox.put(work.db, work.settings, notice, None, now=work.now)


class Kind(NamedTuple):
    """A kind of step."""

    do: Callable[[Work], StepResult]
    in_transaction: bool = True
    """Whether what it does and the record of it are one transaction."""


STEPS: dict[str, Kind] = {
    "collect": Kind(collect),
    "import": Kind(import_logs),
    "gen_expected": Kind(gen_expected),
    "check_expected": Kind(check_expected),
    "notify": Kind(tell),
    "close": Kind(close),
}
"""In their order. Each waits for the one before to be over, however it ended: none needs more of it."""

# Driving -----------------------------------------------------------------------------------------------------


def timetable(settings: Settings, class_name: str) -> Timetable:
    """The timetable of a class; one that has none is started by hand alone."""
    return settings.nights.get(class_name) or Timetable()


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
            due = settings.nights[class_name].last_due(class_name, now, settings.zone)
            run_name = due.run_name if due else f"{class_name}_latest"
        run_name = runs.canonical_name(settings, db, run_name)
        night, is_new = nights.begin(db, class_name, run_name, steps=list(STEPS), reason=reason, now=now)
        if again and night.ended_at is not None:
            nights.reopen(db, night, reason=reason)
            night = nights.by_id(db, night.id)
        return night, is_new


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


def tell_late(settings: Settings, now: float) -> list[str]:
    """Tell of what came after its night had ended, only what changed by it. Returns the names of those runs."""
    with database.writing(settings) as db:
        late = nights.late(db, settled_before=now - LATE_SETTLE_SECONDS, ended_after=now - LATE_DAYS * 86_400)
        for night in late:
            with contextlib.suppress(UnknownRun):  # it was deleted meanwhile
                notify.tell(settings, db, runs.find(settings, db, night.run_name), now=now)
            nights.told(db, night, now)
        return [night.run_name for night in late]


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
        night = nights.by_id(db, night_id)
        step = next(step for step in nights.steps(db, night) if step.id == step_id)
        kind = STEPS[step.name]
        work = Work(settings, db, night, timetable(settings, night.class_name), step, now, patience)
        try:
            if kind.in_transaction:
                with database.transaction(db):
                    return _done(work, token, kind.do)
            with database.transaction(db):
                if not nights.renew(db, step_id, token, now):
                    return None
            result = kind.do(work)
            with database.transaction(db):
                return _done(work, token, lambda _: result)
        except (PassingFault, sqlite3.OperationalError, OSError) as error:
            with database.transaction(db):
                due_at = nights.postpone(db, step, now, str(error))
            return Again([], pause=due_at - now) if due_at else None
        except Exception as error:  # noqa: BLE001  (whatever it is, the night goes on and tells of it)
            told = str(error) if isinstance(error, PdkError) else f"{type(error).__name__}: {error}"
            with database.transaction(db):
                nights.finish(db, step, "failed", now, error=told)
            return None


def _done(work: Work, token: str, do: Callable[[Work], StepResult]) -> Again | None:
    if not nights.renew(work.db, work.step.id, token, work.now):
        return None
    result = do(work)
    if isinstance(result, Again):
        looks = (work.step.outcome or {}).get("looks", 0) + 1
        nights.note(work.db, work.step, {"waiting_for": len(result.logs), "looks": looks})
        return result
    if isinstance(result, LeftOut):
        nights.finish(work.db, work.step, "left out", work.now, error=result.why)
    else:
        nights.finish(work.db, work.step, "done", work.now, outcome=result)
    return None


def run_here(settings: Settings, night_id: int, *, progress: Callable[[int, int], None]) -> None:
    """Do all that is left of a night in this process, one step after the other."""
    while step := next_step(settings, night_id, time.time()):
        assert step.token  # noqa: S101
        patience = PATIENCE_SECONDS
        while again := perform(settings, night_id, step.id, step.token, time.time(), patience=patience):
            if not again.logs:
                break  # a fault that may pass: it is due again later
            for number, (claim, _) in enumerate(again.logs):
                progress(number, len(again.logs))
                with contextlib.suppress(PdkError, OSError, sqlite3.Error):
                    intake.import_claimed(settings, claim)
            patience = 0.0  # what could not be imported now is told of, and left for the sweep
    outbox.deliver_here(settings, progress=progress)
