"""How it stands: what waits, what the last nights came to, what failed, how large it is, what needs a person."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pdk_pipeline import database, nights, outbox
from pdk_pipeline.doctor import LITTLE_SPACE_BYTES
from pdk_pipeline.errors import DatabaseTooOld, NoDatabase, SpoolUnusable
from pdk_pipeline.formats.text import counted
from pdk_pipeline.intake import quarantine, spool

if TYPE_CHECKING:
    from pdk_pipeline.config import Settings
    from pdk_pipeline.database import Connection
    from pdk_pipeline.nights import Night, Step

DAY_SECONDS = 86_400.0
GROWTH_DAYS = 7

WAITED_TOO_LONG_SECONDS = 1800.0
"""A log that was claimed so long ago, or a night that does not get on for so long, needs somebody."""

SHOWN_NIGHTS = 7


class Need(NamedTuple):
    """Something that needs a person."""

    what: str
    advice: str


class Delivery(NamedTuple):
    """A message that did not reach its reader."""

    id: int
    run: str
    recipient: str
    state: str
    detail: str


@dataclass
class Status:
    """How it stands with one home."""

    home: str
    incoming: int = 0
    """Logs that lie in incoming/."""
    unfit: list[str] = field(default_factory=list)
    """What of it nobody can take, and why."""
    processing: int = 0
    """Logs that are claimed and not imported yet."""
    oldest_claim_seconds: float | None = None
    quarantine_items: int = 0
    quarantine_records: int = 0
    nights: list[tuple[Night, list[Step]]] = field(default_factory=list)
    """The newest first."""
    failed_steps: list[tuple[Night, Step]] = field(default_factory=list)
    """Of the newest night of all, and of the newest of each class that has a timetable."""
    pending_messages: int = 0
    failed_messages: list[Delivery] = field(default_factory=list)
    results: int = 0
    runs: int = 0
    database_bytes: int = 0
    results_a_day: float = 0.0
    """On the average of the last GROWTH_DAYS."""
    archive_bytes: int = 0
    free_bytes: int | None = None
    """None: there is no home yet."""
    needs: list[Need] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        told = asdict(self)
        told["nights"] = [
            night._asdict() | {"steps": [step._asdict() for step in steps]} for night, steps in self.nights
        ]
        told["failed_steps"] = [
            {"class": night.class_name, "run": night.run_name} | step._asdict() for night, step in self.failed_steps
        ]
        told["failed_messages"] = [message._asdict() for message in self.failed_messages]
        told["needs"] = [need._asdict() for need in self.needs]
        return told


def look(settings: Settings) -> Status:
    """How it stands now, without the broker (see `workers.health`)."""
    status = Status(str(settings.home))
    _look_at_files(settings, status)
    try:
        with database.reading(settings) as db:
            _look_at_database(settings, db, status)
    except (NoDatabase, DatabaseTooOld) as error:
        status.needs.append(Need(str(error), ""))
    _look_for_needs(status)
    return status


def _look_at_files(settings: Settings, status: Status) -> None:
    status.incoming = sum(1 for _ in _regular_files(settings.spool / "incoming"))
    with contextlib.suppress(SpoolUnusable):  # the doctor tells
        status.unfit = spool.unfit(settings)
    claims = spool.claims(settings)
    status.processing = len(claims)
    ages = [age for claim, _ in claims if (age := _age(settings.spool / "processing" / claim)) is not None]
    status.oldest_claim_seconds = max(ages, default=None)
    items = quarantine.notes(settings)
    status.quarantine_items = len(items)
    status.quarantine_records = sum(item.records for item in items)
    status.archive_bytes = sum(path.stat().st_size for path in _regular_files(settings.spool / "archive"))
    with contextlib.suppress(OSError):
        status.free_bytes = shutil.disk_usage(settings.home).free
        status.database_bytes = database.bytes_on_disk(settings)


def _regular_files(directory: Path) -> list[Path]:
    """Everything in and below a directory but what is hidden, and what links lead to."""
    found = []
    for place, directories, names in os.walk(directory):
        directories[:] = [name for name in directories if not name.startswith(".")]
        paths = (Path(place, name) for name in names if not name.startswith("."))
        found += [path for path in paths if path.is_file() and not path.is_symlink()]
    return found


def _age(claim: Path) -> float | None:
    with contextlib.suppress(OSError):
        # The claim's own time is renewed with every hand-over; that of the log's change of place is not.
        return time.time() - min(path.stat().st_ctime for path in claim.iterdir())
    return None


def _look_at_database(settings: Settings, db: Connection, status: Status) -> None:
    status.nights = [(night, nights.steps(db, night)) for night in nights.latest(db, SHOWN_NIGHTS)]
    status.failed_steps = [
        (night, step)
        for number, night in enumerate(nights.latest_of_each_class(db))
        if number == 0 or night.class_name in settings.nights
        for step in nights.steps(db, night)
        if step.state == "failed"
    ]
    pending = outbox.entries(db, states=[outbox.State.PENDING])
    status.pending_messages = len(pending)
    for channel, detail in sorted({(entry.channel, entry.detail) for entry in pending if entry.is_held_up}):
        status.needs.append(Need(f"no message can be delivered by {channel} now: {detail}", "`pdk doctor` looks why."))
    failed = outbox.entries(db, states=[outbox.State.REFUSED, outbox.State.GIVEN_UP])
    status.failed_messages = [
        Delivery(entry.id, entry.run, entry.as_json()["recipient"], entry.state, entry.detail) for entry in failed
    ]
    (status.runs,) = db.execute("SELECT count(*) FROM run WHERE deleted_at IS NULL").fetchone()
    # The highest id, not a count: of 10 million rows that would take a second.
    (status.results,) = db.execute("SELECT coalesce(max(id), 0) FROM result").fetchone()
    (lately,) = db.execute(
        "SELECT coalesce(sum(accepted), 0) FROM import_file WHERE imported_at > ?",
        (time.time() - GROWTH_DAYS * DAY_SECONDS,),
    ).fetchone()
    status.results_a_day = lately / GROWTH_DAYS
    for due in nights.overdue(settings, db, time.time() - WAITED_TOO_LONG_SECONDS):
        status.needs.append(
            Need(f"{due.run_name} should have started", "Is `pdk up`, or your beat and writer, running?")
        )


def _look_for_needs(status: Status) -> None:
    needs = status.needs
    if (status.oldest_claim_seconds or 0) > WAITED_TOO_LONG_SECONDS:
        minutes = (status.oldest_claim_seconds or 0) / 60
        needs.append(Need(f"a log has waited {minutes:.0f} minutes for its import", "Is a writer running?"))
    if status.unfit:
        others = f", and {len(status.unfit) - 1:,} more" if len(status.unfit) > 1 else ""
        needs.append(Need(f"not taken in: {status.unfit[0]}{others}", "`pdk collect` names all."))
    if status.quarantine_items:
        records, items = counted(status.quarantine_records, "record"), counted(status.quarantine_items, "item")
        text = f"{records} in {items} of the quarantine"
        needs.append(Need(text, "`pdk quarantine list`"))
    for night, step in status.failed_steps:
        again = f"`{nights.command(night, '--again')}` repeats."
        needs.append(Need(f"{night.run_name}: {step.name} failed: {step.error}", again))
    for night, steps in status.nights:
        if night.ended_at is None and _stands_still(steps, night):
            goes_on = f"`{nights.command(night)}` goes on with it; is a writer running?"
            needs.append(Need(f"{night.run_name} does not get on", goes_on))
    if status.failed_messages:
        needs.append(Need(f"{counted(len(status.failed_messages), 'message')} reached nobody", "`pdk outbox list`"))
    if status.free_bytes is not None and status.free_bytes < LITTLE_SPACE_BYTES:
        needs.append(
            Need(f"only {status.free_bytes:,} bytes are free on the disk", "Delete old runs or archived logs.")
        )


def _stands_still(steps: list[Step], night: Night) -> bool:
    moved = [at for step in steps for at in (step.taken_at, step.ended_at, step.due_at) if at]
    return time.time() - max(moved, default=night.started_at) > WAITED_TOO_LONG_SECONDS
