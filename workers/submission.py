"""Sending a log from a test machine: packed, put into the broker under its own checksum, and a task to take it there.

The value is a line of JSON that says what it is, and then the log, compressed. So a log whose task was lost can
still be taken by the server's sweep. Neither Celery nor kombu is needed on this side (see `message`).
"""

from __future__ import annotations

import getpass
import hashlib
import io
import json
import re
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import zstandard

from pdk_pipeline import errors, formats
from pdk_pipeline.errors import (
    BrokerUnavailable,
    LogTooLarge,
    NotALog,
    NotReceived,
    PdkError,
    TaskFailed,
    UnreadableLog,
)
from pdk_pipeline.formats.stream import open_log
from pdk_pipeline.results import Rejection, Result, Results
from workers import broker, connection, message
from workers.queues import INTAKE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from redis import Redis

    from pdk_pipeline.config import Settings

KEPT_SECONDS = 3 * 86_400
"""The broker keeps a log that nobody takes for so long: a weekend without a server."""

SENDING_SECONDS = 60
"""A broker that has answered once may take so long for each further answer, and be away for so long …"""

SLOWEST_BYTES_A_SECOND = 100_000
"""… and a log takes no longer to get there than at this speed."""

REFUSED_SECONDS = 1.5
"""A broker that refuses may just be starting again: so long it is asked again."""

SHORTEST_LOOK, LONGEST_LOOK = 0.02, 0.25
"""Seconds between two looks for the outcome."""

ASK_AGAIN_SECONDS = 10
"""When there is no outcome after so long, the task is sent once more, and again after twice the time."""

_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00")
_UNFIT = re.compile(r"[^\w.+@,=:~-]+")
_LONGEST_NAME_BYTES = 200


@dataclass(frozen=True)
class Parcel:
    """A log, packed to be sent."""

    content: bytes
    """The log, compressed."""
    name: str
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
            label = cls(clean_name(told["name"]), str(told["sender"])[:200], told["task"], bool(told["again"]))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise NotALog("what was sent has no label that can be read") from None
        if not message.is_id(label.task):
            raise NotALog("what was sent has no label that can be read")
        return label

    def file_name(self, key: str) -> str:
        """What the log is called on the server: its name and its content, so that the same log is the same file."""
        nonce = f"-{self.task[:6]}" if self.again else ""
        return f"{self.name}.{_short(key)}{nonce}"


def file_names(key: str) -> tuple[str, str]:
    """Patterns of all names that a log with this key can have on the server. The sender has no part in their ends."""
    return f"*.{_short(key)}", f"*.{_short(key)}-??????"


def _short(key: str) -> str:
    return key.removeprefix("blob:")[:12]


def clean_name(name: str) -> str:
    """A file's name that leads nowhere else, is not hidden and can be shown."""
    fit = _UNFIT.sub("_", name.rpartition("/")[2]).encode()[-_LONGEST_NAME_BYTES:].decode("utf-8", "ignore")
    return fit.lstrip(".") or "log"


def pack(settings: Settings, path: Path, *, again: bool = False) -> Parcel:
    """Read a log for sense and pack it. Raises UnreadableLog, NotALog, LogTooLarge."""
    results = bad = 0
    first_problem = ""
    with open_log(path) as stream:
        format_ = formats.detect(stream.beginning())
        for reading in format_.read(
            stream, defaults={}, zone=settings.zone, record_limit=settings.record_limit_mb << 20
        ):
            if isinstance(reading, Results):
                results += len(reading.test_name)
            elif isinstance(reading, Result):
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
    return Parcel(content, clean_name(path.name), results, bad, first_problem, again)


