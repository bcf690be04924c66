"""The services of docker/compose.yaml as processes of this machine: their commands as they stand, at other places."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.integration.brokers import DOCKER, free_port, make_secrets
from tests.integration.processes import Background
from workers import redis_server

BIN = Path(sys.executable).parent


def services() -> dict[str, Any]:
    """What compose.yaml says of each."""
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]


class Composed:
    """One machine's `docker compose up`, without containers."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.services = services()
        self.ports = {port: str(free_port()) for port in ("6379", "6380", "5555", "9808")}
        self.places = {
            "/var/lib/pdk": str(directory / "home"),
            "/run/secrets": str(make_secrets(directory / "secrets")),
            "/etc/broker.conf": str(directory / "broker.conf"),
            "/opt/pdk/docker": str(DOCKER),
            "/data": str(directory / "data"),
        }
        for place in ("home", "data"):
            (directory / place).mkdir()
        self.program = next(filter(None, map(shutil.which, ("valkey-server", "redis-server"))), None)
        self.has_tls = self.program is not None
        lines = (DOCKER / "broker.conf").read_text().splitlines()
        (directory / "broker.conf").write_text(
            "\n".join(self.here(line) for line in lines if self.has_tls or not line.startswith("tls-"))
        )
        for name in ("server_url", "monitor_url", "submit_url"):
            path = directory / "secrets" / name
            path.write_text(self.here(path.read_text()).replace("@redis:", "@127.0.0.1:"))
        self.running: dict[str, Background] = {}

    def here(self, text: str) -> str:
        """A text of compose.yaml with the places and ports of this machine."""
        for there, here in (self.places | self.ports).items():
            text = text.replace(there, here)
        return text.replace("0.0.0.0", "127.0.0.1")

    def environment(self, name: str) -> dict[str, str]:
        own = {name: self.here(value) for name, value in self.services[name].get("environment", {}).items()}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PDK_")}
        image = {"PDK_HOME": self.places["/var/lib/pdk"], "PYTHONUNBUFFERED": "1"}
        env_file = {"PDK_SETTLE_SECONDS": "0"}
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        return inherited | image | env_file | own | {"PATH": path, "HOSTNAME": socket.gethostname()}

    def start(self, name: str) -> Background:
        command = self.services[name]["command"]
        words = [self.here(word) for word in (shlex.split(command) if isinstance(command, str) else command)]
        if name == "redis":
            words[0] = self.program or redis_server.find()
        elif words[0] == "pdk":
            words[:1] = [sys.executable, "-c", "from pdk_pipeline.cli import main; main()"]
        self.running[name] = Background(words, self.environment(name), Path(self.places["/var/lib/pdk"]))
        return self.running[name]

    def check_health(self, name: str) -> subprocess.CompletedProcess[str]:
        """What the service's health check says of it."""
        kind, *test = self.services[name]["healthcheck"]["test"]
        words = ["sh", "-c", *test] if kind == "CMD-SHELL" else test
        words = [self.here(word).replace("$$", "$") for word in words]
        if name == "redis":
            cli = (self.program or "").replace("-server", "-cli")
            words[-1] = words[-1].replace("valkey-cli", f"{cli} -p {self.ports['6379']}")
        return subprocess.run(
            words, env=self.environment(name), capture_output=True, text=True, timeout=60, check=False
        )

    def pdk(self, service: str, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
        """`docker compose exec SERVICE pdk …`."""
        command = [sys.executable, "-c", "from pdk_pipeline.cli import main; main()", *map(str, words)]
        return self._run(command, self.environment(service) | variables)

    @staticmethod
    def _run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    def stop(self) -> None:
        for process in reversed(self.running.values()):
            process.clean_up()
