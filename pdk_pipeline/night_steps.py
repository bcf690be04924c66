"""The steps of a night, in their order, and what each does. Who does them when is said in `nightly`.

What a step changes and the record of it are one transaction wherever it only writes the database; the others can be
done again without harm.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

from pdk_pipeline import backup, channels, expected, nights, notify, outbox, runs
from pdk_pipeline.errors import NightUnfinished, UnknownClass, UnknownRun
from pdk_pipeline.intake import spool
from pdk_pipeline.purge import clean, retention
from pdk_pipeline.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable

    from pdk_pipeline.config import Settings
    from pdk_pipeline.database import Connection
    from pdk_pipeline.nights import Night, Step
    from pdk_pipeline.purge.steps import Step as ShortStep
    from pdk_pipeline.timetable import Timetable

PATIENCE_SECONDS = 1800.0
"""Logs that could not be imported after so long (the disk is full) hold up the night no longer."""

LOGS_AT_ONCE = 1000
"""So many are handed over together: what a person asks for meanwhile gets its turn between these and the next."""

LONGEST_PAUSE_SECONDS = 30.0
"""Between two looks at logs that ought to have been imported; the pauses double up to it."""

CLEANING_SECONDS = 3600.0
"""A night cleans for so long; the rest is the next one's."""


class Work(NamedTuple):
    """What a step works with."""

    settings: Settings
    db: Connection
    night: Night
    timetable: Timetable
    step: Step
    now: float
    patience: float
    began: float
    """When it was begun, by the clock that never jumps (time.monotonic)."""

    @property
    def so_far(self) -> dict[str, Any]:
        """What the step noted when it was here before."""
        return self.step.outcome or {}

    @property
    def seconds(self) -> float:
        """How long it has been worked on."""
        return self.now - (self.step.taken_at or self.now)


class Again(NamedTuple):
    """A step that is not over yet."""

    note: dict[str, Any]
    """What it has done so far."""
    logs: list[tuple[str, str]]
    """Claimed logs to have imported before it goes on, claim and name."""
    pause: float = 0.0
    """Seconds to wait besides."""
    can_wait: bool = False
    """Whether everybody else goes first."""


class LeftOut(NamedTuple):
    """A step that has nothing to do."""

    why: str


StepResult = dict[str, Any] | Again | LeftOut


def collect(work: Work) -> StepResult:
    """Claim the logs that lie in incoming/, and all that were claimed and are not imported yet."""
    collected = spool.collect(work.settings)
    claims = spool.claims(work.settings)
    nights.add_logs(work.db, work.night, claims)
    # Kept with the night: what the timetable says later is nothing that this night waited for.
    awaited = {"awaited": work.timetable.hosts} if work.timetable.hosts else {}
    return {"logs": len(claims), "growing": collected.growing, "left": collected.left[:10]} | awaited


def import_logs(work: Work) -> StepResult:
    """Wait until every log of the night has been imported, by tasks of their own, so many at a time."""
    waiting = nights.unfinished_logs(work.db, work.night)
    if not waiting:
        return nights.logs_in_words(work.db, work.night)
    if work.seconds >= work.patience:
        names = ", ".join(name for _, name in waiting[:5])
        raise NightUnfinished(f"{len(waiting)} logs could not be imported: {names}", advice="`pdk doctor` looks why.")
    # When this step comes again, behind them in the queue, they are done; if none is, something is amiss.
    gets_on = len(waiting) < work.so_far.get("waiting_for", len(waiting) + 1)
    looks = 0 if gets_on else work.so_far["looks"] + 1
    first = looks * LOGS_AT_ONCE % len(waiting)
    pause = min(looks and 2.0**looks, LONGEST_PAUSE_SECONDS)
    return Again({"waiting_for": len(waiting), "looks": looks}, waiting[first : first + LOGS_AT_ONCE], pause)


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


def _class_of(work: Work) -> str:
    return work.timetable.expected or work.night.class_name


def tell(work: Work) -> StepResult:
    """Put into the outbox what people are to be told; delivering it is the outbox's own business."""
    if not work.timetable.notify:
        return LeftOut("its timetable says notify = false")
    try:
        run = runs.find(work.settings, work.db, work.night.run_name)
    except UnknownRun:
        return LeftOut("nothing of the run has arrived, and nothing was expected")
    told = notify.tell(work.settings, work.db, run, now=work.now)
    nights.told(work.db, work.night, work.now)
    return {"messages": len(told.messages), "without_contact": told.without_contact, "unreachable": told.unreachable}


def keep(work: Work) -> StepResult:
    """Have go what the rules of the settings no longer keep."""
    return _after(work, retention.step(work.settings, work.so_far.get("place"), now=work.now))


def tidy(work: Work) -> StepResult:
    """Remove what is deleted and give the space back, for a moment at a time."""
    if work.seconds >= CLEANING_SECONDS:
        return work.so_far | {"place": None, "not_finished": True}
    return _after(work, clean.step(work.settings, work.so_far.get("place"), now=work.now))


def _after(work: Work, done: ShortStep) -> StepResult:
    removed = dict(work.so_far.get("removed", {}))
    for what, number in (+done.removed).items():
        removed[what] = removed.get(what, 0) + number
    told = {"removed": removed} | {
        name: [*work.so_far.get(name, []), *more] for name, more in (("runs", done.runs), ("notes", done.notes))
    }
    return told if done.next is None else Again(told | {"place": done.next}, [], can_wait=True)


def back_up(work: Work) -> StepResult:
    """Copy the database, and keep so many copies."""
    if work.settings.backup_directory is None:
        return LeftOut("the setting backup_directory names no place")
    return backup.make(work.settings, now=work.now).as_json()


def close(work: Work) -> StepResult:
    """End the night, and tell the administrator what went wrong."""
    failed = [step for step in nights.steps(work.db, work.night) if step.state == "failed"]
    nights.close(work.db, work.night, work.now)
    if failed and work.settings.administrator:
        _tell_administrator(work, failed)
    with contextlib.suppress(OSError):
        return {"failed": [step.name for step in failed], "database_bytes": work.settings.database.stat().st_size}
    return {"failed": [step.name for step in failed]}


def _tell_administrator(work: Work, failed: list[Step]) -> None:
    address = work.settings.administrator
    channel = channels.for_recipient(work.settings, address)
    if channel is None:
        return
    names = ", ".join(step.name for step in failed)
    lines = [f"Of the night of {work.night.run_name} this could not be done; the rest was.", ""]
    lines += [f"{step.name}: {step.error} ({step.attempts} attempts)" for step in failed]
    again = nights.command(work.night, "--again")
    lines += ["", f"`pdk status` tells how it stands; `{again}` does the night again."]
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
    only_reads: bool = False
    """Whether it is nothing for the writer."""


STEPS: dict[str, Kind] = {
    "collect": Kind(collect),
    "import": Kind(import_logs),
    "gen_expected": Kind(gen_expected),
    "check_expected": Kind(check_expected),
    "notify": Kind(tell),
    "retention": Kind(keep, in_transaction=False),
    "clean": Kind(tidy, in_transaction=False),
    "backup": Kind(back_up, in_transaction=False, only_reads=True),
    "close": Kind(close),
}
"""In their order. Each waits for the one before to be over, however it ended: none needs more of it."""
