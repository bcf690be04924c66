"""`pdk up`: everything on one machine, supervised: an embedded broker, the workers, beat, Flower."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib.util
import os
import shlex
import signal
import socket
import sys
import time
from typing import IO, TYPE_CHECKING, cast

from pdk_pipeline import config
from pdk_pipeline.errors import AlreadyUp, BadSetting, BrokerUnavailable
from pdk_pipeline.intake import spool
from workers import broker, connection, redis_server
from workers.processes import Process, Supervisor
from workers.queues import DEFAULT, INTAKE, WRITER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pdk_pipeline.config import Settings

USUAL_FLOWER_PORT = 5555
FLOWER_TASKS = 10_000
"""Flower remembers so many, which takes some 100 MB; its own 100,000 would take ten times that."""

WORKER_SECONDS = 20
"""Workers that are not ready after so long (the database is held by somebody else) are not waited for."""

BROKER_SECONDS = 20
"""The embedded broker answers within so long, even with a long file to read."""


def run(settings: Settings, *, show: Callable[[str], None], with_flower: bool = True) -> None:
    """Keep everything running until SIGINT or SIGTERM; then stop it in order, running tasks finished.

    A second signal puts running tasks back into the queue, a third one kills. `show` is given each line to show.
    Raises AlreadyUp, ServerPartMissing, BadSetting, BrokerUnavailable, SpoolUnusable, NotPermitted, BrokerUntrusted.
    """
    with broker.only_one_up(settings) as lock:
        spool.prepare(settings)  # whoever reads that all is ready may put a log there
        _Standalone(settings, lock, show, with_flower=with_flower).run()


class _Standalone:
    def __init__(self, settings: Settings, lock: IO[str], show: Callable[[str], None], *, with_flower: bool) -> None:
        self.settings = settings
        self.lock = lock
        self.show = show
        self.url = settings.broker_url.plain if settings.broker_url else broker.socket_address(settings)
        self.flower_port = _flower_port(settings) if with_flower and _flower_is_there(show) else None
        self.supervisor = Supervisor(settings.run_directory / "logs", self._environment(), settings.home, show)

    def _environment(self) -> dict[str, str]:
        environment = (
            os.environ
            | config.named_from_here()
            | {
                "PDK_HOME": str(self.settings.home),
                "PDK_BROKER_URL": self.url,
                "PYTHONUNBUFFERED": "1",
            }
        )
        if self.settings.flower_basic_auth:
            # Not an argument: those are shown to everybody on the machine.
            environment["FLOWER_BASIC_AUTH"] = self.settings.flower_basic_auth.plain
        return environment

    def run(self) -> None:
        if self.settings.broker_url:
            _look_at_broker(self.url, self.show)
        supervisor = self.supervisor
        supervisor.listen_to_signals()
        with contextlib.ExitStack() as held:
            server = None if self.settings.broker_url else self._start_broker(held)
            workers = [
                self._worker("writer", WRITER, 1),
                self._worker("general", DEFAULT, self.settings.general_processes),
                self._worker("intake", INTAKE, 1),
            ]
            watchers = [self._beat()]
            if self.flower_port is not None:
                watchers.append(self._flower())
            if self.settings.metrics_port is not None:
                watchers.append(self._metrics(self.settings.metrics_port))
            self._start(workers, timeout=WORKER_SECONDS)
            self._start(watchers, timeout=None)  # it asks the workers what they do, so they come first
            self._tell()
            self._say_ready()
            supervisor.run_until(lambda: self._is_stopped)
            self._stop(watchers, workers, server)

    @property
    def _is_stopped(self) -> bool:
        return self.supervisor.signals_received > 0

    def _start(self, processes: list[Process], *, timeout: float | None) -> None:
        """Start processes side by side and wait until all are ready, a signal comes or `timeout` is over."""
        if self._is_stopped:
            return
        for process in processes:
            self.supervisor.start(process)
        self.supervisor.run_until(
            lambda: self._is_stopped or all(process.is_ready for process in processes), timeout=timeout
        )

    # Parts --------------------------------------------------------------------------------------------------

    def _start_broker(self, held: contextlib.ExitStack) -> Process:
        directory = self.settings.run_directory
        path = broker.socket_path(self.settings)
        configuration = redis_server.write_configuration(directory, path)
        # The server holds this lock as long as it lives: two of them would ruin each other's files.
        lock = held.enter_context((directory / "broker.lock").open("w"))
        _wait_for_lock(lock, directory, self.show)
        server = Process(
            "broker", (redis_server.find(), str(configuration)), keep_open=(lock.fileno(),), is_shown=False
        )
        self.supervisor.start(server)
        if not self.supervisor.run_until(lambda: self._is_stopped or _answers(path), timeout=BROKER_SECONDS):
            raise BrokerUnavailable(
                f"the embedded one has not started within {BROKER_SECONDS} s",
                advice=f"{self.supervisor.log_directory / 'broker.log'} tells why.",
            )
        return server

    def _celery(self, *arguments: str) -> tuple[str, ...]:
        return (sys.executable, "-m", "celery", "-A", "workers", "--quiet", *arguments)

    def _worker(self, name: str, queue: str, processes: int) -> Process:
        command = self._celery(
            "worker",
            f"--queues={queue}",
            f"--concurrency={processes}",
            f"--hostname={name}@%h",
            f"--loglevel={self.settings.log_level}",
            "--without-mingle",
            "--without-gossip",
        )
        return Process(name, command, ready_when=" ready.")

    def _beat(self) -> Process:
        # On the disk it remembers what ran when, so that a missed start is made up for; a pid file could only be stale.
        command = self._celery(
            "beat",
            f"--schedule={self.settings.run_directory / 'beat-schedule'}",
            "--pidfile=",
            f"--loglevel={self.settings.log_level}",
        )
        return Process("beat", command, ready_when="beat: Starting")

    def _flower(self) -> Process:
        command = self._celery(
            "flower",
            f"--address={self.settings.flower_address}",
            f"--port={self.flower_port}",
            "--persistent=True",
            f"--db={self.settings.run_directory / 'flower.db'}",
            "--state_save_interval=60000",
            f"--max_tasks={FLOWER_TASKS}",
            "--tasks_columns=name,args,state,received,runtime,worker,result,uuid",
        )
        return Process("flower", command, ready_when="Connected to")

    def _metrics(self, port: int) -> Process:
        script = "from pdk_pipeline.cli import main; main()"
        listen = f"{self.settings.flower_address}:{port}"
        return Process("metrics", (sys.executable, "-c", script, "metrics", "--listen", listen), ready_when="http://")

    # Telling and stopping -----------------------------------------------------------------------------------

    @property
    def _flower_url(self) -> str:
        return f"http://{self.settings.flower_address}:{self.flower_port}"

    def _tell(self) -> None:
        flower = self._flower_url if self.flower_port is not None else None
        broker.tell(self.lock, pid=os.getpid(), flower=flower, started_at=time.time())

    def _say_ready(self) -> None:
        if self._is_stopped:
            return
        self.show(f"up      | home {self.settings.home}; logs in {self.supervisor.log_directory}")
        if self.flower_port is not None:
            self.show(f"up      | Flower: {self._flower_url}")
        if waiting := [process.name for process in self.supervisor.processes if not process.is_ready]:
            self.show(f"up      | not ready yet: {', '.join(waiting)}")
            processes = self.supervisor.processes
            self.supervisor.run_until(lambda: self._is_stopped or all(process.is_ready for process in processes))
        if not self._is_stopped:
            self.show("up      | ready; Ctrl-C stops everything")

    def _stop(self, watchers: list[Process], workers: list[Process], server: Process | None) -> None:
        self.show("up      | stopping: running tasks are finished; Ctrl-C again puts them back instead")
        self.supervisor.stop([*watchers, *workers])
        signals = 1
        while any(process.is_running for process in (*watchers, *workers)):
            if self.supervisor.signals_received > signals:
                signals = self.supervisor.signals_received
                number = signal.SIGQUIT if signals == 2 else signal.SIGKILL
                for process in (*watchers, *workers):
                    process.signal(number)
            self.supervisor.look_after(seconds=0.1)
        if server:
            self.supervisor.stop([server])
            self.supervisor.run_until(lambda: not server.is_running)
        self.show("up      | stopped")


def _wait_for_lock(lock: IO[str], directory: Path, show: Callable[[str], None]) -> None:
    """Wait until a broker that a killed `pdk up` left behind has ended."""
    for attempt in _attempts(BROKER_SECONDS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt == 0:
                show("up      | waiting for the broker of a former `pdk up` to end")
        else:
            return
    advice = f"`kill $(cat {shlex.quote(str(directory / 'broker.pid'))})` ends it."
    raise AlreadyUp("its broker is still running though nobody supervises it", advice)


def _attempts(seconds: float) -> Iterator[int]:
    deadline = time.monotonic() + seconds
    number = 0
    while time.monotonic() < deadline:
        yield number
        number += 1
        time.sleep(0.1)


def _look_at_broker(url: str, show: Callable[[str], None]) -> None:
    """Say so when a broker of one's own does not answer: it is waited for. Raises NotPermitted, BrokerUntrusted.

    Workers that may not do their work there would only fail, again and again.
    """
    try:
        with connection.told_of(url), connection.client(url) as redis:
            redis.llen(WRITER)
    except BrokerUnavailable as error:
        show(f"up      | {error} Everything waits for it.")


def _answers(path: object) -> bool:
    """Whether the broker at this socket has read its files and takes commands."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return bool(connection.recv(16).startswith(b"+PONG"))
        except OSError:
            time.sleep(0.02)
            return False


def _flower_is_there(show: Callable[[str], None]) -> bool:
    if importlib.util.find_spec("flower"):
        return True
    show("up      | without Flower, which is not installed; `pip install 'pdk-pipeline[server]'` brings it")
    return False


def _flower_port(settings: Settings) -> int:
    """The port that was asked for, or else the usual one, or the next that is free. Raises BadSetting."""
    asked = settings.flower_port
    if asked is None:
        usual = range(USUAL_FLOWER_PORT, USUAL_FLOWER_PORT + 100)
        return next((port for port in usual if _is_free(settings.flower_address, port)), 0)
    if asked == 0:
        with socket.create_server((settings.flower_address, 0)) as probe:
            return cast("int", probe.getsockname()[1])
    if not _is_free(settings.flower_address, asked):
        raise BadSetting(
            f"flower_port: {settings.flower_address}:{asked} is taken", advice="Without that setting a free one is."
        )
    return asked


def _is_free(address: str, port: int) -> bool:
    try:
        with socket.create_server((address, port)):
            return True
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            return False
        why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise BadSetting(f"flower_address: {address}: {why}", advice="It is one of this machine's.") from None
