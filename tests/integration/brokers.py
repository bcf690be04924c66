"""Brokers on a port, as a site has them: with users who may do this and that, with TLS, and such as are no use."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.integration.processes import CELERY, Background
from tests.stored import home_in
from workers import connection, redis_server

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
PASSWORDS = {"server": "the server's: /@", "submit": "s3cret", "monitor": "m0nitor"}

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl program")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def users(path: Path) -> Path:
    """The users of `docker/users.acl`, with passwords that a test knows."""
    rules = (DOCKER / "users.acl").read_text()
    for user, password in PASSWORDS.items():
        digest = subprocess.run(
            ["openssl", "dgst", "-sha256", "-r"], input=password.encode(), capture_output=True, check=True
        ).stdout[:64]
        rules = rules.replace(f"#{user.upper()}_PASSWORD", f"#{digest.decode()}")
    path.write_text(rules)
    return path


class Broker:
    """A server on a port of this machine, which keeps what it is given in `directory`."""

    def __init__(self, directory: Path, *options: str, program: str = "", scheme: str = "redis") -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.program = program or redis_server.find()
        self.scheme = scheme
        self.port = free_port()
        port = ("--port", str(self.port)) if scheme == "redis" else ("--port", "0", "--tls-port", str(self.port))
        self.options = (
            "--bind",
            "127.0.0.1",
            "127.0.0.2",
            "--dir",
            str(directory),
            "--appendonly",
            "yes",
            *port,
            *options,
        )
        self.process: Background | None = None
        self.start()

    def start(self) -> None:
        command = [self.program, "--save", "", "--appendonly", "yes", *self.options]
        self.process = Background(command, os.environ, self.directory)
        self.process.wait_for("Ready to accept connections")

    def stop(self) -> None:
        if self.process:
            self.process.clean_up()

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.clean_up()

    def url(self, user: str = "", password: str = "", host: str = "127.0.0.1") -> str:
        """Its address, for one of PASSWORDS with its own password or another."""
        who = f"{user}:{quote(password or PASSWORDS[user], safe='')}@" if user else ""
        return f"{self.scheme}://{who}{host}:{self.port}/0"

    def as_user(self, user: str):
        return connection.client(self.url(user), timeout_seconds=10)


class Site:
    """A server's side: its broker with users, its home, and an intake."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.broker = Broker(directory / "broker", "--aclfile", str(users(directory / "users.acl")))
        self.home = home_in(directory / "home")
        self.workers: list[Background] = []

    @property
    def environment(self) -> dict[str, str]:
        """What the server's processes find in theirs."""
        return {name: value for name, value in os.environ.items() if not name.startswith("PDK_")} | {
            "PDK_HOME": str(self.home.home),
            "PDK_BROKER_URL": self.broker.url("server"),
            "PDK_SUBMIT_LIMIT_MB": "2",
            "PYTHONPATH": str(ROOT),
        }

    def start_intake(self, *options: str, **variables: str) -> Background:
        command = [*CELERY, "worker", "--queues=intake", "--pool=solo", "--loglevel=INFO", "--without-mingle"]
        self.workers.append(Background([*command, "--without-gossip", *options], self.environment | variables, ROOT))
        return self.workers[-1]

    def sweep(self) -> int:
        """Have the sweep come by, in a process of its own as a worker does. Returns how many lost logs it found."""
        script = "from workers.receiving import sweep; print(sweep()['forgotten'])"
        command = [sys.executable, "-c", script]
        return int(subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout)

    def stop(self) -> None:
        for worker in self.workers:
            worker.kill()  # a gentle end takes it a second
            worker.clean_up()
        self.broker.kill()

    def incoming(self) -> list[Path]:
        """The logs that were received."""
        place = self.home.spool / "incoming"
        return sorted(place.iterdir()) if place.exists() else []


def make_secrets(directory: Path, name: str = "localhost") -> Path:
    """What `docker/make_secrets` makes: passwords, and a broker's certificate with the CA that signed it."""
    subprocess.run([DOCKER / "make_secrets", name, directory], check=True, capture_output=True, timeout=60)
    return directory


def start_with_tls(directory: Path, secrets: Path, *options: str) -> Broker:
    """A broker with TLS. Skips the test where no server program can do that."""
    files = {"cert": "broker_certificate", "key": "broker_key", "ca-cert": "ca_certificate"}
    certificates = [word for kind, name in files.items() for word in (f"--tls-{kind}-file", str(secrets / name))]
    for program in filter(None, map(shutil.which, ("valkey-server", "redis-server"))):
        with contextlib.suppress(AssertionError):
            return Broker(directory, *certificates, *options, program=program, scheme="rediss")
    pytest.skip("no Redis or Valkey server that can do TLS is on the path")


@contextlib.contextmanager
def silent_host() -> Iterator[str]:
    """The address of a machine that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken: list[socket.socket] = []

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(listener.accept()[0])

        threading.Thread(target=take, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        for connection_ in taken:
            connection_.close()
