"""What is wrong with this installation, and what to do about it. Looks, changes nothing."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import stat
import time
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pdk_pipeline import config, database
from pdk_pipeline.channels import mail, smtp
from pdk_pipeline.channels.message import is_url
from pdk_pipeline.config_sources import config_path
from pdk_pipeline.errors import ChannelDown, DatabaseTooNew, DatabaseTooOld, DatabaseUnusable, NoDatabase
from pdk_pipeline.formats.text import counted
from pdk_pipeline.intake import quarantine, spool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pdk_pipeline.config import Settings
    from pdk_pipeline.database import Connection

LITTLE_SPACE_BYTES = 1 << 30
"""With less room than this on the disk, a night may not fit."""

LARGE_BYTES = 256 << 20
"""Of a database; a slow disk takes some ten seconds to read so much."""

SOON_SECONDS = 60
"""A claimed log that has waited for less is on its way, however short the settings are."""

MAIL_SECONDS = 5
"""A mail server that has not answered after so long is told of."""

NETWORK_FILE_SYSTEMS = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "ceph",
    "fuse.sshfs",
    "glusterfs",
    "lustre",
}

_ESCAPED = re.compile(r"\\([0-7]{3})")
"""A blank and its like in the list of mounts."""


class State(StrEnum):
    """How one thing is."""

    GOOD = "good"
    ODD = "odd"
    BAD = "bad"


class Finding(NamedTuple):
    """One thing that was looked at."""

    subject: str
    state: State
    text: str
    advice: str = ""


def examine(settings: Settings, *, is_quick: bool = False) -> Iterator[Finding]:
    """Look at everything that needs no broker. `is_quick`: the database is opened and not looked through."""
    yield from _environment()
    yield from _home(settings)
    if os.path.lexists(settings.home) and not os.access(settings.home, os.R_OK | os.X_OK):
        return  # there is nothing more to be seen
    yield from _database(settings, is_quick=is_quick)
    yield _space(settings)
    yield from _spool(settings)
    yield _quarantine(settings)
    yield _time_zone(settings)
    yield from _mail(settings)
    yield from _secrets(settings)


def _environment() -> Iterator[Finding]:
    for variable, meant in sorted(config.misspelled().items()):
        yield Finding("settings", State.ODD, f"{variable} is no setting", f"Did you mean {meant}?")


def _home(settings: Settings) -> Iterator[Finding]:
    home = settings.home
    if not os.path.lexists(home):
        yield Finding("home", State.ODD, f"{home} does not exist yet", "`pdk initdb` makes it.")
        return
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        advice = "Work as its owner, or let PDK_HOME name another place."
        yield Finding("home", State.BAD, f"{home} cannot be written", advice)
    else:
        yield Finding("home", State.GOOD, str(home))
    kind = file_system(home)
    if kind in NETWORK_FILE_SYSTEMS:
        advice = "SQLite's journal needs shared memory: put PDK_HOME on a local disk."
        yield Finding("file system", State.BAD, f"{home} is on a network file system ({kind})", advice)
    else:
        yield Finding("file system", State.GOOD, kind or "unknown")


def file_system(path: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """The type of the file system that holds `path`; empty where the system does not tell."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    path = path.resolve()
    best, kind = "", ""
    for line in lines:
        _, place, type_, *_ = [*line.split(), "", "", ""]
        place = _ESCAPED.sub(lambda escaped: chr(int(escaped[1], 8)), place)
        if place and path.is_relative_to(place) and len(place) >= len(best):
            best, kind = place, type_
    return kind


def is_large(settings: Settings) -> bool:
    """Whether it takes long to look through the database when it is not in memory."""
    with contextlib.suppress(OSError):
        return settings.database.stat().st_size > LARGE_BYTES
    return False


def _database(settings: Settings, *, is_quick: bool) -> Iterator[Finding]:
    try:
        with database.reading(settings) as db:
            problem = "" if is_quick else _looked_through(db)
    except (NoDatabase, DatabaseTooOld, DatabaseTooNew, DatabaseUnusable) as error:
        is_usual = isinstance(error, NoDatabase | DatabaseTooOld)
        told = str(type(error)(error.particulars))
        yield Finding("database", State.ODD if is_usual else State.BAD, told, error.advice)
        return
    except sqlite3.Error as error:
        yield Finding("database", State.BAD, f"{settings.database}: {error}", database.RESTORE)
        return
    if problem:
        yield Finding("database", State.BAD, problem, database.RESTORE)
    else:
        size = database.bytes_on_disk(settings)
        how = "not looked through" if is_quick else "sound"
        yield Finding("database", State.GOOD, f"{settings.database}, {size:,} bytes, {how}")


