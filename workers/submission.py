"""Sending a log from a test machine: packed, put into the broker under its own checksum, and a task to take it there.

The value is a line of JSON that says what it is, and then the log, compressed. So a log whose task was lost can
still be taken by the server's sweep.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import re
import socket
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import zstandard

from pdk_pipeline import formats
from pdk_pipeline.errors import BrokerUnavailable, LogTooLarge, NotALog, NotPermitted, PdkError, UnreadableLog
from pdk_pipeline.formats.stream import open_log
from pdk_pipeline.results import Rejection, Result
from workers import broker, health, sending

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pdk_pipeline.config import Settings

KEY = re.compile(r"blob:[0-9a-f]{64}")
KEPT_SECONDS = 3 * 86_400
"""The broker keeps a log that nobody takes for so long: a weekend without a server."""

TASK = "receive_log"

SENDING_SECONDS = 60
"""The broker takes each piece of a log within so long."""

_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00")
_UNFIT = re.compile(r"[^\w.+@,=:~-]+")


@dataclass(frozen=True)
class Parcel:
    """A log, packed to be sent."""

    content: bytes
    """The log, compressed."""
    name: str
    """What it is to be called on the server: it tells the content, so that the same log is the same file."""
    results: int
    bad: int
    first_problem: str
    again: bool
    """Whether it is to be imported even if the server has had it."""

    @property
    def key(self) -> str:
        """Its place in the broker."""
        return f"blob:{hashlib.sha256(self.content).hexdigest()}"


@dataclass(frozen=True)
class Label:
    """What the first line of the value says."""

    name: str
    sender: str
    task: str
    """Id of the task that is to take it: the sweep uses the same, so that whoever waits is told."""
    again: bool = False

    def value(self, content: bytes) -> bytes:
        """What is put into the broker."""
        return json.dumps(self.__dict__).encode() + b"\n" + content

    @classmethod
    def of(cls, beginning: bytes) -> Label:
        """The label of a value that begins so. Raises NotALog."""
        try:
            told: dict[str, Any] = json.loads(beginning.partition(b"\n")[0])
            return cls(clean_name(str(told["name"])), str(told["sender"])[:200], str(told["task"]), bool(told["again"]))
        except (ValueError, KeyError, TypeError):
            raise NotALog("what was sent has no label that can be read") from None


def clean_name(name: str) -> str:
    """A file's name that leads nowhere else, is not hidden and can be shown."""
    return _UNFIT.sub("_", name.rpartition("/")[2]).lstrip(".")[-200:] or "log"


def pack(settings: Settings, path: Path, *, again: bool = False) -> Parcel:
    """Read a log for sense and pack it. Raises UnreadableLog, NotALog, LogTooLarge."""
    results = bad = 0
    first_problem = ""
    with open_log(path) as stream:
        format_ = formats.detect(stream.beginning())
        for reading in format_.read(
            stream, defaults={}, zone=settings.zone, record_limit=settings.record_limit_mb << 20
        ):
            if isinstance(reading, Result):
                results += 1
            elif isinstance(reading, Rejection) and not reading.is_continued:
                bad += 1
                first_problem = first_problem or f"line {reading.line}: {reading.reason}"
    if not results:
        raise NotALog(
            f"{path}: {first_problem or 'it is empty'}", advice="`pdk check` tells all that is wrong with it."
        )
    content = _compressed(path)
    limit = settings.submit_limit_mb << 20
    if len(content) > limit:
        raise LogTooLarge(
            f"{path}: {len(content):,} bytes compressed, {limit:,} are allowed",
            advice="Split it, or copy it into the server's incoming/; the setting submit_limit_mb is the limit.",
        )
    digest = hashlib.sha256(content).hexdigest()[:12]
    nonce = f"-{uuid.uuid4().hex[:6]}" if again else ""
    name = f"{clean_name(path.name)}.{digest}{nonce}"
    return Parcel(content, name, results, bad, first_problem, again)


def _compressed(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableLog(f"{path}: {error.strerror}") from None
    return content if content.startswith(_COMPRESSED) else zstandard.ZstdCompressor(level=3).compress(content)


def sender() -> str:
    """Who sends from here."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "?"
    return f"{user}@{socket.gethostname()}"


def submit(
    settings: Settings, parcel: Parcel, *, wait_seconds: float, on_note: Callable[[str], None]
) -> dict[str, Any] | None:
    """Send a parcel, and wait until the server has it on its disk. Returns what the server says of it.

    None: nobody has taken it after `wait_seconds`; it is safe in the broker for KEPT_SECONDS.
    Raises BrokerUnavailable, NotPermitted, and what the server refuses it with.
    """
    url = broker.address(settings)
    if url is None:
        raise BrokerUnavailable(
            "none is named", advice="PDK_BROKER_URL names the server's, e.g. rediss://submit:password@server:6379/0."
        )
    call = sending.Call(TASK, (parcel.key,), parcel.name)
    _put(url, parcel, Label(parcel.name, sender(), call.id, parcel.again))
    sending.send(url, [call])
    waiting = sending.Waiting(url, [call], lambda *_: None, on_note, wait_seconds)
    for _, outcome in waiting.outcomes():
        if isinstance(outcome, PdkError):
            raise outcome
        return outcome
    return None


def _put(url: str, parcel: Parcel, label: Label) -> None:
    from redis.exceptions import AuthenticationError, NoPermissionError, RedisError  # noqa: PLC0415

    try:
        with health.client(url, timeout_seconds=SENDING_SECONDS, connect_seconds=2) as redis:
            # The same log that is there already stays, with its label.
            redis.set(parcel.key, label.value(parcel.content), ex=KEPT_SECONDS, nx=True)
    except (AuthenticationError, NoPermissionError) as error:
        raise NotPermitted(
            f"{broker.shown(url)}: {error}", advice="Are user and password in PDK_BROKER_URL right?"
        ) from None
    except (RedisError, OSError) as error:
        raise BrokerUnavailable(
            f"{broker.shown(url)}: {error}", advice="Nothing was sent. Is PDK_BROKER_URL right, and the server up?"
        ) from None
