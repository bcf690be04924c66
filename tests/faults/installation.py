"""A whole installation: a home on a small disk, a real `pdk up`, a real mail server, and people who give commands."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from redis import Redis

from pdk_pipeline.config import Settings
from tests.faults.nights import CONTACTS, SUBSCRIBERS, Log, Night
from tests.faults.people import Command
from tests.integration.processes import Background
from tests.mail_server import MailServer
from tests.stored import home_in
from workers import broker

ROOT = Path(__file__).parents[2]
DISK_BYTES = 512 << 20

PATIENCE_SECONDS = 240
"""So long what is broken may take to heal before that counts as a finding."""

SIGNS = {
    "writer": "--queues=writer",
    "general": "--queues=default",
    "intake": "--queues=intake",
    "beat": "tests.faults.hurried --quiet beat",
    "broker": "-server ",
}
"""What stands in the command of each part of a `pdk up`."""

SETTINGS = """\
settle_seconds = 0
timezone = "UTC"
resend_seconds = 3
# Here it is never the log's fault that its import was killed.
most_attempts = 100000
nights = {}
backup_directory = "backups"
keep_backups = 2
administrator = "admin@example.org"
fallback_address = "fallback@example.org"
mail_from = "pdk@example.org"
smtp_host = "127.0.0.1"
smtp_port = PORT
smtp_security = "none"
smtp_timeout_seconds = 2
lease_seconds = 4
redelivery_seconds = 0.5
"""


class NotHealed(AssertionError):
    """What was broken has not healed in all patience."""


class Installation:
    """Everything of one home, to be used by `with`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.disk = directory / "disk"
        self.home = self.disk / "home"
        self.is_small = False
        """Whether the disk is one of its own, that can be filled."""
        self.mail = MailServer()
        self.up: Background | None = None
        self.settings: Settings
        self.given: list[Command] = []
        """Commands that are under way."""
        self.said: Counter[str] = Counter()
        """What commands said that failed."""
        self.tracebacks: list[str] = []
        self.lies: list[str] = []
        """Commands that said that something was done that was not."""
        self._deliberate = threading.RLock()

    # Life -------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.disk.mkdir(parents=True)
        self.is_small = mounted(self.disk, DISK_BYTES)
        self.home.mkdir()
        with contextlib.ExitStack() as begun:
            begun.callback(self._unmount)
            begun.enter_context(self.mail)
            (self.home / "pdk.toml").write_text(
                SETTINGS.replace("PORT", str(self.mail.port)).replace('"backups"', f'"{self.home / "backups"}"')
            )
            self.settings = home_in(self.home)
            begun.callback(self.stop)
            self.start()
            begun.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.mail.__exit__()
        self._unmount()

    def _unmount(self) -> None:
        if self.is_small:
            # What the workers said is wanted when something was found.
            shutil.copytree(self.home / "run" / "logs", self.directory / "workers", dirs_exist_ok=True)
            subprocess.run(["umount", "--lazy", self.disk], check=False)

    @property
    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PDK_")}
        return clean | {"PDK_HOME": str(self.home), "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "random"}

    def start(self) -> None:
        with self._deliberate:
            self.up = Background([sys.executable, "-m", "tests.faults.up"], self.environment, ROOT)

    def stop(self) -> None:
        with self._deliberate:
            if self.up:
                self.kill_all()
                self.up.clean_up()

    def kill_all(self) -> None:
        """SIGKILL to `pdk up` and everything that it started."""
        with self._deliberate:
            pids = [pid for part in SIGNS for pid in self.processes(part)]
            self.up.popen.kill()
            for pid in pids:
                _kill(pid)
            self.up.wait()

    def see_that_it_is_up(self) -> None:
        """Start `pdk up` again when it has ended, as systemd would."""
        with self._deliberate:
            if self.up.popen.poll() is not None:
                self.up.wait()
                self.start()

    # Its parts ----------------------------------------------------------------------------------------------------

    def processes(self, part: str, *, with_children: bool = True) -> list[int]:
        """The process ids of a part of the `pdk up`, its own first."""
        found = []
        with contextlib.suppress(OSError):
            for pid in self.up.children():
                if SIGNS[part] in Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "):
                    found.append(pid)
                    if with_children:
                        found += children_of(pid)
        return found

    def redis(self) -> Redis:
        return Redis(unix_socket_path=str(broker.socket_path(self.settings)), socket_timeout=10)

    # People -------------------------------------------------------------------------------------------------------

    def pdk(self, *words: object, stdin: Path | None = None) -> int:
        """Give a command once. Returns its exit status, or the signal's number below nought."""
        command = Command([str(word) for word in words], self.environment, self.directory, stdin)
        self.given.append(command)
        try:
            status = command.wait(PATIENCE_SECONDS)
            if status is None:
                command.kill()
                command.wait(10)
        finally:
            self.given.remove(command)
        said = command.said()
        if status is None:
            raise NotHealed(f"pdk {' '.join(map(str, words))} has not come back:\n{said}")
        if "Traceback" in said:
            self.tracebacks.append(said)
        if status:
            self.said.update(line[:150] for line in said.splitlines())
        return status

    def insist(self, is_done: Callable[[], bool], what: str) -> None:
        """Do something again and again until it is done."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_done():
            if time.monotonic() > deadline:
                raise NotHealed(f"{what}: not done after {PATIENCE_SECONDS} s")
            time.sleep(0.2)

    def give(self, *words: object, good: tuple[int, ...] = (0,), stdin: Path | None = None) -> None:
        """Give a command until it ends well."""
        self.insist(lambda: self.pdk(*words, stdin=stdin) in good, f"pdk {' '.join(map(str, words))}")

    def set_up(self) -> None:
        contacts = self.directory / "contacts"
        contacts.write_text(CONTACTS)
        self.give("import_contact", stdin=contacts)
        for address, kind in SUBSCRIBERS:
            self.give("subscribe", address, "--kind", kind)

    def send(self, log: Log) -> None:
        """Have a log arrive in its way; when this returns it is in the server's hands."""
        path, way = log
        if way.startswith("submit"):
            for _ in way.split():
                self.give("submit", path)
        elif way == "stdin":
            self.insist(lambda: self._import("import", "-", stdin=path), f"pdk import - < {path}")
        elif way.startswith("import"):
            self.insist(lambda: self._import(*way.split(), path), f"pdk {way} {path}")
        else:
            place = self.settings.spool / "incoming" / ("below/it" if "below" in way else "")
            self.insist(lambda: _put(path, place / path.name), f"copy {path}")

    def _import(self, *words: object, stdin: Path | None = None) -> bool:
        """Give an import command once. Returns whether it has done all it was to do."""
        path = stdin or Path(str(words[-1]))
        if not path.exists():  # the command before was killed behind its last step
            return True
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        status = self.pdk(*words, stdin=stdin)
        is_taken = bool(self.rows("SELECT 1 FROM import_file WHERE sha256 = ?", sha256))
        if status == 0 and not is_taken:
            self.lies.append(f"pdk {' '.join(map(str, words))} of {path} says that it is imported, and it is not")
        return is_taken and ("--archive" not in words or not path.exists())

    def do(self, night: Night) -> None:
        """A night from the first log to the addendum of the last."""
        errors: list[BaseException] = []

        def send(logs: list[Log]) -> None:
            try:
                for log in logs:
                    self.send(log)
            except BaseException as error:  # noqa: BLE001
                errors.append(error)

        people = [threading.Thread(target=send, args=(night.in_time[part::3],)) for part in range(3)]
        for person in people:
            person.start()
        for person in people:
            person.join()
        if errors:
            raise errors[0]
        self.give("nightly", "daily", night.run)
        self.send(night.late)
        self.insist(lambda: self._is_told(night.run), f"{night.run}: the addendum")

    def _is_told(self, run: str) -> bool:
        """Whether all that has come of a run has been told of."""
        return not any(self.waiting()[:2]) and not self.rows(
            """
            SELECT 1 FROM night JOIN import_file ON imported_at > told_until
            JOIN json_each(import_file.outcome, '$.runs') AS held ON held.value = run_name
            WHERE run_name = ? AND import_file.accepted > 0
            """,
            run,
        )

    # How it stands ------------------------------------------------------------------------------------------------

    def rows(self, sql: str, *values: object) -> list[tuple]:
        """What the database says, as soon as it can be read: the disk may be full just now."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with contextlib.closing(sqlite3.connect(f"file:{self.settings.database}?mode=rw", uri=True)) as db:
                    db.execute("PRAGMA query_only = ON")
                    return db.execute(sql, values).fetchall()
            except sqlite3.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def backups(self) -> list[Path]:
        """What there is to be restored."""
        directory = self.home / "backups"
        return sorted(directory.glob("pdk-*.db")) if directory.is_dir() else []

    def waiting(self) -> tuple[int, int, int, int, int]:
        """Logs in incoming/, claims, messages to be sent, nights under way, logs in the broker."""
        spool = self.settings.spool
        incoming = sum(path.is_file() and not path.name.startswith(".") for path in (spool / "incoming").rglob("*"))
        claims = sum(not path.name.startswith(".") for path in (spool / "processing").iterdir())
        ((messages,),) = self.rows("SELECT count(*) FROM notification WHERE state = 'pending'")
        ((nights,),) = self.rows("SELECT count(*) FROM night WHERE ended_at IS NULL")
        blobs = 99
        with contextlib.suppress(Exception):
            blobs = len(list(self.redis().scan_iter("blob:*")))
        return incoming, claims, messages, nights, blobs

    def wait_until_quiet(self) -> None:
        """Until nothing waits any more. Raises NotHealed."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(waiting := self.waiting()):
            if time.monotonic() > deadline:
                raise NotHealed(f"incoming, claims, messages, nights, blobs: {waiting}")
            self.see_that_it_is_up()
            time.sleep(0.2)


def mounted(place: Path, size: int) -> bool:
    """Whether there is a file system of that size, in bytes, at `place` now; only the superuser can have one."""
    if os.geteuid() or not shutil.which("mount"):
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "pdk-faults", place]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@contextlib.contextmanager
def filled(disk: Path, *, but: int = 0) -> Iterator[None]:
    """A disk that is full, but for so many bytes, whatever others write to it meanwhile."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 20, 4096):
            block = bytes(size)
            while _free_bytes(disk) >= but + size:
                file.write(block)
    try:
        yield
    finally:
        filler.unlink()


def _free_bytes(disk: Path) -> int:
    about = os.statvfs(disk)
    return about.f_bavail * about.f_frsize


def children_of(pid: int) -> list[int]:
    """The processes that a process has started; none when it is no more."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _kill(pid: int, number: int = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _put(path: Path, target: Path) -> bool:
    """As a careful machine copies to a file server: whole, under another name, then renamed."""
    hidden = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, hidden)
        hidden.rename(target)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def workshop(keep: Path | None = None) -> Iterator[Path]:
    """A directory to work in, whose name is short enough for a socket in it; `keep`: this one, and it stays."""
    if keep:
        keep.mkdir(parents=True)
        yield keep
    else:
        with tempfile.TemporaryDirectory(prefix="pdk-faults-") as directory:
            yield Path(directory)
