"""Weeks of nights under one `pdk up`: after each week its memory, its files and its database are what they were.

A night takes seconds here. So that what goes after days goes, a day is taken off every time that is remembered, in the
database, in the broker and in the archive, after each night; and what beat would have started meanwhile is started.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from redis import Redis

from benchmarks.generate import Site, host_names
from benchmarks.importing import NIGHT
from benchmarks.measuring import PDK, Measured, Workplace
from pdk_pipeline import contacts, database, subscriptions
from pdk_pipeline.intake import archive, spool
from pdk_pipeline.subscriptions import EVERY_PROJECT, Kind, Subscription
from workers import broker, health
from workers.queues import QUEUES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pdk_pipeline.config import Settings

SITE = Site(hosts=host_names(20), tests=4_000, log_bytes=500)
NIGHTS = 7
"""A week."""

LEAST_WEEKS = 4
"""In the first the caches fill, in the second the first runs go; after that nothing is to grow."""

DAY_SECONDS = 86_400
PERIODIC = {"sweep": 48, "tick": 72, "sweep_outbox": 144}
"""How often a task that beat starts is started from one night to the next: a tenth of what beat does."""

SETTINGS = """\
settle_seconds = 0
timezone = "UTC"
keep_archive_days = 7
keep_ledger_days = 7
keep_messages_days = 7
backup_directory = "{home}/backups"
keep_backups = 3

[nights]

[keep.daily]
last = 7
"""

SIGNS = {
    "pdk up": " up ",
    "the writer": "--queues=writer",
    "the general worker": "--queues=default",
    "the intake": "--queues=intake",
    "beat": " beat ",
    "Flower": " flower ",
    "the broker": "valkey-server",
}
"""What stands in the command of each process."""

TIMES = {
    "run": ("created_at", "deleted_at"),
    "import_file": ("imported_at",),
    "notification": ("created_at", "due_at", "give_up_at", "closed_at"),
    "night": ("started_at", "ended_at", "told_until"),
    "step": ("lease_until", "due_at", "started_at", "taken_at", "ended_at"),
}

MOST_GROWTH = {"MB": 5.0, "": 20.0}
"""Percent from the end of the second week to that of the last; of what is counted a few come and go."""

BOUNDED = {
    "the broker's file": 140.0,
    "log files": 420.0,
    "the writer, resident": 200.0,
    "Flower, resident": 200.0,
}
"""What grows until it begins anew or is full, and the MB that it comes to at most.

See `redis_server` and `processes` for the files; SQLite keeps up to 64 MB of the database in the writer's memory, and
Flower its last 10,000 tasks.
"""

UNBOUNDED = {"mails as files", "mails as files, files"}
"""What stays until somebody takes it away."""


class _Figure(NamedTuple):
    what: str
    unit: str


def weeks(place: Workplace, site: Site = SITE, *, nights: int = NIGHTS) -> Iterator[Measured]:
    """Figures at the end of each week, as many as there are repeats, and how much they have grown since the second.

    Not fewer than LEAST_WEEKS. `nights`: of a week.
    """
    settings = place.fresh_home()
    (settings.home / "pdk.toml").write_text(SETTINGS.format(home=settings.home))
    count = max(place.repeats, LEAST_WEEKS)
    found: dict[_Figure, list[float]] = defaultdict(list)
    spool.prepare(settings)
    with _up(settings) as pid:
        _have_readers(settings)
        for week in range(count):
            for night in range(nights):
                _night(place, settings, site, week * nights + night)
            for figure, value in _figures(settings, pid).items():
                found[figure].append(value)
    for figure, values in found.items():
        digits = 1 if figure.unit and values[0] < 100 else 0
        series = ", ".join(f"{value:,.{digits}f}" for value in values)
        yield Measured(f"{figure.what}: {series}", values, figure.unit or "of them")
        if figure.what in BOUNDED:
            yield Measured("… at most", [max(values)], "MB", at_most=BOUNDED[figure.what])
        if figure.what in BOUNDED or figure.what in UNBOUNDED:
            continue
        growth = 100 * (values[-1] / values[1] - 1) if values[1] else 100 * values[-1]
        yield Measured("… its growth since the second week", [max(growth, 0.0)], "%", at_most=MOST_GROWTH[figure.unit])
    place.tidy()


@contextlib.contextmanager
def _up(settings: Settings) -> Iterator[int]:
    """A whole `pdk up`, Flower too, whose output goes to a file. Yields its process id."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PDK_")}
    said = settings.home / "said"
    with said.open("wb") as file:
        command = [*PDK, "up"]
        environment["PDK_HOME"] = str(settings.home)
        with subprocess.Popen(command, env=environment, stdout=file, stderr=file, stdin=subprocess.DEVNULL) as one:
            try:
                while b"ready; Ctrl-C" not in said.read_bytes():
                    if one.poll() is not None:
                        raise RuntimeError("pdk up has ended before it was ready")
                    time.sleep(0.1)
                yield one.pid
            finally:
                one.terminate()


