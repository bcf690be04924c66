"""The door of the workers: what is no message stays outside, and what comes from test machines is composed anew.

Celery and kombu trust whoever can write to their queue: a message may name tasks to call when it fails, a time limit
to make it fail, or the queue that it is to be put back into; and over one of a wrong shape they end, and again over
the same one when they are started again. So this stands below both.
"""

from __future__ import annotations

import logging
from typing import Any

from kombu.exceptions import OperationalError
from kombu.transport import TRANSPORT_ALIASES, redis
from kombu.transport.virtual import Empty

from workers.message import composed_anew, is_well_formed
from workers.queues import DEFAULT, INTAKE, WRITER

log = logging.getLogger(__name__)

_OURS = {WRITER, DEFAULT}


class Channel(redis.Channel):
    """Outlives what is no message at all."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (*self.connection_errors, Empty, OperationalError):
            raise
        except Exception as error:  # noqa: BLE001  (what is not JSON ends anywhere in kombu, and would end the worker)
            log.warning("what somebody sent is no message and is thrown away: %.200s", error)
            raise Empty from None


class Transport(redis.Transport):
    """Hands on messages; to the intake only what asks for a log to be taken, and of that only what it needs to say."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        if queue == INTAKE:
            message = composed_anew(message)
            if message is None:
                log.warning("a message that asks for something else than to take a log is thrown away")
                return
        elif queue in _OURS and not is_well_formed(message):
            log.warning("what somebody sent to %s is no task's message and is thrown away: %.200s", queue, message)
            return
        super()._deliver(message, queue)  # type: ignore[no-untyped-call]


def close() -> None:
    """From now on every connection of this process has this door."""
    TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), f"{__name__}:Transport"))