def _compressed(path: Path) -> bytes:
    packed = io.BytesIO()
    try:
        with path.open("rb") as file:
            if file.read(8).startswith(_COMPRESSED):
                return path.read_bytes()
            file.seek(0)
            zstandard.ZstdCompressor(level=3).copy_stream(file, packed)
    except OSError as error:
        raise UnreadableLog(f"{path}: {error.strerror}") from None
    return packed.getvalue()


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
    Raises BrokerUnavailable within three seconds when there is no answer at all, BrokerUntrusted, BrokerFull,
    NotPermitted, and what the server refuses it with.
    """
    url = broker.address(settings)
    if url is None:
        raise BrokerUnavailable(
            "none is named", advice="PDK_BROKER_URL names the server's, e.g. rediss://submit:password@server:6379/0."
        )
    _knock(url)
    sending_seconds = SENDING_SECONDS + len(parcel.content) / SLOWEST_BYTES_A_SECOND
    with connection.client(url, timeout_seconds=sending_seconds, connect_seconds=SENDING_SECONDS) as redis:
        return _Submission(url, redis, parcel, on_note).carry_out(wait_seconds)


def _knock(url: str) -> None:
    """See whether the broker answers at all, and lets us in: a person is told at once when it does not."""
    deadline = time.monotonic() + REFUSED_SECONDS
    while True:
        try:
            with connection.told_of(url), connection.client(url) as redis:
                redis.ping()
        except BrokerUnavailable:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.1)
        else:
            return


class _Submission:
    """One parcel on its way, through a broker that may be slow, full or away for a while."""

    def __init__(self, url: str, redis: Redis, parcel: Parcel, on_note: Callable[[str], None]) -> None:
        self.url = url
        self.redis = redis
        self.parcel = parcel
        self.on_note = on_note
        self.noted: set[str] = set()
        self.task = ""

    def carry_out(self, wait_seconds: float) -> dict[str, Any] | None:
        give_up_at = time.monotonic() + wait_seconds
        while True:
            self._put()
            try:
                return self._outcome(give_up_at)
            except NotReceived:
                # The broker has lost it: it was killed within a second of getting it.
                if time.monotonic() >= give_up_at:
                    raise
                time.sleep(1)

    def _put(self) -> None:
        self.task = message.new_id()
        label = Label(self.parcel.name, sender(), self.task, self.parcel.again)
        value = label.value(self.parcel.content)
        # The same log that is there already stays, with its label.
        self._patiently(lambda: self.redis.set(self.parcel.key, value, ex=KEPT_SECONDS, nx=True))
        self._ask()

    def _ask(self) -> None:
        request = json.dumps(message.compose(self.task, self.parcel.key, f"({self.parcel.name!r})"))
        self._patiently(lambda: self.redis.lpush(INTAKE, request))

    def _outcome(self, give_up_at: float) -> dict[str, Any] | None:
        """What the server says of it; None when it has said nothing until then. Raises what it refuses it with."""
        pause, patience = SHORTEST_LOOK, float(ASK_AGAIN_SECONDS)
        ask_again_at = time.monotonic() + patience
        while time.monotonic() < give_up_at:
            told = self._patiently(lambda: self.redis.get(f"celery-task-meta-{self.task}"))
            meta: dict[str, Any] = json.loads(told) if told else {"status": "PENDING"}
            if meta["status"] == "SUCCESS":
                outcome: dict[str, Any] = meta["result"]
                return outcome
            if meta["status"] == "FAILURE":
                raise _error(meta["result"])
            if meta["status"] == "RETRY":
                self._note(f"the server could not take it yet: {_error(meta['result'])}; it is tried again")
            if time.monotonic() >= ask_again_at:
                # Lost between broker and worker, or with a worker that was killed. To be asked twice does no harm.
                self._ask()
                patience *= 2
                ask_again_at = time.monotonic() + patience
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_LOOK)
        return None

    def _patiently(self, command: Callable[[], Any]) -> Any:
        """What the broker answers to a command that may be given twice."""
        deadline = time.monotonic() + SENDING_SECONDS
        while True:
            try:
                with connection.told_of(self.url):
                    return command()
            except errors.PassingFault as error:
                if time.monotonic() >= deadline:
                    raise
                self._note(f"{error.particulars}; waiting for it to get better")
                time.sleep(0.5)

    def _note(self, text: str) -> None:
        if text not in self.noted:
            self.noted.add(text)
            self.on_note(text)


def _error(result: dict[str, Any]) -> PdkError:
    """The error that a worker tells of."""
    kind = getattr(errors, str(result["exc_type"]), None)
    if result.get("exc_module") == errors.__name__ and isinstance(kind, type) and issubclass(kind, PdkError):
        return kind(*map(str, result["exc_message"]))
    told = result["exc_message"]
    text = " ".join(map(str, told)) if isinstance(told, list) else str(told)
    return TaskFailed(f"{result['exc_type']}: {text}", advice="The log of the worker `intake` tells more.")
