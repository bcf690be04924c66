"""From a command to its task, the one way for all: through the broker if there is one, else in this process."""

from __future__ import annotations

import contextlib
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celery import states
from kombu.exceptions import OperationalError

from pdk_pipeline import database
from pdk_pipeline.errors import BrokerUnavailable, PdkError, TaskFailed
from workers import broker, health
from workers.app import app
from workers.queues import ON_DEMAND, WRITER
from workers.single_writer import WRITER_TRANSPORT_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pdk_pipeline.config import Settings

# A person waits: a broker that refuses is told of at once, one that is silent within three seconds.
CLIENT_TRANSPORT_OPTIONS = {
    "socket_connect_timeout": 1,
    "socket_timeout": 1,
    "max_retries": 0,
    "interval_start": 0,
    "connect_retries_timeout": 1,
}
CLIENT_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "timeout": 1.0}

SHORTEST_PAUSE = 0.004
LONGEST_PAUSE = 0.1
"""Seconds between two looks at the results."""

LOOK_AT = 200
"""So many unfinished tasks are looked at together; they end in the order in which they were sent."""

QUIET_SECONDS = 3
"""When nothing has happened for so long, it is looked into why."""

REFUSED_SECONDS = 1.5
"""A broker that refuses may just be starting again: so long it is asked again."""

BROKER_GONE_SECONDS = 60
"""A broker that went away while we wait is waited for so long."""


@dataclass(frozen=True)
class Call:
    """A task to be done."""

    task: str
    args: tuple[Any, ...]
    label: str
    """What the person knows it by, and Flower shows: a file's name, a run's."""
    id: str = field(default_factory=lambda: str(uuid.uuid4()))


def run(
    settings: Settings,
    calls: Sequence[Call],
    *,
    local: bool,
    on_progress: Callable[[int, int, int], None],
    on_note: Callable[[str], None],
) -> Iterator[tuple[int, dict[str, Any] | PdkError]]:
    """Have every call done. Yields its index and its outcome, or the error that ended it, as they finish.

    `on_progress` is told the index, and how much is done of how much. `on_note` is told what a person who waits
    should know. Raises BrokerUnavailable, WriterBusy.
    """
    if not calls:
        return
    url = None if local else broker.address(settings)
    if url is None:
        yield from _in_this_process(settings, calls, on_progress, on_note)
    else:
        _send(url, calls)
        yield from _Waiting(url, calls, on_progress, on_note).outcomes()


def send(settings: Settings, calls: Sequence[Call]) -> list[str]:
    """Hand the calls over and do not wait. Returns the tasks' ids. Raises BrokerUnavailable."""
    url = broker.address(settings)
    if url is None:
        raise BrokerUnavailable(
            "there is none", advice="`pdk up` starts one, PDK_BROKER_URL names yours; --local needs none."
        )
    _send(url, calls)
    return [call.id for call in calls]


# In this process ---------------------------------------------------------------------------------------------


def _in_this_process(
    settings: Settings,
    calls: Sequence[Call],
    on_progress: Callable[[int, int, int], None],
    on_note: Callable[[str], None],
) -> Iterator[tuple[int, dict[str, Any] | PdkError]]:
    app.loader.import_default_modules()  # the tasks; sending needs no more than their names

    def on_wait(holder: str) -> None:
        on_note(f"waiting for the database: {holder} writes it")

    wait_seconds = settings.writer_wait_seconds
    # One connection stays open throughout, or SQLite would tidy up after every task.
    with (
        database.writer_lock(settings, "a pdk command", wait_seconds=wait_seconds, on_wait=on_wait),
        contextlib.closing(database.connect(settings.database)),
    ):
        for index, call in enumerate(calls):
            task = app.tasks[call.task]
            task.listener = lambda done, total, index=index: on_progress(index, done, total)
            try:
                yield index, task(*call.args)
            except PdkError as error:
                yield index, error
            finally:
                task.listener = None


# Through the broker ------------------------------------------------------------------------------------------


def _connect(url: str) -> None:
    """Set the app up for a person who waits."""
    app.conf.update(
        broker_url=url,
        result_backend=url,
        broker_transport_options=app.conf.broker_transport_options | CLIENT_TRANSPORT_OPTIONS,
        result_backend_transport_options={"retry_policy": CLIENT_RETRY_POLICY},
        redis_socket_connect_timeout=1,
        redis_socket_timeout=2,
        result_backend_always_retry=False,
    )
    # Sending subscribes to each task's results; we look at them instead, which a lost connection does not end.
    app.backend.on_task_call = lambda *_: None


def _send(url: str, calls: Sequence[Call]) -> None:
    """Send the calls in order. Raises BrokerUnavailable within three seconds, when a broker stays away."""
    _connect(url)
    waiting = list(reversed(calls))
    deadline = time.monotonic() + REFUSED_SECONDS
    while waiting:
        try:
            _send_all(waiting)
        except OperationalError as error:
            if time.monotonic() >= deadline:
                raise _unavailable(url, error) from None
            time.sleep(LONGEST_PAUSE)


