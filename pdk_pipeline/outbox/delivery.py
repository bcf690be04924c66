"""One attempt to deliver: alone with the message, and its outcome kept from the first moment on.

A delivery under way holds the lock of the message's file in outbox/deliveries/. What was sent or refused is written
into that file at once, before the database is told, which takes a turn in the writer's queue: whoever finds the file
after a kill records what stands in it instead of sending again. The file goes when the database knows.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import time
from typing import IO, TYPE_CHECKING, NamedTuple

from pdk_pipeline import channels, database
from pdk_pipeline.errors import ChannelDown, DeliveryFault, MessageRefused
from pdk_pipeline.outbox import leases, listing
from pdk_pipeline.outbox.words import Lease, Outcome, Result, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pdk_pipeline.config import Settings
    from pdk_pipeline.outbox.words import Held

log = logging.getLogger(__name__)

NOTE_BYTES = 8192
LONGEST_DETAIL = 1000
"""A note is so long, and that much of what the other side said has its place in it, however it is escaped."""

MOST_DEATHS = 5
"""A message that took so many processes down with it, one after the other, is not tried again."""


# In its own time: what may take long -------------------------------------------------------------------------


def attempt(settings: Settings, lease: Lease) -> Outcome | None:
    """Try to deliver a message. Reads the database, writes nothing there: the outcome is for `record`.

    None: there is nothing to record, for the lease is not valid any more or somebody else is at it.
    """
    with _alone_with(settings, lease.id) as file:
        if file is None:
            return None
        # After the lock, not before: who had it may have sent it meanwhile.
        with database.reading(settings) as db:
            held = leases.held(db, lease.id)
        if held is None or held.state is not State.PENDING:
            return None
        note = _read(file, held.message.message_id)
        if note.outcome:
            return note.outcome
        seconds = held.lease_until - time.time()
        if held.lease != lease.token or seconds <= 0:
            return None
        if note.begun >= MOST_DEATHS:
            outcome = Outcome(Result.REFUSED, f"its delivery was begun {note.begun} times and killed us each time")
        else:
            try:
                _begin(file, held, note.begun + 1)
            except OSError as error:  # a full disk: what came of it could not be kept either
                return Outcome(Result.FAILED, f"outbox/deliveries: {error.strerror}")
            outcome = _send(settings, held, seconds)
        _end(file, held, outcome)
        return outcome


def _send(settings: Settings, held: Held, seconds: float) -> Outcome:
    try:
        return Outcome(Result.SENT, channels.send(settings, held.channel, held.message, seconds=seconds))
    except MessageRefused as error:
        return Outcome(Result.REFUSED, _told(error))
    except ChannelDown as error:
        return Outcome(Result.DOWN, _told(error))
    except DeliveryFault as error:
        return Outcome(Result.FAILED, _told(error))
    except Exception as error:  # a channel's fault in the program must not hold up the others, nor be forgotten
        log.exception("message %s could not be delivered", held.message.message_id)
        return Outcome(Result.FAILED, f"a fault in pdk itself: {type(error).__name__}: {error}")


def _told(error: MessageRefused | DeliveryFault) -> str:
    return f"{error.particulars.rstrip('.')}. {error.advice}" if error.advice else error.particulars


# The file of a delivery --------------------------------------------------------------------------------------


def _directory(settings: Settings) -> Path:
    return settings.outbox / "deliveries"


@contextlib.contextmanager
def _alone_with(settings: Settings, id_: int) -> Iterator[IO[str] | None]:
    """The message's file, locked as long as this lasts and no longer than this process lives; None: it is locked."""
    directory = _directory(settings)
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory / str(id_), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "r+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file


class _Note(NamedTuple):
    """What stands in the file."""

    begun: int = 0
    """Attempts that nobody has heard of the end of."""
    outcome: Outcome | None = None
    """What the database has perhaps not been told yet."""


def _read(file: IO[str], message_id: str) -> _Note:
    """What stands in a file, if it is that message's: the database may have come out of a backup."""
    try:
        content = json.load(file)
        if content["message_id"] != message_id:
            return _Note()
        outcome = Outcome(Result(content["result"]), content["detail"]) if content["result"] else None
        return _Note(int(content["begun"]), outcome)
    except (ValueError, KeyError, TypeError):  # it is empty, or was cut off
        return _Note()


def _begin(file: IO[str], held: Held, begun: int) -> None:
    """Note that an attempt begins, and make room for its end. Raises OSError."""
    _write(file, held.message.message_id, _Note(begun))


def _end(file: IO[str], held: Held, outcome: Outcome) -> None:
    is_final = outcome.result in (Result.SENT, Result.REFUSED)
    try:
        _write(file, held.message.message_id, _Note(0, outcome if is_final else None))
    except OSError as error:  # the database is told all the same
        log.warning("a note on message %s could not be kept in outbox/deliveries: %s", held.message.message_id, error)


def _write(file: IO[str], message_id: str, note: _Note) -> None:
    result, detail = note.outcome or (None, "")
    content = {"message_id": message_id, "begun": note.begun, "result": result, "detail": detail[:LONGEST_DETAIL]}
    file.seek(0)
    # As long each time: the end of an attempt takes the place of its beginning, and finds room on a full disk too.
    file.write(json.dumps(content).ljust(NOTE_BYTES))
    file.flush()
    os.fsync(file.fileno())


def _remove_file(settings: Settings, id_: int) -> None:
    (_directory(settings) / str(id_)).unlink(missing_ok=True)


# By the one who writes the database --------------------------------------------------------------------------


def record(settings: Settings, lease: Lease, outcome: Outcome) -> None:
    """Record what came of an attempt; the same once more changes nothing."""
    with database.writing(settings) as db:
        leases.record(db, settings, lease, outcome, now=time.time())
        held = leases.held(db, lease.id)
    if held is None or held.state is not State.PENDING:
        _remove_file(settings, lease.id)


def _record_finished(settings: Settings) -> None:
    """Record what was sent or refused by those who did not get to telling it."""
    try:
        files = {int(file.name): file.path for file in os.scandir(_directory(settings)) if file.name.isdigit()}
    except FileNotFoundError:
        return
    with database.reading(settings) as db:
        pending = {entry.id: entry.message_id for entry in listing.entries(db, states=[State.PENDING], ids=list(files))}
    for id_, path in files.items():
        if id_ not in pending:
            _remove_file(settings, id_)
            continue
        # Without the lock: it would turn away whoever is about to begin, and half an outcome is none.
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:  # noqa: PTH123
            if outcome := _read(file, pending[id_]).outcome:
                record(settings, Lease(id_, ""), outcome)


def hand_out(settings: Settings) -> list[Lease]:
    """Take in hand what is due (see `leases.lease`); each lease is for one call of `attempt`, somewhere."""
    _record_finished(settings)
    with database.writing(settings) as db:
        return leases.lease(db, settings, now=time.time())


def deliver_here(settings: Settings, *, progress: Callable[[int, int], None] = lambda _done, _all: None) -> None:
    """Deliver what is due, one after the other, in this process: the only one that writes the database now.

    A lease that somebody else has is void: either they are alone with the message, or they are not at it.
    """
    _record_finished(settings)
    with database.writing(settings) as db:
        leases.release(db)
    done = passed_over = 0
    while True:
        with database.writing(settings) as db:
            leased = leases.lease(db, settings, now=time.time(), most=passed_over + 1)
            waiting = len(leases.due(db, now=time.time()))
        if not leased:
            return
        outcome = attempt(settings, leased[0])
        if outcome:
            record(settings, leased[0], outcome)
        else:
            passed_over += 1
        done += 1
        progress(done, done + waiting)
