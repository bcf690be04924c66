"""The door of the intake: what comes in from test machines is composed anew before Celery sees it.

Celery and kombu trust whoever can write to their queue: a message may name tasks to call when it fails, a time limit
to make it fail, or the queue that it is to be put back into. So this stands below both.
"""

from __future__ import annotations

import logging
from typing import Any

from kombu.exceptions import OperationalError
from kombu.transport import TRANSPORT_ALIASES, redis
from kombu.transport.virtual import Empty

from workers.message import composed_anew
from workers.queues import INTAKE

log = logging.getLogger(__name__)


class Channel(redis.Channel):
    """Outlives what is no message at all."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (*self.connection_errors, Empty, OperationalError):
            raise
        except Exception as error:  # noqa: BLE001  (what is not JSON ends anywhere in kombu, and would end the worker)
            log.warning("what a test machine sent is no message and is thrown away: %.200s", error)
            raise Empty from None


class Transport(redis.Transport):
    """Hands on what asks for a log to be taken, and of that only what it needs to say."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        if queue == INTAKE:
            message = composed_anew(message)
            if message is None:
                log.warning("a message that asks for something else than to take a log is thrown away")
                return
        super()._deliver(message, queue)  # type: ignore[no-untyped-call]


def close() -> None:
    """From now on every connection of this process has this door."""
    TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), f"{__name__}:Transport"))
