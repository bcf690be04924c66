"""Work that is killed in the middle, at chosen points, for `python -m tests.integration.dying HOME WORK POINT...`.

For each point the home HOME is copied to a directory named by it, and a process does WORK there until it has come to
as many events: statements, file operations, pieces copied. Then it kills itself. Point 0 never comes: the work is done
to the end, and the number of its events is printed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

from pdk_pipeline import backup, config, database, runs
from pdk_pipeline.config import Settings
from pdk_pipeline.intake import ledger
from pdk_pipeline.purge import clean, deletion, retention, trim
from pdk_pipeline.selection import Selection
from tests.purged import NOW, Once

FILE_OPERATIONS = {"open", "os.rename", "os.remove", "os.link", "os.rmdir", "os.mkdir"}


def clean_up(settings: Settings) -> None:
    for _ in clean.steps(settings, now=NOW):
        pass


def retain(settings: Settings) -> None:
    place = retention.step(settings, now=NOW).next
    while place is not None:
        place = retention.step(settings, place, now=NOW).next


def delete_part(settings: Settings) -> None:
    with database.reading(settings) as db:
        part = deletion.part(db, runs.find(settings, db, "daily_2026-11-23"), Selection(hosts=("banana",)))
    place, is_first = None, True
    while is_first or place is not None:
        with database.writing(settings) as db:
            place = deletion.delete_part(db, part, place, Once(), now=NOW).next
        is_first = False


def back_up(settings: Settings) -> None:
    backup.make(settings, settings.home.parent / "backups", keep=2, now=NOW, progress=lambda *_: event())


def restore(settings: Settings) -> None:
    backup.restore(settings, settings.home.parent / "backups" / "pdk-2026-11-01T060000.db", now=NOW)


WORKS = {"clean": clean_up, "retention": retain, "part": delete_part, "backup": back_up, "restore": restore}

point = 0
events = 0
is_armed = False


def event(*_: object) -> None:
    global events  # noqa: PLW0603
    if is_armed:
        events += 1
        if events == point:
            os.kill(os.getpid(), signal.SIGKILL)


def arm() -> None:
    global is_armed  # noqa: PLW0603
    connect = database.connect

    def watched(*arguments, **named):
        db = connect(*arguments, **named)
        db.set_trace_callback(event)
        return db

    database.connect = watched
    sys.addaudithook(lambda name, _: event() if name in FILE_OPERATIONS else None)
    # Steps as short as can be.
    clean.Time = retention.Time = Once
    for module, name in (
        (clean, "BLOCKS_AT_ONCE"),
        (clean, "TESTS_AT_ONCE"),
        (clean, "PAGES_AT_ONCE"),
        (deletion, "AT_ONCE"),
        (ledger, "WINDOW"),
        (backup, "PAGES_AT_ONCE"),
    ):
        setattr(module, name, 20)
    is_armed = True


def perform(work: str, home: Path) -> None:
    os.environ["PDK_HOME"] = str(home)
    settings = config.load()
    arm()
    WORKS[work](settings)


if __name__ == "__main__":
    source, work = Path(sys.argv[1]), sys.argv[2]
    assert trim  # loaded before the fork
    for number in sys.argv[3:]:
        target = source.parent / f"{work}-{number}"
        shutil.copytree(source, target)
        child = os.fork()
        if child == 0:
            point = int(number)
            perform(work, target / "home")
            sys.stdout.write(f"{events}\n")
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)