def _looked_through(db: Connection) -> str:
    """What is wrong in the database; empty when nothing is."""
    (problem,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if problem != "ok":
        return str(problem)
    orphan = db.execute("PRAGMA foreign_key_check").fetchone()
    return f"a row of {orphan[0]} refers to one of {orphan[2]} that is gone" if orphan else ""


def _space(settings: Settings) -> Finding:
    place = settings.home
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < LITTLE_SPACE_BYTES:
        advice = "Delete old runs or old files in the archive."
        return Finding("disk", State.BAD, f"only {free:,} bytes are free at {place}", advice)
    return Finding("disk", State.GOOD, f"{free:,} bytes are free")


def _spool(settings: Settings) -> Iterator[Finding]:
    for name in spool.DIRECTORIES:
        place = settings.spool / name
        if wrong := spool.no_directory(place):
            yield Finding("spool", State.BAD, f"{place} {wrong}", "No log can be taken in until it is one.")
        elif place.is_dir() and not os.access(place, os.R_OK | os.W_OK | os.X_OK):
            yield Finding("spool", State.BAD, f"{place} cannot be written", "Work as its owner.")
        elif place.is_dir() and place.stat().st_dev != settings.spool.stat().st_dev:
            advice = "Have the whole spool on one, so that a log moves in one step."
            yield Finding("spool", State.ODD, f"{place} is on another file system", advice)
    waiting = _age_of_oldest(settings.spool / "processing")
    if waiting > max(10 * settings.resend_seconds, SOON_SECONDS):
        advice = "Is a worker running on the queue `writer`? `pdk up` starts one; `pdk collect --local` imports now."
        yield Finding("spool", State.BAD, f"a claimed log has waited for {waiting / 60:.0f} minutes", advice)
    else:
        yield Finding("spool", State.GOOD, str(settings.spool))


def _age_of_oldest(directory: Path) -> float:
    oldest = time.time()
    with contextlib.suppress(OSError):
        for place in directory.iterdir():
            with contextlib.suppress(OSError):
                oldest = min(oldest, *(path.stat().st_ctime for path in place.iterdir()))
    return time.time() - oldest


def _quarantine(settings: Settings) -> Finding:
    try:
        items = quarantine.notes(settings)
    except OSError as error:
        return Finding("quarantine", State.BAD, f"{error.filename}: {error.strerror}", "Work as its owner.")
    if items:
        records = sum(note.records for note in items)
        advice = "`pdk quarantine list` shows them."
        return Finding(
            "quarantine", State.ODD, f"{counted(records, 'record')} in {counted(len(items), 'item')}", advice
        )
    return Finding("quarantine", State.GOOD, "empty")


def _time_zone(settings: Settings) -> Finding:
    now = f"{datetime.now(tz=settings.zone).astimezone(settings.zone):%Y-%m-%d %H:%M %Z}"
    if not settings.timezone:
        text = f"the machine's own; now it is {now}"
        return Finding("time zone", State.GOOD, text, "PDK_TIMEZONE sets the site's.")
    return Finding("time zone", State.GOOD, f"{settings.timezone}; now it is {now}")


def _mail(settings: Settings) -> Iterator[Finding]:
    """Whether mails can be sent; asks the server, and sends none."""
    if not settings.smtp_host:
        text = f"no server is set up; mails are written as files into {settings.outbox}"
        yield Finding("mail", State.GOOD, text, "PDK_SMTP_HOST names one.")
        return
    try:
        smtp.probe(settings, seconds=MAIL_SECONDS)
    except ChannelDown as error:
        yield Finding("mail", State.BAD, error.particulars, error.advice)
    else:
        yield Finding("mail", State.GOOD, f"{smtp.place(settings)} answers", "`pdk notify --test ADDRESS` sends one.")
    if not settings.mail_from:
        text = f"mails come from {mail.sender(settings).addr_spec}, which not every server takes"
        yield Finding("mail", State.ODD, text, "PDK_MAIL_FROM names another sender.")


def _secrets(settings: Settings) -> Iterator[Finding]:
    """Whether everybody on this machine can read a password, or the token of a service."""
    advice = "`chmod o-r` keeps it from those whom it does not concern."
    path = config_path()
    if config.holds_secret(path) and _is_everybodys(path):
        yield Finding("secrets", State.ODD, f"{path} holds a password, and everybody may read it", advice)
    with contextlib.suppress(NoDatabase, DatabaseTooOld, DatabaseTooNew, DatabaseUnusable, sqlite3.Error):
        if _is_everybodys(settings.database):
            with database.reading(settings) as db:
                services = [address for (address,) in db.execute("SELECT address FROM subscription") if is_url(address)]
            if services:
                text = f"{settings.database} holds the tokens of services, and everybody may read it"
                yield Finding("secrets", State.ODD, text, advice)


def _is_everybodys(path: Path) -> bool:
    """Whether everybody can read a file, as far as its own directory does not keep them out."""
    with contextlib.suppress(OSError):
        return bool(path.stat().st_mode & stat.S_IROTH and path.parent.stat().st_mode & stat.S_IXOTH)
    return False
