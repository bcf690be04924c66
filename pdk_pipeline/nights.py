"""The ledger of the nights: which were started, how far each of their steps is, how they ended.

The ledger is the truth and the queue only a means: whoever works on a step holds a token with a lease; when the lease
runs out, because a process was killed or the broker lost a message, the step is handed out again.
"""

from __future__ import annotations

import json
import secrets
import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pdk_pipeline.config import Settings
    from pdk_pipeline.database import Connection
    from pdk_pipeline.timetable import Due

LEASE_SECONDS = 600.0
"""A step that has not been heard of for so long is taken for lost."""

FIRST_PAUSE_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 900.0
MOST_ATTEMPTS = 6
"""A step that fails for a passing reason is tried so often, with pauses that double."""


class Night(NamedTuple):
    """One night of a class."""

    id: int
    class_name: str
    run_name: str
    reason: str
    """Why it started when it did."""
    started_at: float
    """Seconds since 1970, UTC, here and below."""
    ended_at: float | None
    told_until: float | None
    """Imports up to then have been reported."""


class Step(NamedTuple):
    """One step of a night."""

    id: int
    name: str
    state: str
    """waiting, running, done, failed or left out."""
    attempts: int
    token: str | None
    due_at: float | None
    started_at: float | None
    taken_at: float | None
    """When the one that works on it began."""
    ended_at: float | None
    outcome: dict[str, Any] | None
    error: str | None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in {"done", "failed", "left out"}


_NIGHT = "SELECT id, class, run_name, reason, started_at, ended_at, told_until FROM night"
_STEP = "SELECT id, name, state, attempts, token, due_at, started_at, taken_at, ended_at, outcome, error FROM step"

# Nights ------------------------------------------------------------------------------------------------------


def know_classes(settings: Settings, db: Connection, now: float) -> None:
    """Note the classes of nights that are new.

    A class is made up for only from when it was first seen, so that a new installation does not begin with the night
    before it.
    """
    db.executemany(
        "INSERT INTO night_class (name, since) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(name, now) for name in settings.nights],
    )


def due(settings: Settings, db: Connection, now: float) -> list[Due]:
    """The nights whose time has come and that have not been started. Notes classes that are new."""
    know_classes(settings, db, now)
    found = []
    for name, timetable in settings.nights.items():
        (since,) = db.execute("SELECT since FROM night_class WHERE name = ?", (name,)).fetchone()
        last = timetable.last_due(name, now, settings.zone)
        if last and last.at >= since and find(db, last.class_name, last.run_name) is None:
            found.append(last)
    return found


def overdue(settings: Settings, db: Connection, now: float) -> list[Due]:
    """The nights that should have been started by then and were not."""
    since = dict(db.execute("SELECT name, since FROM night_class"))
    last = [timetable.last_due(name, now, settings.zone) for name, timetable in settings.nights.items()]
    return [
        due
        for due in last
        if due and due.at >= since.get(due.class_name, float("inf")) and due.deadline <= now
        if find(db, due.class_name, due.run_name) is None
    ]


def silent_hosts(db: Connection, run_name: str, hosts: Iterable[str]) -> list[str]:
    """Of these hosts, those from which nothing has arrived in that run."""
    reported = {
        host
        for (host,) in db.execute(
            """
            SELECT environment.host FROM environment
            WHERE EXISTS (
                SELECT 1 FROM run JOIN result ON result.run_id = run.id
                WHERE run.name = ? AND run.deleted_at IS NULL
                AND result.environment_id = environment.id AND result.status <> 'M'
            )
            """,
            (run_name,),
        )
    }
    return [host for host in hosts if host not in reported]


def command(night: Night, *options: str) -> str:
    """The command that does that very night: without its class and run it would be the latest daily one."""
    return shlex.join(["pdk", "nightly", night.class_name, night.run_name, *options])


def awaited_hosts(db: Connection, run_name: str) -> list[str]:
    """The hosts that the nights of a run waited for; none when it had no night."""
    rows = db.execute(
        """
        SELECT DISTINCT held.value
        FROM night JOIN step ON step.night_id = night.id, json_each(step.outcome, '$.awaited') AS held
        WHERE night.run_name = ?
        """,
        (run_name,),
    )
    return [host for (host,) in rows]


def find(db: Connection, class_name: str, run_name: str) -> Night | None:
    """The night of that class and run, if it was started."""
    row = db.execute(f"{_NIGHT} WHERE class = ? AND run_name = ?", (class_name, run_name)).fetchone()
    return Night(*row) if row else None


def by_id(db: Connection, night_id: int) -> Night:
    """The night of that id."""
    return Night(*db.execute(f"{_NIGHT} WHERE id = ?", (night_id,)).fetchone())


