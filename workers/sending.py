"""Calls of tasks by name: sent through the broker, and waited for with a person in mind who waits too."""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import TYPE_CHECKING, Any

from celery import states
from kombu.exceptions import OperationalError

from pdk_pipeline.errors import PassingFault, PdkError, TaskFailed
from workers import asking, connection
from workers.app import app
from workers.queues import WRITER, WRITER_UNACKED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from workers.call import Call

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
"""Seconds between two looks at the results; between them it is …"""

PAUSE_PART = 1 / 20
"""… this part of the time that was waited already, so that nobody waits longer by more than that. Of many tasks …"""

PAUSE_FOR_MANY = 0.03
"""… some may end meanwhile: to look takes the processor from those who work."""

LOOK_AT = 200
"""So many unfinished tasks are looked at together; they end in the order in which they were sent."""

QUIET_SECONDS = 3
"""When nothing has happened for so long, it is looked into why."""

REFUSED_SECONDS = 1.5
"""A broker that refuses may just be starting again: so long it is asked again."""

BROKER_GONE_SECONDS = 60
"""A broker that went away while we wait is waited for so long."""


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


def send(url: str, calls: Sequence[Call]) -> None:
    """Send the calls in order. Raises NotPermitted, BrokerUntrusted, BrokerUnavailable within three seconds."""
    from redis.exceptions import NoPermissionError  # noqa: PLC0415  (loaded with the broker)

    _connect(url)
    waiting = list(reversed(calls))
    deadline = time.monotonic() + REFUSED_SECONDS
    while waiting:
        try:
            _send_all(waiting)
        except NoPermissionError as error:
            raise connection.fault(url, error) from None
        except OperationalError as error:
            fault = connection.fault(url, error)
            if not isinstance(fault, PassingFault) or time.monotonic() >= deadline:
                raise fault from None
            time.sleep(LONGEST_PAUSE)


def _send_all(waiting: list[Call]) -> None:
    with app.producer_or_acquire() as producer:
        while waiting:
            call = waiting[-1]
            app.send_task(
                call.task,
                call.args,
                task_id=call.id,
                queue=call.queue,
                priority=call.priority,
                argsrepr=f"({call.label!r})",
                kwargsrepr="{}",
                producer=producer,
                retry=False,
            )
            waiting.pop()


class Waiting:
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
        self.seems_lost = False

    def outcomes(self) -> Iterator[tuple[int, dict[str, Any] | PdkError]]:
        """What came of each, as they finish."""
        waiting_since = time.monotonic()
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
            now = time.monotonic()
            if finished:
                waiting_since = now
                continue
            if now - self.moved_at > QUIET_SECONDS:
                self._look_into_it()
            shortest = SHORTEST_PAUSE if len(self.pending) < 3 else PAUSE_FOR_MANY
            time.sleep(min(max((now - waiting_since) * PAUSE_PART, shortest), LONGEST_PAUSE))

    def _look(self) -> list[tuple[int, dict[str, Any]]]:
        """The tasks whose state has changed since the last look."""
        from redis.exceptions import RedisError  # noqa: PLC0415  (loaded with the result backend, not before)

        backend = app.backend
        window = list(itertools.islice(self.pending, LOOK_AT))
        keys = [backend.get_key_for_task(self.calls[index].id) for index in window]
        try:
            payloads = backend.mget(keys)
        except (RedisError, OperationalError) as error:
            if time.monotonic() - self.answered_at > BROKER_GONE_SECONDS:
                raise connection.fault(self.url, error) from None
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
        from redis.exceptions import RedisError  # noqa: PLC0415

        # Not every user of the broker may ask who works.
        with contextlib.suppress(OperationalError, OSError, RedisError):
            first = next(iter(self.pending))
            call = self.calls[first]
            if not _is_lost(call):
                self.seems_lost = False
                if first not in self.last_seen and call.queue not in asking.consumed_queues():
                    self._note(
                        f"no worker takes from the queue `{call.queue}` yet; Ctrl-C stops the waiting, not the work"
                    )
            elif not self.seems_lost:  # or it has ended this very moment
                self.seems_lost = True
            else:
                # Taking a message out and noting it as taken are two steps, and a worker was killed between them.
                send(self.url, list(itertools.islice(self.pending.values(), LOOK_AT)))


def _is_lost(call: Call) -> bool:
    """Whether a task that has not ended waits nowhere and is in nobody's hands."""
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        if channel.queue_declare(call.queue).message_count:
            return False
        if call.queue == WRITER:
            return not channel.client.hlen(WRITER_UNACKED)
    return not asking.is_in_hand(call.id)


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
