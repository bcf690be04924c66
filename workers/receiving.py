"""The server's side of `pdk submit`: logs from the broker to incoming/, and the sweep that finds what was forgotten.

The worker of the queue `intake` knows `receive_log` alone, and what comes to it goes through `door`: whoever may send
to it can forge any message, but none that does more than this task does.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from typing import TYPE_CHECKING, Any

from pdk_pipeline import database
from pdk_pipeline.config import settings
from pdk_pipeline.errors import LogTooLarge, NoDatabase, NotALog, NotReceived
from pdk_pipeline.intake import ledger, spool
from workers import broker, connection, health
from workers.app import app
from workers.importing import hand_over
from workers.message import KEY, TASK
from workers.queues import INTAKE, WRITER
from workers.submission import KEPT_SECONDS, Label, file_names
from workers.tasks import AGAIN_LATER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

log = logging.getLogger(__name__)

FORGOTTEN_SECONDS = 60
"""A log that has lain in the broker for so long has lost its task."""

FEW_TASKS = 10
"""So many wait now and then; when there are more, the writer has not come yet to what it was given."""

MOST_SHOWN = 20
"""So many things that were left in incoming/ are named; whoever looks there finds the others too."""

LABEL_BYTES = 2048

ANSWER_SECONDS = 30
"""The broker answers us within so long, however many send to it at once."""


@app.task(**AGAIN_LATER, name=TASK)
def receive_log(key: str) -> dict[str, Any]:
    """Take a log out of the broker: whole on the disk first, then out of there."""
    if not KEY.fullmatch(key):
        raise NotALog("this is no place of a log in the broker")
    with _broker() as redis:
        _refuse_too_large(redis, key)
        value: bytes | None = redis.get(key)  # type: ignore[assignment]
        if value is None:
            return _received_before(key)
        label = Label.of(value[:LABEL_BYTES])
        content = memoryview(value)[value.find(b"\n") + 1 :]
        if f"blob:{hashlib.sha256(content).hexdigest()}" != key:
            redis.delete(key)
            raise NotALog(f"{label.name} was damaged on the way", advice="Submit it again.")
        name = label.file_name(key)
        is_held = spool.holds(settings(), *([name] if label.again else file_names(key)))
        # After that look: what is imported meanwhile is seen in one place or the other.
        known = None if label.again or is_held else _imported_at(key)
        if not is_held and known is None:
            spool.receive(settings(), name, content)
        redis.delete(key)
    return {"file": label.name, "sender": label.sender, "size": len(content), "imported_at": known}


@contextlib.contextmanager
def _broker() -> Iterator[Redis]:
    url = broker.address(settings()) or ""
    with connection.told_of(url), connection.client(url, decode=False, timeout_seconds=ANSWER_SECONDS) as redis:
        yield redis


def _refuse_too_large(redis: Redis, key: str) -> None:
    """Raises LogTooLarge: a sender's own settings, or the sender, may allow more than this server's do."""
    size, limit = int(redis.strlen(key)), settings().submit_limit_mb << 20
    if size > limit + LABEL_BYTES:
        redis.delete(key)
        raise LogTooLarge(
            f"{size:,} bytes compressed, the server takes {limit:,}",
            advice="Split it, or copy it into the server's incoming/; its setting submit_limit_mb is the limit.",
        )


def _received_before(key: str) -> dict[str, Any]:
    """What to say of a log that is no longer in the broker: this task has come twice, or the sweep was quicker."""
    is_held = spool.holds(settings(), *file_names(key))
    imported_at = None if is_held else _imported_at(key)
    if not is_held and imported_at is None:
        raise NotReceived("the broker does not have it any more", advice="Submit it again.")
    return {"file": key, "imported_at": imported_at}


def _imported_at(key: str) -> float | None:
    """When a log with this checksum was imported, if it was."""
    with contextlib.suppress(NoDatabase), database.reading(settings()) as db:
        return ledger.imported_at(db, key.removeprefix("blob:"))
    return None


@app.task(name="sweep")
def sweep() -> dict[str, Any]:
    """Have the settled logs in incoming/ imported, and take what lies in the broker forgotten by its task."""
    with _broker() as redis:
        is_busy = health.waiting(redis, WRITER) > FEW_TASKS
    collected = spool.collect(settings(), is_busy=is_busy)
    hand_over(collected.claims)
    return {
        "logs": len(collected.claims),
        "growing": collected.growing,
        "left": collected.left[:MOST_SHOWN],
        "forgotten": _send_forgotten(),
    }


def _send_forgotten() -> int:
    forgotten = 0
    with _broker() as redis:
        if health.waiting(redis, INTAKE):
            return 0  # nobody has come to the tasks yet: they are not lost
        for key in redis.scan_iter("blob:*", count=1000):
            left = int(redis.ttl(key))
            if KEPT_SECONDS - FORGOTTEN_SECONDS < left <= KEPT_SECONDS:
                continue
            try:
                label = _label_at(redis, key)
            except NotALog as error:
                log.warning("%r is thrown away: %s", key, error)
                redis.delete(key)
                continue
            if not 0 < left <= KEPT_SECONDS:
                redis.expire(key, KEPT_SECONDS)  # a sender of its own may have it kept for ever
            # The same id as the lost one: whoever still waits for that is told.
            receive_log.apply_async((key.decode(),), task_id=label.task, argsrepr=f"({label.name!r})")
            forgotten += 1
    return forgotten


def _label_at(redis: Redis, key: bytes) -> Label:
    if not KEY.fullmatch(key.decode("utf-8", "replace")):
        raise NotALog("this is no place of a log in the broker")
    return Label.of(redis.getrange(key, 0, LABEL_BYTES))  # type: ignore[arg-type]