def latest(db: Connection, most: int) -> list[Night]:
    """The nights started last, the newest first."""
    return [Night(*row) for row in db.execute(f"{_NIGHT} ORDER BY started_at DESC, id DESC LIMIT ?", (most,))]


def latest_of_each_class(db: Connection) -> list[Night]:
    """The newest night of each class, the newest first."""
    newest = "SELECT max(id) FROM night GROUP BY class"
    return [Night(*row) for row in db.execute(f"{_NIGHT} WHERE id IN ({newest}) ORDER BY id DESC")]


def under_way(db: Connection) -> list[Night]:
    """The nights that have not ended, the oldest first."""
    return [Night(*row) for row in db.execute(f"{_NIGHT} WHERE ended_at IS NULL ORDER BY started_at, id")]


def begin(
    db: Connection, class_name: str, run_name: str, *, steps: Sequence[str], reason: str, now: float
) -> tuple[Night, bool]:
    """Start a night, or join the one of that class and run. Returns it, and whether it is new."""
    night = find(db, class_name, run_name)
    if night:
        return night, False
    (night_id,) = db.execute(
        "INSERT INTO night (class, run_name, reason, started_at) VALUES (?, ?, ?, ?) RETURNING id",
        (class_name, run_name, reason, now),
    ).fetchone()
    db.executemany(
        "INSERT INTO step (night_id, position, name, state) VALUES (?, ?, ?, 'waiting')",
        [(night_id, position, name) for position, name in enumerate(steps)],
    )
    return by_id(db, night_id), True


def reopen(db: Connection, night: Night, *, reason: str) -> None:
    """Have every step of a night done again, failed or not. What is there already stays as it is."""
    db.execute(
        """
        UPDATE step SET state = 'waiting', attempts = 0, token = NULL, lease_until = NULL, due_at = NULL,
            started_at = NULL, taken_at = NULL, ended_at = NULL, outcome = NULL, error = NULL
        WHERE night_id = ?
        """,
        (night.id,),
    )
    db.execute("UPDATE night SET ended_at = NULL, reason = ? WHERE id = ?", (reason, night.id))


def close(db: Connection, night: Night, now: float) -> None:
    """The night has ended."""
    db.execute("UPDATE night SET ended_at = ?, told_until = coalesce(told_until, ?) WHERE id = ?", (now, now, night.id))


# Steps -------------------------------------------------------------------------------------------------------


def steps(db: Connection, night: Night) -> list[Step]:
    """The steps of a night, in their order."""
    rows = db.execute(f"{_STEP} WHERE night_id = ? ORDER BY position", (night.id,))
    return [_step(row) for row in rows]


def step(db: Connection, step_id: int) -> Step:
    """The step of that id."""
    return _step(db.execute(f"{_STEP} WHERE id = ?", (step_id,)).fetchone())


def _step(row: Any) -> Step:
    step = Step(*row)
    return step._replace(outcome=json.loads(row[9])) if row[9] else step


def take(db: Connection, night: Night, now: float) -> Step | None:
    """Hand out the next step that is due, under a new token; None when none is, or somebody works on one.

    One that was begun so often and never ended, whatever ended those who did it, fails here and holds up no other.
    """
    while row := db.execute(
        f"{_STEP} WHERE night_id = ? AND state IN ('waiting', 'running') ORDER BY position LIMIT 1", (night.id,)
    ).fetchone():
        step = _step(row)
        (lease_until,) = db.execute("SELECT lease_until FROM step WHERE id = ?", (step.id,)).fetchone()
        if step.state == "running" and _is_ahead(lease_until, now, LEASE_SECONDS):
            return None
        if step.state == "waiting" and _is_ahead(step.due_at, now, LONGEST_PAUSE_SECONDS):
            return None
        if step.state == "waiting" or step.attempts < MOST_ATTEMPTS:
            return _hand_out(db, step, now)
        error = f"begun {step.attempts} times and never ended; the log of the worker `writer` may tell what killed it"
        finish(db, step, "failed", now, error=error)
    return None


def _is_ahead(moment: float | None, now: float, longest: float) -> bool:
    """Whether that moment is still to come. One further ahead than any ever is was set by a clock that was wrong."""
    return moment is not None and now < moment <= now + longest


def _hand_out(db: Connection, step: Step, now: float) -> Step:
    token = secrets.token_hex(8)
    db.execute(
        """
        UPDATE step SET state = 'running', attempts = attempts + 1, token = ?, lease_until = ?,
            started_at = coalesce(started_at, ?), taken_at = ?
        WHERE id = ?
        """,
        (token, now + LEASE_SECONDS, now, now, step.id),
    )
    return step._replace(state="running", attempts=step.attempts + 1, token=token)


