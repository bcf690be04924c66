"""Brokers on a port, as a site has them: with users who may do this and that, with TLS, and such as are no use."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.integration.processes import Background
from workers import connection, redis_server

DOCKER = Path(__file__).parents[2] / "docker"
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
        self.options = ("--bind", "127.0.0.1", "--dir", str(directory), "--appendonly", "yes", *port, *options)
        self.process: Background | None = None
        self.start()

    def start(self) -> None:
        self.process = Background([self.program, "--save", "", *self.options], os.environ, self.directory)
        self.process.wait_for("Ready to accept connections")

    def stop(self) -> None:
        if self.process:
            self.process.clean_up()

    def kill(self) -> None:
        self.process.kill()
        self.process.clean_up()

    def url(self, user: str = "", password: str = "", host: str = "127.0.0.1") -> str:
        """Its address, for one of PASSWORDS with its own password or another."""
        who = f"{user}:{quote(password or PASSWORDS[user], safe='')}@" if user else ""
        return f"{self.scheme}://{who}{host}:{self.port}/0"

    def as_user(self, user: str):
        return connection.client(self.url(user), timeout_seconds=10)


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