def _have_readers(settings: Settings) -> None:
    """A contact, one who is sent everything, one who is sent what has changed."""
    with database.writing(settings) as db:
        contacts.replace(db, "calib,,calib@example.org\n", "")
        for kind in (Kind.FULL, Kind.CHANGES):
            subscriptions.subscribe(db, Subscription(f"{kind}@example.org", EVERY_PROJECT, kind, 200))


def _night(place: Workplace, settings: Settings, site: Site, number: int) -> None:
    """A night, the day after it, and all that was to be done is done."""
    day = NIGHT + timedelta(days=number)
    logs = site.night(day, place.directory / "logs")
    for log in logs[::2]:
        log.rename(settings.spool / "incoming" / log.name)
    place.run([*PDK, "submit", "-q", *logs[1::2]], settings)
    place.run([*PDK, "nightly", "daily", f"daily_{day}"], settings)
    place.run([*PDK, "clean", "--quiet"], settings)
    shutil.rmtree(place.directory / "logs")
    _start_what_beat_would(settings)
    with _broker(settings) as redis:
        while any(health.waiting(redis, queue.name) for queue in QUEUES) or redis.exists("unacked", "unacked:writer"):
            time.sleep(0.05)
    _a_day_passes(settings)


def _start_what_beat_would(settings: Settings) -> None:
    script = (
        "import sys; from workers.app import app; import workers.receiving, workers.nightly, workers.telling;"
        f"[app.send_task(name) for name, times in {PERIODIC}.items() for _ in range(times)]"
    )
    environment = os.environ | {"PDK_HOME": str(settings.home)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)


def _a_day_passes(settings: Settings) -> None:
    """Everything that was, was a day earlier."""
    with database.writing(settings) as db:
        for table, columns in TIMES.items():
            db.execute(f"UPDATE {table} SET {', '.join(f'{one} = {one} - {DAY_SECONDS}' for one in columns)}")
    for day, directory in archive.days(settings):
        earlier = settings.spool / "archive" / f"{day - timedelta(days=1):%Y/%m/%d}"
        earlier.parent.mkdir(parents=True, exist_ok=True)
        directory.rename(earlier)
    with _broker(settings) as redis:
        for key in redis.scan_iter():
            left = int(redis.ttl(key))
            if left >= 0:
                redis.expire(key, max(left - DAY_SECONDS, 0))


def _broker(settings: Settings) -> Redis:
    return Redis(unix_socket_path=str(broker.socket_path(settings)))


# What is looked at -------------------------------------------------------------------------------------------


def _figures(settings: Settings, pid: int) -> dict[_Figure, float]:
    """How it stands now."""
    found: dict[_Figure, float] = defaultdict(float)
    for process in _family(pid):
        with contextlib.suppress(OSError, StopIteration):
            command = Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
            name = next(name for name, sign in SIGNS.items() if sign in f"{command} ")
            found[_Figure(f"{name}, resident", "MB")] += _own_bytes(process) / 1e6
            found[_Figure("open files", "")] += len(list(Path(f"/proc/{process}/fd").iterdir()))
            found[_Figure("processes", "")] += 1
    with _broker(settings) as redis:
        found[_Figure("data in the broker", "MB")] = redis.info("memory")["used_memory"] / 1e6
        found[_Figure("keys in the broker", "")] = redis.dbsize()
    found[_Figure("the database", "MB")] = _size(settings.home.glob("pdk.db*")) / 1e6
    for what, directory in {
        "the archive": settings.spool / "archive",
        "logs not imported yet": settings.spool / "processing",
        "the quarantine": settings.spool / "quarantine",
        "backups": settings.home / "backups",
        "mails as files": settings.outbox,
        "the broker's file": settings.run_directory / "broker-aof",
        "log files": settings.run_directory / "logs",
    }.items():
        files = [path for path in directory.rglob("*") if path.is_file()]
        found[_Figure(what, "MB")] = _size(files) / 1e6
        found[_Figure(f"{what}, files", "")] = len(files)
    return found


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in _family(int(child)))]


def _own_bytes(pid: int) -> int:
    """The memory of a process; what it shares with others is shared out among them."""
    match = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def _size(paths: Iterator[Path] | list[Path]) -> int:
    return sum(path.stat().st_size for path in paths)