def release(db: Connection, step: Step) -> None:
    """Make the lease of whoever works on a step void."""
    db.execute("UPDATE step SET lease_until = NULL WHERE id = ?", (step.id,))


def renew(db: Connection, step_id: int, token: str, now: float) -> bool:
    """Go on with a step. False when it is no longer in the hands of that token."""
    changed = db.execute(
        "UPDATE step SET lease_until = ? WHERE id = ? AND token = ? AND state = 'running'",
        (now + LEASE_SECONDS, step_id, token),
    )
    return changed.rowcount == 1


def note(db: Connection, step: Step, outcome: dict[str, Any]) -> None:
    """What a step that goes on has done so far. It gets on: from here its attempts count anew."""
    db.execute("UPDATE step SET outcome = ?, attempts = 1 WHERE id = ?", (json.dumps(outcome), step.id))


def finish(
    db: Connection, step: Step, state: str, now: float, *, outcome: Any = None, error: str | None = None
) -> None:
    """A step has come to its end."""
    db.execute(
        "UPDATE step SET state = ?, token = NULL, lease_until = NULL, ended_at = ?, outcome = ?, error = ? "
        "WHERE id = ?",
        (state, now, json.dumps(outcome) if outcome is not None else None, error, step.id),
    )


def postpone(db: Connection, step: Step, now: float, error: str) -> float | None:
    """A step failed for a reason that may pass. Returns when to try again; None when it has been tried enough."""
    if step.attempts >= MOST_ATTEMPTS:
        finish(db, step, "failed", now, error=error)
        return None
    due_at: float = now + min(FIRST_PAUSE_SECONDS * 2 ** (step.attempts - 1), LONGEST_PAUSE_SECONDS)
    db.execute(
        "UPDATE step SET state = 'waiting', token = NULL, lease_until = NULL, due_at = ?, error = ? WHERE id = ?",
        (due_at, error, step.id),
    )
    return due_at


# Logs --------------------------------------------------------------------------------------------------------


def add_logs(db: Connection, night: Night, claims: Iterable[tuple[str, str]]) -> None:
    """Note logs, claim and name, that the night has to import."""
    db.executemany(
        "INSERT INTO night_log (night_id, claim, name) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [(night.id, claim, name) for claim, name in claims],
    )


def unfinished_logs(db: Connection, night: Night) -> list[tuple[str, str]]:
    """Claim and name of the night's logs that are not in the ledger of imports yet."""
    return db.execute(
        """
        SELECT claim, name FROM night_log
        WHERE night_id = ? AND NOT EXISTS (SELECT 1 FROM import_file WHERE delivery = 'spool:' || claim)
        ORDER BY claim
        """,
        (night.id,),
    ).fetchall()


def logs_in_words(db: Connection, night: Night) -> dict[str, int]:
    """What the imports of the night's logs came to, together."""
    counted = ("records", "accepted", "replaced_missing", "duplicates", "skipped", "quarantined")
    sums = ", ".join(f"coalesce(sum({name}), 0)" for name in counted)
    row = db.execute(
        f"""
        SELECT count(*), {sums} FROM night_log JOIN import_file ON import_file.delivery = 'spool:' || claim
        WHERE night_id = ?
        """,  # noqa: S608  (the names are ours)
        (night.id,),
    ).fetchone()
    return dict(zip(("logs", *counted), row, strict=True))


def forget_logs(db: Connection, *, ended_before: float) -> int:
    """Delete the names of the logs of nights that ended so long ago. Returns how many they were."""
    return db.execute(
        "DELETE FROM night_log WHERE night_id IN (SELECT id FROM night WHERE ended_at < ?)", (ended_before,)
    ).rowcount


def late(db: Connection, *, settled_before: float, ended_after: float) -> list[Night]:
    """Nights that have ended, and of whose run more was imported since it was last told of.

    Only when nothing has come since `settled_before`, so that logs that come together are told of together.
    """
    rows = db.execute(
        f"""
        {_NIGHT} WHERE ended_at > ? AND (
            SELECT max(import_file.imported_at) FROM import_file, json_each(import_file.outcome, '$.runs') AS held
            WHERE import_file.imported_at > night.told_until AND held.value = night.run_name
            AND import_file.accepted + import_file.replaced > 0
        ) BETWEEN told_until AND ?
        """,  # noqa: S608  (its beginning is ours)
        (ended_after, settled_before),
    )
    return [Night(*row) for row in rows]


def told(db: Connection, night: Night, now: float) -> None:
    """What was imported of the night's run up to now has been told of."""
    db.execute("UPDATE night SET told_until = ? WHERE id = ?", (now, night.id))