def _send_all(waiting: list[Call]) -> None:
    with app.producer_or_acquire() as producer:
        while waiting:
            call = waiting[-1]
            app.send_task(
                call.task,
                call.args,
                task_id=call.id,
                queue=WRITER,
                priority=ON_DEMAND,
                argsrepr=f"({call.label!r})",
                kwargsrepr="{}",
                producer=producer,
                retry=False,
            )
            waiting.pop()


def _unavailable(url: str, error: Exception) -> BrokerUnavailable:
    return BrokerUnavailable(
        f"{broker.shown(url)}: {error}",
        advice="Is it running, and PDK_BROKER_URL right? `pdk doctor` looks; --local does the work without it.",
    )


class _Waiting:
    """Waits for tasks that were sent."""

    def __init__(
        self,
        url: str,
        calls: Sequence[Call],
        on_progress: Callable[[int, int, int], None],
        on_note: Callable[[str], None],
    ) -> None:
        self.url = url
        self.calls = calls
        self.on_progress = on_progress
        self.on_note = on_note
        self.pending = dict(enumerate(calls))
        self.last_seen: dict[int, Any] = {}
        self.moved_at = time.monotonic()
        self.answered_at = time.monotonic()
        self.noted: set[str] = set()

    def outcomes(self) -> Iterator[tuple[int, dict[str, Any] | PdkError]]:
        pause = SHORTEST_PAUSE
        while self.pending:
            finished = False
            for index, meta in self._look():
                if meta["status"] in states.READY_STATES:
                    del self.pending[index]
                    finished = True
                    yield index, _outcome(self.calls[index], meta)
                elif meta["status"] == "PROGRESS":
                    self.on_progress(index, meta["result"]["done"], meta["result"]["total"])
                elif meta["status"] == states.RETRY:
                    self._note(f"{self.calls[index].label}: {meta['result']}; it is tried again")
            if not finished:
                if time.monotonic() - self.moved_at > QUIET_SECONDS:
                    self._look_into_it()
                time.sleep(pause)
            pause = SHORTEST_PAUSE if finished else min(pause * 1.5, LONGEST_PAUSE)

    def _look(self) -> list[tuple[int, dict[str, Any]]]:
        """The tasks whose state has changed since the last look."""
        from redis.exceptions import RedisError  # noqa: PLC0415  (loaded with the result backend, not before)

        backend = app.backend
        window = list(self.pending)[:LOOK_AT]
        keys = [backend.get_key_for_task(self.calls[index].id) for index in window]
        try:
            payloads = backend.mget(keys)
        except (RedisError, OperationalError) as error:
            if time.monotonic() - self.answered_at > BROKER_GONE_SECONDS:
                raise _unavailable(self.url, error) from None
            self._note("the broker has gone away; waiting for it to come back")
            return []
        self.answered_at = time.monotonic()
        changed = []
        for index, payload in zip(window, payloads, strict=True):
            if payload is not None and payload != self.last_seen.get(index):
                self.last_seen[index] = payload
                self.moved_at = self.answered_at
                changed.append((index, backend.meta_from_decoded(backend.decode_result(payload))))
        return changed

    def _note(self, text: str) -> None:
        if text not in self.noted:
            self.noted.add(text)
            self.on_note(text)

    def _look_into_it(self) -> None:
        """Nothing has moved for a while: say so if nobody works, and send again what was lost on the way."""
        self.moved_at = time.monotonic()
        with contextlib.suppress(OperationalError, OSError):
            begun = [index for index in self.pending if index in self.last_seen]
            if begun:
                return
            if WRITER not in health.consumed_queues():
                self._note("no worker takes from the queue `writer` yet; Ctrl-C stops the waiting, not the work")
            elif not _messages_there():
                # Taking a message out and noting it as taken are two steps, and a writer was killed between them.
                _send(self.url, list(self.pending.values())[:LOOK_AT])


def _messages_there() -> int:
    """How many tasks wait in the writer's queue, or are in its hands."""
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        waiting = channel.queue_declare(WRITER).message_count
        in_hand = channel.client.hlen(WRITER_TRANSPORT_OPTIONS["unacked_key"])
    return int(waiting) + int(in_hand)


def _outcome(call: Call, meta: dict[str, Any]) -> dict[str, Any] | PdkError:
    result = meta["result"]
    if meta["status"] == states.SUCCESS:
        outcome: dict[str, Any] = result
        return outcome
    if isinstance(result, PdkError):
        return result
    if isinstance(result, BaseException):
        return TaskFailed(f"{call.label}: {type(result).__name__}: {result}", advice="The worker's log tells more.")
    return TaskFailed(f"{call.label}: {meta['status']}")
